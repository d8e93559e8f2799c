"A key file of a service account that no Google knows."
import json
from functools import cache


@cache
def private_key():
    "A new RSA key, the same one for this process."
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def service_account(path, token_uri):
    "Write to `path` a key file whose tokens come from `token_uri`; the path."
    path.write_text(json.dumps({'type': 'service_account', 'project_id': 'test-project', 'private_key_id': '1', 'private_key': private_key(),
        'client_email': 'ann@test-project.iam.gserviceaccount.com', 'client_id': '1', 'token_uri': token_uri}))
    return path
