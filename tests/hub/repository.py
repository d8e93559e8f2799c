"A git repository as the Hub keeps it: commits with parents, trees that share what did not change, branches and tags."
import hashlib, itertools
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from threading import RLock


class Refusal(Exception):
    "What the Hub answers when it does not do what it was asked."
    def __init__(self, status, code='', message='', headers=None):
        super().__init__(message or code)
        self.status,self.code,self.message,self.headers = status,code,message or code,headers or {}


@dataclass(frozen=True)
class File:
    "One file in one state; a large one is a pointer to its sha256 in the repository and lies elsewhere."
    oid: str
    size: int
    sha256: str | None = None
    commit: str = ''

    @property
    def etag(self):
        "What names its content."
        return self.sha256 or self.oid

    def same(self, other):
        "Is `other` a file with the same content?"
        return isinstance(other, File) and (other.oid, other.sha256) == (self.oid, self.sha256)


@dataclass(frozen=True)
class Commit:
    "One state of all files: `tree` is a dictionary of files and dictionaries."
    id: str
    parent: str | None
    tree: dict
    title: str
    message: str
    author: str
    date: datetime


def git_oid(content, kind='blob'):
    "The name git gives to content."
    return hashlib.sha1(b'%s %d\0' % (kind.encode(), len(content)) + content).hexdigest()


def pointer(sha256, size):
    "What git keeps in place of a large file."
    return f'version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n'.encode()


def found(tree, path):
    "The file or folder at `path`, or `None`."
    for name in filter(None, path.split('/')):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def with_file(tree, path, file):
    "`tree` with `file` at `path`; what is there with the same content stays as it is."
    name,slash,rest = path.partition('/')
    there = tree.get(name)
    if slash and isinstance(there, File) or not slash and isinstance(there, dict): raise Refusal(400, message=f'{path} would be a file and a folder')
    if slash: return {**tree, name: with_file(there or {}, rest, file)}
    return tree if file.same(there) else {**tree, name: file}


def without(tree, path):
    "`tree` without the file or folder at `path`, nor folders that this leaves empty."
    name,slash,rest = path.partition('/')
    kept = {n: entry for n,entry in tree.items() if n != name}
    below = without(tree[name], rest) if slash else {}
    return {**kept, name: below} if below else kept


def entries(tree, recursive, path=''):
    "Paths with their files and folders, folders first, as the Hub lists them: not in the order of their names."
    prefix = f'{path}/' if path else ''
    for name,entry in sorted(tree.items(), key=lambda item: (isinstance(item[1], File), item[0])):
        yield prefix + name, entry
        if recursive and isinstance(entry, dict): yield from entries(entry, True, prefix + name)


class Repository:
    "Branches, tags and commits; the first commit holds `.gitattributes`, as on the Hub."
    numbers = itertools.count(1)

    def __init__(self, kind, id, private, attributes):
        self.kind,self.id,self.private,self.gated = kind,id,private,False
        self.commits,self.branches,self.tags,self.lock = {},{},{},RLock()
        self.created = now()
        self.branches['main'] = self._new(None, lambda id: {'.gitattributes': replace(attributes, commit=id)}, 'initial commit', '', 'system')

    def _new(self, parent, tree_of, title, message, author):
        id = hashlib.sha1(f'{self.kind}/{self.id} {parent} {title} {next(self.numbers)}'.encode()).hexdigest()
        self.commits[id] = Commit(id, parent, tree_of(id), title, message, author, now())
        return id

    def commit_at(self, revision):
        "The commit that a branch, tag or commit id names."
        name = revision.removeprefix('refs/heads/')
        id = self.branches.get(name) or self.tags.get(name) or name
        if id not in self.commits: raise Refusal(404, 'RevisionNotFound', f'Invalid rev id: {revision}')
        return self.commits[id]

    def history(self, revision):
        "Commits from `revision` back to the first."
        commit = self.commit_at(revision)
        while commit:
            yield commit
            commit = self.commits.get(commit.parent)

    def add(self, branch, change, title, message, author, parent=None):
        "A commit on `branch`: `change` is given the last tree and the new commit's id; `parent`, if given, must be the last commit."
        with self.lock:
            if branch not in self.branches: raise Refusal(404, 'RevisionNotFound', f'{branch} is not a branch')
            head = self.commits[self.branches[branch]]
            if parent and not head.id.startswith(parent): raise Refusal(412, message='A commit has happened since. Please refresh and try again.')
            self.branches[branch] = self._new(head.id, lambda id: change(head.tree, id), title, message, author)
            return self.branches[branch]


def now():
    "The time, as exact as git keeps it."
    return datetime.now(timezone.utc).replace(microsecond=0)
