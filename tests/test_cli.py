"The program `objstore` as a shell meets it: pipes, signals, bytes, locales, exit statuses, a real S3, no network at all."
import json, os, re, shlex, shutil, signal, socket, subprocess, sys, time
from pathlib import Path
from uuid import uuid4
import pytest
from objstore.backends.local import LocalObjectStore
from tests.notebooks import root
from tests.readme import readme

program = [sys.executable, '-m', 'objstore.cli']
posix = pytest.mark.skipif(os.name == 'nt', reason='signals, shells and locales of a POSIX system')


def environment(**changes):
    "The environment of a program that finds the library from any folder."
    return {**os.environ, 'PYTHONPATH': str(root), **changes}


def objstore(*words, stdin=b'', cwd=None, timeout=60, **changes):
    "Run the program; its status, output and complaints."
    run = subprocess.run([*program, *map(str, words)], input=stdin, cwd=cwd, env=environment(**changes), capture_output=True, timeout=timeout)
    return run.returncode, run.stdout, run.stderr.decode()


def shell(script, cwd, **changes):
    "Run a script in which `objstore` is the program; bash with pipefail, so that every part of a pipe counts."
    function = f'objstore() {{ {shlex.join(program)} "$@"; }}\nset -o pipefail\n'
    run = subprocess.run(['bash', '-c', function + script], cwd=cwd, env=environment(**changes), capture_output=True, timeout=60)
    return run.returncode, run.stdout, run.stderr.decode()


@pytest.fixture
def store(tmp_path):
    "A folder with a local store in it and its bucket `lab`."
    store = LocalObjectStore(tmp_path/'store')
    store.find_or_create_bucket('lab')
    return store


@pytest.fixture(scope='module')
def s3():
    "A versioned bucket on the S3 of the tests."
    name = f'cli-{uuid4().hex[:12]}'
    assert objstore('mb', f's3://{name}', '--versions')[0] == 0
    yield f's3://{name}'
    assert objstore('rb', '--force', f's3://{name}') == (0, f'removed\t{name}\n'.encode(), '')


def test_installed_program_is_the_one_of_the_module():
    installed = shutil.which('objstore', path=str(Path(sys.executable).parent))
    assert installed, 'pip install -e . puts the program beside Python'
    run = subprocess.run([installed, '--version'], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.encode()) == objstore('--version')[:2]


def test_help_loads_no_store():
    script = "import sys; from objstore.cli import main; main(['--help']); main(['ls', '--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, '-c', script], env=environment(), capture_output=True, text=True, check=True).stdout.split()
    unwanted = {'boto3', 'botocore', 'obstore', 'urllib3', 'objstore.urls', 'objstore.interface', 'objstore.commands.verbs'}
    assert not unwanted & set(loaded)


@pytest.mark.parametrize('command', ['demo', 'ls', 'cat', 'stat', 'cp', 'rm', 'mb', 'rb', 'versions', 'presign', 'stores', 'put', 'alias', 'amend', 'restore', 'diff', 'find', 'prune', 'verify'])
def test_each_command_explains_itself_with_examples(command):
    status,out,err = objstore(command, '--help')
    assert (status, err) == (0, '') and f'objstore {command}'.encode() in out.partition(b'examples:')[2]


@posix
def test_a_reader_that_leaves_early_is_no_failure(store):
    lab = store.root/'lab'
    for n in range(10_000): (lab/f'{n:05}').touch()
    assert shell('objstore ls store/lab | head -1', store.root.parent) == (0, b'00000\n', '')
    assert shell('objstore ls --json store/lab | head -1', store.root.parent)[::2] == (0, '')


@posix
def test_a_reader_that_leaves_before_the_output_is_written_is_no_failure(store):
    store.put('lab', 'small', b'few bytes')
    for command in ('cat store/lab/small', 'ls store/lab', '--help', 'stores'):
        assert shell(f'objstore {command} | true', store.root.parent)[::2] == (0, ''), command


@posix
def test_interrupt_while_bytes_stream_ends_in_130_at_once_and_in_silence(store):
    store.put('lab', 'big', bytes(64 * 2**20))
    interrupt_cat(store.root/'lab'/'big')


@posix
def test_interrupt_while_bytes_stream_from_s3_ends_in_130_at_once_and_in_silence(s3, store):
    store.put('lab', 'big', bytes(64 * 2**20))
    assert objstore('cp', store.root/'lab'/'big', f'{s3}/big')[0] == 0
    interrupt_cat(f'{s3}/big')


def interrupt_cat(url):
    "Read a little of what `cat` writes, and then send it what ^C sends."
    with subprocess.Popen([*program, 'cat', str(url)], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.read(2**20)
        interrupted = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=10) == 130 and time.monotonic() - interrupted < 1
        assert running.stderr.read() == b''


@posix
def test_interrupt_while_waiting_for_input_leaves_no_object(store):
    running = subprocess.Popen([*program, 'cp', '-', str(store.root/'lab'/'half')], env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    with running:
        running.stdin.write(bytes(3 * 2**20))
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=10) == 130 and running.stderr.read() == b''
    assert list(store.bucket('lab')) == [] and not list(store.root.rglob('*.tmp'))


@posix
def test_bytes_pass_through_pipes_unchanged(store):
    every_byte = bytes(range(256)) * 4096 + b'\r\n\xff'
    (store.root.parent/'in').write_bytes(every_byte)
    script = 'cat in | objstore cp - store/lab/a > done && objstore cp store/lab/a - | objstore cp - store/lab/b >> done && objstore cat store/lab/b'
    assert shell(script, store.root.parent) == (0, every_byte, '')


@posix
@pytest.mark.parametrize('locale', [{'LANG': 'C'}, {'LC_ALL': 'C'}, {'LC_ALL': 'POSIX', 'PYTHONCOERCECLOCALE': '0'}, {'PYTHONIOENCODING': 'latin-1'}])
def test_keys_are_utf8_whatever_the_locale(store, locale):
    url = store.root/'lab'/'Zoë 🐈.txt'
    assert objstore('cp', '-', url, stdin=b'meow', **locale)[0] == 0
    assert objstore('ls', store.root/'lab', **locale) == (0, 'Zoë 🐈.txt\n'.encode(), '')
    assert objstore('cat', url, **locale) == (0, b'meow', '')
    assert list(store.bucket('lab')) == ['Zoë 🐈.txt']


def test_a_key_cannot_write_to_the_terminal_nor_pass_for_two_lines(s3):
    assert objstore('cp', '-', f'{s3}/odd/\x1b[2J\nrm', stdin=b'')[0] == 0
    assert objstore('ls', f'{s3}/odd/') == (0, b'odd/\\x1b[2J\\nrm\n', '')
    assert json.loads(objstore('ls', '--json', f'{s3}/odd/')[1])['key'] == 'odd/\x1b[2J\nrm'
    assert '\x1b' not in objstore('cat', f'{s3}/none\x1b[2J')[2]


def test_exit_status_tells_failure_from_bad_input(store):
    lab = store.root/'lab'
    store.put('lab', 'a', b'1')
    assert [objstore(*words)[0] for words in (['cat', lab/'a'], ['ls', lab], ['rm', '--dry-run', lab/'a'])] == [0, 0, 0]
    assert [objstore(*words)[0] for words in (['cat', lab/'a', lab/'none'], ['rm', lab/'none'], ['ls', f'{lab}/*.csv'], ['rb', lab],
        ['versions', lab/'a'], ['presign', lab/'a'], ['ls', store.root/'none'], ['cp', 'none', lab/'b'])] == [1] * 8
    assert [objstore(*words)[0] for words in (['lss'], ['ls', '--jsn'], ['cat'], ['cat', 's4://lab/a'], ['cp', 'a', 'b'], ['rm', '-r', lab],
        ['ls', lab, '--region', 'x'], ['cp', lab/'a', lab/'b', '--meta', 'Bad=1'])] == [2] * 8


def test_complaints_are_one_line_that_says_what_to_do(store):
    store.put('lab', 'a', b'1')
    for words,text in ((['lss'], "did you mean 'ls'?"), (['ls', '--recursiv'], "did you mean '--recursive'?"),
            (['cp', 'x', store.root/'none'/'x'], 'one of them as a URL'), (['cat', store.root/'none'/'x'], 'no such bucket'),
            (['ls', store.root.parent/'nowhere'], 'objstore mb'), (['versions', store.root/'lab'/'x'], 'former versions'),
            (['rm', '-r', store.root/'lab'], '--yes')):
        status,out,err = objstore(*words)
        assert status and not out and err.startswith('objstore: ') and err.count('\n') == 1 and text in err, err


def test_downloads_stay_in_their_folder_whatever_the_key(s3, tmp_path):
    for key in ('c:evil', '~root', 'nul.txt'):
        assert objstore('cp', '-', f'{s3}/names/{key}', stdin=b'x')[0] == 0
        assert objstore('cp', f'{s3}/names/{key}', f'{tmp_path}/in/')[0] == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')) == ['in', 'in/%6Eul.txt', 'in/%7Eroot', 'in/c%3Aevil']


def test_an_object_on_s3_from_first_put_to_last_version(s3, tmp_path):
    url = f'{s3}/models/cats.bin'
    (tmp_path/'cats.bin').write_bytes(b'weights')
    assert objstore('cp', tmp_path/'cats.bin', f'{s3}/models/', '--meta', 'accuracy=0.91', '--type', 'application/x-model')[0] == 0
    stats = json.loads(objstore('stat', '--json', url)[1])
    assert (stats['size'], stats['metadata'], stats['content_type']) == (7, {'accuracy': '0.91'}, 'application/x-model')
    assert objstore('cp', '-', url, '--if-none-match', stdin=b'other')[0] == 1
    assert objstore('cp', '-', url, stdin=b'newer')[0] == 0
    former = json.loads(objstore('versions', '--json', url)[1].splitlines()[1])['version']
    assert objstore('cat', url, '--version', former, '--range', ':3') == (0, b'wei', '')
    assert objstore('cp', url, f'{tmp_path}/old.bin', '--version', former)[0] == 0 and (tmp_path/'old.bin').read_bytes() == b'weights'
    assert objstore('rm', url)[0] == 0 and objstore('cat', url)[0] == 1
    assert objstore('versions', url)[1].splitlines()[0].split(b'\t')[3] == b'deleted'


def test_a_copy_between_stores_keeps_metadata_and_type(s3, store):
    store.put('lab', 'cats.csv', b'name\nTom\n', metadata={'source': 'demo'}, content_type='text/csv')
    assert objstore('cp', store.root/'lab'/'cats.csv', f'{s3}/tables/', '--region', 'us-east-1')[0] == 0
    assert objstore('cp', f'{s3}/tables/cats.csv', store.root/'lab'/'back.csv')[0] == 0
    stats = store.get_stats('lab', 'back.csv')
    assert (stats.size, stats.metadata, stats.content_type) == (9, {'source': 'demo'}, 'text/csv')


def test_everything_below_a_prefix_goes_and_nothing_beside_it(s3):
    for key in ('tmp/a', 'tmp/b/c', 'tmp2'): assert objstore('cp', '-', f'{s3}/{key}', stdin=b'')[0] == 0
    assert objstore('rm', '-r', '--dry-run', f'{s3}/tmp')[1] == b'would be removed\ttmp/a\nwould be removed\ttmp/b/c\n'
    assert objstore('rm', '-r', '--yes', f'{s3}/tmp')[0] == 0
    assert objstore('ls', '-r', f'{s3}/tmp2') == (0, b'tmp2\n', '') and objstore('ls', f'{s3}/tmp')[0] == 1


def test_nothing_is_removed_for_a_mistyped_source(s3, store, tmp_path):
    (tmp_path/'mine').mkdir(); (tmp_path/'mine'/'a').write_bytes(b'1')
    store.put('lab', 'kept/a', b'1')
    for command in (['sync', '--delete'], ['sync', '--delete', '--dry-run'], ['sync'], ['cp', '-r']):
        for target in (tmp_path/'mine', store.root/'lab'/'kept'):
            status,out,err = objstore(*command, f'{s3}/nosuch', target)
            assert (status, out) == (1, b'') and 'nothing matches nosuch/' in err and err.count('\n') == 1, err
    assert (tmp_path/'mine'/'a').exists() and list(store.bucket('lab')) == ['kept/a']


@posix
def test_links_are_told_and_what_they_stand_for_is_not_removed(store, tmp_path):
    (tmp_path/'mine').mkdir(); (tmp_path/'real').mkdir(); (tmp_path/'mine'/'data').symlink_to(tmp_path/'real')
    store.put('lab', 'x/data/1', b'1'); store.put('lab', 'x/old', b'1')
    status,out,_ = objstore('sync', '--delete', '--json', tmp_path/'mine', store.root/'lab'/'x')
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, [(row['state'], row['destination'], row.get('note')) for row in rows]) == (0, [('left out', 'x/data', 'a link, and links are not followed'), ('removed', 'x/old', None)])
    assert list(store.bucket('lab')) == ['x/data/1']


def test_half_a_url_makes_no_file_and_no_folder(store, tmp_path):
    store.put('lab', 'k.txt', b'1')
    for words in (['cp', '-r', store.root/'lab', 'gs:/bar'], ['sync', store.root/'lab', 'az:/x'], ['cp', store.root/'lab'/'k.txt', 'gs:foo'], ['cp', 's3:lab/k', 'k']):
        status,out,err = objstore(*words, cwd=tmp_path)
        assert (status, out) == (2, b'') and 'neither a URL nor a path: write ' in err, err
    assert [path.name for path in tmp_path.iterdir()] == ['store']


def test_cp_tells_the_key_that_it_stores(s3, store):
    assert objstore('cp', '-', f'{s3}/slashes//k', stdin=b'1')[0] == 0
    (store.root.parent/'k.txt').write_bytes(b'1')
    assert objstore('cp', store.root.parent/'k.txt', f'{s3}/slashes//')[1].decode().split('\t')[1] == f'{s3}/slashes//k.txt'
    assert objstore('cat', f'{s3}/slashes//k.txt')[:2] == (0, b'1')
    assert objstore('cp', '-r', f'{s3}/slashes//k', f'{store.root.parent}/one/')[0] == 0 and (store.root.parent/'one'/'k').read_bytes() == b'1'


@posix
def test_an_upload_to_the_hub_makes_no_copy_of_a_file_that_a_signal_would_leave(tmp_path):
    for name in ('mine', 'tmp'): (tmp_path/name).mkdir()
    (tmp_path/'mine'/'large').write_bytes(bytes(2**26)); (tmp_path/'mine'/'small').write_bytes(bytes(2**23 + 2**22))
    bucket,copies = f'hf://models/tester/cli-{uuid4().hex[:12]}',set()
    assert objstore('mb', bucket)[0] == 0
    with subprocess.Popen([*program, 'cp', '-r', str(tmp_path/'mine'), bucket], env=environment(TMPDIR=str(tmp_path/'tmp'))) as running:
        while running.poll() is None: copies.update((tmp_path/'tmp').iterdir()); time.sleep(0.005)
    assert (running.returncode, copies) == (0, set())
    assert [len(objstore('cat', f'{bucket}/{name}')[1]) for name in ('large', 'small')] == [2**26, 2**23 + 2**22]
    assert objstore('rb', '--force', bucket)[0] == 0


def test_a_missing_bucket_is_said_in_one_line():
    status,out,err = objstore('ls', 's3://no-such-bucket-anywhere')
    assert (status, out) == (1, b'') and 'no-such-bucket-anywhere' in err and err.count('\n') == 1


def test_wrong_credentials_are_said_without_showing_them(s3):
    status,out,err = objstore('ls', s3, AWS_ACCESS_KEY_ID='nobody', AWS_SECRET_ACCESS_KEY='c4n4ry-s3cr3t')
    assert (status, out) == (1, b'') and err.count('\n') == 1 and 'Traceback' not in err
    debugged = objstore('ls', s3, '--debug', AWS_ACCESS_KEY_ID='nobody', AWS_SECRET_ACCESS_KEY='c4n4ry-s3cr3t')[2]
    assert 'Traceback' in debugged and 'c4n4ry' not in err + debugged


def test_no_network_is_said_within_seconds():
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0)) # bound and not listening: connections are refused
        began = time.monotonic()
        status,out,err = objstore('ls', 's3://lab', '--endpoint', f'http://127.0.0.1:{closed.getsockname()[1]}')
    assert (status, out) == (1, b'') and err.count('\n') == 1 and time.monotonic() - began < 8


def test_presigned_url_needs_no_credentials(s3):
    from urllib.request import urlopen
    assert objstore('cp', '-', f'{s3}/signed', stdin=b'for whoever holds it')[0] == 0
    status,out,_ = objstore('presign', f'{s3}/signed', '--expires', '60')
    assert status == 0 and urlopen(out.decode().strip(), timeout=10).read() == b'for whoever holds it'


def test_demo_runs_anywhere_and_twice(tmp_path):
    first,again = objstore('demo', cwd=tmp_path),objstore('demo', cwd=tmp_path)
    assert first == again and first[0] == 0 and len(first[1].splitlines()) <= 25
    assert (tmp_path/'objstore-demo'/'lab'/'data'/'cats.csv').exists()


def sessions():
    "Every `$ command` of the README's console blocks, with what is said to come out."
    for block in re.findall(r'^```console\n(.*?)^```', readme.read_text(encoding='utf-8'), re.M|re.S):
        for command,out in re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', block, re.M): yield command,out


@posix
def test_commands_of_the_readme_print_what_it_says(tmp_path):
    assert list(sessions())
    for command,expected in sessions():
        _,out,_ = shell(f'exec 2>&1\n{command}', tmp_path)
        assert out.decode().replace(os.path.realpath(tmp_path), '/home/me') == expected, command


def test_capability_table_of_the_readme_is_what_stores_prints(tmp_path):
    rows = [json.loads(line) for line in objstore('stores', '--json', cwd=tmp_path)[1].splitlines()]
    assert rows[0]['store'] == '/a/path'
    rows[0].update(metadata=True, content_type=True) # the README says on which disks
    stores = [row.pop('store') for row in rows]
    lines = ['| | ' + ' | '.join(f'`{store}`' for store in stores) + ' |', '|---' * (len(stores) + 1) + '|',
        *(f"| `{name}` | {' | '.join('yes' if row[name] else '–' for row in rows)} |" for name in rows[0])]
    assert '\n'.join(lines) in readme.read_text(encoding='utf-8')
