"What the processes of `test_local` do; a module of its own, so that a child starts without pytest and hypothesis."
import os, random, signal, time
from objstore.backends.local import LocalObjectStore, locked
from objstore.backends.local_folders import open_root
from objstore.errors import AlreadyExistsError, NotFoundError, ObjStoreError, PermissionDeniedError, PreconditionError

together = None


def join(barrier):
    "In each child once: what `together.wait()` waits at."
    global together
    together = barrier


def lab(root):
    "The bucket that all of them use."
    return LocalObjectStore(root).bucket('lab')


def create(root, me, rounds):
    "Race for one new key a round; the rounds won."
    return [n for n in range(rounds) if won(lab(root), f'round-{n}', me)]


def won(bucket, key, me):
    "Was ours the put that made `key`?"
    together.wait(60)
    try: return bucket.put(key, me.encode(), if_none_match='*')
    except AlreadyExistsError: return None


def count_up(root, times):
    "Add one to the counter, `times` times, losing no addition of anybody's; how often somebody was faster."
    together.wait(60)
    return sum(add_one(lab(root)) for _ in range(times))


def add_one(bucket):
    "Add one; the number of attempts that failed."
    for failed in range(100_000):
        with bucket.read('counter') as reader: number = int(reader.read())
        try: return bucket.put('counter', b'%d' % (number + 1), if_match=reader.stats.etag) and failed
        except PreconditionError: pass


def put_and_remove(root, me, times):
    "Put and remove a key in a folder that is empty as soon as nobody else has one there."
    together.wait(60)
    bucket = lab(root)
    for n in range(times):
        bucket.put(f'deep/folder/{me}', b'%d' % n)
        assert bucket.get(f'deep/folder/{me}') == b'%d' % n
        assert bucket.remove(f'deep/folder/{me}')


def put_until_gone(root, me, times):
    "Put until there is no bucket any more."
    together.wait(60)
    try: [lab(root).put(f'{me}/{n}/x', b'x') for n in range(times)]
    except NotFoundError: return True
    return False


def hold_lock(root, held):
    "Take the lock of the counter and keep it until somebody ends this process."
    with open_root(os.fsencode(root)) as folder, locked(folder, 'lab/counter'):
        held.set()
        time.sleep(600)


def put_for_ever(root, started):
    "Replace three objects, each by equal bytes whose value tells how many there are and, if possible, what is beside them."
    bucket = lab(root)
    while True:
        value = random.randrange(1, 256)
        metadata = {'value':str(value)} if 'metadata' in bucket.store.can else None
        bucket.put(f'in/folder/{value % 3}', iter([bytes([value])*1000*value]*2), metadata=metadata)
        started.set()


def die_half_way(root):
    "Be killed in the middle of a put."
    def data():
        yield b'half'
        os.kill(os.getpid(), signal.SIGKILL)
    lab(root).put('a/b', data())


def put_limited(root, limit, size):
    "Replace `old` and make `new` while no file may be larger than `limit`; what the two puts said."
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return [said(lambda: lab(root).put(key, b'x'*size)) for key in ('old', 'new')]


def lab_of_nobody(root):
    "The bucket, as a user who owns nothing; where this user may not change who they are, as themselves."
    if os.geteuid() == 0: os.seteuid(65534)
    return lab(root)


def pass_through(root):
    "What can be read, and what listing says, of a folder that may be entered only by who knows the names in it."
    bucket = lab_of_nobody(root)
    return bucket.get('closed/known'), said(lambda: list(bucket))


def change_without_permission(root):
    "Put, remove and read as a user who may only read; what the changes said, and what was read."
    bucket = lab_of_nobody(root)
    changes = (lambda: bucket.put('old', b'new'), lambda: bucket.put('new', b'new'), lambda: bucket.remove('old'),
               lambda: bucket.store.find_or_create_bucket('other'), lambda: bucket.store.remove_bucket('lab', force=True))
    return [said(change) for change in changes], bucket.get('old'), bucket.store.can


def flip(path, link, flips):
    "Exchange what two names mean, in one step and for ever: now the one is the folder, now the other. `flips` counts."
    import ctypes
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    here,exchange = -100,2 # AT_FDCWD, RENAME_EXCHANGE
    while True: flips.value += not renameat2(here, os.fsencode(path), here, os.fsencode(link), exchange)


def said(change):
    "The error of `change()`, as its type's name and text."
    try: return change()
    except ObjStoreError as e: return f'{type(e).__name__}: {e}'
