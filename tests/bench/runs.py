"One run of one contender: it starts from nothing, is measured, and its bytes are checked."
import os, shutil, subprocess, sys, tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path
from tests import servers
from tests.bench import data, measure, static
from tests.bench.buckets import new_bucket, stores
from tests.bench.commands import Job, command

limit = 300 # seconds for a run


@dataclass(frozen=True)
class Place:
    "Where the files lie, and the URLs of the servers that S3's programs must be told of: the environment has the others'."
    folder: Path
    urls: dict

    def source(self, work):
        "The folder of files that the work moves."
        return self.folder/'files'/work.files

    def job(self, work, bucket, folder):
        "What a contender is told to do."
        return Job(work.action, stores[work.server], self.urls.get(work.server, ''), bucket, folder, work.threads)


@contextmanager
def place(factor):
    "Files and servers, until the block ends."
    servers.start()
    with tempfile.TemporaryDirectory(prefix='objstore-bench-') as folder:
        # As if all were installed: where no bytecode may be kept, half of our start would be the compiler's.
        os.environ.update(PYTHONDONTWRITEBYTECODE='', PYTHONPYCACHEPREFIX=f'{folder}/bytecode')
        files = Path(folder, 'files')
        data.make(files, factor)
        with serving(files) as url: yield Place(Path(folder), {'seaweedfs': os.environ['AWS_ENDPOINT_URL'], 'static': url})


@contextmanager
def serving(files):
    "The URL of a static server of these files."
    with subprocess.Popen([sys.executable, '-m', static.__name__, str(files)], cwd=servers.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try: yield server.stdout.readline().strip()
        finally: server.stdin.close()


def measured(contender, job):
    "What it cost the contender to do the job."
    done = subprocess.run([sys.executable, '-IS', measure.__file__, str(limit), *command(contender, job)], cwd=servers.root,
        env={**os.environ, 'AWS_ENDPOINT_URL': job.url, 'OBJSTORE_BENCH_STORE': job.store}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    cost = loads(done.stdout.splitlines()[-1])
    if cost['status']: raise RuntimeError(f"{contender} ended with {cost['status']} in {job}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return cost


def run_down(place, work, contender, bucket):
    "A download into an empty folder."
    folder = place.folder/contender
    folder.mkdir()
    cost = measured(contender, place.job(work, bucket, folder))
    data.check_folder(place.source(work), folder)
    shutil.rmtree(folder)
    return cost


def run_up(place, work, contender, _):
    "An upload to an empty bucket."
    source = place.source(work)
    with new_bucket(s3 := servers.client(place.urls[work.server])) as bucket:
        cost = measured(contender, place.job(work, bucket, source))
        data.check_bucket(source, s3, bucket)
    return cost


def run_again(place, work, contender, bucket):
    "A download into the folder that the contender itself filled before."
    folder = place.folder/f'{contender}-again'
    job = place.job(work, bucket, folder)
    if not folder.exists(): fill(contender, job)
    before = data.marks(folder)
    cost = measured(contender, job)
    assert data.marks(folder) == before, f'{contender} wrote to files that were whole'
    data.check_folder(place.source(work), folder)
    return cost


def fill(contender, job):
    "Download what is then downloaded again."
    job.folder.mkdir()
    measured(contender, replace(job, action='down'))


runs = {'down': run_down, 'down_big': run_down, 'up': run_up, 'up_big': run_up, 'again': run_again}
