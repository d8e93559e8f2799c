"S3 listings hold what boto3's paginator holds, for any keys; a page that is broken is never a shorter list."
import os, uuid
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from objstore.backends.s3_listing import key_versions, list_objects, list_versions, objects_page
from objstore.backends.s3_request import S3Endpoint, S3Requests
from objstore.backends.s3_signing import Credentials
from objstore.errors import ObjStoreError
from tests.replies import Reply, replying

odd = ['a b', 'a+b', 'a%20b', 'a%2Fb', 'ünï/ç∅de 🐈', '#?&+=', "<&>'\"", 'dir', 'dir/x', 'dir-1', 'dir.txt', 'x/y', 'A', 'a']
odder = ['/a', 'a//b', 'dir/', '//', 'a/', ' ', ' a ', '\x01\x1f\x7f', '\u2028', '\ufffe', '\U0010fffd', ']]>', '&amp;', '\\']
keys = st.text(st.sampled_from(' +%&<>\'"/abé🐈\x01\x1f\t~]\\?#') | st.characters(exclude_categories=['Cs'], exclude_characters='\0\r\n'), min_size=1, max_size=10)
lists_of_keys = st.lists(keys.filter(lambda key: {'.', '..'}.isdisjoint(key.split('/'))), min_size=1, max_size=6, unique=True)


class SmallPages(S3Requests):
    "The same service with pages of two, so that a few keys fill several."
    def signed(self, ask, bucket, key, *rest):
        return super().signed(replace(ask, query={**ask.query, 'max-keys': '2'}) if ask.query and not key else ask, bucket, key, *rest)


def keyring(): return Credentials(os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY'])


@pytest.fixture(scope='module', params=['AWS_ENDPOINT_URL', 'OBJSTORE_TEST_MOTO'], ids=['seaweedfs', 'moto'])
def url(request): return os.environ[request.param]


@pytest.fixture(scope='module')
def moto(): return os.environ['OBJSTORE_TEST_MOTO']


def boto3_of(url):
    return boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id=keyring().access_key_id,
        aws_secret_access_key=keyring().secret_access_key, config=Config(s3={'addressing_style': 'path'}, retries={'max_attempts': 0}))


def filled(theirs, names, versions=False):
    "A new bucket with an object of each key, its size the number of its place."
    bucket = f'listed-{uuid.uuid4().hex[:16]}'
    theirs.create_bucket(Bucket=bucket)
    if versions: theirs.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={'Status': 'Enabled'})
    for n,name in enumerate(names): theirs.put_object(Bucket=bucket, Key=name, Body=b'x' * n)
    return bucket


def as_boto3(theirs, bucket, page_size, options):
    "What boto3's paginator finds, in key order."
    pages = theirs.get_paginator('list_objects_v2').paginate(Bucket=bucket, PaginationConfig={'PageSize': page_size}, **options)
    found = [entry for page in pages for entry in page.get('Contents', []) + page.get('CommonPrefixes', [])]
    return sorted((e.get('Key') or e['Prefix'], e.get('Size'), e.get('ETag'), e.get('LastModified')) for e in found)


def as_ours(s3, bucket, prefix='', delimiter=None, start_after=None):
    items = list(list_objects(s3, bucket, prefix=prefix, delimiter=delimiter, start_after=start_after))
    return sorted((item.key, item.size, item.etag, item.last_modified) for item in items)


def same_listing(url, theirs, bucket, prefix='', delimiter=None, start_after=None):
    options = {name: value for name,value in dict(Prefix=prefix, Delimiter=delimiter, StartAfter=start_after).items() if value}
    for kind,page_size in (S3Requests, 1000), (SmallPages, 2):
        s3 = kind(S3Endpoint(url), keyring)
        assert as_ours(s3, bucket, prefix, delimiter, start_after) == as_boto3(theirs, bucket, page_size, options)


def test_odd_keys_are_listed_as_boto3_lists_them(url):
    # SeaweedFS keeps no empty segments, and goes round in circles with a delimiter that is not `/`.
    strict,theirs = url == os.environ['OBJSTORE_TEST_MOTO'],boto3_of(url)
    bucket = filled(theirs, [*odd, *(odder if strict else [])])
    same_listing(url, theirs, bucket)
    for prefix in ('a', 'a ', 'dir', 'dir/', 'a%2', 'ünï/', '<', 'none'): same_listing(url, theirs, bucket, prefix)
    for delimiter in ['/', '%', '+', 'ir'] if strict else ['/']: same_listing(url, theirs, bucket, delimiter=delimiter)


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(names=lists_of_keys, data=st.data())
def test_any_keys_are_listed_as_boto3_lists_them(moto, names, data):
    theirs = boto3_of(moto)
    try: bucket = filled(theirs, names)
    except ClientError: assume(False)
    same_listing(moto, theirs, bucket)
    prefix = data.draw(st.sampled_from(names).flatmap(lambda key: st.integers(0, len(key)).map(lambda n: key[:n])))
    same_listing(moto, theirs, bucket, prefix, data.draw(st.sampled_from([None, '/', ' ', '%', 'a'])))
    after = data.draw(st.sampled_from(names))
    if after.isprintable(): same_listing(moto, theirs, bucket, start_after=after) # moto quotes others in a page that is no XML


def test_keys_come_in_order_and_each_once(moto):
    theirs = boto3_of(moto)
    bucket = filled(theirs, [*odd, *odder])
    for kind in S3Requests, SmallPages:
        s3 = kind(S3Endpoint(moto), keyring)
        assert [item.key for item in list_objects(s3, bucket)] == sorted([*odd, *odder])
        folded = [item.key for item in list_objects(s3, bucket, delimiter='/')]
        assert folded == sorted(set(folded))


def test_versions_are_those_that_boto3_finds(url):
    theirs = boto3_of(url)
    bucket = filled(theirs, ['k', 'k é+%', 'k/x', 'k2', 'k'], versions=True)
    theirs.delete_object(Bucket=bucket, Key='k')
    found = [entry for page in theirs.get_paginator('list_object_versions').paginate(Bucket=bucket)
        for entry in page.get('Versions', []) + page.get('DeleteMarkers', [])]
    wanted = sorted((e['Key'], e['VersionId'], e.get('Size', 0), e['LastModified'], 'ETag' not in e) for e in found)
    s3 = S3Requests(S3Endpoint(url), keyring)
    ours = [(v.key, v.version, v.size, v.last_modified, v.is_deleted) for v in list_versions(s3, bucket)]
    assert sorted(ours) == wanted
    assert sorted(v.version for v in key_versions(s3, bucket, 'k')) == sorted(version for key,version,*_ in wanted if key == 'k')


@given(cut=st.integers(0, 400), junk=st.binary(max_size=20))
def test_a_page_with_junk_in_it_is_whole_or_an_error(cut, junk):
    entry = b'<Contents><Key>%s</Key><LastModified>2026-11-21T22:12:23.000Z</LastModified><Size>1</Size></Contents>'
    page = b'<ListBucketResult><IsTruncated>false</IsTruncated>' + entry % b'a' + entry % b'b' + b'</ListBucketResult>'
    try: items = objects_page(page[:cut] + junk + page[cut:], 'lab').items
    except ObjStoreError: return
    assert len(items) == 2


def test_both_sides_of_a_fork_read_a_listing_to_its_end():
    entry = '<Contents><Key>{}</Key><Size>1</Size><LastModified>2026-11-28T00:00:00Z</LastModified></Contents>'
    def reply(asked):
        number = int(parse_qs(urlsplit(asked.target).query).get('continuation-token', ['0'])[0])
        more = f'<IsTruncated>true</IsTruncated><NextContinuationToken>{number + 1}</NextContinuationToken>' if number < 9 else '<IsTruncated>false</IsTruncated>'
        return Reply(body=f"<ListBucketResult>{''.join(entry.format(f'{number}-{n}') for n in range(9))}{more}</ListBucketResult>".encode())
    with replying(reply) as server:
        for _ in range(5):
            listing = list_objects(S3Requests(S3Endpoint(server.url), keyring), 'lab')
            first = next(listing).key # and the next page is on its way
            def is_whole(): return len({first, *(item.key for item in listing)}) == 90
            child = os.fork()
            if not child: end_with(is_whole)
            assert is_whole() and os.waitpid(child, 0)[1] == 0


def end_with(check):
    "End this process at once: well, if `check` says so."
    try: os._exit(not check())
    finally: os._exit(1)
