"What transfers leave behind when processes are killed, networks break, disks fill up and keys are hostile."
import os, shutil, signal, subprocess, sys, tempfile, time, uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Thread
import pytest
from hypothesis import given, settings, strategies as st
from objstore.backends.memory import MemoryObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.checks.streams import blocks, digest
from objstore.crc32 import crc32, to_base64
from objstore.errors import *
from objstore.filenames import file_name
from objstore.transfer import download, fetch, fetches, upload
from tests import forked, servers, transfer_workers as work
from tests.faulty import Faults, faulty

MiB = 2**20
part = 16 * MiB
posix = pytest.mark.skipif(os.name == 'nt', reason='signals and limits are POSIX')


def server(): return os.environ['AWS_ENDPOINT_URL']


@pytest.fixture
def lab(request):
    "An empty bucket of its own."
    store = S3ObjectStore()
    name = store.find_or_create_bucket(f'faults-{uuid.uuid4().hex[:12]}')
    yield store.bucket(name)
    store.remove_bucket(name, force=True)


def content(seed, size): return Random(seed).randbytes(size)


@pytest.fixture(scope='module')
def corpus():
    "Small objects, and among them two large ones: keys and bytes."
    small = {f'{"abcdefgh"[n % 8]}/{n:03}': content(n, 10_000 + n) for n in range(300)}
    return {**small, 'd/big-1': content('one', 64 * MiB), 'e/big-2': content('two', 64 * MiB)}


def put_all(bucket, objects):
    for key,data in objects.items(): bucket.put(key, data)


def write_all(folder, objects):
    for key,data in objects.items():
        (folder/key).parent.mkdir(parents=True, exist_ok=True)
        (folder/key).write_bytes(data)
    return folder


def files(folder): return {p.relative_to(folder).as_posix(): p for p in folder.rglob('*') if p.is_file()}
def visible(folder): return {name: path for name,path in files(folder).items() if '.objstore-' not in name}
def hidden(folder): return sorted(name for name in files(folder) if '.objstore-' in name)


def check_files(folder, objects):
    "Every file that has its name has its bytes, too; how many there are."
    seen = visible(folder)
    for name,path in seen.items(): assert path.read_bytes() == objects[name], f'{name} is not what was put'
    return len(seen)


@contextmanager
def child(function, *args):
    "A process that works until the block ends; killed then."
    process = forked.context.Process(target=function, args=args, daemon=True)
    process.start()
    try: yield process
    finally:
        process.kill()
        process.join(30)


def killed(process, proxy, reached):
    "Kill the process as soon as `reached()`; was it still at work?"
    while process.is_alive() and not proxy.wait_for(reached, 0.2): pass
    process.kill()
    process.join(30)
    return process.exitcode == -signal.SIGKILL


# Killed in the middle

@posix
def test_a_download_killed_twenty_times_shows_no_partial_file_and_then_finishes(lab, corpus, tmp_path):
    put_all(lab, corpus)
    kills,chance,present = 0,Random(1),set()
    with faulty(server()) as proxy:
        while kills < 20:
            proxy.forget()
            objects,size = chance.choice([(chance.randint(1, 30), 2**40), (2**20, chance.randrange(40 * MiB))])
            with child(work.fetch_all, proxy.url, lab.name, tmp_path/'to') as process:
                kills += killed(process, proxy, lambda: len(proxy.delivered) > objects or proxy.passed > size)
            present.add(check_files(tmp_path/'to', corpus))
            if len(visible(tmp_path/'to')) == len(corpus): shutil.rmtree(tmp_path/'to')
    assert len(present) > 5, 'the kills came at one and the same moment'
    assert download(lab, tmp_path/'to').ok
    assert check_files(tmp_path/'to', corpus) == len(corpus)


@posix
def test_an_upload_killed_twenty_times_shows_no_partial_object_and_then_finishes(lab, corpus, tmp_path):
    write_all(tmp_path, corpus)
    kills,chance,present,right = 0,Random(2),set(),set()
    with faulty(server()) as proxy:
        while kills < 20:
            proxy.forget()
            objects,size = chance.choice([(chance.randint(1, 30), 2**40), (2**20, chance.randrange(80 * MiB))])
            with child(work.send_all, proxy.url, lab.name, tmp_path) as process:
                kills += killed(process, proxy, lambda: len(proxy.received) > objects or proxy.passed > size)
            present.add(check_objects(lab, corpus, right))
            if len(list(lab)) == len(corpus): lab.remove_items(list(lab))
    assert len(present) > 5, 'the kills came at one and the same moment'
    assert upload(tmp_path, lab).ok
    assert check_objects(lab, corpus, right) == len(corpus)


def open_uploads(bucket):
    "Keys of the uploads in parts that were begun and not ended."
    return sorted(upload['Key'] for upload in servers.client(server()).list_multipart_uploads(Bucket=bucket.name).get('Uploads', []))


@posix
def test_what_a_killed_upload_left_open_is_aborted_by_the_next_one_and_what_goes_on_is_not(lab, tmp_path):
    write_all(tmp_path/'mine', {'large': content('large', 40 * MiB), 'large too': content('too', 40 * MiB)})
    write_all(tmp_path/'more', {'more': content('more', 20 * MiB)})
    write_all(tmp_path/'theirs', {'large': content('theirs', 41 * MiB)})
    theirs = servers.client(server()).create_multipart_upload(Bucket=lab.name, Key='large')
    with faulty(server()) as proxy:
        near = work.lab(proxy.url, lab.name)
        with child(work.send_all, proxy.url, lab.name, tmp_path/'mine') as process:
            assert killed(process, proxy, lambda: all(proxy.received[f'{lab.name}/{key}'] > MiB for key in ('large', 'large too')))
        assert proxy.wait_for(lambda: not proxy.clients) and open_uploads(lab) == ['large', 'large', 'large too']
        proxy.forget()
        proxy.limit = 5 * MiB
        with child(work.send_all, proxy.url, lab.name, tmp_path/'theirs') as process: # goes on, and is now held up
            assert proxy.wait_for(lambda: proxy.passed >= proxy.limit)
            assert open_uploads(lab) == ['large', 'large'], 'theirs and the one that goes on'
            reports = []
            thread = Thread(target=lambda: reports.append(upload(tmp_path/'more', near)))
            thread.start()
            assert proxy.wait_for(lambda: any(path.endswith('/more?uploads=') for _,path,_ in proxy.times)), 'by then it has tidied up'
            assert open_uploads(lab).count('large') == 2
            proxy.release()
            process.join(60)
            thread.join(60)
            assert process.exitcode == 0 and reports[0].ok
        assert open_uploads(lab) == ['large'] and lab['large'] == content('theirs', 41 * MiB)
        assert upload(tmp_path/'mine', near).ok and lab['large'] == content('large', 40 * MiB)
    upload_id, = (upload['UploadId'] for upload in servers.client(server()).list_multipart_uploads(Bucket=lab.name)['Uploads'])
    assert upload_id == theirs['UploadId']


@posix
def test_small_objects_ask_for_no_uploads(lab, tmp_path):
    write_all(tmp_path, {f'{n}': b'small' for n in range(9)})
    with faulty(server()) as proxy:
        assert upload(tmp_path, work.lab(proxy.url, lab.name)).ok
        assert not [path for _,path,_ in proxy.times if 'upload' in path]


def check_objects(bucket, objects, right):
    "Every object that can be seen is whole; those in `right`, a set of keys and etags, need no second look. How many there are."
    seen = list(bucket.find_items())
    for stats in seen:
        assert stats.size == len(objects[stats.key]), f'{stats.key} has {stats.size} bytes'
        if (stats.key, stats.etag) not in right: assert bucket[stats.key] == objects[stats.key], f'{stats.key} has other bytes'
        right.add((stats.key, stats.etag))
    return len(seen)


@posix
def test_a_killed_download_of_one_large_object_goes_on_from_its_parts(lab, tmp_path):
    data,workers = content('large', 160 * MiB),4
    lab.put('large', data)
    with faulty(server()) as proxy:
        with child(work.fetch_all, proxy.url, lab.name, tmp_path, workers) as process:
            assert killed(process, proxy, lambda: proxy.passed > 90 * MiB) and not visible(tmp_path)
        before = proxy.passed
        proxy.forget()
        assert download(work.lab(proxy.url, lab.name), tmp_path, max_workers=workers).ok
        assert proxy.passed <= len(data) - before + workers * part
    assert (tmp_path/'large').read_bytes() == data and not hidden(tmp_path)


@posix
def test_a_large_object_that_changed_since_the_kill_is_fetched_anew_and_whole(lab, tmp_path):
    old,new = content('old', 48 * MiB),content('new', 48 * MiB)
    lab.put('large', old)
    with faulty(server()) as proxy:
        with child(work.fetch_all, proxy.url, lab.name, tmp_path) as process:
            assert killed(process, proxy, lambda: proxy.passed > 36 * MiB) and hidden(tmp_path)
        lab.put('large', new)
        proxy.forget()
        assert download(work.lab(proxy.url, lab.name), tmp_path).ok
        assert proxy.passed == len(new)
    assert (tmp_path/'large').read_bytes() == new and not hidden(tmp_path)


def test_a_large_object_that_changes_while_it_is_fetched_fails_by_name_and_a_retry_has_the_new_one(lab, tmp_path):
    old,new = content('old', 40 * MiB),content('new', 40 * MiB)
    lab.put('large', old)
    reports = []
    with faulty(server()) as proxy:
        proxy.limit = 5 * MiB
        thread = Thread(target=lambda: reports.append(download(work.lab(proxy.url, lab.name), tmp_path, max_workers=1)))
        thread.start()
        assert proxy.wait_for(lambda: proxy.passed >= proxy.limit)
        lab.put('large', new)
        proxy.release()
        thread.join(60)
        report = reports[0]
        assert [(row.key, type(row.error)) for row in report.failed] == [('large', PreconditionError)] and not visible(tmp_path)
        assert report.retry().ok
    assert (tmp_path/'large').read_bytes() == new and not hidden(tmp_path)


# One object by itself

@posix
def test_a_killed_download_of_one_object_by_itself_goes_on_from_its_parts(lab, tmp_path):
    data = b''.join(blocks(320))
    lab.put('large', data)
    with faulty(server()) as proxy:
        with child(work.fetch_one, proxy.url, lab.name, tmp_path/'to') as process:
            assert killed(process, proxy, lambda: proxy.passed > 200 * MiB) and not visible(tmp_path) and hidden(tmp_path)
        before = proxy.passed
        proxy.forget()
        stats = work.lab(proxy.url, lab.name).download('large', tmp_path/'to')
        assert proxy.passed <= len(data) - before + 8 * part
    assert stats.size == len(data) and (tmp_path/'to').read_bytes() == data and not hidden(tmp_path)


def test_one_object_by_itself_comes_whole_over_a_bad_network(lab, tmp_path):
    objects = {'large': content('large', 40 * MiB), 'one put': content('one put', 18 * MiB), 'small': content('small', 40_000)}
    lab.put('large', objects['large'])
    servers.client(server()).put_object(Bucket=lab.name, Key='one put', Body=objects['one put'])
    lab.put('small', objects['small'])
    struck = Counter()
    with faulty(server()) as proxy:
        near = work.lab(proxy.url, lab.name, replace(work.hasty, attempts=8))
        for seed in range(12):
            proxy.seed,proxy.faults = seed,Faults(drop=0.08, stall=0.06, truncate=0.05, flip=0.08, refuse=0.08)
            for key,data in objects.items(): right_or_named(near, key, tmp_path/key.replace(' ', '-'), data)
            struck += proxy.struck
            proxy.forget()
    assert all(struck[fault] for fault in ('drop', 'stall', 'truncate', 'flip', 'refuse')), struck
    assert not [name for name in hidden(tmp_path) if name.endswith('.tmp')]


def right_or_named(bucket, key, path, data):
    "Download until it is done; what fails on the way leaves no file."
    for _ in range(5):
        path.unlink(missing_ok=True)
        try: stats = bucket.download(key, path)
        except (NetworkError, IntegrityError) as error: assert error.key == key and not path.exists()
        else: break
    assert stats.size == len(data) and path.read_bytes() == data


def test_a_byte_that_is_flipped_each_time_is_an_integrity_error_and_the_old_file_stays(lab, tmp_path):
    lab.put('large', content('large', 40 * MiB))
    lab.put('small', content('small', 40_000))
    with faulty(server(), Faults(flip=1)) as proxy:
        near = work.lab(proxy.url, lab.name, work.hasty)
        for key in ('large', 'small'):
            (tmp_path/key).write_bytes(b'old')
            with pytest.raises(IntegrityError, match=f'{lab.name}/{key}'): near.download(key, tmp_path/key)
            assert (tmp_path/key).read_bytes() == b'old'
    assert not hidden(tmp_path)


def test_one_object_that_is_replaced_while_it_is_fetched_is_the_new_one(lab, tmp_path):
    old,new = b''.join(blocks(160)),content('new', 41 * MiB) # eight parts of ten are begun
    lab.put('large', old)
    stats = []
    with faulty(server()) as proxy:
        proxy.limit = 5 * MiB
        thread = Thread(target=lambda: stats.append(work.lab(proxy.url, lab.name).download('large', tmp_path/'to')))
        thread.start()
        assert proxy.wait_for(lambda: proxy.passed >= proxy.limit)
        now = lab.put('large', new)
        proxy.release()
        thread.join(60)
    assert stats[0].etag == now.etag and (tmp_path/'to').read_bytes() == new and not hidden(tmp_path)


def test_a_gibibyte_by_itself_takes_little_memory(lab, tmp_path):
    lab.put('large', blocks(1024))
    outcome = forked.run(work.fetch_one, server(), lab.name, tmp_path/'to')
    assert outcome.ended, outcome.log
    assert outcome.value < 300e6, f'{outcome.value / 1e6:.0f} MB'
    with open(tmp_path/'to', 'rb') as file: assert digest(iter(lambda: file.read(MiB), b'')) == digest(blocks(1024))


@posix
@pytest.mark.parametrize('size', [0, 70 * MiB], ids=['before the first byte', 'in the middle'])
def test_interrupted_download_of_one_object_from_a_silent_server_ends_at_once(size, lab, tmp_path):
    lab.put('large', content('large', 100 * MiB))
    with faulty(server()) as proxy:
        proxy.limit = size
        with program('tests.transfer_workers', 'one', proxy.url, lab.name, tmp_path/'to') as process:
            assert proxy.wait_for(lambda: proxy.passed >= size and proxy.times)
            seconds,said = stopped(process)
        assert said == 'interrupted\n' and seconds < 2 and not visible(tmp_path)


# A bad network

bad = Faults(drop=0.03, stall=0.02, delay=0.03, truncate=0.03, flip=0.03, refuse=0.05)


def test_a_thousand_transfers_over_a_bad_network_are_right_or_fail_by_name(lab, tmp_path):
    chance = Random(5)
    sizes = [0, 1, 20 * MiB, 17 * MiB, 16 * MiB, 5 * MiB, *(chance.randrange(3 * MiB) for _ in range(14)), *(chance.randrange(20_000) for _ in range(480))]
    objects = {f'{n % 7}/{n:03}': content(n, size) for n,size in enumerate(sizes)}
    one_put = {'one put': content('one put', 18 * MiB)}
    with faulty(server(), bad) as proxy:
        near = work.lab(proxy.url, lab.name, work.hasty)
        sent = settled(lambda: upload(write_all(tmp_path/'from', objects), near), lambda rows: check_sent(lab, objects, rows))
        servers.client(server()).put_object(Bucket=lab.name, Key='one put', Body=one_put['one put'])
        objects |= one_put
        got = settled(lambda: download(near, tmp_path/'to'), lambda rows: check_files(tmp_path/'to', {key: objects[key] for key in rows}))
        struck = proxy.struck
    assert len(sent) + len(got) == 1001 and check_objects(lab, objects, set()) == check_files(tmp_path/'to', objects) == 501
    assert all(struck[fault] >= 5 for fault in vars(bad)), f'some faults hardly came: {struck}'
    assert not hidden(tmp_path/'to')


def test_a_flipped_byte_in_a_large_object_is_found_and_the_object_fetched_again(lab, tmp_path):
    data = content('large', 40 * MiB)
    lab.put('large', data)
    assert lab.get_stats('large').etag.endswith('-3"')
    with faulty(server(), seed=3) as proxy:
        near = work.lab(proxy.url, lab.name, work.hasty)
        wanted = list(fetches(near, tmp_path))
        for share,state in (1, 'failed'),(0.5, 'done'):
            proxy.faults = Faults(flip=share)
            report = fetch(wanted, max_workers=2)
            while share < 1 and not report.ok: report = report.retry()
            assert proxy.struck['flip'] >= 3 and {row.state for row in report} == {state} and not hidden(tmp_path)
            assert [type(row.error) for row in report.failed] == [IntegrityError] * (state == 'failed')
            assert check_files(tmp_path, {'large': data}) == (state == 'done')


def test_an_upload_in_parts_survives_flipped_bytes_and_tells_a_checksum(lab, tmp_path):
    data = content('large', 40 * MiB)
    write_all(tmp_path, {'large': data})
    reports = []
    with faulty(server(), Faults(flip=1)) as proxy:
        thread = Thread(target=lambda: reports.append(upload(tmp_path, work.lab(proxy.url, lab.name, replace(work.hasty, stall=60)))))
        thread.start()
        assert proxy.wait_for(lambda: proxy.struck['flip'] >= 2)
        proxy.faults = Faults()
        thread.join(60)
    assert reports[0].ok
    head = servers.client(server()).head_object(Bucket=lab.name, Key='large', ChecksumMode='ENABLED')
    assert (head['ChecksumCRC32'], head['ChecksumType']) == (to_base64(crc32(data)), 'FULL_OBJECT') and lab['large'] == data


def test_a_server_that_falls_silent_fails_by_name_and_in_time(lab, tmp_path):
    put_all(lab, {'large': bytes(20 * MiB), 'small': b'small'})
    with faulty(server()) as proxy:
        near = work.lab(proxy.url, lab.name, replace(work.hasty, attempts=2, stall=0.2))
        wanted = list(fetches(near, tmp_path))
        proxy.faults = Faults(stall=1)
        start = time.monotonic()
        report = fetch(wanted)
        assert time.monotonic() - start < 5
        assert [(row.key, type(row.error)) for row in report] == [('large', StalledError), ('small', StalledError)] and not visible(tmp_path)
        proxy.faults = Faults()
        assert report.retry().ok


def check_sent(bucket, objects, done):
    "What is said to be done is there, and all that is there is whole; what failed may be, too, where only the reply was lost."
    check_objects(bucket, objects, set())
    assert {*done} <= {stats.key for stats in bucket.find_items()}


def settled(transfer, check):
    "The states of a transfer that is repeated for what failed; before that `check` sees all that is said to be done."
    report = transfer()
    states = {row.key: row.state for row in report}
    for _ in range(5):
        assert all(isinstance(row.error, ObjStoreError) and row.error.key == row.key for row in report.failed)
        check([key for key,state in states.items() if state == 'done'])
        if report.ok: break
        report = report.retry()
        states |= {row.key: row.state for row in report}
    assert set(states.values()) == {'done'}, Counter(states.values())
    return states


# Refusals

@pytest.mark.parametrize('error, bucket, options', [
    (UnauthenticatedError, None, dict(access_key_id='nobody', secret_access_key='nothing')),
    (UnauthenticatedError, None, dict(access_key_id=servers.admin['AWS_ACCESS_KEY_ID'], secret_access_key='wrong')),
    (NotFoundError, 'there-is-no-such-bucket', {}),
], ids=['unknown key', 'wrong secret', 'missing bucket'])
def test_wrong_credentials_and_missing_buckets_are_named_and_harm_nothing(error, bucket, options, lab, tmp_path):
    lab.put('a', b'theirs')
    write_all(tmp_path, {'a': b'ours', 'b': b'ours'})
    stranger = work.lab(server(), bucket or lab.name, **options)
    with pytest.raises(error, match=stranger.name): download(stranger, tmp_path)
    with pytest.raises(error, match=stranger.name): upload(tmp_path, stranger)
    assert lab['a'] == b'theirs' and list(lab) == ['a'] and check_files(tmp_path, {'a': b'ours', 'b': b'ours'}) == 2


def test_who_may_only_read_can_download_and_is_told_of_every_file_that_was_refused(lab, tmp_path):
    lab.put('a', b'theirs')
    write_all(tmp_path/'mine', {'a': b'mine', 'b': bytes(20 * MiB)})
    reader = work.lab(server(), lab.name, access_key_id=os.environ['OBJSTORE_TEST_READER_ID'], secret_access_key=os.environ['OBJSTORE_TEST_READER_SECRET'])
    report = upload(tmp_path/'mine', reader)
    assert [(row.key, type(row.error)) for row in report] == [('a', PermissionDeniedError), ('b', PermissionDeniedError)]
    assert lab['a'] == b'theirs' and list(lab) == ['a']
    assert download(reader, tmp_path/'to').ok and (tmp_path/'to'/'a').read_bytes() == b'theirs'


@posix
def test_files_that_may_not_grow_fail_by_name_and_old_ones_stay(lab, tmp_path):
    put_all(lab, {'large': content(1, 20 * MiB), 'old': content(2, MiB), 'small': b'fits'})
    (tmp_path/'old').write_bytes(b'old')
    outcome = forked.run(work.fetch_limited, server(), lab.name, tmp_path, 2**16)
    assert {key: (state, 'too large' in error) for key,state,error in outcome.value} == {'large': ('failed', True), 'old': ('failed', True), 'small': ('done', False)}
    assert check_files(tmp_path, {'old': b'old', 'small': b'fits'}) == 2 and not [name for name in hidden(tmp_path) if name.endswith('.tmp')]


@pytest.fixture
def small_disk(tmp_path):
    "A disk of 24 MiB."
    folder = tmp_path/'disk'
    folder.mkdir()
    mounted = shutil.which('mount') and subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', folder], capture_output=True).returncode == 0
    if not mounted: pytest.skip('only who may mount can have a small disk; the test with a limit of size stands in for this one')
    yield folder
    subprocess.run(['umount', '-l', folder], check=True)


def test_a_disk_that_is_too_small_is_found_before_the_first_byte(lab, small_disk):
    put_all(lab, {'large': content(1, 25 * MiB), 'small': b'fits'})
    with pytest.raises(ObjStoreError, match='make room first'): download(lab, small_disk)
    assert not files(small_disk)


def test_a_disk_that_fills_up_on_the_way_fails_by_name_and_the_run_after_finishes(lab, small_disk):
    objects = {'large': content(1, 17 * MiB), 'old': content(2, 2 * MiB), 'small': b'fits'}
    put_all(lab, objects)
    (small_disk/'old').write_bytes(b'old')
    reports = []
    with faulty(server()) as proxy:
        proxy.limit = MiB
        thread = Thread(target=lambda: reports.append(download(work.lab(proxy.url, lab.name), small_disk)))
        thread.start()
        assert proxy.wait_for(lambda: proxy.passed >= proxy.limit)
        fill(small_disk/'filler')
        proxy.release()
        thread.join(30)
    failed = {row.key: str(row.error) for row in reports[0].failed}
    assert {'large', 'old'} <= set(failed) and all('No space left' in text for text in failed.values())
    (small_disk/'filler').unlink()
    check_files(small_disk, {**objects, 'old': b'old'})
    assert not [name for name in hidden(small_disk) if name.endswith('.tmp')]
    assert download(lab, small_disk).ok and check_files(small_disk, objects) == 3 and not hidden(small_disk)


def fill(path):
    "Take all space that is left."
    with path.open('wb', buffering=0) as file:
        try:
            while file.write(bytes(2**16)): pass
        except OSError: pass


@posix
def test_a_folder_that_cannot_be_written_is_named_and_keeps_its_files(lab):
    put_all(lab, {'old': b'new', 'new': b'new'})
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder/'old').write_bytes(b'old')
        folder.chmod(0o555)
        outcome = forked.run(work.fetch_without_permission, server(), lab.name, folder)
        folder.chmod(0o755)
        assert {key: error.partition(':')[0] for key,_,error in outcome.value} == {'new': 'PermissionDeniedError', 'old': 'PermissionDeniedError'}
        assert check_files(folder, {'old': b'old'}) == 1 and not hidden(folder)


# Hostile keys

hostile = ['a/../../x', '../x', '../../etc/x', '/x', '//x', '/etc/x', 'a\\..\\..\\x', 'C:\\x', 'c:/x', 'a/./b', './y', '~/x', 'a:b', 'nul', 'a\x01b',
           'a' * 300, '%2e%2e/x', '.objstore-x.part', 'z/.objstore/y', '..%2f..%2fx', 'b/..']


def test_no_key_leads_out_of_the_folder(tmp_path):
    name = f'hostile-{uuid.uuid4().hex[:12]}'
    raw = servers.client(os.environ['OBJSTORE_TEST_MOTO'])
    raw.create_bucket(Bucket=name)
    for key in hostile: raw.put_object(Bucket=name, Key=key, Body=key.encode())
    listed = [item['Key'] for item in raw.list_objects_v2(Bucket=name)['Contents']]
    assert len(listed) >= len(hostile) - 2, f'moto kept only {listed}'
    folder = tmp_path/'deep'/'down'/'here'
    report = download(work.lab(os.environ['OBJSTORE_TEST_MOTO'], name), folder)
    refused = {row.key for row in report.failed}
    assert refused == {key for key in listed if {'.', '..'} & set(key.split('/'))} and {type(row.error) for row in report.failed} == {InvalidKeyError}
    assert {row.key for row in report} == set(listed)
    assert {path.read_bytes().decode() for path in files(folder).values()} == set(listed) - refused
    assert set(files(tmp_path).values()) == set(files(folder).values()) and not Path('/etc/x').exists() and not Path('/x').exists()


# Told to stop

@contextmanager
def program(*words):
    "A Python program of its own, killed when the block ends."
    process = subprocess.Popen([sys.executable, '-m', *map(str, words)], cwd=servers.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try: yield process
    finally:
        process.kill()
        process.communicate()


def stopped(process, signum=signal.SIGINT):
    "Send the signal; seconds until the process was gone, and what it said."
    start = time.monotonic()
    process.send_signal(signum)
    said = process.communicate(timeout=20)[1]
    return time.monotonic() - start,said


@posix
@pytest.mark.parametrize('size', [0, 400_000, 70 * MiB], ids=['before the first byte', 'among small objects', 'in large objects'])
def test_interrupted_download_from_a_silent_server_ends_at_once_and_the_next_run_goes_on(size, lab, corpus, tmp_path):
    put_all(lab, corpus)
    with faulty(server()) as proxy:
        proxy.limit = size
        with program('tests.transfer_workers', 'download', proxy.url, lab.name, tmp_path) as process:
            assert proxy.wait_for(lambda: proxy.passed >= size and proxy.times)
            seconds,said = stopped(process)
        assert said == 'interrupted\n' and seconds < 2
        assert not [name for name in hidden(tmp_path) if name.endswith('.tmp')]
        present = check_files(tmp_path, corpus)
        proxy.release()
        before = proxy.passed
        proxy.forget()
        assert download(work.lab(proxy.url, lab.name), tmp_path).ok and check_files(tmp_path, corpus) == len(corpus) and not hidden(tmp_path)
        assert proxy.passed <= sum(map(len, corpus.values())) - before + 8 * part
    assert present < len(corpus)


@posix
def test_interrupted_download_in_full_run_ends_at_once_and_leaves_no_drafts(lab, corpus, tmp_path):
    put_all(lab, {key: data for key,data in corpus.items() if 'big' not in key})
    with faulty(server()) as proxy:
        for n in range(8):
            proxy.forget()
            with program('tests.transfer_workers', 'download', proxy.url, lab.name, tmp_path/str(n)) as process:
                assert proxy.wait_for(lambda: len(proxy.delivered) > 10 * n)
                seconds,said = stopped(process)
            assert said in ('interrupted\n', '') and seconds < 2
            assert not hidden(tmp_path/str(n)) and check_files(tmp_path/str(n), corpus) <= 300


@posix
@pytest.mark.parametrize('size', [0, 400_000, 70 * MiB], ids=['before the first byte', 'among small files', 'in large files'])
def test_interrupted_upload_to_a_silent_server_ends_at_once_and_the_next_run_goes_on(size, lab, corpus, tmp_path):
    write_all(tmp_path, corpus)
    with faulty(server()) as proxy:
        proxy.limit = size
        with program('tests.transfer_workers', 'upload', proxy.url, lab.name, tmp_path) as process:
            assert proxy.wait_for(lambda: proxy.passed >= size and proxy.times)
            seconds,said = stopped(process)
        assert said == 'interrupted\n' and seconds < 2
        right = set()
        assert check_objects(lab, corpus, right) < len(corpus)
        proxy.release()
        assert upload(tmp_path, lab).ok and check_objects(lab, corpus, right) == len(corpus)


@posix
def test_terminated_program_leaves_nothing_under_a_final_name(lab, tmp_path):
    lab.put('large', content('large', 40 * MiB))
    (tmp_path/'up').write_bytes(content('up', 40 * MiB))
    with faulty(server()) as proxy:
        for source,target in (f's3://{lab.name}/large', str(tmp_path/'down')),(str(tmp_path/'up'), f's3://{lab.name}/up'):
            proxy.forget()
            proxy.limit = 20 * MiB
            with program('objstore.cli', 'cp', source, target, '--endpoint', proxy.url) as process:
                assert proxy.wait_for(lambda: proxy.passed >= proxy.limit)
                seconds,_ = stopped(process, signal.SIGTERM)
            assert seconds < 2 and process.returncode
            proxy.release()
    assert list(visible(tmp_path)) == ['up'] and list(lab) == ['large']


# Many at once

@pytest.mark.parametrize('processes', [2, 4])
def test_processes_that_fetch_into_one_folder_at_once_leave_every_file_right(processes, lab, corpus, tmp_path):
    put_all(lab, corpus)
    outcomes = forked.run_all(work.fetch_all, [(server(), lab.name, tmp_path, 4)] * processes, at_once=processes)
    assert all(outcome.ended for outcome in outcomes), '\n'.join(outcome.log for outcome in outcomes)
    assert {state for outcome in outcomes for _,state,_ in outcome.value} <= {'done', 'skipped'}
    assert check_files(tmp_path, corpus) == len(corpus) and not hidden(tmp_path)


# Names of all kinds

names = st.text(st.characters(codec='utf-8', exclude_characters='\0'), min_size=1, max_size=40)
keys = st.lists(st.one_of(names, st.sampled_from(['.', '..', '', 'con', 'a', 'A', '%', '~', 'a:', 'x.', 'é', 'e\u0301'])), min_size=1, max_size=4).map('/'.join)


def usable(key): return key and not key.endswith('/') and len(key.encode()) <= 900


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(keys.filter(usable), st.binary(max_size=20), max_size=8))
def test_whatever_the_keys_they_come_back_from_a_folder_as_they_were(objects):
    lab,back = bucket_of(objects),bucket_of({})
    kept = dict(lab_items(lab))
    with tempfile.TemporaryDirectory() as folder:
        try: report = download(lab, folder)
        except ConfigError as e: return check_collision(kept, str(e))
        assert report.ok and len({row.target for row in report}) == len(kept)
        assert all(Path(row.target).is_relative_to(folder) and Path(row.target).read_bytes() == kept[row.key] for row in report)
        assert upload(folder, back).ok
    assert dict(lab_items(back)) == kept


def bucket_of(objects):
    "A bucket in memory with those of `objects` whose keys it takes."
    store = MemoryObjectStore()
    bucket = store.bucket(store.find_or_create_bucket('lab'))
    for key,data in objects.items():
        try: bucket.put(key, data)
        except InvalidKeyError: pass
    return bucket


def lab_items(bucket): return [(key, bucket[key]) for key in bucket]


def check_collision(objects, message):
    "Nothing may be refused but what a disk cannot hold side by side: a file and a folder of one name."
    taken = {file_name(key) for key in objects}
    assert 'would be a file and a folder' in message and any(a.startswith(f'{b}/') for a in taken for b in taken), message


@settings(max_examples=100, deadline=None)
@given(st.sets(st.text('abc/.*-', min_size=1, max_size=8).filter(usable), max_size=12), st.text('abc/*?-.', min_size=1, max_size=6))
def test_a_glob_fetches_just_what_it_finds(keys, pattern):
    lab = bucket_of({key: key.encode() for key in keys})
    with tempfile.TemporaryDirectory() as folder:
        found = {item.key for item in lab.find_items(pattern)}
        try: report = download(lab, folder, pattern)
        except ConfigError as e: return check_collision(found, str(e))
        assert {row.key for row in report} == found == {path.read_text() for path in files(Path(folder)).values()}
