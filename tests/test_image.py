"The image for init containers: its install steps in a clean virtual environment, its command line, and the pod that uses it."
import json, os, re, shlex, shutil, subprocess, sys
from pathlib import Path
from uuid import uuid4
import pytest
import yaml
from huggingface_hub import hf_hub_download
from objstore.backends.azure import AzureObjectStore
from objstore.backends.gcs import GCSObjectStore
from objstore.backends.hf import HFObjectStore
from objstore.backends.s3 import S3ObjectStore
from objstore.download_config import read_config
from tests.gcs import service_account
from tests.notebooks import root
from tests.replies import Reply, replying
from tests.servers import admin

posix = pytest.mark.skipif(os.name == 'nt', reason='the image is one of Linux')
objects = {'models/cats/a/w.safetensors': b'weights', 'models/cats/notes.txt': b'not wanted', 'tables/t.csv': b'1,2', 'settings.json': b'{}'}


def steps(stage):
    "The steps of the first or the last stage of the Dockerfile: `[('RUN', 'python -m venv /opt/objstore'), …]`."
    stages = re.split(r'(?m)^FROM .*\n', (root/'Dockerfile').read_text(encoding='utf-8'))
    return [tuple(line.split(' ', 1)) for line in stages[stage].splitlines() if line and not line.startswith('#')]


def named(stage, word):
    "What the steps of one name say."
    return [rest for name,rest in steps(stage) if name == word]


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    "What the Dockerfile builds, in a folder in place of /."
    place = tmp_path_factory.mktemp('image')
    for copied in named(1, 'COPY'):
        *sources,to = copied.split()
        for source in sources: copy(root/source, place/to.strip('/'), into=to.endswith('/'))
    for command in named(1, 'RUN'):
        words = [word.replace('/opt/', f'{place}/opt/').replace('/src', f'{place}/src') for word in shlex.split(command)]
        done = subprocess.run([sys.executable if words[0] == 'python' else words[0], *words[1:]], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
    return place


def copy(source, to, into):
    "Copy a file into a folder, or a folder to one."
    if source.is_dir(): return shutil.copytree(source, to, ignore=shutil.ignore_patterns('__pycache__'))
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, to)


def entry(image):
    "The command line of the image."
    program,*words = json.loads(named(-1, 'ENTRYPOINT')[0])
    return [f'{image}{program}', *words]


def documents():
    "The ConfigMap and the Pod of the example."
    return list(yaml.safe_load_all((root/'examples'/'kubernetes.yaml').read_text(encoding='utf-8')))


def pod(): return documents()[1]['spec']


def test_image_is_slim_without_root_and_takes_only_what_it_needs():
    text = (root/'Dockerfile').read_text(encoding='utf-8')
    assert all(line.endswith('-slim') for line in re.findall(r'(?m)^FROM (\S+)', text))
    assert named(-1, 'USER') == ['10001:10001'] and named(-1, 'COPY') == ['--from=build /opt/objstore /opt/objstore'] and 'PYTHONDONTWRITEBYTECODE=1' in named(-1, 'ENV')[0]
    taken = [source for copied in named(1, 'COPY') for source in copied.split()[:-1]]
    assert sorted(taken) == sorted(line[1:] for line in (root/'.dockerignore').read_text().splitlines() if line.startswith('!'))
    assert all((root/source).exists() for source in taken)


def test_pod_runs_as_nobody_with_limits_and_a_root_that_is_read_only():
    spec = pod()
    assert spec['securityContext']['runAsNonRoot'] and spec['securityContext']['runAsUser'] == 10001 == spec['securityContext']['fsGroup']
    for container in (*spec['initContainers'], *spec['containers']):
        safe = container['securityContext']
        assert safe['readOnlyRootFilesystem'] and not safe['allowPrivilegeEscalation'] and safe['capabilities'] == {'drop': ['ALL']}
        assert set(container['resources']['limits']) == {'cpu', 'memory'}
        assert {mount['name'] for mount in container['volumeMounts']} <= {volume['name'] for volume in spec['volumes']}
    mounts = {mount['mountPath']: mount.get('readOnly', False) for mount in spec['initContainers'][0]['volumeMounts']}
    assert mounts == {'/data': False, '/config': True, '/secrets': True}


def test_pod_names_each_secret_only_as_a_file():
    text = documents()[0]['data']['downloads.yaml']
    named = re.findall(r'(\w+): /secrets/(\S+)', text)
    assert all(setting.endswith('_file') for setting,_ in named) and len(named) == 5
    command = re.findall(r'--from-file=(\S+)', (root/'examples'/'kubernetes.yaml').read_text())
    assert sorted(command) == sorted(name for _,name in named)


@pytest.fixture
def cluster(tmp_path):
    "The folders that the pod mounts, filled, and servers that hold what it asks for."
    name = f'image-{uuid4().hex[:12]}'
    stores = [(S3ObjectStore(), name), (GCSObjectStore(), name), (AzureObjectStore(), name), (HFObjectStore(), f'models/tester/{name}')]
    for store,bucket in stores[:3]:
        store.find_or_create_bucket(bucket)
        for key,data in objects.items(): store.put(bucket, key, data)
    stores[3][0].put(stores[3][0].find_or_create_bucket(stores[3][1]), 'tokenizer.json', b'{"a": 1}')
    for folder in ('data', 'config', 'secrets'): (tmp_path/folder).mkdir()
    token = Reply(body=b'{"access_token": "ya29.c4n4ry", "expires_in": 3600, "token_type": "Bearer"}', headers={'Content-Type': 'application/json'})
    with replying(token) as server:
        service_account(tmp_path/'secrets'/'google.json', f'{server.url}/token')
        secrets = {'s3-id': admin['AWS_ACCESS_KEY_ID'], 's3-key': admin['AWS_SECRET_ACCESS_KEY'], 'azure': os.environ['AZURE_STORAGE_CONNECTION_STRING'], 'hf': os.environ['HF_TOKEN']}
        for file,value in secrets.items(): (tmp_path/'secrets'/file).write_text(value + '\n')
        text = documents()[0]['data']['downloads.yaml'].replace('name: lab', f'name: {name}').replace('owner/tokenizer', f'tester/{name}')
        (tmp_path/'config'/'downloads.yaml').write_text(mounted(text, tmp_path))
        yield tmp_path
    for store,bucket in stores: store.remove_bucket(bucket, force=True)


def mounted(text, place):
    "`text` with the folders that the pod mounts where they are here."
    return re.sub('/(data|config|secrets)(?=[/\\s]|$)', lambda found: f'{place}{found[0]}', text)


def environment(place):
    "What the init container has: the image's own variables, the pod's, and where the test servers are; no home, no place for drafts."
    own = dict(word.split('=') for word in named(-1, 'ENV')[0].split())
    said = {each['name']: mounted(each['value'], place) for each in pod()['initContainers'][0]['env']}
    servers = {name: os.environ[name] for name in ('STORAGE_EMULATOR_HOST', 'HF_ENDPOINT', 'HF_HUB_DISABLE_TELEMETRY', 'NO_GCE_CHECK', 'AWS_EC2_METADATA_DISABLED')}
    return {'PATH': os.environ['PATH'], **servers, **own, **said, 'S3_ENDPOINT': os.environ['AWS_ENDPOINT_URL'], 'HOME': '/nonexistent', 'TMPDIR': '/nonexistent'}


def everything(folder): return {path: path.stat().st_mtime_ns for path in Path(folder).rglob('*')}


@posix
def test_init_container_fetches_all_into_the_volume_and_writes_nowhere_else(image, cluster):
    words = [mounted(word, cluster) for word in pod()['initContainers'][0]['args']]
    before = everything(image),everything(cluster/'config'),everything(cluster/'secrets')
    for state in ('done', 'skipped'):
        done = subprocess.run([*entry(image), *words], cwd=cluster/'data', env=environment(cluster), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and f'4 {state}' in done.stderr, done.stderr
        assert [json.loads(line)['type'] for line in done.stdout.splitlines()][-1] == 'done'
        assert not [secret for secret in (admin['AWS_SECRET_ACCESS_KEY'], os.environ['HF_TOKEN'], 'c4n4ry', 'AccountKey') if secret in done.stdout + done.stderr]
    assert (everything(image), everything(cluster/'config'), everything(cluster/'secrets')) == before
    data = cluster/'data'
    assert {path.relative_to(data).as_posix() for path in data.rglob('*') if path.is_file() and 'huggingface' not in path.parts} == {'cats/a/w.safetensors', 'tables/t.csv', 'settings.json'}
    repo = next(iter((data/'huggingface'/'hub').glob('models--tester--*'))).name.removeprefix('models--').replace('--', '/')
    assert Path(hf_hub_download(repo, 'tokenizer.json', cache_dir=data/'huggingface'/'hub', local_files_only=True)).read_bytes() == b'{"a": 1}'


@posix
def test_help_is_what_the_image_says_by_itself(image):
    done = subprocess.run([*entry(image), *json.loads(named(-1, 'CMD')[0])], env={'PATH': os.environ['PATH']}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and 'CONFIG' in done.stdout


def test_config_of_the_example_is_right_but_for_what_is_mounted(tmp_path, monkeypatch):
    monkeypatch.setenv('S3_ENDPOINT', 'https://s3.example.com')
    (tmp_path/'secrets').mkdir()
    service_account(tmp_path/'secrets'/'google.json', 'http://127.0.0.1:9/token')
    for name in ('s3-id', 's3-key', 'hf'): (tmp_path/'secrets'/name).write_text('c4n4ry')
    (tmp_path/'secrets'/'azure').write_text('AccountName=lab;AccountKey=c4n4ry==')
    (tmp_path/'c.yaml').write_text(mounted(documents()[0]['data']['downloads.yaml'], tmp_path))
    config,_ = read_config(tmp_path/'c.yaml')
    assert [task.title for task in config.download_items] == ['weights (s3)', 'tables (gcs)', 'settings (azure-blob)', 'tokenizer (hf)']
