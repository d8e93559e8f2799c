"What a search promises over the versions of a bucket: nothing old, nothing lost, whoever else writes and whatever the network does."
import json, multiprocessing, os, shutil, subprocess, sys, uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import duckdb, pytest
from objstore import beside
from objstore.backends.local import LocalObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.entry import Entry
from objstore.errors import NetworkError
from objstore.layout import entry_name
from objstore.versioned import VersionedStore
from tests import index_workers as work
from tests.notebooks import root
from tests.proxy import counting

context = multiprocessing.get_context('spawn')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "An empty cache of this test's own."
    monkeypatch.setenv('OBJSTORE_CACHE', str(tmp_path/'cache'))
    return tmp_path/'cache'


@pytest.fixture(params=['local', 's3'])
def below(request, tmp_path):
    "A store that keeps versions: a folder, or S3."
    if request.param == 'local': (tmp_path/'root').mkdir()
    return LocalObjectStore(tmp_path/'root') if request.param == 'local' else S3ObjectStore()


@pytest.fixture
def lab(below):
    "A fresh bucket of versions."
    store = VersionedStore(below)
    bucket = store.bucket(store.find_or_create_bucket(f'index-{uuid.uuid4().hex[:12]}'))
    yield bucket
    store.remove_bucket(bucket.name, force=True)


def elsewhere(bucket): return VersionedStore(bucket.store.store).bucket(bucket.name)
def numbers(found): return [(e.key, e.version) for e in found]


def test_the_program_in_the_documents_runs_as_written(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('model.bin').write_bytes(b'weights')
    b = lab
    b.put('churn/model.bin', Path('model.bin'), metadata={'accuracy': 0.91, 'stage': 'candidate'}, message='more trees')
    b.put('churn/model.bin', b'other weights')
    b.alias('churn/model.bin', 'prod', 1)
    assert b.get('churn/model.bin') == b'other weights' and b.get('churn/model.bin', version=1) == b.get('churn/model.bin', version='prod') == b'weights'
    assert 'more trees' in repr(b.find_versions('churn/model.bin'))
    assert numbers(b.search("accuracy > 0.9 and stage = 'candidate'")) == [('churn/model.bin', 1)]
    b.amend('churn/model.bin', 1, metadata={'stage': 'live'})
    assert numbers(b.search("stage = 'candidate'")) == [] and numbers(b.search("stage = 'live'")) == [('churn/model.bin', 1)]
    assert b.restore('churn/model.bin', 1).version == 3 and b.diff('churn/model.bin', 1, 2).lines
    assert b.prune(keep=5, older_than='90d', dry_run=True).ok and b.verify().ok


def test_what_others_change_shows_once_the_index_is_too_old(lab):
    other = elsewhere(lab)
    lab.put('a', b'1', metadata={'n': 1})
    lab.put('a', b'2', metadata={'n': 2})
    assert numbers(other.search('n > 0')) == [('a', 2), ('a', 1)]
    lab.amend('a', 1, metadata={'n': -1})
    lab.alias('a', 'prod', 1)
    lab.put('b', b'1', metadata={'n': 3})
    assert numbers(other.search('n > 0')) == [('a', 2), ('a', 1)]
    found = other.search(max_age=0)
    assert {(e.key, e.version): (e.metadata['n'], e.aliases) for e in found} == {('a', 2): (2, ()), ('a', 1): (-1, ('prod',)), ('b', 1): (3, ())}
    lab.remove('b', version=1)
    lab.remove_alias('a', 'prod')
    lab.prune(keep=1, grace=0)
    assert numbers(other.search(max_age=0)) == [('a', 2)]
    lab.remove('a')
    assert numbers(other.search(latest=True, max_age=0)) == [] and numbers(other.search('size > 0')) == [('a', 2)]


def test_processes_share_an_index_and_each_finds_its_own(tmp_path):
    (tmp_path/'root').mkdir()
    LocalObjectStore(tmp_path/'root').find_or_create_bucket('lab')
    with context.Manager() as manager, context.Pool(3) as pool:
        ready = manager.Barrier(3)
        runs = [pool.apply_async(work.publish_and_search, (tmp_path/'root', me, 15, ready)) for me in range(3)]
        assert [run.get(200) for run in runs] == [45] * 3


def test_a_search_offline_answers_with_what_was_read_and_says_so():
    with counting(os.environ['AWS_ENDPOINT_URL']) as proxy:
        store = VersionedStore(S3ObjectStore(endpoint=proxy.url))
        lab = store.bucket(store.find_or_create_bucket(f'index-{uuid.uuid4().hex[:12]}'))
        lab.put('a', b'1', metadata={'n': 1})
        assert lab.search('n = 1').notes == ()
    assert numbers(lab.search('n = 1')) == [('a', 1)] and lab.search('n = 1').notes == ()
    with pytest.warns(UserWarning, match='stale: as of'): found = VersionedStore(S3ObjectStore(endpoint=proxy.url)).search(lab.name, 'n = 1', max_age=0)
    assert numbers(found) == [('a', 1)] and found.notes[0].startswith('stale: as of ')
    with pytest.raises(NetworkError, match='search never-read'): store.search('never-read')


def test_a_new_machine_starts_from_the_snapshot_and_duckdb_reads_it(lab, cache, tmp_path):
    for n in range(20): lab.put(f'k{n % 4}', b'%d' % n, metadata={'n': n}, message='é')
    lab.alias('k0', 'prod', 2)
    before = lab.search('n >= 5', order_by='n')
    stats = lab.write_snapshot()
    path = tmp_path/'versions.jsonl.gz'
    lab.store.store.download(lab.name, stats.key, path)
    assert duckdb.sql(f"SELECT key, version FROM '{path}' WHERE metadata.n >= 5 ORDER BY metadata.n").fetchall() == numbers(before)
    assert duckdb.sql(f"SELECT version FROM '{path}' WHERE list_contains(aliases, 'prod')").fetchall() == [(2,)]
    lab.put('k0', b'late', metadata={'n': 99})
    shutil.rmtree(cache)
    other,read = elsewhere(lab),[]
    get_whole = other.store.store._get_whole
    other.store.store._get_whole = lambda bucket, item: read.append(item.key) or get_whole(bucket, item)
    assert numbers(other.search('n >= 5', order_by='n')) == [*numbers(before), ('k0', 6)]
    assert sorted('@' in key for key in read) == [False, True]  # what came later, and the alias


def test_an_amendment_counts_wherever_a_page_of_the_listing_ends(lab, monkeypatch):
    plain,cuts = lab.store.store.bucket(lab.name),[]
    def put(n):
        key = f'm{n % 5}/k{n:04}'
        for entry in (Entry(key, 1, 'a'), Entry(key, 1, 'a', change=1, message='amended'), Entry(f'{key}/below', 1, 'b')):
            plain.put(entry_name(entry.key, 1, entry.change), entry.to_json())
    lab.put('first', b'')
    with ThreadPoolExecutor(16) as pool: list(pool.map(put, range(2200)))
    sound = beside._beside
    monkeypatch.setattr(beside, '_beside', lambda bucket, sections, at_once: cuts.append(len(sections)) or sound(bucket, sections, at_once))
    for others in (1, 2):  # the first time page after page; later, where a server is waited for, section by section
        found = lab.search(max_age=0)
        assert len(found) == 2 * 2200 + others and [e.key for e in found if '/k' in e.key and 'below' not in e.key and e.message != 'amended'] == []
        lab.put('a second', b'')
    assert cuts == ([] if isinstance(lab.store.store, LocalObjectStore) else [7])


def test_of_a_bucket_made_anew_nothing_old_shows(lab):
    lab.put('old', b'1', metadata={'n': 1})
    lab.write_snapshot()
    other = elsewhere(lab)
    assert len(other.search('n = 1')) == len(lab.search()) == 1
    other.store.store.remove_bucket(lab.name, force=True)
    other.store.store.find_or_create_bucket(lab.name)
    assert numbers(other.search()) == numbers(lab.search()) == []
    elsewhere(lab).put('new', b'1', metadata={'n': 1})
    assert numbers(other.search('n = 1')) == numbers(lab.search('n = 1')) == [('new', 1)]


def test_the_index_can_be_removed_or_damaged_at_any_time(lab, cache):
    lab.put('a', b'1', metadata={'n': 1})
    for harm in (shutil.rmtree, lambda folder: [file.write_bytes(b'x' * 9999) for file in folder.rglob('*.sqlite')]):
        assert numbers(lab.search('n = 1')) == [('a', 1)]
        harm(cache)
    assert numbers(lab.search('n = 1')) == [('a', 1)]


def test_the_command_line_publishes_and_finds_in_any_store(lab, cache, tmp_path):
    url = f's3://{lab.name}' if lab.store.url.startswith('s3') else f'{lab.store.url}/{lab.name}'
    def objstore(*words):
        run = subprocess.run([sys.executable, '-m', 'objstore.cli', *words], cwd=root, capture_output=True, text=True, timeout=60)
        return run.returncode,run.stdout,run.stderr
    (tmp_path/'model.bin').write_bytes(b'weights')
    assert objstore('find', url) == (1, '', f'objstore: this bucket keeps no versions: `objstore put` publishes the first ({lab.name} on {lab.store.url})\n')
    assert objstore('put', f'{tmp_path}/model.bin', f'{url}/churn/', '-m', 'more trees', '--meta', 'accuracy=0.91', '--meta', 'stage=candidate') == (0, '1\t7\tchurn/model.bin\n', '')
    assert objstore('alias', f'{url}/churn/model.bin', 'prod') == (0, 'prod\t1\tchurn/model.bin\n', '')
    assert objstore('amend', f'{url}/churn/model.bin', 'prod', '--meta', 'stage=live')[0] == 0
    status,out,_ = objstore('find', '--json', url, "accuracy > 0.9 and stage = 'live'")
    row = json.loads(out)
    assert status == 0 and (row['key'], row['version'], row['message'], row['aliases']) == ('churn/model.bin', 1, 'more trees', ['prod'])
    assert objstore('cp', f'{url}/churn/model.bin', f'{tmp_path}/copy.bin', '--version', '1')[0] == 0 and (tmp_path/'copy.bin').read_bytes() == b'weights'
    assert objstore('cp', '-r', url, f'{tmp_path}/all')[0] == 0 and (tmp_path/'all'/'churn'/'model.bin').read_bytes() == b'weights'
    assert objstore('verify', url) == (0, 'verified\tchurn/model.bin\tversion 1\t7\n', '') and objstore('prune', url, '--keep', '1') == (0, '', '')
