"""Every store, every promise: the suite of `objstore.conformance` on memory, disk, real servers of S3, Cloud Storage and Azure, and a
stand-in for the Hub.

What a server is known to do wrong is listed here, and strictly: a listed promise that is kept fails the run. Each store streams
a GiB. Versions stream through the store below, and are given one, too; over fake-gcs-server, which takes two minutes for it and is
given one without versions, a quarter in two thirds of the memory."""
import os, sys, uuid
from collections.abc import Callable
from dataclasses import dataclass, field
import pytest
from objstore import AzureObjectStore, GCSObjectStore, HFObjectStore, LocalObjectStore, MemoryObjectStore, S3ObjectStore, VersionedStore
from objstore.checks.streams import streams_within
from objstore.conformance import promises, try_promise
from objstore.interface import Bucket
from tests.gcs import service_account
from tests.proxy import counting
from tests.replies import Reply, replying


@dataclass(frozen=True)
class Subject:
    "A bucket to try promises on, a count of what its store has sent, and what its server does wrong."
    bucket: Bucket
    sent: Callable[[], int]
    wrong: dict = field(default_factory=dict)
    stream: tuple = ()  # MiB that are put in place of a GiB, and bytes of memory that they may take


def subject(store, sent, wrong={}, owner='', **other):
    "A fresh bucket of `store`."
    return Subject(store.bucket(store.find_or_create_bucket(f'{owner}conform-{uuid.uuid4().hex[:12]}')), sent, wrong, **other)


def memory(tmp_path_factory):
    store = MemoryObjectStore()
    yield subject(store, lambda: store._writes, {'a_gibibyte_streams': 'it keeps objects in memory'})


def local(tmp_path_factory):
    root = tmp_path_factory.mktemp('store')
    touched = []
    sys.addaudithook(lambda event, args: touched.append(event) if any(str(root) in str(arg) for arg in args) else None)
    yield subject(LocalObjectStore(root), lambda: len(touched))


def seaweedfs(tmp_path_factory):
    with counting(os.environ['AWS_ENDPOINT_URL']) as proxy:
        yield subject(S3ObjectStore(endpoint=proxy.url), lambda: proxy.sent, {
            'odd_keys_are_kept': 'a key that ends in a slash has no bytes, `dir` hides `dir/`',
            'an_object_and_its_neighbours_are_apart': 'a key that ends in a slash replaces its namesake',
            'a_backslash_is_a_character': 'takes it for a slash'})


def moto(tmp_path_factory):
    with counting(os.environ['OBJSTORE_TEST_MOTO']) as proxy:
        yield subject(S3ObjectStore(endpoint=proxy.url), lambda: proxy.sent, {
            'a_copy_can_be_create_only': 'ignores If-None-Match on copies',
            'former_versions_are_kept': 'lists delete markers after all versions',
            'control_characters_are_kept': 'answers 404 to a key with a line break',
            'a_presigned_url_reaches_one_object': 'checks no signature'})


def azurite(tmp_path_factory):
    parts = dict(part.split('=', 1) for part in os.environ['AZURE_STORAGE_CONNECTION_STRING'].split(';'))
    server,_,account = parts['BlobEndpoint'].rpartition('/')
    with counting(server) as proxy:
        yield subject(AzureObjectStore(account, account_key=parts['AccountKey'], endpoint=f'{proxy.url}/{account}'), lambda: proxy.sent, {
            'former_versions_are_kept': 'keeps snapshots, but no versions',
            'a_version_can_be_restored': 'keeps snapshots, but no versions',
            'what_names_no_version_is_missing': 'keeps snapshots, but no versions',
            'a_removed_version_is_gone': 'keeps snapshots, but no versions'})


def gcs(tmp_path_factory):
    token = Reply(body=b'{"access_token": "test", "expires_in": 3600, "token_type": "Bearer"}')
    with counting(os.environ['STORAGE_EMULATOR_HOST']) as proxy, replying(token) as tokens:
        ann = service_account(tmp_path_factory.mktemp('gcs')/'key.json', tokens.url)
        yield subject(GCSObjectStore(endpoint=proxy.url, application_credentials_file=ann), lambda: proxy.sent, {
            'a_copy_can_be_create_only': 'ignores ifGenerationMatch on copies',
            'a_removed_version_is_gone': 'makes the live generation a former one when another is removed',
            'a_presigned_url_reaches_one_object': 'checks no signature'})


def hf(tmp_path_factory):
    with counting(os.environ['HF_ENDPOINT']) as proxy:
        yield subject(HFObjectStore(endpoint=proxy.url), lambda: proxy.sent, owner='models/tester/')


def versioned(store, **other):
    "Versions in front of a store: what the store below does wrong with keys does not show, and bytes in memory stay there."
    def opened(tmp_path_factory):
        made = store(tmp_path_factory)
        tried = next(made)
        wrong = {promise: why for promise,why in tried.wrong.items() if promise == 'a_gibibyte_streams'}
        yield subject(VersionedStore(tried.bucket.store), tried.sent, wrong, tried.bucket.name.rpartition('conform-')[0], **other)
        next(made, None)
    opened.__name__ = f'versioned_{store.__name__}'
    return opened


quarter = 256, 200e6
stores = [memory, local, seaweedfs, moto, gcs, azurite, hf, versioned(memory), versioned(local),
    versioned(seaweedfs), versioned(gcs, stream=quarter), versioned(azurite), versioned(hf)]

# moto shows odd keys and versions; it locks nothing, so what it makes of a race proves nothing, either way.
races = {'one_creator_wins', 'no_increment_is_lost'}
cases = [(store, promise) for store in stores for promise in promises() if (store, promise in races) != (moto, True)]


@pytest.fixture(scope='module')
def subjects(tmp_path_factory):
    "Each store, opened when first asked for."
    opened = {}
    def of(store):
        if store not in opened: opened[store] = (made := store(tmp_path_factory)), next(made)
        return opened[store][1]
    yield of
    for made,_ in opened.values(): next(made, None)


@pytest.mark.parametrize('store,promise', cases, ids=lambda case: getattr(case, '__name__', case))
def test_promise(subjects, store, promise):
    tried = subjects(store)
    if promise in tried.wrong: return refuted(promise, tried)
    attempt(promise, tried)


def attempt(promise, tried):
    "Try the promise; a GiB is less where the subject says so."
    if promise == 'a_gibibyte_streams' and tried.stream: return streams_within(tried.bucket, f'conformance/{promise}', *tried.stream)
    try_promise(promise, tried.bucket, requests=tried.sent)


def refuted(promise, tried):
    "See that what is listed as wrong still is."
    try: attempt(promise, tried)
    except Exception: return
    pytest.fail(f'{promise} is kept now: take it off the list ({tried.wrong[promise]})')
