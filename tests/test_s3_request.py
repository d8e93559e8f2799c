"What a notebook cannot show of S3 requests: certificates, threads, forks."
import datetime, ipaddress, os, socket, ssl, threading, uuid
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
import pytest
from objstore.backends.s3_request import S3Endpoint, S3Requests
from objstore.backends.s3_signing import Credentials
from objstore.errors import ConfigError
from tests.replies import Handler, Reply, replying


def keyring(): return Credentials(os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY'])


@pytest.fixture
def certificate(tmp_path):
    "A file with a key and a certificate for 127.0.0.1 that nobody but its owner trusts."
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key,now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'objstore test')])
    built = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path/'certificate.pem'
    path.write_bytes(secret + built.public_bytes(serialization.Encoding.PEM))
    return path


def over_tls(server, certificate):
    "Let the server speak TLS; its URL."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server.url.replace('http:', 'https:')


def test_a_private_authority_is_trusted_when_its_file_is_named(certificate, monkeypatch):
    with replying(Reply(body=b'safe')) as server:
        url = over_tls(server, certificate)
        assert S3Requests(S3Endpoint(url, ca_file=str(certificate)), keyring).request('GET').body == b'safe'
        monkeypatch.setenv('AWS_CA_BUNDLE', str(certificate))
        assert S3Requests(S3Endpoint(url), keyring).request('GET').body == b'safe'


def test_an_unknown_authority_is_refused_and_the_message_names_the_cure(certificate):
    with replying(Reply(body=b'safe')) as server:
        url = over_tls(server, certificate)
        with pytest.raises(ConfigError, match='AWS_CA_BUNDLE'): S3Requests(S3Endpoint(url), keyring).request('GET')


def test_sixteen_threads_share_one_service():
    s3,bucket = S3Requests(S3Endpoint(os.environ['AWS_ENDPOINT_URL']), keyring), f'threads-{uuid.uuid4().hex[:12]}'
    s3.request('PUT', bucket)
    def put_and_get(n):
        s3.request('PUT', bucket, f'k/{n}', body=b'%d' % n)
        return s3.request('GET', bucket, f'k/{n}').body
    with ThreadPoolExecutor(16) as pool: assert list(pool.map(put_and_get, range(64))) == [b'%d' % n for n in range(64)]


def test_a_forked_child_uses_connections_of_its_own():
    with replying(Reply(body=b'hello')) as server:
        s3 = S3Requests(S3Endpoint(server.url), keyring)
        assert s3.request('GET').body == b'hello'
        child = os.fork()
        if not child: os._exit(s3.request('GET').body != b'hello')
        assert os.waitpid(child, 0)[1] == 0
        assert s3.request('GET').body == b'hello'
    mine,childs,again = (asked.port for asked in server.asked)
    assert mine == again != childs


def test_threads_that_meet_the_wrong_region_together_all_find_the_right_one():
    together = threading.Barrier(8)
    def reply(asked):
        if 'eu-north-1' in asked.headers['authorization']: return Reply(body=b'here')
        together.wait(10)
        return Reply(301, headers={'x-amz-bucket-region': 'eu-north-1'})
    with replying(reply) as server, ThreadPoolExecutor(8) as pool:
        s3 = S3Requests(S3Endpoint(server.url), keyring)
        assert [answer.body for answer in pool.map(lambda n: s3.request('GET', 'far', f'{n}'), range(8))] == [b'here'] * 8


def test_a_slow_line_takes_longer_for_a_large_body_than_for_a_connection():
    class Slow(Handler):
        "Reads a MiB at a time, with pauses."
        def setup(self):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            super().setup()
        def answer(self):
            for _ in range(int(self.headers['Content-Length']) // 2**20):
                self.rfile.read(2**20)
                self.server.ending.wait(0.05)
            self.give(Reply())
        do_PUT = answer
    with replying(Reply()) as server:
        server.RequestHandlerClass = Slow
        s3 = S3Requests(S3Endpoint(server.url), keyring, connect_timeout=0.4)
        assert s3.request('PUT', 'lab', 'k', body=bytes(24 * 2**20)).status == 200


def test_over_tls_the_digest_of_a_large_body_is_left_out(certificate):
    with replying(Reply()) as server:
        s3 = S3Requests(S3Endpoint(over_tls(server, certificate), ca_file=str(certificate)), keyring)
        s3.request('PUT', 'lab', 'k', body=bytes(2**20))
        s3.request('PUT', 'lab', 'k', body=b'small')
    large,small = server.asked
    assert large.body == bytes(2**20) and large.headers['x-amz-content-sha256'] == 'UNSIGNED-PAYLOAD'
    assert small.headers['x-amz-content-sha256'] == sha256(b'small').hexdigest()
