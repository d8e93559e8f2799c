"A bucket that holds the files of a folder, on each of the servers: where downloads begin."
import os
from contextlib import contextmanager, suppress
from uuid import uuid4
from azure.core.exceptions import ResourceExistsError
from tests import servers
from tests.bench import contenders, data

stores = {'seaweedfs': 's3://', 'static': 's3://', 'fake-gcs-server': 'gs://', 'azurite': 'az://', 'hub': 'hf://'} # as `connect` takes them


@contextmanager
def new_bucket(s3):
    "The name of a bucket that is ready to be written to: making room for the first object takes SeaweedFS a second."
    name = f'bench-{uuid4().hex}'
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key='first', Body=b'first')
    s3.delete_object(Bucket=name, Key='first')
    yield name
    for page in s3.get_paginator('list_objects_v2').paginate(Bucket=name):
        s3.delete_objects(Bucket=name, Delete={'Objects': [{'Key': item['Key']} for item in page['Contents']]})
    s3.delete_bucket(Bucket=name)


@contextmanager
def on_seaweedfs(source):
    "Filled by obstore."
    with new_bucket(s3 := servers.client(os.environ['AWS_ENDPOINT_URL'])) as name:
        contenders.obstore_up(name, source, 16)
        data.check_bucket(source, s3, name)
        yield name


@contextmanager
def on_static(source):
    "The server serves the files where they lie."
    yield source.name


@contextmanager
def on_fake_gcs_server(source):
    "Filled by Google's library."
    bucket = contenders.google_client().create_bucket(f'bench-{uuid4().hex}')
    for path in source.iterdir(): bucket.blob(path.name).upload_from_filename(path)
    yield bucket.name
    for blob in bucket.list_blobs(): blob.delete()
    bucket.delete()


@contextmanager
def on_azurite(source):
    "Filled by Azure's library."
    with contenders.azure_container(name := f'bench-{uuid4().hex}') as container:
        with suppress(ResourceExistsError): container.create_container()  # it tries again where the answer was late
        for path in source.iterdir():
            with path.open('rb') as file: container.upload_blob(path.name, file)
        yield name
        container.delete_container()


@contextmanager
def on_hub(source):
    "Filled by the Hub's client, and without the file that every repository begins with."
    from huggingface_hub import HfApi
    repo = (api := HfApi()).create_repo(f'tester/bench-{uuid4().hex}', private=True).repo_id
    api.delete_file('.gitattributes', repo)
    api.upload_folder(folder_path=source, repo_id=repo)
    yield f'models/{repo}'
    api.delete_repo(repo)


filled = {'seaweedfs': on_seaweedfs, 'static': on_static, 'fake-gcs-server': on_fake_gcs_server, 'azurite': on_azurite, 'hub': on_hub}
