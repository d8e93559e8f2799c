"The store of the Hub, where it refuses, breaks or could tell a secret: each refusal is one of our errors, and none shows the token."
import json, os, pickle, re, traceback, urllib.request, uuid
import pytest
from objstore import HFObjectStore
from objstore.checks.streams import leaks
from objstore.errors import *
from tests.replies import Reply, replying

canary = 'hf_c4n4ryc4n4ryc4n4ry'
canaries = [canary.removeprefix('hf_')]
large = bytes(20_000)  # of no text: the Hub takes it for a large file, which its own client uploads


@pytest.fixture
def lab():
    "A fresh bucket with one object."
    bucket = HFObjectStore().bucket(HFObjectStore().find_or_create_bucket(f'models/tester/refusals-{uuid.uuid4().hex[:12]}'))
    bucket.put('there', b'1')
    return bucket


def tell(path, **given):
    "Tell the stand-in what to do, or the Hub what only its client would."
    method = 'PUT' if path.endswith('/settings') else 'POST'
    request = urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/{path}", json.dumps(given).encode(), {'Authorization': f"Bearer {os.environ['HF_TOKEN']}"}, method=method)
    with urllib.request.urlopen(request): pass


def seen_by(token, bucket):
    "The same bucket, with another token."
    return HFObjectStore(token=token).bucket(bucket.name)


reads = {'get': lambda b: b.get('there'), 'stat': lambda b: b.get_stats('there'), 'list': lambda b: list(b.find_items()), 'versions': lambda b: list(b.find_versions('there'))}
writes = {'put': lambda b: b.put('new', b'x'), 'large put': lambda b: b.put('new', large), 'create': lambda b: b.put('new', b'x', if_none_match='*'),
    'copy': lambda b: b.copy('there', b.name, 'new'), 'remove': lambda b: b.remove('there'), 'remove many': lambda b: b.remove_items(['there']).raise_failed(),
    'batch': lambda b: in_batch(b)}
buckets = {'make': lambda b: b.store.find_or_create_bucket(f'{b.name}-2'), 'unmake': lambda b: b.store.remove_bucket(b.name, force=True)}


def in_batch(bucket):
    "Two changes, one of them large."
    with bucket.batch() as batch: batch.put('a', b'1'); batch.put('b', large)


@pytest.mark.parametrize('act', [*reads.values(), *writes.values(), *buckets.values()], ids=[*reads, *writes, *buckets])
def test_a_token_that_nobody_knows(lab, act):
    with pytest.raises(UnauthenticatedError, match='does not know this token'): act(seen_by('hf_nobody', lab))


@pytest.mark.parametrize('act', [*reads.values(), *writes.values()], ids=[*reads, *writes])
def test_a_bucket_that_is_not_there_or_not_shown(lab, act):
    for bucket in (lab.store.bucket(f'{lab.name}-none'), seen_by(os.environ['OBJSTORE_TEST_HUB_READER'], lab)):
        with pytest.raises(NotFoundError, match='no such bucket, or no right to see it'): act(bucket)


@pytest.mark.parametrize('act', [*writes.values(), *buckets.values()], ids=[*writes, *buckets])
def test_who_may_not_write(lab, act):
    tell(f"api/{lab.name}/settings", visibility='public')
    with pytest.raises(PermissionDeniedError, match='not allowed'): act(seen_by(os.environ['OBJSTORE_TEST_HUB_READER'], lab))
    assert lab['there'] == b'1' and 'new' not in lab


def test_what_is_gated(lab):
    tell(f"api/{lab.name}/settings", visibility='public', gated='manual')
    with pytest.raises(PermissionDeniedError, match='gated'): seen_by(os.environ['OBJSTORE_TEST_HUB_READER'], lab).get('there')


def test_what_is_missing(lab):
    lab.remove('there')
    for act in (reads['get'], reads['stat'], writes['copy']):
        with pytest.raises(NotFoundError, match='no such object'): act(lab)
    assert not lab.remove('there') and [state.is_deleted for state in lab.find_versions('there')] == [True, False]


@pytest.mark.parametrize('status,kind,words', [(429, ThrottledError, 'wait 7 s'), (500, NetworkError, 'this may pass'), (503, NetworkError, 'this may pass')])
@pytest.mark.parametrize('act', [*reads.values(), *writes.values()], ids=[*reads, *writes])
def test_what_passes_is_tried_again_and_then_told(lab, monkeypatch, act, status, kind, words):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    path = f'/{lab.name.removeprefix("models/")}'
    tell('stand-in/fault', pattern=re.escape(path), status=status, headers={'Retry-After': '7'}, times=1)
    try: act(lab)
    except UnknownOutcomeError: pass  # of a create that was not sent twice
    tell('stand-in/fault', pattern=re.escape(path), status=status, headers={'Retry-After': '7'}, times=10_000)
    with pytest.raises((kind, UnknownOutcomeError), match=words): act(lab)
    tell('stand-in/forget')


@pytest.mark.parametrize('act', [*reads.values(), *writes.values(), *buckets.values()], ids=[*reads, *writes, *buckets])
def test_a_network_that_is_gone(monkeypatch, act):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with replying(Reply()) as server: pass
    with pytest.raises((NetworkError, UnknownOutcomeError), match='cannot reach|connection to the Hub broke'): act(HFObjectStore(endpoint=server.url).bucket('models/a/b'))


def test_a_commit_whose_reply_is_lost_is_unknown_only_where_it_had_a_condition(lab):
    path = re.escape(f'POST /api/{lab.name}/commit')
    tell('stand-in/fault', pattern=path, status=502, times=1)
    assert lab.put('new', b'x').size == 1
    tell('stand-in/fault', pattern=path, status=502, times=1)
    with pytest.raises(UnknownOutcomeError, match='may have happened'): lab.put('other', b'x', if_none_match='*')


# Secrets


@pytest.fixture(params=['argument', 'environment', 'login'])
def stores(request, monkeypatch, tmp_path):
    "A way in which the token gets into a store, in a folder where files can be looked for."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    monkeypatch.setenv('HF_TOKEN', canary if request.param == 'environment' else '')
    if request.param == 'login':
        (tmp_path/'token').write_text(canary)
        monkeypatch.setattr('huggingface_hub.constants.HF_TOKEN_PATH', str(tmp_path/'token'))
    token = canary if request.param == 'argument' else None
    return lambda url: HFObjectStore(endpoint=url, token=token)


others = {'repr': lambda b: b, 'store': lambda b: b.store, 'html': lambda b: b._repr_html_(), 'client': lambda b: repr(b.store._hub), 'login': lambda b: repr(b.store._hub.token),
    'names': lambda b: b.store.list_buckets(), 'stream': lambda b: next(b.read('there')), 'lake': lambda b: list(b.store.find_items('buckets/a/b'))}
echo = {'X-Error-Message': f'no {canary} here', 'X-Repo-Commit': '0' * 40}
replies = {'refused': Reply(403, json.dumps({'error': canary}).encode()), 'unknown': Reply(401, json.dumps({'error': f'Bearer {canary}'}).encode()),
    'failed': Reply(500, canary.encode()), 'hung up': Reply(fault='hang up'), 'moved': Reply(302, headers={'Location': 'http://127.0.0.1:1/x?sig=1'}),
    'nonsense': Reply(200, json.dumps([canary]).encode())}


@pytest.mark.parametrize('reply', replies.values(), ids=replies)
def test_no_secret_shows_in_errors_logs_reprs_or_pickles(stores, reply):
    with replying(reply) as server:
        for name,act in {**reads, **writes, **buckets, **others}.items():
            assert leaks(lambda: act(stores(server.url).bucket('models/a/b')), canaries) == [], name
    assert any(canary in asked.headers.get('authorization', '') for asked in server.asked)


def test_a_token_that_the_hub_repeats_in_its_headers_goes_no_further(stores):
    with replying(Reply(403, headers=echo)) as server:
        for name,act in {**reads, **writes}.items(): assert leaks(lambda: act(stores(server.url).bucket('models/a/b')), canaries) == [], name


def test_no_secret_is_written_to_a_file(stores, tmp_path):
    with replying(replies['refused']) as server:
        store = stores(server.url)
        (tmp_path/'store.pickle').write_bytes(pickle.dumps(store))
        with pytest.raises(PermissionDeniedError) as refused: store.download('models/a/b', 'k', tmp_path/'k')
    (tmp_path/'error.pickle').write_bytes(pickle.dumps(refused.value))
    (tmp_path/'error.txt').write_text(''.join(traceback.format_exception(refused.value)))
    assert [path.name for path in tmp_path.iterdir() if path.name != 'token' and canaries[0].encode() in path.read_bytes()] == []


def test_an_unpickled_store_takes_its_token_from_the_environment(monkeypatch):
    away = pickle.dumps(HFObjectStore(token='hf_mine'))
    monkeypatch.setenv('HF_TOKEN', 'hf_theirs')
    assert pickle.loads(away)._hub.token() == 'hf_theirs'


def test_the_token_goes_to_no_other_host(stores):
    with replying(Reply(body=b'large')) as other:
        there = {'Location': f'{other.url}/x?sig=1', 'X-Repo-Commit': '0' * 40, 'X-Linked-Etag': '"0a"', 'X-Linked-Size': '5'}
        with replying(Reply(302, b'Found', there)) as server: assert stores(server.url).get('models/a/b', 'k') == b'large'
    assert canary in server.asked[0].headers['authorization'] and 'authorization' not in other.asked[0].headers
