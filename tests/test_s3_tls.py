"S3 over TLS with an authority of one's own: trusted when AWS_CA_BUNDLE names it, refused with a clear error when not."
import datetime, ipaddress, ssl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from objstore import S3ObjectStore
from objstore.errors import ConfigError, NetworkError
from objstore.retry import Patience
from objstore.stats import Stats
from tests.replies import Reply, replying

whole = {'ETag': '"e"', 'Last-Modified': 'Sat, 21 Nov 2026 22:12:22 GMT'}
page = Reply(body=b'<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>')


def signed(name, key, issuer, issuer_key, extension):
    "A certificate for `name`, good for a day."
    now = datetime.datetime.now(datetime.timezone.utc)
    def named(text): return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    return (x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    "A folder with the certificate of an authority, `ca.pem`, and one that it gave to 127.0.0.1, `server.pem`."
    authority,server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    folder = tmp_path_factory.mktemp('tls')
    (folder/'ca.pem').write_bytes(signed('authority', authority, 'authority', authority, x509.BasicConstraints(ca=True, path_length=None)))
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
    private = server.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder/'server.pem').write_bytes(signed('server', server, 'authority', authority, place) + private)
    return folder


def over_tls(server, certificate):
    "A store for `server`, which from now on speaks TLS."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate/'server.pem')
    server.socket = context.wrap_socket(server.socket, server_side=True)
    store = S3ObjectStore(endpoint=server.url.replace('http://', 'https://'), access_key_id='AKIA', secret_access_key='s')
    store.patience = Patience(attempts=1)
    return store


def test_an_authority_named_in_the_environment_is_trusted(certificate, monkeypatch):
    monkeypatch.setenv('AWS_CA_BUNDLE', str(certificate/'ca.pem'))
    with replying(Reply(body=b'safe', headers=whole)) as server: assert over_tls(server, certificate).get('lab', 'k') == b'safe'
    with replying(page) as server: assert list(over_tls(server, certificate).find_items('lab')) == []


def test_an_unknown_authority_is_refused_and_the_error_says_what_to_do(certificate):
    with replying(page) as server, pytest.raises(ConfigError, match='AWS_CA_BUNDLE'): list(over_tls(server, certificate).find_items('lab'))
    with replying(Reply(body=b'unsafe', headers=whole)) as server, pytest.raises(NetworkError): over_tls(server, certificate).get('lab', 'k')


def test_a_missing_file_of_authorities_is_named(certificate, monkeypatch):
    monkeypatch.setenv('AWS_CA_BUNDLE', '/no/such.pem')
    for verb in ('get', 'put', 'list'):
        with replying(page) as server, pytest.raises(ConfigError, match='/no/such.pem'):
            store = over_tls(server, certificate)
            list(store.find_items('lab')) if verb == 'list' else store.get('lab', 'k') if verb == 'get' else store.put('lab', 'k', b'')


def test_many_at_once_trust_whom_one_does(certificate, monkeypatch):
    monkeypatch.setattr('objstore.multi.worth_loading', 1)
    items = [Stats('lab', f'k{n}', 4, '"e"') for n in range(4)]
    def many(server): return [content for _,content in over_tls(server, certificate)._get_many('lab', items, 2, lambda: None)]
    with replying(Reply(body=b'safe', headers=whole)) as server: assert many(server) == [] and server.asked == []
    monkeypatch.setenv('AWS_CA_BUNDLE', str(certificate/'ca.pem'))
    with replying(Reply(body=b'safe', headers=whole)) as server: assert many(server) == [b'safe'] * 4
