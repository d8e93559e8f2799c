"""How many versions a second: publishing and indexing, beside the least that could do and beside pins.

`python -m tests.bench.versions` publishes 1 KiB again and again in a folder, each contender in turn, and prints the rows of
a Markdown table; `--index 100000` fills a bucket on the tests' SeaweedFS with so many versions and times searches of it.
pins takes part where it is installed (`pip install pins`)."""
import argparse, contextlib, io, os, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path


def bare(folder, contents):
    "A private file, fsync, a hard link under the next number, fsync of the folder: nothing less is durable and create-only."
    descriptor = os.open(folder, os.O_RDONLY)
    for n,content in enumerate(contents):
        with open(f'{folder}/draft', 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(f'{folder}/draft', f'{folder}/{n}')
        os.fsync(descriptor)
        os.unlink(f'{folder}/draft')
    os.close(descriptor)


def bucket_in(folder):
    "A bucket of versions in a folder."
    from objstore import LocalObjectStore, VersionedStore
    store = VersionedStore(LocalObjectStore(folder))
    return store.bucket(store.find_or_create_bucket('lab'))


def one_key(folder, contents):
    "Every content a version of one key."
    lab = bucket_in(folder)
    for content in contents: lab.put('model.bin', content, metadata={'accuracy': 0.91})


def many_keys(folder, contents):
    "Every content the first version of a key of its own."
    lab = bucket_in(folder)
    for n,content in enumerate(contents): lab.put(f'models/{n}.bin', content, metadata={'accuracy': 0.91})


def pins(folder, contents):
    "Every content a version of one pin."
    from pins import board_folder
    board = board_folder(str(folder), versioned=True)
    with contextlib.redirect_stderr(io.StringIO()): # it tells of every write
        for content in contents: board.pin_write(content.hex(), 'model', type='json', metadata={'accuracy': 0.91})


contenders = {'*write, fsync, link*': bare, 'objstore, one key': one_key, 'objstore, a key each': many_keys, 'pins': pins}


def rate(publish, count):
    "Contents that `publish` puts in a second; `None` where what it takes is not installed."
    contents = [os.urandom(1024) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        try: publish(Path(folder), contents)
        except ImportError: return None
        return count / (time.perf_counter() - began)


def publishing(count, rounds):
    "Print the best of some rounds, in which the contenders take turns."
    rates = [{name: rate(publish, count) for name,publish in contenders.items()} for _ in range(rounds)]
    print('| contender | versions/s |\n|---|--:|')
    for name in contenders:
        best = [found[name] for found in rates if found[name]]
        if best: print(f'| {name} | {max(best):,.0f} |')


def fill(bucket, count):
    "Put so many entries, ten versions a key, as publishing would."
    from objstore.entry import Entry
    from objstore.layout import entry_name, new_id, payload_name
    def put(n):
        key,version = f'models/{n // 10 % 100}/{n // 10}.bin', n % 10 + 1
        entry = Entry(key, version, new_id(), 1024, 'ab' * 32, datetime.now(timezone.utc), 'bench', 'a message', {'accuracy': n / count, 'stage': 'prod'}, payload=payload_name(key, new_id()))
        bucket.put(entry_name(key, version), entry.to_json())
    with ThreadPoolExecutor(32) as pool: list(pool.map(put, range(count)))


def timed(what, call):
    "Print how long a call took, with its CPU time; what it returned."
    wall,cpu = time.perf_counter(),time.process_time()
    answer = call()
    print(f'| {what} | {time.perf_counter() - wall:.3g} | {time.process_time() - cpu:.3g} |', flush=True)
    return answer


def indexing(count):
    "Print how long an index reads when it knows nothing, and when nothing is new."
    from objstore import S3ObjectStore, VersionedStore
    from objstore.marker import opened
    from tests import servers
    servers.start()
    store = S3ObjectStore()
    plain = store.bucket(store.find_or_create_bucket('bench-versions'))
    opened(plain)
    fill(plain, count)
    print(f'| {count:,} versions on SeaweedFS | wall s | CPU s |\n|---|--:|--:|')
    timed('bare listing', lambda: sum(1 for _ in plain.find_items()))
    with tempfile.TemporaryDirectory() as folder: searching(lambda: VersionedStore(store).bucket('bench-versions'), Path(folder))


def searching(lab, folder):
    "Print how long a first search takes, from the entries and from a snapshot, and what it costs later; `lab` opens the bucket."
    query = "accuracy > 0.999 and stage = 'prod'"
    def search(machine='one', **options):
        os.environ['OBJSTORE_CACHE'] = str(folder/machine)
        return len(lab().search(query, **options))
    found = timed('first search: every entry is read', search)
    timed('search when the index is too old and nothing is new', lambda: search(max_age=0))
    timed('the snapshot is written', lambda: lab().write_snapshot())
    assert timed('first search on a new machine, from the snapshot', lambda: search('two')) == found
    same = lab()
    for what in ('a search within max_age', 'another of the same store'):
        timed(what, lambda: same.search(query))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--index', type=int)
    args = parser.parse_args()
    indexing(args.index) if args.index else publishing(args.count, args.rounds)
