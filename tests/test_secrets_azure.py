"A canary in place of every secret of Azure: it must not turn up in anything that a person or a file may see."
import json, pickle, time, traceback
from functools import partial
from urllib.parse import unquote
import pytest
from objstore import AzureObjectStore
from objstore.checks.streams import leaks
from objstore.errors import ObjStoreError
from tests.replies import Reply, replying

key,token = 'c4n4rykey+/c4n4rykey==', 'c4n4ry-token.x.y'
sas = 'sv=2026-02-06&se=2030-01-01T00%3A00%3A00Z&sp=rwdlc&sr=c&sig=c4n4ry-sig%2B%2F%3D'
canaries = ['c4n4ry']


def echo(status, **headers):
    "A refusal that quotes all it was sent, where Azure quotes some of it."
    def reply(asked):
        sent = f"{asked.headers.get('authorization')} {asked.target} {unquote(asked.target)} {asked.headers.get('x-ms-copy-source')}"
        body = f"""<Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate {sent} RequestId:1</Message><AuthenticationErrorDetail>
            The MAC signature found in the HTTP request '{sent}' is not the same as any computed signature.</AuthenticationErrorDetail></Error>"""
        return Reply(status, body.encode(), {name: value + asked.target for name,value in headers.items()})
    return reply


replies = {'refused': echo(403), 'unknown': echo(401), 'hung up': Reply(fault='hang up'), 'failed': echo(500), 'moved': echo(302, Location='http://127.0.0.1:1'),
    'no XML': Reply(200, b'<html>welcome')}

acts = {
    'get': lambda store: store.get('lab', 'k'), 'put': lambda store: store.put('lab', 'k', b''), 'big put': lambda store: store.put('lab', 'k', bytes(2**25)),
    'odd get': lambda store: store.get('lab', 'k/'), 'odd put': lambda store: store.put('lab', 'k/', b''), 'stat': lambda store: store.get_stats('lab', 'k'),
    'create': lambda store: store.put('lab', 'k', b'', if_none_match='*'), 'list': lambda store: list(store.find_items('lab')),
    'versions': lambda store: list(store.find_versions('lab', 'k')), 'copy': lambda store: store.copy('lab', 'k', 'lab', 'l'),
    'remove': lambda store: store.remove('lab', 'k'), 'remove many': lambda store: store.remove_items('lab', ['k']), 'buckets': lambda store: store.list_buckets(),
    'make': lambda store: store.find_or_create_bucket('lab'), 'html': lambda store: store.bucket('lab')._repr_html_(), 'repr': lambda store: store,
    'stream': lambda store: next(store.read('lab', 'k')), 'client': lambda store: store._azure, 'who': lambda store: repr(store._access.who()), 'fast': lambda store: repr(store._fast),
    'access': lambda store: store._access,
}


def argument(**given): return lambda patch, url, issuer: partial(AzureObjectStore, 'lab', endpoint=f'{url}/lab', **given)


def connection_string(patch, url, issuer):
    return partial(AzureObjectStore, connection_string=f'AccountName=lab;AccountKey={key};BlobEndpoint={url}/lab')


def environment(name, value):
    "A way that finds the secret in a variable."
    def way(patch, url, issuer):
        patch.setenv(name, value.format(url=url))
        return partial(AzureObjectStore, 'lab', endpoint=f'{url}/lab')
    return way


def identity(patch, url, issuer):
    "azure-identity's own chain, whose only answer comes from an identity endpoint on loopback."
    for name,value in (('IDENTITY_ENDPOINT', issuer), ('IDENTITY_HEADER', 'c4n4ry-header'), ('PATH', '')): patch.setenv(name, value)
    return partial(AzureObjectStore, 'lab', endpoint=f'{url}/lab')


ways = {'key': argument(account_key=key), 'sas': argument(sas_token=sas), 'connection string': connection_string,
    'key of the environment': environment('AZURE_STORAGE_KEY', key), 'SAS of the environment': environment('AZURE_STORAGE_SAS_TOKEN', sas),
    'connection string of the environment': environment('AZURE_STORAGE_CONNECTION_STRING', f'AccountName=lab;AccountKey={key}'), 'identity': identity}


def issued(asked):
    "A token, as an identity endpoint gives it."
    return Reply(body=json.dumps({'access_token': token, 'expires_on': str(int(time.time()) + 3600), 'resource': 'r', 'token_type': 'Bearer'}).encode(),
        headers={'Content-Type': 'application/json'})


@pytest.fixture
def bare(monkeypatch):
    "An environment without the account that the other tests use, and no pauses before a retry."
    monkeypatch.delenv('AZURE_STORAGE_CONNECTION_STRING', raising=False)
    monkeypatch.setattr('objstore.retry.time.sleep', lambda seconds: None)
    return monkeypatch


@pytest.mark.parametrize('reply', replies.values(), ids=replies)
@pytest.mark.parametrize('way', ways.values(), ids=ways)
def test_no_secret_shows_in_errors_logs_reprs_or_pickles(bare, way, reply):
    with replying(reply) as server, replying(issued) as issuer:
        opened = way(bare, server.url, issuer.url)
        for name,act in acts.items(): assert leaks(lambda: act(opened()), canaries) == [], name


@pytest.mark.parametrize('way', ways.values(), ids=ways)
def test_no_secret_is_written_to_a_file(bare, tmp_path, way):
    with replying(replies['refused']) as server, replying(issued) as issuer:
        store = way(bare, server.url, issuer.url)()
        (tmp_path/'store.pickle').write_bytes(pickle.dumps(store))
        try: store.download('lab', 'k', tmp_path/'k')
        except ObjStoreError as error:
            (tmp_path/'error.pickle').write_bytes(pickle.dumps(error))
            (tmp_path/'error.txt').write_text(''.join(traceback.format_exception(error)))
    written = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert {path.name for path in written} >= {'store.pickle', 'error.pickle', 'error.txt'}
    assert not [path for path in written if any(canary.encode() in path.read_bytes() for canary in canaries)]


def test_neither_a_sas_nor_a_presigned_url_shows_in_an_error(bare):
    with replying(replies['refused']) as server:
        store = AzureObjectStore('lab', endpoint=f'{server.url}/lab', account_key='a2V5')
        url = store.presign('lab', 'k')
        given = url.partition('?')[2]
        assert 'sig=' in given
        for act in acts.values():
            assert leaks(lambda: act(AzureObjectStore('lab', endpoint=f'{server.url}/lab', sas_token=given)), [given.rpartition('sig=')[2], given]) == []


def test_an_unpickled_store_takes_its_key_from_the_environment(bare):
    away = pickle.dumps(AzureObjectStore('lab', endpoint='http://127.0.0.1:1/lab', account_key='b3RoZXI='))
    bare.setenv('AZURE_STORAGE_KEY', key)
    assert pickle.loads(away)._access.who().key == key
