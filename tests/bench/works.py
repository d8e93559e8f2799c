"What is measured: how many objects of which size, between which server and a folder, by whom, and what is to be reached."
from dataclasses import dataclass, field

everybody = ('objstore', 'obstore', 's5cmd', 'rclone', 'boto3')


@dataclass(frozen=True)
class Work:
    "One job that every contender does in turn."
    name: str
    action: str  # as in `commands.Job`
    files: str   # the folder of `data.make` whose files are the objects
    threads: int = 16
    server: str = 'seaweedfs' # of `buckets.filled`
    contenders: tuple = everybody
    # contender: {what of ours: how many times its own it may be}. For objstore itself: how much of what, all told.
    targets: dict = field(default_factory=dict)


def beside_sdk(name, server, *sdks):
    "Downloads from a provider beside its own library, to be met in CPU and in time."
    who = {'threads': 8, 'server': server, 'contenders': ('objstore', *sdks), 'targets': {sdk: {'cpu': 1, 'wall': 1} for sdk in sdks}}
    return [Work(f'{name}-down', 'down', 'some', **who), Work(f'{name}-down-big', 'down_big', 'quarter', **who)]


small = {'obstore': {'cpu': 1.2}, 's5cmd': {'wall': 1}, 'rclone': {'wall': 1}}
down_big = {'objstore': {'rss': 200}, 's5cmd': {'wall': 1}}
works = {work.name: work for work in [
    Work('down', 'down', 'small', targets=small),
    Work('down-static', 'down', 'small', server='static', targets=small),
    Work('up', 'up', 'small', targets=small),
    Work('down-big', 'down_big', 'big', threads=8, targets=down_big),
    Work('down-big-static', 'down_big', 'big', threads=8, server='static', targets=down_big),
    Work('up-big', 'up_big', 'big', threads=8, targets={'obstore': {'cpu': 1.15}, 's5cmd': {'wall': 1}}),
    Work('down-ten', 'down_big', 'ten', threads=32, server='static', contenders=('objstore',), targets={'objstore': {'rss': 300}}),
    Work('again', 'again', 'small', contenders=('objstore', 'obstore', 's5cmd', 'rclone'), targets={'rclone': {'wall': 1}}),
    *beside_sdk('gcs', 'fake-gcs-server', 'google', 'google_threads'),
    *beside_sdk('azure', 'azurite', 'azure'),
    *beside_sdk('hf', 'hub', 'huggingface_hub')]}
