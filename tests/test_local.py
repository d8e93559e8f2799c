"What a local store promises between processes: conditions, whole objects, and nothing outside the root."
import multiprocessing, os, random, shutil, stat, subprocess, sys, tempfile, time, tracemalloc
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
import pytest
from hypothesis import given, settings, strategies as st
from objstore.backends.local import LocalObjectStore
from objstore.backends.memory import MemoryObjectStore
from objstore.conformance import promises, try_promise
from objstore.errors import BucketNotEmptyError, InvalidKeyError, NotFoundError, ObjStoreError
from tests import local_workers as work

context = multiprocessing.get_context('spawn')
crowd_size = 8


@pytest.fixture(scope='module')
def crowd():
    "Call a worker in eight processes at once; their answers."
    barrier = context.Barrier(crowd_size)
    with ProcessPoolExecutor(crowd_size, context, initializer=work.join, initargs=(barrier,)) as pool:
        def ask(function, calls): return [future.result(120) for future in [pool.submit(function, *call) for call in calls]]
        yield ask


@pytest.fixture
def lab(tmp_path):
    "An empty bucket in a store of its own."
    store = LocalObjectStore(tmp_path/'root')
    return store.bucket(store.find_or_create_bucket('lab'))


def root_of(bucket): return bucket.store.root
def files(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if not p.is_dir())
def drafts(bucket): return list((root_of(bucket)/'.objstore'/'drafts').iterdir())


@contextmanager
def child(function, *args):
    "A process that is killed when the block ends, if it was not before."
    process = context.Process(target=function, args=args, daemon=True)
    process.start()
    try: yield process
    finally:
        process.kill()
        process.join(60)


def answer_of(function, *args):
    "`function(*args)`, in a process that ends with it."
    with ProcessPoolExecutor(1, context) as pool: return pool.submit(function, *args).result(120)


def test_create_only_puts_of_eight_processes_have_one_winner_each_round(lab, crowd):
    rounds = crowd(work.create, [(root_of(lab), str(me), 50) for me in range(crowd_size)])
    assert Counter(n for won in rounds for n in won) == {n: 1 for n in range(50)}
    for me,won in enumerate(rounds): assert all(lab[f'round-{n}'] == b'%d' % me for n in won)
    assert not drafts(lab)


def test_eight_processes_lose_no_count(lab, crowd):
    lab.put('counter', b'0')
    failed = crowd(work.count_up, [(root_of(lab), 50)]*crowd_size)
    assert lab['counter'] == b'400' and sum(failed), 'nobody met anybody: this tried nothing'


def test_counting_goes_on_when_the_holder_of_the_lock_is_killed(lab, crowd):
    lab.put('counter', b'0')
    held = context.Event()
    with child(work.hold_lock, lab.store.url, held) as holder:
        assert held.wait(60)
        counting = Thread(target=crowd, args=(work.count_up, [(root_of(lab), 50)]*crowd_size))
        counting.start()
        counting.join(1)
        assert counting.is_alive() and lab['counter'] == b'0' # all wait, and reading waits for nobody
        holder.kill()
        counting.join(120)
        assert not counting.is_alive() and lab['counter'] == b'400'


def test_a_writer_killed_at_any_moment_leaves_whole_objects(lab):
    moments = random.Random(7)
    for _ in range(12):
        started = context.Event()
        with child(work.put_for_ever, root_of(lab), started) as writer:
            assert started.wait(60)
            writer.join(moments.uniform(0, 0.05)) # it never ends: this is the moment of its death
        for item in lab.find_items(): check_whole(lab, item.key)
    assert set(files(root_of(lab)/'lab')) <= {f'in/folder/{n}' for n in range(3)}
    assert lab.put('in/folder/0', b'alive', if_match=lab.put('in/folder/0', b'').etag)


def check_whole(bucket, key):
    with bucket.read(key) as reader: data = reader.read()
    assert data == data[:1]*2000*data[0], key
    if 'metadata' in bucket.store.can: assert reader.stats.metadata == {'value':str(data[0])}, key


def test_a_killed_put_leaves_only_a_draft_and_that_goes_after_a_day(lab):
    lab.put('a/c', b'')
    with child(work.die_half_way, root_of(lab)) as writer: writer.join(60)
    assert files(root_of(lab)/'lab') == ['a/c']
    left, = drafts(lab)
    lab.store.find_or_create_bucket('other')
    assert left.read_bytes() == b'half'
    os.utime(left, (time.time() - 90_000,)*2)
    lab.store.find_or_create_bucket('other')
    assert not left.exists()


def test_siblings_put_and_removed_at_once_do_not_trip_over_their_folder(lab, crowd):
    crowd(work.put_and_remove, [(root_of(lab), str(me), 100) for me in range(crowd_size)])
    assert not list((root_of(lab)/'lab').iterdir())


def test_a_bucket_removed_under_eight_writers_stays_removed(lab, crowd):
    gone = Thread(target=remove_insistently, args=(lab,))
    gone.start()
    stopped = crowd(work.put_until_gone, [(root_of(lab), str(me), 2000) for me in range(crowd_size)])
    gone.join(60)
    assert not gone.is_alive() and all(stopped)
    assert lab.store.list_buckets() == [] and not drafts(lab)


def remove_insistently(bucket):
    for _ in range(100_000):
        try: return bucket.store.remove_bucket(bucket.name, force=True)
        except BucketNotEmptyError: pass


def test_a_bucket_removed_in_the_middle_of_a_put_is_not_made_anew(lab):
    def data():
        yield b'half'
        lab.store.remove_bucket('lab')
    with pytest.raises(NotFoundError, match='no such bucket'): lab.put('a/b/c', data())
    assert lab.store.list_buckets() == [] and not (root_of(lab)/'lab').exists()


@pytest.mark.parametrize('key', ['file', 'folder/secret', 'folder/new', 'dangling'])
def test_no_link_is_read_listed_written_or_removed_through(lab, tmp_path, key):
    outside = tmp_path/'outside'
    outside.mkdir()
    (outside/'secret').write_bytes(b'secret')
    for name,target in {'file':'secret', 'folder':'', 'dangling':'new'}.items(): (root_of(lab)/'lab'/name).symlink_to(outside/target)
    lab.put('mine', b'mine')
    for read in (lab.get, lab.get_stats, lab.read, lambda key: lab.copy(key, 'lab', 'copy')):
        with pytest.raises(NotFoundError): read(key)
    for write in (lambda key: lab.put(key, b'mine'), lambda key: lab.put(key, b'mine', if_none_match='*'), lambda key: lab.copy('mine', 'lab', key)):
        with pytest.raises(InvalidKeyError, match='symbolic link'): write(key)
    assert not lab.remove(key) and list(lab) == ['mine'] and list(lab.find_items(prefix=key)) == []
    assert files(outside) == ['secret'] and (outside/'secret').read_bytes() == b'secret'


def test_a_linked_bucket_is_none(lab, tmp_path):
    (tmp_path/'outside').mkdir()
    (tmp_path/'outside'/'secret').write_bytes(b'secret')
    (root_of(lab)/'linked').symlink_to(tmp_path/'outside')
    linked = lab.store.bucket('linked')
    for use in (lambda: linked['secret'], lambda: list(linked), lambda: linked.put('new', b''), lambda: linked.remove('secret')):
        with pytest.raises(NotFoundError, match='no such bucket'): use()
    with pytest.raises(InvalidKeyError): lab.store.find_or_create_bucket('linked')
    assert not lab.store.remove_bucket('linked', force=True)
    assert lab.store.list_buckets() == ['lab'] and files(tmp_path/'outside') == ['secret']


@pytest.mark.parametrize('promise', [promise for promise in promises() if promise not in ('thousands_of_keys_are_paged', 'a_gibibyte_streams')])
def test_where_no_folder_can_be_held_open_the_promises_are_kept_by_name(lab, monkeypatch, promise):
    monkeypatch.setattr(os, 'supports_dir_fd', set())
    try_promise(promise, lab)


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux exchanges two names in one step')
@pytest.mark.parametrize('place', ['lab', 'lab/dir', 'lab/dir/dir2', '.objstore', '.objstore/drafts', '.objstore/locks'])
def test_a_folder_that_becomes_a_link_under_our_hands_leads_nowhere(lab, tmp_path, place):
    for key in ('dir/dir2/keep', 'mine'): lab.put(key, b'inside', if_match=lab.put(key, b'').etag) # a lock has been there too
    outside = mirrored(root_of(lab)/place, tmp_path/'outside')
    (tmp_path/'link').symlink_to(outside)
    before,flips = states(outside),context.Value('Q', lock=False)
    with child(work.flip, root_of(lab)/place, tmp_path/'link', flips):
        if not any(flips.value or time.sleep(0.001) for _ in range(20_000)): pytest.skip('this disk exchanges no names')
        done = Counter(kept_inside(use, tmp_path/'file') for _ in range(40) for use in uses(lab, tmp_path/'file'))
    assert states(outside) == before
    assert flips.value > 100 and done[True] and done[False], (flips.value, done) # else nothing was tried


def mirrored(folder, outside):
    "A folder with the names of `folder`, whose files hold what nobody may ever see."
    shutil.copytree(folder, outside)
    for parent in [outside, *filter(Path.is_dir, outside.rglob('*'))]:
        for name in ('x', 'y', 'secret'): (parent/name).write_bytes(b'outside')
        (parent/'empty'/'deep').mkdir(parents=True)
    for path in filter(Path.is_file, outside.rglob('*')): path.write_bytes(b'outside')
    return outside


def states(folder):
    "What is in a folder, and when it was last changed: a file that came and went shows in its folder's time."
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.is_file() and path.read_bytes()) for path in (folder, *folder.rglob('*'))}


def uses(bucket, file):
    "All that can be done with `dir/dir2/x`; each gives what it saw."
    key,deep,empty = 'dir/dir2/x','dir/dir2/empty/deep/x','dir/dir2/empty'
    return [lambda: bucket.put(key, b'inside'), lambda: bucket.get(key), lambda: bucket.put(key, b'inside', if_match=bucket.get_stats(key).etag),
            lambda: bucket.copy(key, bucket.name, 'y'), lambda: bucket.get('y'), lambda: bucket.copy('mine', bucket.name, 'dir/dir2/y'),
            lambda: bucket.download(key, file), lambda: bucket.put(key, iter([b'in', b'side'])),
            lambda: list(bucket), lambda: list(bucket.find_items(prefix='dir/dir2/')), lambda: list(bucket.find_items(delimiter='/')),
            lambda: bucket.remove(key), lambda: bucket.put(key, b'inside', if_none_match='*'), lambda: bucket.remove('dir/dir2/y'),
            lambda: bucket.put(deep, b'inside'), lambda: bucket.remove(deep), lambda: bucket.put(empty, b'inside'), lambda: bucket.remove(empty),
            lambda: bucket.store.find_or_create_bucket(bucket.name), lambda: bucket.store.remove_bucket(bucket.name)]


def kept_inside(use, file):
    "Did it work? What it saw, and what it left in `file`, must not be from outside."
    file.unlink(missing_ok=True)
    try: seen = use()
    except ObjStoreError: return False
    seen = [getattr(item, 'key', item) for item in seen] if isinstance(seen, list) else [seen]
    assert b'outside' not in seen and not any('secret' in str(item) for item in seen), seen
    assert not file.exists() or file.read_bytes() == b'inside'
    return True


def test_a_pipe_in_a_bucket_blocks_nobody(lab):
    os.mkfifo(root_of(lab)/'lab'/'pipe')
    os.mkfifo(root_of(lab)/'lab'/'other')
    with pytest.raises(NotFoundError): lab.get('pipe')
    with pytest.raises(InvalidKeyError, match='neither a file nor a folder'): lab.put('pipe', b'')
    with pytest.raises(BucketNotEmptyError): lab.store.remove_bucket('lab', force=True)
    assert list(lab) == [] and not lab.remove('pipe')
    assert stat.S_ISFIFO(os.lstat(root_of(lab)/'lab'/'pipe').st_mode)


def test_who_may_only_read_is_told_so_and_damages_nothing():
    with tempfile.TemporaryDirectory() as folder: # not `tmp_path`, which no other user may enter
        os.chmod(folder, 0o755)
        lab = LocalObjectStore(folder).bucket('lab')
        lab.store.find_or_create_bucket('lab')
        lab.put('old', b'old')
        places = [Path(folder), *Path(folder).rglob('*')]
        for path in places: path.chmod(0o555 if path.is_dir() else 0o444)
        changes,read,can = answer_of(work.change_without_permission, folder)
        for path in places: path.chmod(0o755 if path.is_dir() else 0o644)
        assert [said.partition(':')[0] for said in changes] == ['PermissionDeniedError']*5
        assert 'permissions' in changes[0] and f'(put lab/old on {lab.store.url})' in changes[0]
        assert read == lab['old'] == b'old' and list(lab) == ['old'] and 'if_match' in can


def test_who_may_only_pass_through_a_folder_passes():
    with tempfile.TemporaryDirectory() as folder:
        lab = LocalObjectStore(folder).bucket('lab')
        lab.store.find_or_create_bucket('lab')
        lab.put('closed/known', b'known')
        for path,mode in ((folder, 0o755), (f'{folder}/lab', 0o711), (f'{folder}/lab/closed', 0o711 if os.geteuid() == 0 else 0o300)): os.chmod(path, mode)
        read,listed = answer_of(work.pass_through, folder)
        os.chmod(f'{folder}/lab/closed', 0o755)
    assert read == b'known' and listed.startswith('PermissionDeniedError')


def test_an_object_larger_than_a_file_may_be_leaves_the_old_one(lab):
    lab.put('old', b'old')
    said = answer_of(work.put_limited, root_of(lab), 100_000, 3_000_000)
    assert all(text.startswith('ObjStoreError: the file is larger than') for text in said)
    assert files(root_of(lab)/'lab') == ['old'] and lab['old'] == b'old' and not drafts(lab)


def test_a_full_disk_leaves_the_old_object_and_says_so(lab, monkeypatch):
    lab.put('old', b'old')
    with full_disk(root_of(lab), monkeypatch) as bucket:
        for put in (lambda: bucket.put('old', b'x'*3_000_000), lambda: bucket.put('new/one', b'x'*3_000_000, if_none_match='*')):
            with pytest.raises(ObjStoreError, match='the disk is full'): put()
        assert files(root_of(bucket)/'lab') == ['old'] and bucket['old'] == b'old' and not drafts(bucket)
        assert bucket.remove('old')


@contextmanager
def full_disk(root, monkeypatch):
    "A bucket with `old` on a disk of 1 MiB; where none can be mounted, on one whose writes stop as such a disk's do."
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', root], capture_output=True).returncode == 0
    store = LocalObjectStore(root)
    try:
        if mounted: store.put(store.find_or_create_bucket('lab'), 'old', b'old')
        else: monkeypatch.setattr(os, 'write', scarce(os.write))
        yield store.bucket('lab')
    finally:
        if mounted: subprocess.run(['umount', root], check=True)


def scarce(write):
    "`write`, cut short once and then refused, as on a disk that fills up."
    def full(descriptor, data):
        if os.fstat(descriptor).st_size > 1_000_000: raise OSError(28, 'No space left on device')
        return write(descriptor, data[:700_000])
    return full


def test_listing_a_hundred_thousand_keys_keeps_one_folder_in_memory():
    with tempfile.TemporaryDirectory() as folder:
        bucket = LocalObjectStore(folder).bucket('lab')
        for n in range(100):
            parent = Path(folder, 'lab', f'{n:02}')
            parent.mkdir(parents=True)
            for m in range(1000): os.close(os.open(parent/f'{m:03}', os.O_CREAT|os.O_WRONLY))
        tracemalloc.start()
        first = next(iter(bucket))
        keys = sum(1 for _ in bucket)
        _,peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (first, keys) == ('00/000', 100_000)
    assert peak < 500_000, f'{peak:,} bytes'


@pytest.mark.filterwarnings('ignore:.*over 1,024 bytes')
def test_folders_deeper_than_the_stack_are_listed_and_removed(lab):
    levels = 1100 if sys.platform == 'linux' else 300
    folder = root_of(lab)/'lab'
    for n in range(levels): os.mkdir(f"{folder}{'/d'*(n + 1)}")
    lab.put('d/'*500 + 'x', b'')
    assert list(lab) == ['d/'*500 + 'x'] and [item.key for item in lab.find_items(delimiter='/')] == ['d/']
    assert lab.store.remove_bucket('lab', force=True) and lab.store.list_buckets() == []


segments = st.text(st.sampled_from('aAb.- /é🐈\x01'), min_size=1, max_size=4)
texts = segments | st.text(max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.lists(segments, max_size=12), st.lists(st.tuples(texts | st.just(''), st.sampled_from([None, '/', '-', 'a', 'b/', '//']), st.none() | texts), max_size=8))
def test_listings_are_those_of_the_reference(keys, listings):
    with tempfile.TemporaryDirectory() as folder:
        local,memory = LocalObjectStore(folder),MemoryObjectStore()
        for store in (local, memory): store.find_or_create_bucket('lab')
        for key in keys: put_in_both(local, memory, key)
        for prefix,delimiter,start_after in [('', None, None), ('', '/', None), *listings]:
            wanted = dict(prefix=prefix, delimiter=delimiter, start_after=start_after)
            assert shown(local, wanted) == shown(memory, wanted), wanted


def put_in_both(local, memory, key):
    try: local.put('lab', key, key.encode())
    except InvalidKeyError: return
    memory.put('lab', key, key.encode())


def shown(store, wanted): return [(item.key, item.size, item.is_prefix) for item in store.find_items('lab', **wanted)]
