"A canary in place of every secret of S3 and of Cloud Storage: it must not turn up in anything that a person or a file may see."
import json, os, pickle, traceback
import pytest
from objstore import GCSObjectStore, S3ObjectStore
from objstore.checks.streams import leaks
from objstore.errors import ObjStoreError
from tests.gcs import private_key, service_account
from tests.replies import Reply, replying

key,secret,token = 'AKIACANARYCANARY', 'c4n4ry-secret/key+x=', 'c4n4ry-token//x=='
canaries = ['CANARYCANARY', 'c4n4ry', 'c4n4ry-secret%2Fkey']
echo = Reply(403, f'''<Error><Code>SignatureDoesNotMatch</Code><Message>for {key} and {token}</Message><AWSAccessKeyId>{key}</AWSAccessKeyId>
<StringToSign>AWS4 {secret}</StringToSign><SignatureProvided>{secret}</SignatureProvided></Error>'''.encode())


def stores(url):
    "The ways in which a secret gets into a store."
    yield lambda: S3ObjectStore(endpoint=url, access_key_id=key, secret_access_key=secret, session_token=token)
    yield lambda: S3ObjectStore(endpoint=url)                  # from the environment
    yield lambda: S3ObjectStore(endpoint=url, profile='canary') # through boto3


acts = {
    'get': lambda store: store.get('lab', 'k'), 'put': lambda store: store.put('lab', 'k', b''), 'big put': lambda store: store.put('lab', 'k', bytes(2**25)),
    'odd get': lambda store: store.get('lab', 'k/'), 'odd put': lambda store: store.put('lab', 'k/', b''), 'stat': lambda store: store.get_stats('lab', 'k'),
    'create': lambda store: store.put('lab', 'k', b'', if_none_match='*'), 'list': lambda store: list(store.find_items('lab')),
    'versions': lambda store: list(store.find_versions('lab', 'k')), 'copy': lambda store: store.copy('lab', 'k', 'lab', 'l'),
    'remove': lambda store: store.remove('lab', 'k'), 'remove many': lambda store: store.remove_items('lab', ['k']), 'buckets': lambda store: store.list_buckets(),
    'make': lambda store: store.find_or_create_bucket('lab'), 'html': lambda store: store.bucket('lab')._repr_html_(), 'repr': lambda store: store,
    'stream': lambda store: next(store.read('lab', 'k')), 'client': lambda store: store._s3, 'keys': lambda store: repr(store._s3.credentials), 'fast': lambda store: repr(store._fast),
}


@pytest.fixture
def canary_home(tmp_path, monkeypatch):
    "A home, a working folder and an environment that hold the canary where secrets are kept."
    monkeypatch.chdir(tmp_path)
    for name,value in dict(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN=token, HOME=str(tmp_path),
                           AWS_SHARED_CREDENTIALS_FILE=str(tmp_path/'credentials')).items(): monkeypatch.setenv(name, value)
    (tmp_path/'credentials').write_text(f'[canary]\naws_access_key_id={key}\naws_secret_access_key={secret}\naws_session_token={token}\n')
    return tmp_path


@pytest.mark.parametrize('reply', [echo, Reply(fault='hang up'), Reply(500, echo.body), Reply(301, echo.body)], ids=['refused', 'hung up', 'failed', 'moved'])
@pytest.mark.parametrize('way', range(3), ids=['argument', 'environment', 'profile'])
def test_no_secret_shows_in_errors_logs_reprs_or_pickles(canary_home, monkeypatch, reply, way):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with replying(reply) as server:
        for name,act in acts.items(): assert leaks(lambda: act(list(stores(server.url))[way]()), canaries) == [], name


def test_no_secret_is_written_to_a_file(canary_home, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with replying(echo) as server:
        for open_store in stores(server.url):
            store = open_store()
            (canary_home/'store.pickle').write_bytes(pickle.dumps(store))
            try: store.download('lab', 'k', canary_home/'k')
            except ObjStoreError as error:
                (canary_home/'error.pickle').write_bytes(pickle.dumps(error))
                (canary_home/'error.txt').write_text(''.join(traceback.format_exception(error)))
    written = [path for path in canary_home.rglob('*') if path.is_file() and path.name != 'credentials']
    assert {path.name for path in written} >= {'store.pickle', 'error.pickle', 'error.txt'}
    assert not [path for path in written if any(canary.encode() in path.read_bytes() for canary in canaries)]


def test_a_presigned_url_shows_in_no_error(canary_home):
    store = S3ObjectStore(endpoint='http://127.0.0.1:1')
    url = store.presign('lab', 'k')
    assert 'X-Amz-Signature=' in url
    assert leaks(lambda: store.get('lab', 'k'), [url.split('Signature=')[1]]) == []


def test_an_unpickled_store_takes_its_keys_from_the_environment(canary_home, monkeypatch):
    away = pickle.dumps(S3ObjectStore(endpoint='http://127.0.0.1:1', access_key_id='AKIAOTHER', secret_access_key='s'))
    assert pickle.loads(away)._s3.credentials().access_key_id == key
    monkeypatch.delenv('AWS_ACCESS_KEY_ID')
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', os.devnull)
    with pytest.raises(ObjStoreError, match='no credentials'): pickle.loads(away).get('lab', 'k')


google_acts = {name: act for name,act in acts.items() if name not in ('client', 'keys', 'fast')} | {
    'client': lambda store: repr(store._gcs), 'credentials': lambda store: repr(store._who), 'presigned, elsewhere': lambda store: store.presign('lab', 'k') and store.get('lab', 'k')}
signature = 'X-Goog-Signature='


def google_stores(folder, url, tokens):
    "The ways in which a secret of Google's gets into a store."
    service_account(folder/'service.json', tokens)
    (folder/'user.json').write_text(json.dumps({'type': 'authorized_user', 'client_id': 'c', 'client_secret': secret, 'refresh_token': token}))
    yield lambda: GCSObjectStore(endpoint=url, project='p', application_credentials_file=folder/'service.json')
    yield lambda: GCSObjectStore(endpoint=url, project='p', application_credentials_file=folder/'user.json')
    yield lambda: GCSObjectStore(endpoint=url, project='p') # from the environment


@pytest.fixture
def google_home(tmp_path, monkeypatch):
    "A folder for key files, and an environment that names one."
    monkeypatch.delenv('STORAGE_EMULATOR_HOST')
    monkeypatch.setenv('GOOGLE_APPLICATION_CREDENTIALS', str(tmp_path/'service.json'))
    monkeypatch.setenv('CLOUDSDK_CONFIG', str(tmp_path))
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    return tmp_path


def key_lines():
    "What a private key consists of; a piece of any line of it would be a leak."
    return [line for line in private_key().splitlines() if not line.startswith('-')]


def repeated(asked):
    "What a server says that quotes all it was sent."
    said = f"{asked.headers.get('authorization', '')} {asked.body.decode(errors='replace')[:2000]} {token}"
    return Reply(403, json.dumps({'error': {'message': said, 'errors': [{'reason': 'forbidden'}]}}).encode())


granted = Reply(body=json.dumps({'access_token': token, 'expires_in': 3600, 'token_type': 'Bearer'}).encode())
refused = Reply(400, json.dumps({'error': 'invalid_grant', 'error_description': f'no {token} {secret}'}).encode())


faults = {'refused': (granted, repeated), 'hung up': (granted, Reply(fault='hang up')), 'failed': (granted, Reply(500, echo.body)),
    'unknown': (granted, Reply(401, echo.body)), 'no token': (Reply(fault='hang up'), repeated)}


@pytest.mark.parametrize('tokens,reply', faults.values(), ids=faults)
@pytest.mark.parametrize('way', range(3), ids=['service account', 'user', 'environment'])
def test_no_secret_of_google_shows_in_errors_logs_reprs_or_pickles(google_home, monkeypatch, reply, tokens, way):
    with replying(tokens) as token_server, replying(reply) as server:
        monkeypatch.setattr('google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT', token_server.url)
        monkeypatch.setattr('google.auth._exponential_backoff.time.sleep', lambda seconds: None)
        for name,act in google_acts.items():
            assert leaks(lambda: act(list(google_stores(google_home, server.url, token_server.url))[way]()), [*canaries, *key_lines()]) == [], name
        assert token_server.asked and (server.asked or tokens is not granted)


def test_a_token_server_that_quotes_secrets_is_not_quoted(google_home, monkeypatch):
    with replying(refused) as token_server:
        monkeypatch.setattr('google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT', token_server.url)
        _,user,_ = google_stores(google_home, 'http://127.0.0.1:1', token_server.url)
        assert leaks(lambda: user().get('lab', 'k'), canaries) == []


def test_a_signed_url_of_google_and_the_url_of_an_upload_show_in_no_error_and_no_log(google_home):
    with replying(granted) as token_server, replying(lambda asked: Reply(headers={'Location': f'{server.url}/s?upload_id={secret}'}), Reply(fault='hang up')) as server:
        store = GCSObjectStore(endpoint=server.url, application_credentials_file=service_account(google_home/'service.json', token_server.url))
        url = store.presign('lab', 'k')
        assert signature in url
        assert leaks(lambda: store.put('lab', 'k', bytes(2**25)), [*canaries, url.split(signature)[1]]) == []
        assert any('upload_id' in asked.target for asked in server.asked)
