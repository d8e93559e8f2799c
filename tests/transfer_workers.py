"What the processes of `test_faults` do; a module of its own, so that a child starts without pytest and hypothesis."
import os, sys
from objstore.backends.s3 import S3ObjectStore
from objstore.retry import Patience
from objstore.transfer import download, upload
from tests.between_workers import memory_peak

hasty = Patience(first=0.01, longest=0.1, stall=0.5)


def lab(url, bucket, patience=None, **options):
    "A bucket of the server at `url`."
    store = S3ObjectStore(endpoint=url, **options)
    if patience is not None: store.patience = patience
    return store.bucket(bucket)


def fetch_all(url, bucket, folder, workers=2):
    "Download everything; what became of it."
    return rows(download(lab(url, bucket), folder, max_workers=workers))


def send_all(url, bucket, folder, workers=2):
    "Upload everything; what became of it."
    return rows(upload(folder, lab(url, bucket), max_workers=workers))


def fetch_one(url, bucket, path, key='large'):
    "Download one object by itself; how many bytes this process held at most."
    lab(url, bucket).download(key, path)
    return memory_peak()


def rows(report): return [(row.key, row.state, f'{type(row.error).__name__}: {row.error}' if row.error else '') for row in report]


def fetch_limited(url, bucket, folder, limit):
    "Download while no file may be larger than `limit` bytes."
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return fetch_all(url, bucket, folder)


def fetch_without_permission(url, bucket, folder):
    "Download as a user who may not write there."
    import encodings.idna, filelock, obstore, urllib3 # from a folder that only its owner may be allowed to read
    me = os.geteuid()
    if me == 0: os.seteuid(65534)
    try: return fetch_all(url, bucket, folder)
    finally: os.seteuid(me)


def main(verb, url, bucket, folder):
    "Do one of the two until ^C."
    try: done = {'download': lambda: fetch_all(url, bucket, folder, 8), 'upload': lambda: send_all(url, bucket, folder, 8), 'one': lambda: fetch_one(url, bucket, folder)}[verb]()
    except KeyboardInterrupt: sys.exit('interrupted')
    print(done)


if __name__ == '__main__': main(*sys.argv[1:])
