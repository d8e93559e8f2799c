"The YAML downloader as a pod meets it: a process of its own, real servers, an S3 of thousands of files, secrets in files, SIGTERM."
import json, os, re, signal, subprocess, sys, time
from hashlib import sha256
from pathlib import Path
from uuid import uuid4
import pytest
from azure.storage.blob import BlobServiceClient
from huggingface_hub import HfApi, snapshot_download
from objstore.backends.azure import AzureObjectStore
from objstore.backends.gcs import GCSObjectStore
from objstore.backends.hf import HFObjectStore
from objstore.backends.local import LocalObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.transfer import upload
from tests import servers
from tests.gcs import service_account
from tests.notebooks import root
from tests.proxy import counting
from tests.replies import Reply, replying
from tests.servers import admin

key,secret = admin.values()
program = [sys.executable, '-m', 'objstore.downloader']
posix = pytest.mark.skipif(os.name == 'nt', reason='signals of a POSIX system')
# The cloud downloader's own example, its placeholders filled in.
example = '''download_root: "{root}"
download_items:
  - type: s3
    name: "MyS3Download"
    endpoint_url: "{endpoint}"
    access_key_id: "{key}"
    secret_key: "{secret}"
    buckets:
      - name: "{bucket}"
        items:
          - folder: "data"
            target_path: "local/data"
            glob: "**/*.csv"
          - file: "readme.txt"
            target_path: "local/readme.txt"
'''
# The same with all its stores, word for word; `filled` puts in the names, keys and addresses of the test.
whole_example = '''download_root: "/path/to/local/download"
download_items:
  - type: s3
    name: "MyS3Download"
    endpoint_url: "https://s3.amazonaws.com"
    access_key_id: "YOUR_ACCESS_KEY_ID"
    secret_key: "YOUR_SECRET_KEY"
    buckets:
      - name: "my-s3-bucket"
        items:
          - folder: "data"
            target_path: "local/data"
            glob: "**/*.csv"
          - file: "readme.txt"
            target_path: "local/readme.txt"
  - type: gcs
    name: "Google Cloud Storage"
    application_credentials_file: "/path/to/file"
    buckets:
      - name: "my-gcs-bucket"
        items:
          - file: "readme.txt"
            target_path: "local/readme.txt"
  - type: azure-blob
    connection_string: "connection_string"
    containers:
      - name: "my-azure-blob-container"
        items:
          - file: "readme.txt"
            target_path: "local/readme.txt"
  - type: hf
    name: "MyHFDownload"
    repo_id: "username/repo"
    files:
      - "model.bin"
      - "config.json"
'''


def contents():
    "What the bucket holds: 3,000 tables in folders, and what must not be taken along."
    tables = {f'data/{n % 30:02}/{n:04}.csv': f'{n},'.encode() * (n % 50 + 1) for n in range(3000)}
    return {**tables, 'readme.txt': b'read me', 'data/notes.txt': b'no table', 'data2/0.csv': b'not in data', 'data': b'not below data'}


@pytest.fixture(scope='module')
def bucket(tmp_path_factory):
    "The name of a bucket with all of it."
    name,store = f'downloader-{uuid4().hex[:12]}',S3ObjectStore()
    bucket,folder = store.bucket(store.find_or_create_bucket(name)),tmp_path_factory.mktemp('bucket')
    for path,data in contents().items():
        if path == 'data': continue # a file and a folder
        (folder/path).parent.mkdir(parents=True, exist_ok=True)
        (folder/path).write_bytes(data)
    upload(folder, bucket).raise_failed()
    bucket.put('data', contents()['data'])
    yield name
    store.remove_bucket(name, force=True)


def wanted():
    "The files that the example fetches, by their place below its root."
    return {f'local/{path}': data for path,data in contents().items() if re.fullmatch('data/.*csv|readme.txt', path)}


def files(folder):
    "All files below a folder, hidden ones too."
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob('*') if path.is_file()}


def write(path, text=example, **values):
    "A config of the example, or of another text."
    values = {'root': path.parent/'out', 'endpoint': os.environ['AWS_ENDPOINT_URL'], 'key': key, 'secret': secret, **values}
    path.write_text(text.format(**values))
    return path


def run(*words, cwd=None, command=program, **environment):
    "Run the program; its status, stdout and stderr."
    done = subprocess.run([*command, *map(str, words)], cwd=cwd, env={**os.environ, 'PYTHONPATH': str(root), **environment}, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_example_fetches_all_its_files_and_again_moves_nothing(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    status,out,err = run(config, '--max-workers', '16', '--log-level', 'INFO')
    assert (status, out) == (0, '') and 'MyS3Download (s3): 3,001 objects, ' in err and '3,001 done; ' in err and err.count('\n') == 2
    assert files(tmp_path/'out') == wanted()
    with counting(os.environ['AWS_ENDPOINT_URL']) as proxy:
        assert '3,001 skipped; 0 B fetched' in run(write(config, bucket=bucket, endpoint=proxy.url))[2]
    assert 0 < proxy.sent < 20_000 # a listing of four pages and one look, not 3,000 requests
    assert files(tmp_path/'out') == wanted()


def test_what_is_missing_or_damaged_is_fetched_again_and_nothing_else(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    assert run(config)[0] == 0
    (tmp_path/'out/local/data/00/0000.csv').unlink()
    (tmp_path/'out/local/data/01/0001.csv').write_bytes(b'edited')
    (tmp_path/'out/local/mine.txt').write_bytes(b'mine')
    assert '2 done, 2,999 skipped' in run(config)[2]
    assert files(tmp_path/'out') == {**wanted(), 'local/mine.txt': b'mine'}


def test_items_in_their_other_shape_secrets_in_files_and_an_absolute_target(bucket, tmp_path):
    for name,value in {'url': os.environ['AWS_ENDPOINT_URL'], 'id': key, 'key': secret}.items(): (tmp_path/name).write_text(f'{value}\n')
    config = write(tmp_path/'c.yaml', '''download_items:
- {{type: s3, endpoint_url_file: {here}/url, access_key_id_file: {here}/id, secret_key_file: {here}/key, region: us-east-1, buckets: [{{name: {bucket}, items: [
    {{folder: {{folder: data/07/, target_path: {here}/absolute, glob: "*0?7.csv"}}}},
    {{file: {{file: readme.txt, target_path: here/}}}}]}}]}}
''', bucket=bucket, here=tmp_path)
    (tmp_path/'cwd').mkdir()
    status,_,err = run(config, cwd=tmp_path/'cwd', AWS_ACCESS_KEY_ID='', AWS_SECRET_ACCESS_KEY='')
    assert status == 0, err
    assert set(files(tmp_path/'absolute')) == {f'{n:04}.csv' for n in range(7, 3000, 30) if f'{n:04}'[1] == '0'}
    assert files(tmp_path/'cwd') == {'here/readme.txt': b'read me'}


def test_local_store_and_s3_in_one_run(bucket, tmp_path):
    store = LocalObjectStore(tmp_path/'zoo')
    store.put(store.find_or_create_bucket('lab'), 'cats/tom.txt', b'meow')
    config = write(tmp_path/'c.yaml', example + '''  - type: local
    root: {zoo}
    buckets:
      - {{name: lab, items: [{{folder: cats, target_path: cats}}, {{folder: none, target_path: cats, allow_empty: true}}]}}
''', bucket=bucket, zoo=tmp_path/'zoo')
    assert run(config)[0] == 0
    assert files(tmp_path/'out') == {**wanted(), 'cats/tom.txt': b'meow'}


def test_every_mistake_is_told_at_once_with_its_line(tmp_path):
    text = example.replace('access_key_id:', 'acces_key_id:').replace('glob:', 'glbo:').replace('"local/readme.txt"', '"../readme.txt"').replace('type: s3', 'type: s3\n    secret_key_file: /none')
    status,out,err = run(write(tmp_path/'c.yaml', text, bucket='lab'))
    lines = [line.partition('c.yaml:')[2] for line in err.splitlines()]
    assert (status, out) == (2, '') and secret not in err
    assert [line.split(':')[:2] for line in lines] == [['4', ' download_items[0].secret_key_file'], ['7', ' download_items[0].acces_key_id'],
        ['14', ' download_items[0].buckets[0].items[0].glbo'], ['16', ' download_items[0].buckets[0].items[1].target_path']]
    assert "did you mean 'access_key_id'?" in lines[1] and "did you mean 'glob'?" in lines[2]
    assert not (tmp_path/'out').exists()


@pytest.mark.parametrize('items,status,reason', [
    ('{file: readme.txt, target_path: ../../etc/x}', 2, 'leads out of download_root'),
    ('{file: ../readme.txt, target_path: x}', 2, "'.' or '..' stands as a segment"),
    ('{folder: data, target_path: x, glob: "*.png"}', 1, "matches nothing below 'data/'"),
    ('{folder: dat, target_path: x}', 1, "matches nothing below 'dat/'"),
    ('{file: none.txt, target_path: x}', 1, 'no such object'),
    ('{folder: data/01, target_path: x}, {folder: data/02, target_path: y}, {file: readme.txt, target_path: x/0001.csv}', 2, 'data/01/0001.csv (line 11) would both become'),
    ('{folder: data/01, target_path: x}, {file: readme.txt, target_path: x}', 2, 'would be a file and a folder'),
], ids=['escape', 'odd key', 'empty glob', 'no folder', 'no file', 'collision', 'file and folder'])
def test_what_cannot_work_is_refused_before_a_byte_is_fetched(bucket, tmp_path, items, status, reason):
    text = example.partition('          - folder')[0] + '          [{items}]'
    got,_,err = run(write(tmp_path/'c.yaml', text, bucket=bucket, items=items))
    assert got == status and reason in err, err
    assert not (tmp_path/'out').exists() and [path.name for path in tmp_path.iterdir()] == ['c.yaml']


def test_a_missing_bucket_and_a_refused_key_are_told_together(bucket, tmp_path):
    twice = example + example.partition('download_items:\n')[2].replace('{bucket}', 'no-such-bucket-anywhere')
    status,_,err = run(write(tmp_path/'c.yaml', twice, bucket=bucket))
    assert status == 1 and err.count('no-such-bucket-anywhere') == 2 and 'c.yaml:24' in err
    assert not (tmp_path/'out').exists()


@pytest.mark.parametrize('command', [program, [sys.executable, '-m', 'objstore.cli', 'download']], ids=['module', 'objstore'])
def test_no_secret_in_any_output(bucket, tmp_path, command):
    config = write(tmp_path/'c.yaml', bucket=bucket, key='AKIACANARY', secret='c4n4ry')
    status,out,err = run(config, '--log-level', 'DEBUG', command=command)
    assert status == 1 and 'MyS3Download (s3)' in err and 'CANARY' not in out + err and 'c4n4ry' not in out + err
    status,out,err = run(write(config, bucket=bucket), '--log-level', 'DEBUG', command=command)
    assert status == 0 and err.count(' DEBUG   done data/') == 3000 and secret not in out + err and key not in out + err


def test_dry_run_writes_nothing(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    assert '3,001 planned; 0 B fetched' in run(config, '--dry-run')[2]
    status,out,err = run(config, '--dry-run', '--json', command=[sys.executable, '-m', 'objstore.cli', 'download'])
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err, len(rows)) == (0, '', 3001) and {row['state'] for row in rows} == {'planned'}
    assert not (tmp_path/'out').exists()


def test_progress_in_json_is_a_line_a_second(bucket, tmp_path):
    config,total = write(tmp_path/'c.yaml', bucket=bucket),sum(map(len, wanted().values()))
    status,out,_ = run(config, '--progress', 'json')
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and lines[0]['type'] == 'start' and {line['type'] for line in lines[1:-1]} <= {'progress'}
    assert lines[-1] == {'type': 'done', 'percent': 100.0, 'bytes': total, 'total_bytes': total, 'objects': 3001, 'total_objects': 3001}
    status,out,_ = run(write(config, bucket='no-such-bucket-anywhere'), '--progress', 'json')
    assert status == 1 and [json.loads(line)['type'] for line in out.splitlines()] == ['start', 'failed']


def test_arguments_that_cannot_be_are_bad_input(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    for words in (['--max-workers', '0'], ['--max-workers', 'x'], ['--log-level', 'LOUD'], ['--progress', 'jsn'], ['--wrong']):
        status,out,err = run(config, *words)
        assert (status, out) == (2, '') and words[0].strip('-').replace('-', ' ') in err.replace('_', ' ').replace('-', ' '), err
    assert run(tmp_path/'none.yaml')[0] == 2 and not (tmp_path/'out').exists()


@posix
@pytest.mark.parametrize('number,status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=['SIGTERM', 'SIGINT'])
def test_a_stopped_run_ends_at_once_and_the_next_goes_on(bucket, tmp_path, number, status):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    running = subprocess.Popen([*program, str(config), '--max-workers', '2'], env={**os.environ, 'PYTHONPATH': str(root)}, stderr=subprocess.PIPE, text=True)
    with running:
        while running.poll() is None and not (tmp_path/'out/local/data/00').is_dir(): time.sleep(0.01)
        time.sleep(0.2)
        stopped = time.monotonic()
        running.send_signal(number)
        assert running.wait(timeout=10) == status and time.monotonic() - stopped < 1
        assert 'the next run goes on' in running.stderr.read()
    there = {path: data for path,data in files(tmp_path/'out').items() if '/.objstore-' not in path}
    assert 0 < len(there) < 3001 and there.items() <= wanted().items()
    assert f'{3001 - len(there):,} done, {len(there):,} skipped' in run(config)[2]
    assert wanted().items() <= files(tmp_path/'out').items()


def test_an_object_is_told_of_when_it_is_done_and_not_at_the_end(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    running = subprocess.Popen([*program, str(config), '--log-level', 'DEBUG'], env={**os.environ, 'PYTHONPATH': str(root)}, stderr=subprocess.PIPE, text=True)
    with running:
        first = next(line for line in running.stderr if ' DEBUG   done ' in line)
        there = [path for path in files(tmp_path/'out') if '/.objstore-' not in path]
        assert running.poll() is None and len(there) < 3001, 'nobody reads on, so the pipe is full long before the end'
        rest = running.stderr.read()
    assert (first + rest).count(' DEBUG   done ') == 3001 and '3,001 done' in rest.splitlines()[-1] and running.returncode == 0


@posix
def test_a_reader_of_the_progress_that_leaves_does_not_end_the_run(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    for command in (program, [sys.executable, '-m', 'objstore.cli', 'download']):
        script = f'set -o pipefail; "$@" {config} --progress json | true'
        assert run(command=['bash', '-c', script, 'bash', *command])[0] == 0
    assert files(tmp_path/'out') == wanted()


@posix
@pytest.mark.parametrize('closed', ['2>&-', '0<&- 1>&- 2>&-'])
def test_a_program_without_stderr_fetches_all_the_same(bucket, tmp_path, closed):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    assert run(command=['bash', '-c', f'"$@" {config} {closed}', 'bash', *program])[0] == 0
    assert files(tmp_path/'out') == wanted()


@posix
def test_a_pipe_in_the_place_of_a_file_is_not_replaced(bucket, tmp_path):
    os.mkfifo(tmp_path/'pipe')
    config = write(tmp_path/'c.yaml', example.replace('local/readme.txt', str(tmp_path/'pipe')), bucket=bucket)
    status,_,err = run(config)
    assert status == 2 and f'{tmp_path}/pipe is a device or a pipe' in err and (tmp_path/'pipe').is_fifo() and not (tmp_path/'out').exists(), err


def test_public_buckets_are_read_without_keys_only_when_told(bucket, tmp_path):
    unsigned = re.sub(r' +(access_key_id|secret_key).*\n', '', example)
    assert run(write(tmp_path/'c.yaml', unsigned, bucket=bucket))[0] == 0 # the environment's
    status,_,err = run(write(tmp_path/'c.yaml', unsigned.replace('type: s3', 'type: s3\n    anonymous: true'), bucket=bucket))
    assert status == 1 and 'MyS3Download (s3)' in err


@pytest.fixture(scope='module')
def elsewhere():
    "The same name as a bucket of Google, a container of Azure and a repository of the Hub, each with what the example wants of it."
    name = f'downloader-{uuid4().hex[:12]}'
    google,azure,hub = GCSObjectStore(),AzureObjectStore(),HFObjectStore()
    google.put(google.find_or_create_bucket(name), 'readme.txt', b'of google')
    azure.put(azure.find_or_create_bucket(name), 'readme.txt', b'of azure')
    with hub.batch(hub.find_or_create_bucket(f'models/tester/{name}')) as batch:
        for path,data in repository().items(): batch.put(path, data)
    yield name
    google.remove_bucket(name, force=True)
    azure.remove_bucket(name, force=True)
    hub.remove_bucket(f'models/tester/{name}', force=True)


def repository():
    "What the repository holds: a large file, twins, folders."
    return {'model.bin': bytes(range(256)) * 70_000, 'config.json': b'{}', 'onnx/config.json': b'{}', 'onnx/model.onnx': b'graph', 'docs/a.md': b'# a'}


@pytest.fixture
def google_login(tmp_path):
    "A key file of Google whose tokens come from here."
    token = json.dumps({'access_token': 'ya29.c4n4ry', 'expires_in': 3600, 'token_type': 'Bearer'}).encode()
    with replying(lambda asked: Reply(body=token, headers={'Content-Type': 'application/json'})) as server:
        yield service_account(tmp_path/'google.json', f'{server.url}/token')


def filled(text, tmp_path, bucket, name, login, endpoint=None):
    "The whole example with its placeholders filled in."
    values = {'/path/to/local/download': tmp_path/'out', 'https://s3.amazonaws.com': endpoint or os.environ['AWS_ENDPOINT_URL'], 'YOUR_ACCESS_KEY_ID': key,
        'YOUR_SECRET_KEY': secret, 'my-s3-bucket': bucket, '/path/to/file': login, 'my-gcs-bucket': name, '"connection_string"': json.dumps(os.environ['AZURE_STORAGE_CONNECTION_STRING']),
        'my-azure-blob-container': name, 'username/repo': f'tester/{name}'}
    for placeholder,value in values.items():
        assert text.count(placeholder) == 1
        text = text.replace(placeholder, str(value))
    (tmp_path/'c.yaml').write_text(text)
    return tmp_path/'c.yaml'


def told_apart(text):
    "The whole example with a target of its own for each of its three read-me files."
    s3,gcs,azure,hub = text.split('"local/readme.txt"')
    return f'{s3}"local/readme.txt"{gcs}"google.txt"{azure}"azure.txt"{hub}'


def cached(tmp_path, name, revision=None):
    "What the Hub's own client finds of the repository without asking anybody."
    where = Path(snapshot_download(f'tester/{name}', cache_dir=tmp_path/'hf'/'hub', local_files_only=True, revision=revision))
    return {path.relative_to(where).as_posix(): path.read_bytes() for path in where.rglob('*') if path.is_file()}


def test_four_stores_in_one_run_and_again_moves_nothing(bucket, elsewhere, google_login, tmp_path):
    config = filled(told_apart(whole_example), tmp_path, bucket, elsewhere, google_login)
    status,out,err = run(config, '--log-level', 'DEBUG', HF_HOME=str(tmp_path/'hf'))
    assert (status, out) == (0, ''), err
    for line in ('MyS3Download (s3): 3,001 objects', 'Google Cloud Storage (gcs): 1 object,', 'azure-blob: 1 object,', 'MyHFDownload (hf): 2 objects', '3,005 done; '): assert line in err
    assert not [word for word in (key, secret, 'c4n4ry', os.environ['HF_TOKEN'], 'AccountKey') if word in err]
    assert files(tmp_path/'out') == {**wanted(), 'google.txt': b'of google', 'azure.txt': b'of azure'}
    assert cached(tmp_path, elsewhere) == {path: repository()[path] for path in ('model.bin', 'config.json')}
    before = {path: path.stat().st_ino for path in tmp_path.rglob('*')}
    assert '3,005 skipped; 0 B fetched' in run(config, HF_HOME=str(tmp_path/'hf'))[2]
    assert {path: path.stat().st_ino for path in tmp_path.rglob('*')} == before


def test_the_example_as_it_stands_has_three_files_of_one_name(bucket, elsewhere, google_login, tmp_path):
    config = filled(whole_example, tmp_path, bucket, elsewhere, google_login)
    status,out,err = run(config, HF_HOME=str(tmp_path/'hf'))
    assert (status, out) == (2, '') and err.count('local/readme.txt\n') == err.count('\n') == 2
    for line in (22, 29): assert f'c.yaml:{line}: ' in err and f'{elsewhere}/readme.txt and {bucket}/readme.txt (line 14) would both become' in err
    assert not (tmp_path/'out').exists() and not (tmp_path/'hf').exists()


def hub_config(path, name, *lines):
    "A config of the repository."
    path.write_text('\n'.join([f'download_root: {path.parent}/out', 'download_items:', '- type: hf', f'  repo_id: tester/{name}', *(f'  {line}' for line in lines)]))
    return path


def test_files_of_the_hub_go_below_the_target_and_again_move_nothing(elsewhere, tmp_path):
    with counting(os.environ['HF_ENDPOINT']) as proxy:
        config = hub_config(tmp_path/'c.yaml', elsewhere, 'target_path: bert', 'allow_patterns: ["*.json", onnx/, "*.bin"]', 'ignore_patterns: onnx/config.json', f'endpoint_url: {proxy.url}')
        assert '3 done; ' in run(config, HF_HOME=str(tmp_path/'hf'))[2]
        assert files(tmp_path/'out') == {f'bert/{path}': repository()[path] for path in ('config.json', 'model.bin', 'onnx/model.onnx')}
        proxy.sent = 0
        assert '3 skipped; 0 B fetched' in run(config, HF_HOME=str(tmp_path/'hf'))[2]
        assert 0 < proxy.sent < 20_000
    (tmp_path/'out/bert/config.json').write_bytes(b'[]')
    assert '1 done, 2 skipped' in run(hub_config(tmp_path/'c.yaml', elsewhere, 'target_path: bert', 'files: [config.json, onnx/model.onnx, model.bin]'))[2]
    assert (tmp_path/'out/bert/config.json').read_bytes() == b'{}' and not (tmp_path/'hf').exists()


def test_a_repository_without_files_is_fetched_whole_into_the_cache(elsewhere, tmp_path):
    config = hub_config(tmp_path/'c.yaml', elsewhere, 'files: []')
    status,_,err = run(config, HF_HOME=str(tmp_path/'hf'))
    assert status == 0 and '/snapshots/' in err
    there = cached(tmp_path, elsewhere)
    assert {path: data for path,data in there.items() if path != '.gitattributes'} == repository() and not (tmp_path/'out').exists()
    assert 'skipped; 0 B fetched' in run(config, HF_HOME=str(tmp_path/'hf'))[2]


def test_a_revision_is_a_branch_a_tag_or_a_commit(elsewhere, tmp_path):
    hub,repo = HFObjectStore(),f'tester/{elsewhere}'
    api = HfApi(endpoint=os.environ['HF_ENDPOINT'], token=os.environ['HF_TOKEN'])
    api.create_branch(repo, branch='dev')
    first = hub.put(f'models/{repo}@dev', 'config.json', b'{"dev": 1}').version
    hub.put(f'models/{repo}@dev', 'config.json', b'{"dev": 2}')
    for revision,data in (('main', b'{}'), ('dev', b'{"dev": 2}'), (first, b'{"dev": 1}')):
        config = hub_config(tmp_path/'c.yaml', elsewhere, f'revision: {revision}', 'files: [config.json]')
        assert run(config, HF_HOME=str(tmp_path/'hf'))[0] == 0
        assert cached(tmp_path, elsewhere, revision=revision)['config.json'] == data
        assert run(hub_config(tmp_path/'c.yaml', elsewhere, f'revision: {revision}', 'files: [config.json]', 'target_path: x'))[0] == 0
        assert files(tmp_path/'out') == {'x/config.json': data}
    for line in ('revision: none', 'repo_type: dataset'):
        status,_,err = run(hub_config(tmp_path/'c.yaml', elsewhere, line, 'target_path: y'))
        assert status == 1 and ('no such version' if 'none' in line else 'no such bucket') in err


def test_files_that_a_repository_lacks_are_told_together(elsewhere, tmp_path):
    status,_,err = run(hub_config(tmp_path/'c.yaml', elsewhere, 'files:', '- config.json', '- modle.bin', '- onnx', 'target_path: x'))
    assert status == 1 and [line.partition('c.yaml:')[2].split(':')[0] for line in err.splitlines()] == ['7', '8'] and err.count('no such file') == 2
    assert not (tmp_path/'out').exists()


def test_variables_are_filled_in_and_one_that_is_not_set_is_told_by_line(bucket, tmp_path):
    text = example.replace('"{key}"', '"${{ZOO_ID}}"').replace('"{secret}"', '${{ZOO_SECRET}}').replace('"{bucket}"', 'downloader-${{ZOO_NAME}}').replace('readme.txt"\n', '$${{ZOO}}.txt"\n', 2).replace('"$${{ZOO}}', '"readme.txt" # "', 1)
    zoo = {'ZOO_ID': key, 'ZOO_SECRET': secret, 'ZOO_NAME': bucket.partition('-')[2]}
    config = write(tmp_path/'c.yaml', text)
    status,_,err = run(config, '--log-level', 'DEBUG', **zoo)
    assert status == 0 and secret not in err and files(tmp_path/'out')['local/${ZOO}.txt'] == b'read me'
    status,out,err = run(config, **{**zoo, 'ZOO_SECRET': 'c4n4ry'})
    assert status == 1 and 'c4n4ry' not in out + err
    del zoo['ZOO_SECRET']
    status,out,err = run(config, **zoo)
    assert (status, out) == (2, '') and 'c.yaml:7: download_items[0].secret_key: names the variable ZOO_SECRET, which is not set' in err and err.count('\n') == 1 and key not in err


def test_a_digest_that_is_not_the_expected_leaves_no_file(bucket, elsewhere, tmp_path):
    right,wrong = sha256(b'read me').hexdigest(),sha256(b'read you').hexdigest()
    text = example.partition('          - folder')[0] + '          - {{file: readme.txt, target_path: readme.txt, sha256: {digest}}}\n'
    for digest,status,state in ((right, 0, '1 done'), (right, 0, '1 skipped'), (wrong, 1, '1 failed'), (right.upper(), 0, '1 done')):
        got,_,err = run(write(tmp_path/'c.yaml', text, bucket=bucket, digest=digest))
        assert got == status and state in err and (status == 0 or f'its sha256 is {right}, and {wrong} was expected' in err and 'readme.txt' in err), err
        assert (tmp_path/'out/readme.txt').exists() == (status == 0)


def test_public_files_are_read_without_any_key_only_when_told(elsewhere, tmp_path):
    HfApi(endpoint=os.environ['HF_ENDPOINT'], token=os.environ['HF_TOKEN']).update_repo_settings(f'tester/{elsewhere}', private=False)
    files_line = 'files: [config.json]'
    for lines,status in (((), 0), (('anonymous: true',), 0), (('token: hf_c4n4ry',), 1)):
        got,out,err = run(hub_config(tmp_path/'c.yaml', elsewhere, files_line, 'target_path: x', *lines))
        assert got == status and 'c4n4ry' not in out + err, err
    public = f'download_root: {tmp_path}/out\ndownload_items:\n- type: gcs\n  anonymous: true\n  buckets: [{{name: {elsewhere}, items: [{{file: readme.txt, target_path: g.txt}}]}}]\n'
    (tmp_path/'c.yaml').write_text(public)
    assert run(tmp_path/'c.yaml')[0] == 0 and files(tmp_path/'out')['g.txt'] == b'of google'


@pytest.fixture
def public():
    "A bucket of S3 and a container of Azure that anybody may list and read, and a name that is not public."
    name,store = f'public-{uuid4().hex[:12]}',S3ObjectStore()
    service = BlobServiceClient.from_connection_string(os.environ['AZURE_STORAGE_CONNECTION_STRING'])
    service.create_container(name, public_access='container').upload_blob('readme.txt', b'of azure')
    for bucket in (name, f'not-{name}'): store.put(store.find_or_create_bucket(bucket), 'readme.txt', b'of s3')
    service.create_container(f'not-{name}').upload_blob('readme.txt', b'of azure')
    return name,service.url.rstrip('/')


def test_anonymous_reads_what_is_public_and_nothing_else(public, tmp_path):
    name,azure = public
    for bucket,status in ((name, 0), (f'not-{name}', 1)):
        config = tmp_path/f'{bucket}.yaml'
        config.write_text(f'''download_root: {tmp_path}/{bucket}
download_items:
- {{type: s3, endpoint_url: "{os.environ['AWS_ENDPOINT_URL']}", anonymous: true, buckets: [{{name: {bucket}, items: [{{folder: {{folder: "", target_path: s3}}}}]}}]}}
- {{type: azure-blob, account: {servers.azure_account}, endpoint_url: "{azure}", anonymous: true, containers: [{{name: {bucket}, items: [{{folder: {{folder: "", target_path: azure}}}}]}}]}}
''')
        got,_,err = run(config)
        assert got == status, err
        assert files(tmp_path/bucket) == ({'s3/readme.txt': b'of s3', 'azure/readme.txt': b'of azure'} if not status else {}), err
    assert ': s3: not allowed' in err and ': azure-blob: the store does not know' in err, err # both are told


def test_secrets_of_each_provider_in_files(elsewhere, google_login, tmp_path):
    (tmp_path/'azure').write_text(os.environ['AZURE_STORAGE_CONNECTION_STRING'] + '\n')
    (tmp_path/'hf').write_text(os.environ['HF_TOKEN'] + '\n')
    (tmp_path/'c.yaml').write_text(f'''download_root: {tmp_path}/out
download_items:
- {{type: gcs, application_credentials_file: {google_login}, project: zoo, buckets: [{{name: {elsewhere}, items: [{{folder: {{folder: "", target_path: gcs}}}}]}}]}}
- {{type: azure-blob, connection_string_file: {tmp_path}/azure, containers: [{{name: {elsewhere}, items: [{{file: {{file: readme.txt, target_path: azure/}}}}]}}]}}
- {{type: hf, repo_id: tester/{elsewhere}, token_file: {tmp_path}/hf, files: [docs/a.md], target_path: hf}}
''')
    status,_,err = run(tmp_path/'c.yaml', '--log-level', 'DEBUG', HF_TOKEN='', AZURE_STORAGE_CONNECTION_STRING='')
    assert status == 0, err
    assert files(tmp_path/'out') == {'gcs/readme.txt': b'of google', 'azure/readme.txt': b'of azure', 'hf/docs/a.md': b'# a'}


def test_words_of_another_provider_are_told_the_right_ones(bucket, elsewhere, google_login, tmp_path):
    text = told_apart(whole_example).replace('containers:', 'buckets:', 1).replace('repo_id:', 'repoid:')
    text = text.replace('buckets:', 'containers:', 1).replace('application_credentials_file:', 'aplication_credentials_file:')
    status,out,err = run(filled(text, tmp_path, bucket, elsewhere, google_login))
    assert (status, out) == (2, '') and secret not in err and 'AccountKey' not in err
    for said in ("containers: is unknown here: it is 'buckets'", "buckets: is unknown here: it is 'containers'", "did you mean 'repo_id'?", "did you mean 'application_credentials_file'?"): assert err.count(said) == 1, err
    for line in err.splitlines(): assert re.search(r'c\.yaml:\d+: download_items\[\d]\.', line)


def test_wrong_secrets_of_each_provider_show_nowhere(bucket, elsewhere, google_login, tmp_path):
    canaries = {'AZURE_STORAGE_CONNECTION_STRING': re.sub('AccountKey=[^;]*', 'AccountKey=YzRuNHJ5YzRuNHJ5', os.environ['AZURE_STORAGE_CONNECTION_STRING']), 'HF_TOKEN': 'hf_c4n4ry'}
    for item in (f'{{type: azure-blob, containers: [{{name: {elsewhere}, items: [{{folder: "", target_path: a}}]}}]}}', f'{{type: hf, repo_id: tester/{elsewhere}x}}',
                 f'{{type: gcs, application_credentials_file: "{google_login}", buckets: [{{name: {elsewhere}x, items: [{{folder: "", target_path: a}}]}}]}}'):
        (tmp_path/'c.yaml').write_text(f'download_root: {tmp_path}/out\ndownload_items:\n- {item}\n')
        for command in (program, [sys.executable, '-m', 'objstore.cli', 'download']):
            status,out,err = run(tmp_path/'c.yaml', '--log-level', 'DEBUG', command=command, **canaries)
            assert status == 1 and 'c.yaml:3' in err and not [word for word in ('c4n4ry', 'YzRuNHJ5', 'PRIVATE') if word in out + err], err
