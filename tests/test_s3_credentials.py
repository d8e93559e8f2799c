"Keys that AWS hands out for an hour: a role, a pod's identity, an SSO sign-in; given on loopback, and used."
import json, os, re, subprocess, sys, time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from hashlib import sha1
from itertools import count
from urllib.parse import parse_qs
import pytest
import urllib3
from objstore.backends.s3 import S3ObjectStore
from objstore.backends.s3_credentials import KeySource
from objstore.checks.streams import leaks
from objstore.errors import UnauthenticatedError
from tests.replies import Reply, replying
from tests.servers import quiet, root

secrets = ['s0urce-s3cret', 'c4n4ry', 'ey.pod.1', 'ey.pod.2', 'sso-t0ken', 'cl1ent', 'refr3sh']
role = 'arn:aws:iam::123456789012:role/reader'


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A home with the files of AWS's tools, and an environment without keys."
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_ENDPOINT_URL'): monkeypatch.delenv(name)
    files = dict(AWS_CONFIG_FILE=tmp_path/'config', AWS_SHARED_CREDENTIALS_FILE=tmp_path/'credentials')
    for name,value in dict(HOME=tmp_path, **files).items(): monkeypatch.setenv(name, str(value))
    (tmp_path/'credentials').write_text('[source]\naws_access_key_id = AKIASOURCE\naws_secret_access_key = s0urce-s3cret\n')
    (tmp_path/'config').write_text(f'[profile role]\nrole_arn = {role}\nsource_profile = source\n')
    return tmp_path


@contextmanager
def noting(url):
    "A server before the one at `url`; `.asked` tells who signed each request."
    def relay(asked):
        answer = urllib3.request(asked.method, url + asked.target, body=asked.body, headers=asked.headers, decode_content=False)
        return Reply(answer.status, answer.data, {n: v for n,v in answer.headers.items() if n.lower() not in ('connection', 'transfer-encoding')})
    with replying(relay) as server: yield server


def signers(server):
    "Key and token of each request, in the order of their first use."
    signed = ((re.search('Credential=([^/]*)/', asked.headers['authorization'])[1], asked.headers.get('x-amz-security-token')) for asked in server.asked)
    return list(dict.fromkeys(signed))


def use(store, name):
    "Every way to the store that signs by itself: our own requests, obstore's of one and of many parts, a signed URL."
    lab = store.bucket(store.find_or_create_bucket(name))
    lab.put('small', b'1'); lab.put('odd/', b'2'); lab.put('large', bytes(17 * 2**20))
    assert [item.key for item in lab.find_items()] == ['large', 'odd/', 'small']
    assert (lab['small'], lab['odd/'], len(lab['large'])) == (b'1', b'2', 17 * 2**20)
    return lab.presign('small', expires=60)


def sts(lifetime):
    "A token service whose n-th keys are `ASIAn` with the token `token-n`, and last `lifetime` seconds."
    numbers = count(1)
    def reply(asked):
        form,n = parse_qs(asked.body.decode()),next(numbers)
        action,until = form['Action'][0],datetime.now(timezone.utc) + timedelta(seconds=lifetime)
        return Reply(body=f'''<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
            <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/reader/me</Arn><AssumedRoleId>A:me</AssumedRoleId></AssumedRoleUser>
            <Credentials><AccessKeyId>ASIA{n}</AccessKeyId><SecretAccessKey>c4n4ry-{n}</SecretAccessKey><SessionToken>c4n4ry-token-{n}</SessionToken>
            <Expiration>{until:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials></{action}Result></{action}Response>'''.encode())
    return replying(reply)


def form(asked): return {name: values[0] for name,values in parse_qs(asked.body.decode()).items()}


# A role

@pytest.mark.parametrize('named_in', ['environment', 'config file'])
def test_a_role_is_assumed_with_the_keys_of_its_source_and_its_own_keys_sign_everything(home, monkeypatch, named_in):
    moto = os.environ['OBJSTORE_TEST_MOTO']
    with noting(moto) as s3, noting(moto) as tokens:
        if named_in == 'environment': monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        else: (home/'config').open('a').write(f'services = here\n[services here]\nsts =\n  endpoint_url = {tokens.url}\n')
        url = use(S3ObjectStore(endpoint=s3.url, profile='role'), f'role-{named_in.split()[0]}')
        assert urllib3.request('GET', url).data == b'1'
    asked = form(tokens.asked[0])
    assert (asked['Action'], asked['RoleArn'], signers(tokens)) == ('AssumeRole', role, [('AKIASOURCE', None)])
    s3.asked.pop() # of the URL, which carries its signature itself
    (key,token), = signers(s3)
    assert key.startswith('ASIA') and token and f'X-Amz-Credential={key}' in url and 'X-Amz-Security-Token=' in url
    assert len(tokens.asked) == 1, 'keys that last an hour were asked for again'


def test_keys_of_a_role_that_end_are_renewed_in_the_middle_of_a_run(home, monkeypatch):
    # obstore asks its provider again five minutes before the keys end, and is told six: here it is told that they end at once.
    # Then it asks for each request, if a tenth of a second has passed.
    monkeypatch.setattr('objstore.backends.s3_obstore.timedelta', lambda minutes: timedelta(seconds=1))
    with noting(os.environ['OBJSTORE_TEST_MOTO']) as s3, sts(60) as tokens:
        monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        lab = S3ObjectStore(endpoint=s3.url, profile='role').bucket('renewed')
        lab.store.find_or_create_bucket('renewed')
        for way in (lambda: lab.put('plain', b'by obstore'), lambda: lab.put('odd/', b'by ourselves'), lambda: lab['plain'], lambda: lab['odd/']):
            s3.asked.clear()
            end = time.monotonic() + 10
            while len(signers(s3)) < 2 and time.monotonic() < end: way()
            assert len(signers(s3)) == 2 and all(token == f'c4n4ry-token-{key[4:]}' for key,token in signers(s3))


def test_a_role_that_may_not_be_assumed_is_an_error_that_says_so(home, monkeypatch):
    refusal = b'<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>AKIASOURCE may not assume it</Message></Error></ErrorResponse>'
    with replying(Reply(403, refusal)) as tokens:
        monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        with pytest.raises(UnauthenticatedError, match='AccessDenied'): KeySource(profile='role')()


# A pod

@pytest.fixture
def pod(home, monkeypatch):
    "What Kubernetes gives a container that may assume a role: a file with a token, and two variables."
    (home/'token').write_text('ey.pod.1')
    for name in ('AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE'): monkeypatch.setenv(name, str(home/'none'))
    for name,value in dict(AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE=str(home/'token')).items(): monkeypatch.setenv(name, value)
    return home


def test_a_pod_assumes_its_role_by_the_token_in_its_file(pod, monkeypatch):
    with noting(os.environ['OBJSTORE_TEST_MOTO']) as s3, sts(3600) as tokens:
        monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        use(S3ObjectStore(endpoint=s3.url), 'pod')
    asked, = map(form, tokens.asked)
    assert (asked['Action'], asked['RoleArn'], asked['WebIdentityToken']) == ('AssumeRoleWithWebIdentity', role, 'ey.pod.1')
    assert signers(s3) == [('ASIA1', 'c4n4ry-token-1')]


def test_a_pod_whose_keys_end_reads_the_token_that_was_put_in_its_file_since(pod, monkeypatch):
    with sts(60) as tokens:
        monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        keys = KeySource()
        first = keys()
        (pod/'token').write_text('ey.pod.2')
        assert (keys() != first, form(tokens.asked[0])['WebIdentityToken'], form(tokens.asked[-1])['WebIdentityToken']) == (True, 'ey.pod.1', 'ey.pod.2')


# An SSO sign-in: in a process of its own, since botocore looks for the home when it is imported

session = dict(sso_start_url='https://lab.awsapps.example/start', sso_region='eu-west-1')
token = dict(startUrl=session['sso_start_url'], region='eu-west-1', accessToken='sso-t0ken')
sso_config = '[profile sso]\nsso_account_id = 123456789012\nsso_role_name = reader\n'
session_config = ''.join(f'{name} = {value}\n' for name,value in session.items())
program = '''
import logging, sys
import tests.conftest as guard, socket
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
for method in ('connect', 'connect_ex'): setattr(socket.socket, method, guard.guarded(getattr(socket.socket, method)))
from objstore.backends.s3 import S3ObjectStore
store = S3ObjectStore(endpoint=sys.argv[1], profile='sso')
store.put('sso', 'small', b'1'); store.put('sso', 'odd/', b'2')
print(store.get('sso', 'small'), store.get('sso', 'odd/'), store)
'''


def sign_in(home, name, **more):
    "What `aws sso login` leaves: a token that ends after an hour, under the digest of what it is for."
    cache = home/'.aws'/'sso'/'cache'
    cache.mkdir(parents=True)
    until = more.pop('until', datetime.now(timezone.utc) + timedelta(hours=1))
    (cache/f'{sha1(name.encode()).hexdigest()}.json').write_text(json.dumps({**token, **more, 'expiresAt': f'{until:%Y-%m-%dT%H:%M:%SZ}'}))


def portal(asked):
    "The keys of a role for whoever holds the token."
    if asked.headers.get('x-amz-sso_bearer_token') not in ('sso-t0ken', 'sso-t0ken-2'): return Reply(401, b'{"message": "Session token not found or invalid"}')
    keys = dict(accessKeyId='ASIASSO', secretAccessKey='c4n4ry', sessionToken='c4n4ry-token', expiration=int(datetime.now().timestamp() + 3600) * 1000)
    return Reply(body=json.dumps({'roleCredentials': keys}).encode(), headers={'Content-Type': 'application/json'})


def run_signed_in(home, s3, **endpoints):
    "The program, in the home."
    environ = {name: value for name,value in os.environ.items() if not name.startswith('AWS_')}
    environ |= {**quiet, 'HOME': str(home), **endpoints}
    return subprocess.run([sys.executable, '-c', program, s3.url], cwd=root, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize('config, name', [
    (sso_config + session_config, session['sso_start_url']),
    (f'{sso_config}sso_session = lab\n[sso-session lab]\n{session_config}', 'lab')], ids=['start url', 'session'])
def test_who_has_signed_in_with_sso_works_with_the_keys_of_the_role(home, config, name):
    (home/'.aws').mkdir()
    (home/'.aws'/'config').write_text(config)
    sign_in(home, name)
    with noting(os.environ['OBJSTORE_TEST_MOTO']) as s3, replying(portal) as sso:
        S3ObjectStore(endpoint=os.environ['OBJSTORE_TEST_MOTO'], access_key_id='a', secret_access_key='b').find_or_create_bucket('sso')
        ran = run_signed_in(home, s3, AWS_ENDPOINT_URL_SSO=sso.url)
    assert ran.stdout == f"b'1' b'2' S3ObjectStore(endpoint='{s3.url}', profile='sso')\n", ran.stderr[-2000:]
    assert [asked.target for asked in sso.asked] == ['/federation/credentials?role_name=reader&account_id=123456789012']
    assert signers(s3) == [('ASIASSO', 'c4n4ry-token')]
    assert 'botocore' in ran.stderr and not [line for line in ran.stderr.splitlines() if any(secret in line for secret in secrets)]


def test_a_sign_in_that_ended_is_renewed_by_its_refresh_token(home):
    (home/'.aws').mkdir()
    (home/'.aws'/'config').write_text(f'{sso_config}sso_session = lab\n[sso-session lab]\n{session_config}')
    hour = timedelta(hours=1)
    now = datetime.now(timezone.utc)
    sign_in(home, 'lab', until=now - hour, clientId='id', clientSecret='cl1ent', refreshToken='refr3sh', registrationExpiresAt=f'{now + hour:%Y-%m-%dT%H:%M:%SZ}')
    renewed = dict(accessToken='sso-t0ken-2', refreshToken='refr3sh-2', expiresIn=3600, tokenType='Bearer')
    with noting(os.environ['OBJSTORE_TEST_MOTO']) as s3, replying(portal) as sso, replying(Reply(body=json.dumps(renewed).encode())) as oidc:
        S3ObjectStore(endpoint=os.environ['OBJSTORE_TEST_MOTO'], access_key_id='a', secret_access_key='b').find_or_create_bucket('sso')
        ran = run_signed_in(home, s3, AWS_ENDPOINT_URL_SSO=sso.url, AWS_ENDPOINT_URL_SSO_OIDC=oidc.url)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert json.loads(oidc.asked[0].body)['refreshToken'] == 'refr3sh' and sso.asked[0].headers['x-amz-sso_bearer_token'] == 'sso-t0ken-2'
    assert not [line for line in ran.stderr.splitlines() if any(secret in line for secret in secrets)]


# Nothing shows

def test_what_the_token_service_is_told_and_tells_shows_nowhere(home, pod, monkeypatch):
    with sts(3600) as tokens:
        monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(home/'credentials'))
        for keys in KeySource(),KeySource(profile='source'): assert leaks(lambda: (keys(), repr(keys))[1], secrets) == []
        monkeypatch.setenv('AWS_CONFIG_FILE', str(home/'config'))
        keys = KeySource(profile='role')
        assert leaks(keys, secrets) == []
    with replying(Reply(403, b'<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no WebIdentityToken=ey.pod.1</Message></Error></ErrorResponse>')) as tokens:
        monkeypatch.setenv('AWS_ENDPOINT_URL_STS', tokens.url)
        assert leaks(lambda: KeySource()(), secrets) == []
