"The YAML downloader as a pod meets it: a process of its own, a real S3 of thousands of files, secrets in files, SIGTERM."
import json, os, re, signal, subprocess, sys, time
from pathlib import Path
from uuid import uuid4
import pytest
from objstore.backends.local import LocalObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.transfer import upload
from tests.notebooks import root
from tests.proxy import counting
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


@posix
def test_a_reader_of_the_progress_that_leaves_does_not_end_the_run(bucket, tmp_path):
    config = write(tmp_path/'c.yaml', bucket=bucket)
    for command in (program, [sys.executable, '-m', 'objstore.cli', 'download']):
        script = f'set -o pipefail; "$@" {config} --progress json | true'
        assert run(command=['bash', '-c', script, 'bash', *command])[0] == 0
    assert files(tmp_path/'out') == wanted()


def test_public_buckets_are_read_without_keys_only_when_told(bucket, tmp_path):
    unsigned = re.sub(r' +(access_key_id|secret_key).*\n', '', example)
    assert run(write(tmp_path/'c.yaml', unsigned, bucket=bucket))[0] == 0 # the environment's
    status,_,err = run(write(tmp_path/'c.yaml', unsigned.replace('type: s3', 'type: s3\n    anonymous: true'), bucket=bucket))
    assert status == 1 and 'MyS3Download (s3)' in err
