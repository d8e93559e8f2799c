"The Hub's answers: a function for each of its endpoints, found by method and path."
import json, re
from base64 import b64decode
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote
from tests.hub.hub import HubBucket, is_ignored
from tests.hub.repository import File, Refusal, entries, found

page_size,expanded_page_size,commits_page_size = 1000,50,50
kinds = {'models': 'model', 'datasets': 'dataset', 'spaces': 'space'}
routes = []


@dataclass
class Asked:
    "One request."
    method: str
    path: str
    query: dict
    headers: object
    body: bytes = b''
    user: object = None

    @property
    def json(self): return json.loads(self.body or b'{}')

    def flag(self, name): return self.query.get(name, ['false'])[0].lower() in ('true', '1')


@dataclass
class Answer:
    "What is sent back; `file` is a path whose bytes are the body."
    status: int = 200
    body: bytes = b''
    headers: dict = field(default_factory=dict)
    file: object = None


def said(content, status=200, headers=None):
    "An answer in JSON."
    return Answer(status, json.dumps(content).encode(), {'Content-Type': 'application/json; charset=utf-8', **(headers or {})})


def route(method, pattern):
    "Register the function for requests of `method` whose path is `pattern`: `KIND`, `ID`, `REV` and `PATH` stand for themselves."
    names = {'KIND': '(models|datasets|spaces)', 'ID': '([^/]+/[^/]+)', 'REV': '([^/]+)', 'PATH': '(.+)', 'NAME': '([^/]+)'}
    regex = re.compile(re.sub('KIND|ID|REV|PATH|NAME', lambda match: names[match[0]], pattern))
    return lambda function: routes.append((method, regex, function)) or function


def answer(hub, asked):
    "What the Hub says to a request."
    method = 'GET' if asked.method == 'HEAD' else asked.method
    for wanted,regex,function in routes:
        match = regex.fullmatch(asked.path)
        if wanted == method and match: return function(hub, asked, *(part and unquote(part) for part in match.groups()))
    raise Refusal(404, message=f'no such endpoint: {asked.method} {asked.path}')


def paged(items, asked, hub, size):
    "One page of `items` in JSON, with a link to the next."
    start = int(asked.query.get('cursor', ['0'])[0])
    query = '&'.join(f'{name}={value}' for name,values in asked.query.items() if name != 'cursor' for value in values)
    more = {'Link': f'<{hub.url}{asked.path}?{query}&cursor={start + size}>; rel="next"'} if len(items) > start + size else {}
    return [*items[start:start + size]], more


def entry(path, what, repo, expand):
    "A file or folder as listings show it."
    if not isinstance(what, File): return {'type': 'directory', 'oid': '0' * 40, 'size': 0, 'path': path}
    large = {'lfs': {'oid': what.sha256, 'size': what.size, 'pointerSize': 134}} if what.sha256 else {}
    return {'type': 'file', 'oid': what.oid, 'size': what.size, 'path': path, **large, **({'lastCommit': short(repo.commits[what.commit])} if expand else {})}


def short(commit):
    "A commit as it stands beside a file."
    return {'id': commit.id, 'title': commit.title, 'date': iso(commit.date)}


def iso(time):
    "A time as the Hub writes it."
    return time.strftime('%Y-%m-%dT%H:%M:%S.000Z')


# Who asks, and which repositories there are


@route('GET', '/api/whoami-v2')
def whoami(hub, asked):
    if asked.user is None: raise Refusal(401, message='Invalid username or password.')
    orgs = [{'type': 'org', 'name': name, 'fullname': name, 'roleInOrg': 'write'} for name in asked.user.orgs]
    role = 'write' if asked.user.writes else 'read'
    return said({'type': 'user', 'id': '1', 'name': asked.user.name, 'fullname': asked.user.name, 'orgs': orgs,
        'auth': {'type': 'access_token', 'accessToken': {'displayName': 'test', 'role': role}}})


@route('POST', '/api/validate-yaml')
def validate_yaml(hub, asked): return said({'errors': [], 'warnings': []})


@route('POST', '/api/repos/create')
def create(hub, asked):
    given = asked.json
    owner = given.get('organization') or (asked.user.name if asked.user else '')
    hub.check_owner(asked.user, owner)
    kind,id = given.get('type') or 'model',f"{owner}/{given['name']}"
    private = given.get('visibility', 'private' if given.get('private') else 'public') != 'public'
    url = f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{id}"
    try: hub.create(kind, id, private)
    except Refusal as refusal: return said({'error': refusal.message, 'url': url}, refusal.status)
    return said({'url': url, 'name': id, 'id': id})


@route('DELETE', '/api/repos/delete')
def delete(hub, asked):
    given = asked.json
    owner = given.get('organization') or (asked.user.name if asked.user else '')
    repo = hub.repository(asked.user, given.get('type') or 'model', f"{owner}/{given['name']}", write=True)
    del hub.repositories[repo.kind, repo.id]
    return Answer(body=b'OK')


@route('GET', '/api/KIND')
def repositories(hub, asked, kind):
    author,search = (asked.query.get(name, [''])[0] for name in ('author', 'search'))
    own = (asked.user.name, *asked.user.orgs) if asked.user else ()
    def is_meant(repo):
        owner = repo.id.partition('/')[0]
        return repo.kind == kinds[kind] and author in ('', owner) and search.lower() in repo.id.lower() and (not repo.private or owner in own)
    seen = [info(repo, kind) for _,repo in sorted(hub.repositories.items()) if is_meant(repo)]
    items,headers = paged(seen, asked, hub, min(int(asked.query.get('limit', [page_size])[0]), page_size))
    return said(items, 200, headers)


def info(repo, kind, commit=None, blobs=False):
    "What the Hub tells of a repository."
    commit = commit or repo.commit_at('main')
    told = {'_id': '0' * 24, 'id': repo.id, 'author': repo.id.partition('/')[0], 'sha': commit.id, 'lastModified': iso(commit.date),
        'private': repo.private, 'gated': repo.gated, 'disabled': False, 'createdAt': iso(repo.created), 'tags': [], 'downloads': 0, 'likes': 0}
    return {**told, **({'modelId': repo.id} if kind == 'models' else {})}


@route('GET', '/api/KIND/ID(?:/revision/REV)?')
def repository_info(hub, asked, kind, id, revision):
    repo = hub.repository(asked.user, kinds[kind], id)
    commit = repo.commit_at(revision or 'main')
    def sibling(path, file):
        if not asked.flag('blobs'): return {'rfilename': path}
        large = {'lfs': {'sha256': file.sha256, 'size': file.size, 'pointerSize': 134}} if file.sha256 else {}
        return {'rfilename': path, 'size': file.size, 'blobId': file.oid, **large}
    siblings = [sibling(path, file) for path,file in entries(commit.tree, True) if isinstance(file, File)]
    return said({**info(repo, kind, commit), 'siblings': siblings})


@route('PUT', '/api/KIND/ID/settings')
def settings(hub, asked, kind, id):
    repo,given = hub.repository(asked.user, kinds[kind], id, write=True),asked.json
    if 'gated' in given: repo.gated = given['gated']
    if 'visibility' in given or 'private' in given: repo.private = given.get('visibility', 'private' if given.get('private') else 'public') != 'public'
    return said({})


# Files and commits


@route('GET', '/api/KIND/ID/tree/REV(?:/PATH)?')
def tree(hub, asked, kind, id, revision, path):
    repo = hub.repository(asked.user, kinds[kind], id)
    folder = found(repo.commit_at(revision).tree, path or '')
    if not isinstance(folder, dict): raise Refusal(404, 'EntryNotFound', f'{path} does not exist on "{revision}"')
    expand = asked.flag('expand')
    items,headers = paged(list(entries(folder, asked.flag('recursive'), (path or '').strip('/'))), asked, hub, expanded_page_size if expand else page_size)
    return said([entry(path, what, repo, expand) for path,what in items], 200, headers)


@route('POST', '/api/KIND/ID/paths-info/REV')
def paths_info(hub, asked, kind, id, revision):
    repo = hub.repository(asked.user, kinds[kind], id)
    is_json = 'json' in asked.headers.get('Content-Type', '')
    given = asked.json if is_json else parse_qs(asked.body.decode(), keep_blank_values=True)
    expand = given.get('expand', False) if is_json else given.get('expand', ['false'])[0].lower() == 'true'
    there = ((path, found(repo.commit_at(revision).tree, path)) for path in given.get('paths', []))
    return said([entry(path, what, repo, expand) for path,what in there if what is not None])


@route('GET', '/api/KIND/ID/commits/REV')
def commits(hub, asked, kind, id, revision):
    repo = hub.repository(asked.user, kinds[kind], id)
    size = min(int(asked.query.get('limit', [commits_page_size])[0]), 1000)
    items,headers = paged(list(repo.history(revision)), asked, hub, size)
    return said([{'id': c.id, 'title': c.title, 'message': c.message, 'authors': [{'user': c.author}], 'date': iso(c.date)} for c in items], 200, headers)


@route('GET', '/api/KIND/ID/refs')
def refs(hub, asked, kind, id):
    repo = hub.repository(asked.user, kinds[kind], id)
    def named(names, place): return [{'name': name, 'ref': f'refs/{place}/{name}', 'targetCommit': commit} for name,commit in names.items()]
    return said({'branches': named(repo.branches, 'heads'), 'tags': named(repo.tags, 'tags'), 'converts': []})


@route('POST', '/api/KIND/ID/(branch|tag)/REV')
def name_commit(hub, asked, kind, id, what, name):
    repo = hub.repository(asked.user, kinds[kind], id, write=True)
    names = repo.branches if what == 'branch' else repo.tags
    new,start = (name, asked.json.get('startingPoint', 'main')) if what == 'branch' else (asked.json['tag'], name)
    if new in names: raise Refusal(409, message=f'Reference already exists: {new}')
    names[new] = repo.commit_at(start).id
    return said({})


@route('DELETE', '/api/KIND/ID/(branch|tag)/REV')
def forget_name(hub, asked, kind, id, what, name):
    repo = hub.repository(asked.user, kinds[kind], id, write=True)
    names = repo.branches if what == 'branch' else repo.tags
    if names.pop(name, None) is None: raise Refusal(404, 'RevisionNotFound', f'no {what} {name}')
    return Answer()


@route('POST', '/api/KIND/ID/preupload/REV')
def preupload(hub, asked, kind, id, revision):
    repo = hub.repository(asked.user, kinds[kind], id, write=True)
    now,given = repo.commit_at(revision).tree,asked.json
    rules = found(now, '.gitignore')
    ignored = given.get('gitIgnore', hub.blobs[rules.oid].decode() if isinstance(rules, File) else '')
    def told(asked):
        there = found(now, asked['path'])
        return {'path': asked['path'], 'uploadMode': hub.upload_mode(asked['path'], asked['size'], b64decode(asked['sample'])),
            'shouldIgnore': is_ignored(asked['path'], ignored), **({'oid': there.etag} if isinstance(there, File) else {})}
    return said({'files': [told(file) for file in given['files']]})


@route('POST', '/api/KIND/ID/commit/REV')
def commit(hub, asked, kind, id, revision):
    repo = hub.repository(asked.user, kinds[kind], id, write=True)
    header,*operations = [json.loads(line) for line in asked.body.splitlines() if line]
    for op in operations:
        if op['key'] == 'file': op['value']['content'] = b64decode(op['value']['content'])
    def change(tree, commit):
        for op in operations: tree = hub.change(op, tree, commit)
        return tree
    told = header['value']
    oid = repo.add(revision, change, told['summary'], told.get('description', ''), asked.user.name, told.get('parentCommit'))
    return said({'success': True, 'commitOid': oid, 'commitUrl': f"{hub.url}/{'' if kind == 'models' else kind + '/'}{id}/commit/{oid}", 'hookOutput': ''})


# Bytes


@route('POST', '/(?:(datasets|spaces)/)?ID\\.git/info/lfs/objects/batch')
def large_batch(hub, asked, kind, id):
    hub.repository(asked.user, kinds[kind or 'models'], id, write=True)
    place = f'{kind}/{id}' if kind else id
    return said({'transfer': 'basic', 'objects': [hub.large.actions(file, hub.url, place) for file in asked.json['objects']]})


@route('POST', '/(?:(datasets|spaces)/)?ID\\.git/info/lfs/complete/NAME')
def large_complete(hub, asked, kind, id, sha256):
    hub.large.complete(sha256, len(asked.json['parts']))
    return said({'success': True})


@route('POST', '/(?:(datasets|spaces)/)?ID\\.git/info/lfs/verify')
def large_verify(hub, asked, kind, id):
    path = hub.large.path(asked.json['oid'])
    if not path.exists() or path.stat().st_size != asked.json['size']: raise Refusal(404, message='Object does not exist')
    return said({})


@route('GET', '/(?:(datasets|spaces)/)?ID/resolve/REV/PATH')
def resolve(hub, asked, kind, id, revision, path):
    repo = hub.repository(asked.user, kinds[kind or 'models'], id)
    hub.check_gate(asked.user, repo)
    commit = repo.commit_at(revision)
    file,known = found(commit.tree, path),{'X-Repo-Commit': commit.id, 'Accept-Ranges': 'bytes'}
    if not isinstance(file, File): raise Refusal(404, 'EntryNotFound', 'Entry not found', known)
    etag = f'"{file.etag}"'
    if not file.sha256: return Answer(200, hub.blobs[file.oid], {**known, 'ETag': etag, 'Content-Type': 'text/plain; charset=utf-8'})
    linked = {'X-Linked-ETag': etag, 'X-Linked-Size': str(file.size), 'Location': hub.large.signed('large', file.sha256)}
    return Answer(302, b'Found. Redirecting', {**known, **linked})


# Hub buckets, as far as they go without Xet


@route('POST', '/api/buckets/ID')
def create_bucket(hub, asked, id):
    hub.check_owner(asked.user, id.partition('/')[0])
    told = {'url': f'{hub.url}/buckets/{id}', 'name': id}
    if id in hub.buckets: return said({**told, 'error': 'You already created this bucket'}, 409)
    hub.buckets[id] = HubBucket(id, asked.json.get('visibility') != 'public')
    return said(told)


def bucket_of(hub, asked, id):
    "A bucket that is there."
    if id not in hub.buckets: raise Refusal(404 if asked.user else 401, 'RepoNotFound', 'Bucket not found')
    return hub.buckets[id]


def bucket_told(bucket):
    "What the Hub tells of a bucket."
    return {'id': bucket.id, 'private': bucket.private, 'createdAt': iso(bucket.created), 'size': sum(f['size'] for f in bucket.files.values()), 'totalFiles': len(bucket.files)}


@route('GET', '/api/buckets/ID')
def bucket_info(hub, asked, id): return said(bucket_told(bucket_of(hub, asked, id)))


@route('GET', '/api/buckets/NAME')
def buckets(hub, asked, owner):
    owner = asked.user.name if owner == 'me' and asked.user else owner
    return said([bucket_told(bucket) for id,bucket in sorted(hub.buckets.items()) if id.partition('/')[0] == owner])


@route('DELETE', '/api/buckets/ID')
def delete_bucket(hub, asked, id):
    hub.check_owner(asked.user, id.partition('/')[0])
    del hub.buckets[bucket_of(hub, asked, id).id]
    return Answer()


@route('GET', '/api/buckets/ID/tree(?:/PATH)?')
def bucket_tree(hub, asked, id, prefix):
    files = [file for path,file in sorted(bucket_of(hub, asked, id).files.items()) if path.startswith(prefix or '')]
    items,headers = paged(files, asked, hub, page_size)
    return said(items, 200, headers)


@route('POST', '/api/buckets/ID/paths-info')
def bucket_paths(hub, asked, id):
    files = bucket_of(hub, asked, id).files
    return said([files[path] for path in asked.json['paths'] if path in files])


@route('POST', '/api/buckets/ID/batch')
def bucket_batch(hub, asked, id):
    hub.check_owner(asked.user, id.partition('/')[0])
    files,operations = bucket_of(hub, asked, id).files,[json.loads(line) for line in asked.body.splitlines() if line]
    failed = [{'path': op['path'], 'error': 'not found'} for op in operations if op['type'] == 'deleteFile' and files.pop(op['path'], None) is None]
    return said({'success': not failed, 'processed': len(operations), 'succeeded': len(operations) - len(failed), 'failed': failed})


# For the tests alone


@route('POST', '/stand-in/bucket/ID')
def fill_bucket(hub, asked, id):
    "Put names and sizes into a Hub bucket, as if their bytes had come by Xet."
    for path,size in asked.json.items():
        hub.buckets[id].files[path] = {'type': 'file', 'path': path, 'size': size, 'xetHash': '0' * 64, 'mtime': iso(hub.buckets[id].created)}
    return said({})


@route('POST', '/stand-in/fault')
def fault(hub, asked):
    "Answer the next requests whose method and path match `pattern` with `status` and `headers`, `times` times."
    hub.faults.append(asked.json)
    return said({})


@route('POST', '/stand-in/forget')
def forget(hub, asked):
    "Make no more faults."
    hub.faults.clear()
    return said({})
