"One run of one contender: it starts from nothing, is measured, and its bytes are checked."
import os, shutil, subprocess, sys, tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path
from uuid import uuid4
from tests import servers
from tests.bench import contenders, data, measure, static
from tests.bench.commands import Job, command

limit = 300 # seconds for a run


@dataclass(frozen=True)
class Place:
    "Where the files lie, and the URLs of the servers."
    folder: Path
    urls: dict


@contextmanager
def place(factor):
    "Files and servers, until the block ends."
    servers.start()
    with tempfile.TemporaryDirectory(prefix='objstore-bench-') as folder:
        # As if all were installed: where no bytecode may be kept, half of our start would be the compiler's.
        os.environ.update(PYTHONDONTWRITEBYTECODE='', PYTHONPYCACHEPREFIX=f'{folder}/bytecode')
        files = Path(folder, 'files')
        data.make(files, factor)
        with serving(files) as url: yield Place(Path(folder), {'seaweedfs': os.environ['AWS_ENDPOINT_URL'], 'static': url, 'gcs': os.environ['STORAGE_EMULATOR_HOST']})


@contextmanager
def serving(files):
    "The URL of a static server of these files."
    with subprocess.Popen([sys.executable, '-m', static.__name__, str(files)], cwd=servers.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try: yield server.stdout.readline().strip()
        finally: server.stdin.close()


@contextmanager
def new_bucket(s3):
    "The name of a bucket that is ready to be written to: making room for the first object takes SeaweedFS a second."
    name = f'bench-{uuid4().hex}'
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key='first', Body=b'first')
    s3.delete_object(Bucket=name, Key='first')
    yield name
    for page in s3.get_paginator('list_objects_v2').paginate(Bucket=name):
        s3.delete_objects(Bucket=name, Delete={'Objects': [{'Key': item['Key']} for item in page['Contents']]})
    s3.delete_bucket(Bucket=name)


@contextmanager
def gcs_bucket(source):
    "The name of a bucket of Cloud Storage that holds the files of `source`, put there by Google's own library."
    bucket = contenders.google_client().create_bucket(f'bench-{uuid4().hex}')
    for path in source.iterdir(): bucket.blob(path.name).upload_from_filename(path)
    yield bucket.name
    for blob in bucket.list_blobs(): blob.delete()
    bucket.delete()


@contextmanager
def filled_bucket(place, work):
    "The name of a bucket that holds the work's files."
    if work.server == 'static': yield work.files; return
    if work.server == 'gcs':
        with gcs_bucket(place.folder/'files'/work.files) as bucket: yield bucket
        return
    with new_bucket(s3 := servers.client(place.urls['seaweedfs'])) as bucket:
        source = place.folder/'files'/work.files
        measured('obstore', Job('up', place.urls['seaweedfs'], bucket, source, work.threads))
        data.check_bucket(source, s3, bucket)
        yield bucket


def measured(contender, job):
    "What it cost the contender to do the job."
    done = subprocess.run([sys.executable, '-IS', measure.__file__, str(limit), *command(contender, job)], cwd=servers.root,
        env={**os.environ, 'AWS_ENDPOINT_URL': job.url}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    cost = loads(done.stdout.splitlines()[-1])
    if cost['status']: raise RuntimeError(f"{contender} ended with {cost['status']} in {job}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return cost


def run_down(place, work, contender, bucket):
    "A download into an empty folder."
    folder = place.folder/contender
    folder.mkdir()
    cost = measured(contender, Job(work.action, place.urls[work.server], bucket, folder, work.threads))
    data.check_folder(place.folder/'files'/work.files, folder)
    shutil.rmtree(folder)
    return cost


def run_up(place, work, contender, _):
    "An upload to an empty bucket."
    source,url = place.folder/'files'/work.files,place.urls[work.server]
    with new_bucket(s3 := servers.client(url)) as bucket:
        cost = measured(contender, Job(work.action, url, bucket, source, work.threads))
        data.check_bucket(source, s3, bucket)
    return cost


def run_again(place, work, contender, bucket):
    "A download into the folder that the contender itself filled before."
    folder = place.folder/f'{contender}-again'
    job = Job('again', place.urls[work.server], bucket, folder, work.threads)
    if not folder.exists(): fill(contender, job)
    before = data.marks(folder)
    cost = measured(contender, job)
    assert data.marks(folder) == before, f'{contender} wrote to files that were whole'
    data.check_folder(place.folder/'files'/work.files, folder)
    return cost


def fill(contender, job):
    "Download what is then downloaded again."
    job.folder.mkdir()
    measured(contender, replace(job, action='down'))


runs = {'down': run_down, 'down_big': run_down, 'gcs_down': run_down, 'gcs_down_big': run_down, 'up': run_up, 'up_big': run_up, 'again': run_again}
