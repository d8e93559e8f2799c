"The package as its users get it: light to import, typed, and whole after pip install."
import configparser, os, shutil, subprocess, sys, venv, zipfile
import pytest
import objstore
from tests import forked
from tests.bench import measure
from tests.notebooks import root

heavy = {'boto3', 'botocore', 'google', 'azure', 'huggingface_hub', 'obstore', 'ipywidgets', 'urllib3', 'pydantic'}
sources = ['settings.ini', 'setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE']


def run(*command, cwd=root, timeout=300):
    "Run a command; its output, or a failure that shows it."
    done = subprocess.run([str(part) for part in command], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f'{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}'
    return done.stdout


def seconds(*command):
    "CPU time that the command takes, which starting Python is made of; its wall time is also that of the tests beside it."
    cost = forked.run(measure.run, [sys.executable, *command]).value
    assert cost['status'] == 0
    return cost['cpu']


def seconds_over_bare_python(*command, runs=9):
    "What the command takes beyond an empty program, each at its best of interleaved runs."
    pairs = [(seconds('-c', 'pass'), seconds(*command)) for _ in range(runs)]
    return min(full for _,full in pairs) - min(bare for bare,_ in pairs)


def test_version_is_the_one_in_settings():
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(root/'settings.ini', encoding='utf-8')
    assert objstore.__version__ == settings['DEFAULT']['version']


def test_import_loads_no_sdk_and_no_widgets():
    loaded = run(sys.executable, '-c', 'import objstore, sys; print(*sys.modules)').split()
    assert heavy & {name.partition('.')[0] for name in loaded} == set()


def test_import_takes_at_most_a_tenth_of_a_second():
    assert seconds_over_bare_python('-c', 'import objstore') <= 0.1


def test_help_takes_at_most_015_seconds():
    program = "import sys; sys.argv = ['objstore', '--help']; from objstore.cli import main; sys.exit(main())"
    assert seconds_over_bare_python('-c', program) <= 0.15


def test_pyright_finds_no_error():
    run(sys.executable, '-m', 'pyright', '--pythonpath', sys.executable)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel, built from the sdist, built from a copy: a build in the checkout would leave files there."
    copy = tmp_path_factory.mktemp('copy')
    for name in sources: shutil.copy(root/name, copy)
    shutil.copytree(root/'objstore', copy/'objstore', ignore=shutil.ignore_patterns('__pycache__'))
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', copy/'dist', copy)
    return next((copy/'dist').glob('*.whl'))


def test_wheel_is_typed_and_holds_only_the_library(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert 'objstore/py.typed' in names
    assert {name.partition('/')[0] for name in names} == {'objstore', f'objstore-{objstore.__version__}.dist-info'}


def test_demo_runs_from_the_wheel_in_an_empty_folder(wheel, tmp_path):
    venv.create(tmp_path/'venv', with_pip=False, symlinks=os.name != 'nt')
    scripts = tmp_path/'venv'/('Scripts' if os.name == 'nt' else 'bin')
    run(sys.executable, '-m', 'pip', '--python', scripts/'python', 'install', '--quiet', wheel)
    empty = tmp_path/'empty'
    empty.mkdir()
    assert run(scripts/'objstore', 'demo', cwd=empty)
