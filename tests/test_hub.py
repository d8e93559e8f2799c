"The stand-in for the Hub is true enough for the Hub's own client, driven here as its documentation does; objstore comes after."
import json, os, threading, urllib.request, uuid
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, HfFileSystem
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError


@pytest.fixture
def api():
    "A client of the stand-in."
    return HfApi(endpoint=os.environ['HF_ENDPOINT'], token=os.environ['HF_TOKEN'])


@pytest.fixture
def repo(api):
    "A fresh repository of models."
    return api.create_repo(f'tester/hub-{uuid.uuid4().hex[:12]}', private=True).repo_id


def put(api, repo, name, content):
    "One file in one commit; the commit's id."
    return api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo).oid


def stand_in(path, **given):
    "Tell the stand-in what to do for a test."
    request = urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/stand-in/{path}", json.dumps(given).encode(), method='POST')
    with urllib.request.urlopen(request): pass


def test_who_asks(api):
    assert api.whoami()['name'] == 'tester' and [org['name'] for org in api.whoami()['orgs']] == ['testers']
    with pytest.raises(HfHubHTTPError): HfApi(endpoint=api.endpoint, token='hf_wrong').whoami()


@pytest.mark.parametrize('kind', ['model', 'dataset', 'space'])
def test_repositories_come_and_go(api, kind):
    id = f'testers/hub-{uuid.uuid4().hex[:12]}'
    api.create_repo(id, repo_type=kind, private=True, space_sdk='static' if kind == 'space' else None)
    with pytest.raises(HfHubHTTPError): api.create_repo(id, repo_type=kind, space_sdk='static' if kind == 'space' else None)
    api.create_repo(id, repo_type=kind, exist_ok=True, space_sdk='static' if kind == 'space' else None)
    listing = {'model': api.list_models, 'dataset': api.list_datasets, 'space': api.list_spaces}[kind]
    assert id in [info.id for info in listing(author='testers')] and api.repo_info(id, repo_type=kind).private
    assert api.list_repo_files(id, repo_type=kind) == ['.gitattributes']
    api.delete_repo(id, repo_type=kind)
    with pytest.raises(RepositoryNotFoundError): api.repo_info(id, repo_type=kind)


@pytest.mark.parametrize('name,size', [('small.txt', 10), ('small.bin', 10_000), ('single.bin', 5 * 2**20), ('parts.bin', 40 * 2**20 + 1)])
def test_files_go_up_and_come_down(api, repo, tmp_path, name, size):
    content = os.urandom(size // 2).hex().encode() + b'x' * (size % 2)
    put(api, repo, f'folder/{name}', content)
    path = api.hf_hub_download(repo, f'folder/{name}', cache_dir=tmp_path)
    assert open(path, 'rb').read() == content
    assert api.hf_hub_download(repo, f'folder/{name}', cache_dir=tmp_path, local_files_only=True) == path


def test_folders_go_up_and_come_down(api, repo, tmp_path):
    (tmp_path/'up'/'sub').mkdir(parents=True)
    files = {'README.md': b'# hi', 'sub/a.txt': b'a', 'sub/model.safetensors': os.urandom(100_000)}
    for name,content in files.items(): (tmp_path/'up'/name).write_bytes(content)
    api.upload_folder(folder_path=tmp_path/'up', repo_id=repo)
    down = api.snapshot_download(repo, cache_dir=tmp_path/'cache', allow_patterns=['README.md', 'sub/*'])
    assert {name: open(f'{down}/{name}', 'rb').read() for name in files} == files
    assert [f for f in api.list_repo_tree(repo, 'sub', expand=True) if f.path == 'sub/a.txt'][0].last_commit.oid == api.list_repo_commits(repo)[0].commit_id


def test_commits_are_history(api, repo):
    first,second = put(api, repo, 'a.txt', b'one'), put(api, repo, 'a.txt', b'two')
    commits = api.list_repo_commits(repo)
    assert [c.commit_id for c in commits][:2] == [second, first] and commits[-1].title == 'initial commit'
    assert open(api.hf_hub_download(repo, 'a.txt', revision=first), 'rb').read() == b'one'
    for n in range(60): put(api, repo, 'n.txt', b'%d' % n)
    assert len(api.list_repo_commits(repo)) == 63
    with pytest.raises(RevisionNotFoundError): api.list_repo_tree(repo, revision='none').__next__()


def test_a_commit_holds_many_changes_or_none(api, repo):
    put(api, repo, 'old.txt', b'old'); put(api, repo, 'large.bin', b'large')
    changes = [CommitOperationAdd('new.txt', b'new'), CommitOperationDelete('old.txt'), CommitOperationCopy('large.bin', 'copy.bin')]
    api.create_commit(repo, changes, commit_message='many')
    assert sorted(api.list_repo_files(repo)) == ['.gitattributes', 'copy.bin', 'large.bin', 'new.txt']
    with pytest.raises(EntryNotFoundError): api.create_commit(repo, [CommitOperationAdd('x', b'x'), CommitOperationDelete('none')], commit_message='no')
    assert not api.file_exists(repo, 'x')
    api.delete_file('new.txt', repo)
    assert not api.file_exists(repo, 'new.txt') and api.file_exists(repo, 'copy.bin')


def test_a_stale_parent_is_refused(api, repo):
    parent = put(api, repo, 'a.txt', b'one')
    api.create_commit(repo, [CommitOperationAdd('a.txt', b'two')], commit_message='two', parent_commit=parent)
    with pytest.raises(HfHubHTTPError) as refused: api.create_commit(repo, [CommitOperationAdd('a.txt', b'three')], commit_message='three', parent_commit=parent)
    assert refused.value.response.status_code == 412


def test_of_many_commits_on_one_parent_one_is_made(api, repo):
    parent,made = api.repo_info(repo).sha,[]
    def race(n):
        try: made.append(api.create_commit(repo, [CommitOperationAdd('a.txt', b'%d' % n)], commit_message=str(n), parent_commit=parent).oid)
        except HfHubHTTPError: pass
    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(made) == 1 and api.repo_info(repo).sha == made[0]


def test_the_client_takes_unchanged_content_for_a_commit(api, repo):
    parent = put(api, repo, 'a.txt', b'one')
    last = put(api, repo, 'a.txt', b'two')
    assert api.create_commit(repo, [CommitOperationAdd('a.txt', b'two')], commit_message='lost', parent_commit=parent).oid == last


def test_branches_and_tags(api, repo):
    first = put(api, repo, 'a.txt', b'one')
    api.create_branch(repo, branch='dev'); api.create_tag(repo, tag='v1')
    api.upload_file(path_or_fileobj=b'dev', path_in_repo='a.txt', repo_id=repo, revision='dev')
    refs = api.list_repo_refs(repo)
    assert {b.name: b.target_commit == first for b in refs.branches} == {'main': True, 'dev': False} and refs.tags[0].target_commit == first
    assert open(api.hf_hub_download(repo, 'a.txt', revision='dev'), 'rb').read() == b'dev'
    api.delete_branch(repo, branch='dev'); api.delete_tag(repo, tag='v1')
    with pytest.raises(RevisionNotFoundError): api.hf_hub_download(repo, 'a.txt', revision='dev')


def test_listings_have_pages(api, repo):
    api.create_commit(repo, [CommitOperationAdd(f'd{n % 3}/{n}.txt', b'%d' % n) for n in range(1_100)], commit_message='many')
    assert len(api.list_repo_files(repo)) == 1_101
    assert len(list(api.list_repo_tree(repo, 'd0', expand=True))) == 367
    assert [f.path for f in api.get_paths_info(repo, ['d0/0.txt', 'd1', 'none'])] == ['d0/0.txt', 'd1']


def test_file_system(api, repo):
    fs = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    with fs.open(f'{repo}/a.bin', 'wb') as file: file.write(bytes(range(256)) * 100)
    with fs.open(f'{repo}/a.bin', 'rb') as file:
        file.seek(250)
        assert file.read(10) == bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3])
    assert fs.info(f'{repo}/a.bin')['size'] == 25_600


def test_refusals(api, repo):
    put(api, repo, 'a.txt', b'a')
    stranger,nobody = HfApi(endpoint=api.endpoint, token=os.environ['OBJSTORE_TEST_HUB_READER']),HfApi(endpoint=api.endpoint, token=False)
    with pytest.raises(EntryNotFoundError): api.hf_hub_download(repo, 'none')
    for who in (stranger, nobody):
        with pytest.raises(RepositoryNotFoundError): who.repo_info(repo)
    api.update_repo_settings(repo, private=False, gated='manual')
    for who in (stranger, nobody):
        with pytest.raises(GatedRepoError): who.hf_hub_download(repo, 'a.txt')
    with pytest.raises(HfHubHTTPError) as refused: put(stranger, repo, 'a.txt', b'b')
    assert refused.value.response.status_code == 403


def test_faults_are_made_to_order(api, repo):
    stand_in('fault', pattern=f'GET /api/models/{repo}', status=429, headers={'Retry-After': '1'}, times=1)
    with pytest.raises(HfHubHTTPError) as refused: api.repo_info(repo)
    assert refused.value.response.status_code == 429 and refused.value.response.headers['Retry-After'] == '1'
    assert api.repo_info(repo).id == repo


def test_hub_buckets_are_listed_told_of_and_removed(api):
    id = api.create_bucket(f'tester/hub-{uuid.uuid4().hex[:12]}', private=True).bucket_id
    stand_in(f'bucket/{id}', **{'a.bin': 7, 'd/b.bin': 9})
    assert [(f.path, f.size) for f in api.list_bucket_tree(id, recursive=True)] == [('a.bin', 7), ('d/b.bin', 9)]
    assert api.bucket_info(id).total_files == 2 and id in [b.id for b in api.list_buckets()]
    api.batch_bucket_files(id, delete=['a.bin'])
    assert [f.path for f in api.get_bucket_paths_info(id, ['a.bin', 'd/b.bin'])] == ['d/b.bin']
    api.delete_bucket(id)
    with pytest.raises(HfHubHTTPError): api.bucket_info(id)
