"The files that are moved, and the check that they arrived."
import os, random
from pathlib import Path

block = 2**20
every = 97 # of the small files one in so many is compared byte by byte


def make(folder, factor):
    """Folders of random files: `small` and `some` of them, `big` of one, `quarter` of its first quarter, and `ten` that are it
    under ten names."""
    chance = random.Random(97)
    for name in ('small', 'some', 'big', 'quarter', 'ten'): (folder/name).mkdir(parents=True)
    for n in range(max(1, round(5000 * factor))): (folder/'small'/f'{n:05}.bin').write_bytes(chance.randbytes(10 * 1024))
    for n in range(max(1, round(2000 * factor))): os.link(folder/'small'/f'{n:05}.bin', folder/'some'/f'{n:05}.bin')
    with (folder/'big'/'big.bin').open('wb') as file:
        for _ in range(max(1, round(1024 * factor))): file.write(chance.randbytes(block))
    with (folder/'big'/'big.bin').open('rb') as whole, (folder/'quarter'/'quarter.bin').open('wb') as file:
        for _ in range(max(1, round(256 * factor))): file.write(whole.read(block))
    for n in range(10): os.link(folder/'big'/'big.bin', folder/'ten'/f'{n}.bin')


def sizes(folder):
    "The files in `folder`, by name; a folder in it is of the Hub's client, which keeps notes there."
    with os.scandir(folder) as entries: return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def marks(folder):
    "What changes when a file in `folder` is written again."
    with os.scandir(folder) as entries: return {entry.name: (entry.stat().st_ino, entry.stat().st_mtime_ns) for entry in entries}


def chosen(folder):
    "The files to compare byte by byte: one in 97, and every big one."
    return [path for n,path in enumerate(sorted(folder.iterdir())) if n % every == 0 or path.stat().st_size >= block]


def same(one, other):
    "Do two open files hold the same bytes?"
    while part := one.read(block):
        if other.read(block) != part: return False
    return not other.read(1)


def check_folder(source, folder):
    "Complain unless `folder` holds what `source` does."
    assert sizes(folder) == sizes(source), f'{folder} has {len(sizes(folder))} files of {sum(sizes(folder).values()):,} bytes'
    for path in chosen(source):
        with path.open('rb') as one, (folder/path.name).open('rb') as other: assert same(one, other), f'{folder/path.name} has other bytes'


def check_bucket(source, s3, bucket):
    "The same of a bucket, with a client of boto3."
    pages = s3.get_paginator('list_objects_v2').paginate(Bucket=bucket)
    found = {item['Key']: item['Size'] for page in pages for item in page.get('Contents', [])}
    assert found == sizes(source), f'{bucket} has {len(found)} objects of {sum(found.values()):,} bytes'
    for path in chosen(source):
        with path.open('rb') as one: assert same(one, s3.get_object(Bucket=bucket, Key=path.name)['Body']), f'{path.name} has other bytes'
