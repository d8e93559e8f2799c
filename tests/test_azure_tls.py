"Azure over TLS with an authority of one's own: trusted when REQUESTS_CA_BUNDLE names it, alone or among others."
import ssl
import pytest
from objstore import AzureObjectStore
from objstore.errors import ConfigError, NetworkError
from objstore.retry import Patience
from tests.replies import Reply, replying
from tests.test_s3_tls import certificate, whole

page = Reply(body=b'<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>')


def over_tls(server, certificate):
    "A store for `server`, which from now on speaks TLS."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate/'server.pem')
    server.socket = context.wrap_socket(server.socket, server_side=True)
    store = AzureObjectStore('lab', endpoint=server.url.replace('http://', 'https://'), account_key='a2V5')
    store.patience = Patience(attempts=1)
    return store


@pytest.mark.parametrize('before', [b'', ssl.get_default_verify_paths().cafile], ids=['alone', 'last of many'])
def test_an_authority_named_in_the_environment_is_trusted(certificate, monkeypatch, tmp_path, before):
    others = open(before, 'rb').read() if before else b''
    (tmp_path/'bundle.pem').write_bytes(others + (certificate/'ca.pem').read_bytes())
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(tmp_path/'bundle.pem'))
    with replying(page) as server: assert list(over_tls(server, certificate).find_items('lab')) == []
    with replying(Reply(body=b'safe', headers=whole)) as server: assert over_tls(server, certificate).get('lab', 'k') == b'safe'


def test_an_unknown_authority_is_refused_and_the_error_says_what_to_do(certificate, monkeypatch):
    monkeypatch.delenv('REQUESTS_CA_BUNDLE', raising=False)
    with replying(page) as server, pytest.raises(ConfigError, match='REQUESTS_CA_BUNDLE'): list(over_tls(server, certificate).find_items('lab'))
    with replying(Reply(body=b'unsafe', headers=whole)) as server, pytest.raises(NetworkError): over_tls(server, certificate).get('lab', 'k')
