"""Who is measured: each moves one bucket to or from one flat folder, in a process of its own.

`python -m tests.bench.contenders FUNCTION BUCKET FOLDER THREADS` runs one of the functions below; s5cmd and rclone are
programs, see `commands`. The server and its keys are in the environment. Imports are inside: they are measured, too."""
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

part_size = 16 * 2**20


def objstore_bucket(bucket):
    "Our bucket."
    from objstore import connect
    return connect(os.environ['OBJSTORE_BENCH_STORE']).bucket(bucket)


def objstore_down(bucket, folder, threads):
    "Ours, with verification and files that appear whole."
    from objstore.transfer import download
    download(objstore_bucket(bucket), folder, max_workers=threads).raise_failed()


def objstore_again(bucket, folder, threads):
    "The same once more."
    objstore_down(bucket, folder, threads)


def objstore_up(bucket, folder, threads):
    "Ours."
    from objstore.transfer import upload
    upload(folder, objstore_bucket(bucket), max_workers=threads).raise_failed()


def obstore_store(bucket):
    "obstore's client for a bucket."
    from obstore.store import S3Store
    return S3Store(bucket, endpoint=os.environ['AWS_ENDPOINT_URL'], virtual_hosted_style_request=False, client_options={'allow_http': True})


def obstore_down(bucket, folder, threads):
    "The limit: list, get, write in place, check nothing."
    store = obstore_store(bucket)
    def fetch(item):
        with open(folder/item['path'], 'wb') as file: file.write(store.get(item['path']).bytes())
    with ThreadPoolExecutor(threads) as pool:
        for page in store.list(): list(pool.map(fetch, page))


def obstore_down_big(bucket, folder, threads):
    "The limit for a big object: ranges into a file of the right length."
    store = obstore_store(bucket)
    item, = (item for page in store.list() for item in page)
    with open(folder/item['path'], 'wb') as file, ThreadPoolExecutor(threads) as pool:
        file.truncate(item['size'])
        def fetch(start): os.pwrite(file.fileno(), store.get_range(item['path'], start=start, end=min(start + part_size, item['size'])), start)
        list(pool.map(fetch, range(0, item['size'], part_size)))


def obstore_up(bucket, folder, threads):
    "The limit: a put of each path; obstore cuts a big one into parts."
    store = obstore_store(bucket)
    with ThreadPoolExecutor(threads) as pool: list(pool.map(lambda path: store.put(path.name, path), folder.iterdir()))


def obstore_again(bucket, folder, threads):
    "The limit of finding nothing to do: a listing, and a stat for each object."
    for page in obstore_store(bucket).list():
        for item in page:
            if os.stat(folder/item['path']).st_size != item['size']: raise SystemExit(f"{item['path']} is not what it was")


def boto3_client():
    "boto3's client, with a connection for each of its threads."
    import boto3
    from botocore.config import Config
    return boto3.client('s3', config=Config(max_pool_connections=32, s3={'addressing_style': 'path'}))


def boto3_down(bucket, folder, threads):
    "boto3's get_object in threads."
    s3 = boto3_client()
    def fetch(item): (folder/item['Key']).write_bytes(s3.get_object(Bucket=bucket, Key=item['Key'])['Body'].read())
    with ThreadPoolExecutor(threads) as pool:
        for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket): list(pool.map(fetch, page['Contents']))


def boto3_up(bucket, folder, threads):
    "boto3's upload_file in threads."
    s3 = boto3_client()
    with ThreadPoolExecutor(threads) as pool: list(pool.map(lambda path: s3.upload_file(path, bucket, path.name), folder.iterdir()))


def boto3_down_big(bucket, folder, threads):
    "boto3's own threads, on one object."
    from boto3.s3.transfer import TransferConfig
    s3 = boto3_client()
    item, = s3.list_objects_v2(Bucket=bucket)['Contents']
    s3.download_file(bucket, item['Key'], folder/item['Key'], Config=TransferConfig(max_concurrency=threads))


def boto3_up_big(bucket, folder, threads):
    "The same, up."
    from boto3.s3.transfer import TransferConfig
    path, = folder.iterdir()
    boto3_client().upload_file(path, bucket, path.name, Config=TransferConfig(max_concurrency=threads))


def google_client():
    "Google's client; the emulator's address is in the environment."
    from google.cloud import storage
    return storage.Client(project='test')


def google_down(bucket, folder, threads, kind='process'):
    "Google's own transfer of many, as its documentation shows it: with processes."
    from google.cloud.storage import transfer_manager
    client = google_client()
    names = [blob.name for blob in client.list_blobs(bucket)]
    done = transfer_manager.download_many_to_path(client.bucket(bucket), names, destination_directory=str(folder), worker_type=kind, max_workers=threads)
    for error in done:
        if isinstance(error, Exception): raise error


def google_down_big(bucket, folder, threads, kind='process'):
    "Google's own transfer of one in chunks, likewise."
    from google.cloud.storage import transfer_manager
    blob, = google_client().list_blobs(bucket)
    transfer_manager.download_chunks_concurrently(blob, str(folder/blob.name), worker_type=kind, max_workers=threads)


def google_threads_down(bucket, folder, threads):
    "The same with threads."
    google_down(bucket, folder, threads, 'thread')


def google_threads_down_big(bucket, folder, threads):
    "The same with threads."
    google_down_big(bucket, folder, threads, 'thread')


def azure_container(name):
    "azure-storage-blob's client of a container."
    from azure.storage.blob import ContainerClient
    return ContainerClient.from_connection_string(os.environ['AZURE_STORAGE_CONNECTION_STRING'], name)


def azure_down(bucket, folder, threads):
    "Azure's download_blob in threads."
    with azure_container(bucket) as container, ThreadPoolExecutor(threads) as pool:
        def fetch(name): (folder/name).write_bytes(container.download_blob(name).readall())
        list(pool.map(fetch, container.list_blob_names()))


def azure_down_big(bucket, folder, threads):
    "Azure's own threads, on one object."
    with azure_container(bucket) as container:
        name, = container.list_blob_names()
        with open(folder/name, 'wb') as file: container.download_blob(name, max_concurrency=threads).readinto(file)


def huggingface_hub_down(bucket, folder, threads):
    "The Hub's own snapshot of a repository, which does for big files, too."
    from huggingface_hub import snapshot_download
    snapshot_download(bucket.removeprefix('models/'), local_dir=folder, max_workers=threads)


if __name__ == '__main__': globals()[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
