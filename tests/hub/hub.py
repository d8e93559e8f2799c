"The Hub's memory: who may do what, repositories, Hub buckets, and the small files' contents."
import fnmatch
from dataclasses import dataclass, field
from tests.hub.large import LargeFiles
from tests.hub.repository import File, Refusal, Repository, found, git_oid, now, pointer, with_file, without

large_names = ['*.7z', '*.arrow', '*.bin', '*.gz', '*.h5', '*.onnx', '*.parquet', '*.pkl', '*.pt', '*.safetensors', '*.tar', '*.zip']
attributes = ''.join(f'{name} filter=lfs diff=lfs merge=lfs -text\n' for name in large_names).encode()
largest_regular = 10 * 2**20  # bytes


@dataclass(frozen=True)
class User:
    "Who a token stands for."
    name: str
    orgs: tuple = ()
    writes: bool = True


@dataclass
class HubBucket:
    "A bucket of the Hub: the names and sizes of its files, without their bytes."
    id: str
    private: bool
    files: dict = field(default_factory=dict)
    created: object = field(default_factory=now)


users = {'hf_objstore_test': User('tester', ('testers',)), 'hf_objstore_reader': User('reader', (), False)}


class Hub:
    "Everything the stand-in holds."
    def __init__(self, folder):
        self.url,self.large,self.blobs = '',LargeFiles(folder),{}
        self.repositories,self.buckets,self.faults = {},{},[]

    def user(self, headers):
        "Who asks; nobody without a token."
        token = headers.get('Authorization', '').removeprefix('Bearer ')
        if token and token not in users: raise Refusal(401, message='Invalid credentials in Authorization header')
        return users.get(token)

    def check_owner(self, user, owner):
        "Refuse who may not write what belongs to `owner`."
        if user is None: raise Refusal(401, message='Invalid username or password.')
        if not user.writes: raise Refusal(403, message='this token has no right to write')
        if owner not in (user.name, *user.orgs): raise Refusal(403, message=f"You don't have the rights to write under the namespace {owner!r}")

    def repository(self, user, kind, id, write=False):
        "The repository that `user` may see, and write to."
        repo = self.repositories.get((kind, id))
        owner = id.partition('/')[0]
        if repo is None or repo.private and (user is None or owner not in (user.name, *user.orgs)):
            raise Refusal(404 if user else 401, 'RepoNotFound', 'Repository not found' if user else 'Invalid username or password.')
        if write: self.check_owner(user, owner)
        return repo

    def check_gate(self, user, repo):
        "Refuse the files of a gated repository to strangers."
        if repo.gated and (user is None or repo.id.partition('/')[0] not in (user.name, *user.orgs)):
            raise Refusal(403 if user else 401, 'GatedRepo', f'Access to {repo.kind} {repo.id} is restricted')

    def create(self, kind, id, private):
        "A new repository."
        if (kind, id) in self.repositories: raise Refusal(409, message='You already created this repo')
        self.repositories[kind, id] = Repository(kind, id, private, self.keep(attributes))

    def keep(self, content, commit=''):
        "A small file with this content."
        oid = git_oid(content)
        self.blobs[oid] = content
        return File(oid, len(content), None, commit)

    def keep_large(self, sha256, commit=''):
        "A large file that was uploaded before."
        path = self.large.path(sha256)
        if not path.exists(): raise Refusal(400, message=f'Your push was rejected because an LFS pointer pointed to a file that does not exist: {sha256}')
        size = path.stat().st_size
        return File(git_oid(pointer(sha256, size)), size, sha256, commit)

    def upload_mode(self, path, size, sample):
        "Whether a file of this name and beginning is `lfs` or `regular`."
        large = size > largest_regular or b'\0' in sample or any(fnmatch.fnmatchcase(path.rpartition('/')[2], name) for name in large_names)
        return 'lfs' if large else 'regular'

    def change(self, operation, tree, commit):
        "`tree` after one operation of a commit."
        key,value = operation['key'],operation['value']
        path = value['path']
        if key != 'deletedFolder': check_path(path)
        if key == 'file': return with_file(tree, path, self.keep(value['content'], commit))
        if key == 'lfsFile': return with_file(tree, path, self.keep_large(value['oid'], commit))
        kind = dict if key == 'deletedFolder' else File
        if not isinstance(found(tree, path), kind): raise Refusal(404, 'EntryNotFound', "A file with this name doesn't exist")
        return without(tree, path.rstrip('/'))


def check_path(path):
    "Refuse what git keeps under no name."
    if any(part in ('', '.', '..') or part.lower() == '.git' for part in path.split('/')): raise Refusal(400, message=f'Invalid file path: {path!r}')


def is_ignored(path, rules):
    "Does a `.gitignore` leave `path` out? Patterns only, no exceptions."
    patterns = [line.strip() for line in rules.splitlines() if line.strip() and not line.startswith('#')]
    return any(fnmatch.fnmatchcase(part, pattern.strip('/')) for pattern in patterns for part in [path, *path.split('/')])
