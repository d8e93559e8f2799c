"From each store to each other, on real servers: what arrives, what is skipped, what breaks on the way, and how much memory it takes."
import json, os, signal, subprocess, sys, urllib.request, uuid
import pytest
from random import Random
from objstore import AzureObjectStore, GCSObjectStore, HFObjectStore, LocalObjectStore, MemoryObjectStore, S3ObjectStore, locate
from objstore.between import copy_items
from objstore.checks.streams import blocks, digest
from objstore.errors import *
from objstore.retry import Patience
from objstore.transfer import sync, upload
from tests.faulty import Faults, faulty
from tests.notebooks import root
from tests.proxy import counting

MiB = 2**20
account = 'objstoretest'
large = Random(1).randbytes(20 * MiB)
small = {'plain.txt': b'meow', 'empty': b'', 'cats/ü 猫 & +.csv': b'a,b\n1,2\n', 'cats/deep/er/x.bin': bytes(range(256))}
kinds = ['memory', 'local', 's3', 'gcs', 'azure', 'hf']


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
    "One store of each kind."
    return {'memory': MemoryObjectStore(), 'local': LocalObjectStore(tmp_path_factory.mktemp('store')), 's3': S3ObjectStore(),
        'gcs': GCSObjectStore(), 'azure': AzureObjectStore(account), 'hf': HFObjectStore()}


@pytest.fixture
def fresh(stores):
    "A maker of empty buckets, which are gone afterwards."
    made = []
    def bucket(kind):
        name = f"{'models/tester/' if kind == 'hf' else ''}between-{uuid.uuid4().hex[:12]}"
        made.append(stores[kind].bucket(stores[kind].find_or_create_bucket(name)))
        return made[-1]
    yield bucket
    for bucket in made: bucket.store.remove_bucket(bucket.name, force=True)


def fill(bucket):
    "Put the objects of the tests, with metadata and a type where the store keeps them; what was put beside each."
    beside = dict(metadata={'mood': 'calm', 'name': 'Zoë'}, content_type='text/x-cat') if 'metadata' in bucket.store.can else {}
    for key,data in {**small, 'cats/large.bin': large}.items(): bucket.put(key, data, **beside)
    return beside


def mine(bucket): return [item.key for item in bucket.find_items() if item.key != '.gitattributes']
def states(report): return {row.state for row in report if not row.key.endswith('.gitattributes')}


# Each to each


@pytest.mark.parametrize('target', kinds)
@pytest.mark.parametrize('source', kinds)
def test_all_arrives_once(fresh, source, target):
    here,there = fresh(source),fresh(target)
    beside = fill(here)
    keeps = 'metadata' in there.store.can
    report = sync(here, there, bare=not keeps)
    assert report.ok and states(report) == {'done'}, [str(row.error) for row in report.failed]
    assert mine(there) == mine(here) == sorted([*small, 'cats/large.bin'])
    for key,data in {**small, 'cats/large.bin': large}.items(): assert there[key] == data, key
    if keeps and beside: assert {(s.metadata['name'], s.content_type) for s in map(there.get_stats, mine(there))} == {('Zoë', 'text/x-cat')}
    if beside and not keeps: assert {row.note for row in report} == {'without metadata and content type text/x-cat'}
    assert states(sync(here, there, bare=not keeps)) == {'skipped'}


@pytest.mark.parametrize('target', kinds)
def test_only_what_differs_goes_and_what_is_gone_goes(fresh, target):
    here,there = fresh('s3'),fresh(target)
    for n in range(4): here.put(f'data/{n}', b'%d' % n); here.put(f'data2/{n}', b'')
    assert states(copy_items(here, there, prefix='data/', to_prefix='copy')) == {'done'}
    assert mine(there) == [f'copy/{n}' for n in range(4)]
    here.put('data/1', b'longer'); here.remove('data/2'); there.put('beside', b'')
    report = copy_items(here, there, prefix='data/', to_prefix='copy/', delete=True)
    assert [(row.key, row.state) for row in report if row.state != 'skipped'] == [('data/1', 'done'), ('copy/2', 'removed')]
    assert there['copy/1'] == b'longer' and 'beside' in there


# What is lost is said


@pytest.mark.parametrize('source', ['s3', 'gcs', 'azure'])
def test_metadata_is_not_lost_unasked(fresh, source):
    here,there = fresh(source),fresh('hf')
    here.put('a', b'1', metadata={'mood': 'calm'}); here.put('b', b'2', content_type='text/csv'); here.put('c', b'3', content_type='application/octet-stream')
    report = sync(here, there)
    assert [(row.key, type(row.error)) for row in report.failed] == [('a', NotSupportedError)] and 'bare=True' in str(report.failed[0].error)
    assert [row.note for row in report][1:] == ['without content type text/csv', ''] and mine(there) == ['b', 'c']


@pytest.mark.parametrize('target', ['local', 'hf'])
def test_keys_that_the_target_refuses_fail_by_name(fresh, target):
    here,there = fresh('memory'),fresh(target)
    for key in ('a', 'a/b', 'c//d', 'e/', 'good'): here.put(key, b'1')
    report = copy_items(here, there, max_workers=1)
    assert {row.key for row in report.failed} > {'c//d', 'e/'} and {type(row.error) for row in report.failed} == {InvalidKeyError}
    assert {row.key for row in report.failed} <= {'c//d', 'e/', 'a', 'a/b'} and 'good' in there and len(mine(there)) == 2
    assert all(row.key in str(row.error) for row in report.failed)


# On the way


def test_inside_one_store_no_byte_travels(fresh):
    here = fresh('s3')
    here.put('large', large, metadata={'mood': 'calm'})
    with counting(os.environ['AWS_ENDPOINT_URL']) as proxy:
        near = S3ObjectStore(endpoint=proxy.url).bucket(here.name)
        there = near.store.bucket(fresh('s3').name)
        assert states(copy_items(near, there)) == {'done'}
        assert proxy.sent < 20_000
    assert there['large'] == large and there.get_stats('large').metadata == {'mood': 'calm'}


@pytest.mark.parametrize('faults', [Faults(drop=0.2), Faults(truncate=0.2), Faults(refuse=0.2), Faults(flip=0.2)], ids=['drop', 'truncate', 'refuse', 'flip'])
@pytest.mark.parametrize('way', ['from', 'to'])
def test_a_bad_network_changes_nothing(fresh, monkeypatch, faults, way):
    here,there = fresh('s3'),fresh('s3')
    objects = {f'k/{n:02}': Random(n).randbytes(50_000) for n in range(30)}
    for key,data in objects.items(): here.put(key, data)
    with faulty(os.environ['AWS_ENDPOINT_URL'], faults) as proxy:
        bad = S3ObjectStore(endpoint=proxy.url)
        bad.patience = Patience(attempts=8, first=0.01, longest=0.05, stall=2)
        source,target = (bad.bucket(here.name), there) if way == 'from' else (here, bad.bucket(there.name))
        for _ in range(5):
            report = copy_items(source, target)
            if report.ok: break
        assert report.ok and proxy.struck, [str(row.error) for row in report.failed]
    assert {key: there[key] for key in there} == objects


@pytest.mark.parametrize('target', kinds)
def test_a_source_that_breaks_off_leaves_nothing(fresh, target):
    here,there = fresh('s3'),fresh(target)
    here.put('k', Random(2).randbytes(40 * MiB))
    with faulty(os.environ['AWS_ENDPOINT_URL'], Faults(truncate=1)) as proxy:
        bad = S3ObjectStore(endpoint=proxy.url)
        stats = here.get_stats('k')
        bad.patience = Patience(attempts=2, first=0.01)
        bad._items = lambda *args: iter([stats])
        report = copy_items(bad.bucket(here.name), there)
    assert [(row.key, isinstance(row.error, NetworkError)) for row in report] == [('k', True)]
    assert mine(there) == []


@pytest.mark.skipif(os.name == 'nt', reason='signals are POSIX')
@pytest.mark.parametrize('target', ['s3', 'gcs', 'azure', 'hf', 'local'])
def test_a_kill_leaves_no_partial_object(fresh, target):
    here,there = fresh('azure' if target == 's3' else 's3'),fresh(target)
    here.put('k', blocks(64))
    with faulty(os.environ['AWS_ENDPOINT_URL']) as proxy:
        proxy.limit = 40 * MiB
        child = subprocess.Popen([sys.executable, '-m', 'tests.between_workers', url(here), url(there)], cwd=root, env={**os.environ, 'AWS_ENDPOINT_URL': proxy.url},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert proxy.wait_for(lambda: proxy.passed >= proxy.limit, 60) and child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert mine(there) == []
    assert states(copy_items(here, there)) == {'done'} and mine(there) == ['k']


def url(bucket):
    "How the command line writes this bucket."
    if isinstance(bucket.store, LocalObjectStore): return f'file://{bucket.store.url}/{bucket.name}'
    return f"{bucket.store.scheme}://{f'{account}/' if bucket.store.has_account else ''}{bucket.name}"


@pytest.mark.parametrize('source,target', [('s3', 'azure'), ('gcs', 's3'), ('azure', 'gcs'), ('s3', 'hf'), ('hf', 's3'), ('local', 's3')])
def test_half_a_gibibyte_takes_little_memory(fresh, source, target):
    here,there = fresh(source),fresh(target)
    here.put('k', blocks(512))
    run = subprocess.run([sys.executable, '-m', 'tests.between_workers', url(here), url(there)], cwd=root, capture_output=True, text=True, timeout=240)
    *done,peak = run.stdout.split('\n')[:-1]
    assert set(done) == {'done'}, run.stdout + run.stderr
    with there.read('k') as reader: assert digest(reader) == digest(blocks(512))
    assert int(peak) < 300e6, f'{int(peak) / 1e6:.0f} MB'


# Commits


def commits(bucket):
    "How many commits a repository of the stand-in has."
    request = urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/api/{bucket.name}/commits/main", headers={'Authorization': f"Bearer {os.environ['HF_TOKEN']}"})
    with urllib.request.urlopen(request) as answer: return len(json.load(answer))


def test_many_objects_are_few_commits(fresh, tmp_path):
    here,there = fresh('s3'),fresh('hf')
    before = commits(there)
    for n in range(250): here.put(f'k/{n:03}', b'%d' % n)
    assert states(copy_items(here, there)) == {'done'} and commits(there) - before == 3
    for n in range(250): (tmp_path/f'{n:03}').write_bytes(b'%d' % -n)
    assert states(upload(tmp_path, there, prefix='up')) == {'done'} and commits(there) - before == 6
    assert [there[f'{place}/200'] for place in ('k', 'up')] == [b'200', b'-200']


# At the command line


def objstore(*words):
    "Run the program; its status, its rows and complaints."
    run = subprocess.run([sys.executable, '-m', 'objstore.cli', *words, '--json'], cwd=root, capture_output=True, text=True, timeout=60)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()], run.stderr


def test_cp_and_sync_at_the_command_line(fresh):
    s3,gs,hf = (url(fresh(kind)) for kind in ('s3', 'gcs', 'hf'))
    store,bucket,_ = locate(s3)
    store.put(bucket, 'data/a.csv', b'1', metadata={'mood': 'calm'}, content_type='text/csv'); store.put(bucket, 'data/b', b'2'); store.put(bucket, 'data2', b'')
    assert objstore('cp', f'{s3}/data/a.csv', f'{gs}/one/')[:2] == (0, [{'source': f'{s3}/data/a.csv', 'destination': f'{gs}/one/a.csv', 'size': 1}])
    status,rows,err = objstore('cp', '-r', f'{s3}/data', f'{gs}/data')
    assert (status, err, [(row['state'], row['source'], row['destination']) for row in rows]) == (0, '', [('done', 'data/a.csv', 'data/a.csv'), ('done', 'data/b', 'data/b')])
    assert [row['state'] for row in objstore('sync', f'{s3}/data', f'{gs}/data')[1]] == ['skipped', 'skipped']
    there,name,_ = locate(gs)
    assert there.get_stats(name, 'data/a.csv').metadata == {'mood': 'calm'} and there.get_stats(name, 'one/a.csv').content_type == 'text/csv'
    status,rows,err = objstore('sync', f'{gs}/data', f'{hf}/data')
    assert (status, [row['destination'] for row in rows]) == (1, ['data/b']) and '--bare' in err
    status,rows,err = objstore('sync', '--bare', f'{gs}/data', f'{hf}/data')
    assert (status, [(row['state'], row.get('note')) for row in rows]) == (0, [('done', 'without metadata and content type text/csv'), ('skipped', None)])
    assert objstore('cp', f'{hf}/data/a.csv', f'{s3}/back')[0] == 0 and store.get(bucket, 'back') == b'1'
    there.remove(name, 'data/b')
    status,rows,_ = objstore('sync', '--delete', '--bare', f'{gs}/data', f'{hf}/data')
    assert (status, [(row['state'], row['destination']) for row in rows]) == (0, [('skipped', 'data/a.csv'), ('removed', 'data/b')])
    assert objstore('cp', f'{gs}/data/a.csv', f'{hf}/one')[0] == 1 and objstore('cp', '--bare', f'{gs}/data/a.csv', f'{hf}/one')[1][0]['note'].startswith('without')
