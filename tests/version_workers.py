"What the processes of `test_versions` do; a module of its own, so that a child starts without pytest."
import os, random, time
from hashlib import sha256
from objstore.backends.azure import AzureObjectStore
from objstore.backends.hf import HFObjectStore
from objstore.backends.local import LocalObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.errors import NotFoundError
from objstore.versioned import VersionedStore

together = None


def join(barrier):
    "In each child once: what `together.wait()` waits at."
    global together
    together = barrier


servers = {'s3': S3ObjectStore, 'azure': AzureObjectStore, 'hf': HFObjectStore}


def store_at(place, grace='24h'):
    "Versions in a folder, or on a server of the tests."
    return VersionedStore(servers[place]() if place in servers else LocalObjectStore(place), grace=grace)


def publish(place, bucket, me, times):
    "Publish `times` versions of one key; the number and the content of each."
    lab = store_at(place).bucket(bucket)
    together.wait(60)
    return [(lab.put('k', content).version, content) for content in (b'%d %d' % (me, n) for n in range(times))]


class Dying(LocalObjectStore):
    "Ends its process right after a given number of calls, when what the last one did has been done."
    def __init__(self, root, calls):
        super().__init__(root)
        self.calls = calls

    def _done(self, result):
        self.calls -= 1
        if not self.calls: os._exit(9)
        return result

    def _items(self, *args): return iter(self._done(list(super()._items(*args))))
    def _put(self, *args): return self._done(super()._put(*args))
    def _read(self, *args): return self._done(super()._read(*args))
    def _get_stats(self, *args): return self._done(super()._get_stats(*args))
    def _copy(self, *args): return self._done(super()._copy(*args))
    def _remove(self, *args): return self._done(super()._remove(*args))


acts = {
    'publish': lambda lab: lab.put('k', iter([b'fo', b'ur']), metadata={'n': 4}),
    'amend': lambda lab: lab.amend('k', 1, metadata={'n': 7}),
    'alias': lambda lab: lab.alias('k', 'prod', 2),
    'delete': lambda lab: lab.remove('k'),
    'prune': lambda lab: lab.prune(keep=1, grace=0),
}


def die_in(root, act, calls):
    "Do one thing, and die after so many calls of the store below; true if it was done before that."
    acts[act](VersionedStore(Dying(root, calls)).bucket('lab'))
    return True


def signed(size):
    "Random bytes that begin with their own digest."
    body = random.randbytes(size)
    return sha256(body).hexdigest().encode() + body


def is_signed(content):
    "Are these bytes whole?"
    return sha256(content[64:]).hexdigest().encode() == content[:64]


def storm_publisher(place, bucket, grace, end):
    "Publish until the time is over; how often."
    lab,count = store_at(place, grace).bucket(bucket),0
    while time.time() < end:
        lab.put(f'k{random.randrange(3)}', signed(random.randrange(2000)))
        count += 1
    return count


def storm_pruner(place, bucket, grace, end):
    "Prune until the time is over; how many objects went."
    lab,count = store_at(place, grace).bucket(bucket),0
    while time.time() < end:
        report = lab.prune(keep=1)
        report.raise_failed()
        count += sum(row.target == 'bytes' for row in report)
    return count


def storm_reader(place, bucket, grace, end):
    "Read the latest, and versions that a listing tells of, until the time is over; how many were whole, and gone."
    lab,whole,gone = store_at(place, grace).bucket(bucket),0,0
    while time.time() < end:
        key = f'k{random.randrange(3)}'
        versions = [None, *(v.version for v in list(lab.find_versions(key))[:3])] # what is listed may be removed before it is read
        for version in versions:
            try: content = lab.get(key, version=version)
            except NotFoundError: gone += version is not None
            else: whole += is_signed(content) or 1/0
    return whole,gone
