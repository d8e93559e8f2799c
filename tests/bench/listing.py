"""How many keys a second of CPU: our listing beside boto3's paginator.

`python -m tests.bench.listing` serves 50,000 keys, in pages of Amazon's shape, from a process of its own, lists them with
both in turn, and prints a row of a Markdown table; `--url URL BUCKET` lists a real bucket, with keys from the environment."""
import argparse, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

pages,page_size = 50,1000
entry = ('<Contents><Key>data/2026/part-{n:06d}.parquet</Key><LastModified>2026-11-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.000Z</LastModified>'
    '<ETag>&quot;9dd4e461268c8034f5c8564e{n:08x}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>'
    '<ChecksumType>FULL_OBJECT</ChecksumType><Size>{n}</Size><StorageClass>STANDARD</StorageClass></Contents>')


def page(number):
    "The page of that number as Amazon would send it; a new second every ten keys."
    ns = range(number * page_size, (number + 1) * page_size)
    entries = ''.join(entry.format(n=n, day=1 + n // 864_000, hour=n // 36_000 % 24, minute=n // 600 % 60, second=n // 10 % 60) for n in ns)
    more = f'<NextContinuationToken>{number + 1}</NextContinuationToken>' if number + 1 < pages else ''
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>canned</Name><Prefix></Prefix>'
        f'{more}<KeyCount>{page_size}</KeyCount><MaxKeys>{page_size}</MaxKeys><EncodingType>url</EncodingType>'
        f'<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{entries}</ListBucketResult>').encode()


class Pages(BaseHTTPRequestHandler):
    "Answers each continuation token with its page."
    protocol_version,disable_nagle_algorithm = 'HTTP/1.1',True

    def do_GET(self):
        body = self.server.pages[int(parse_qs(urlsplit(self.path).query).get('continuation-token', ['0'])[0])]
        self.send_response(200)
        self.send_header('Content-Type', 'application/xml')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args): "Silent."


def serve():
    "Serve the pages until our input closes; the first line of output is the URL."
    import threading
    server = ThreadingHTTPServer(('127.0.0.1', 0), Pages)
    server.pages = [page(number) for number in range(pages)]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'http://127.0.0.1:{server.server_address[1]}', flush=True)
    sys.stdin.read()


def ours(url, bucket, keys):
    "A function that lists `bucket` with objstore."
    from objstore.backends.s3_listing import list_objects
    from objstore.backends.s3_request import S3Endpoint, S3Requests
    from objstore.backends.s3_signing import Credentials
    s3 = S3Requests(S3Endpoint(url), lambda: Credentials(*keys))
    return lambda: sum(item.size is not None for item in list_objects(s3, bucket))


def boto3s(url, bucket, keys):
    "The same with boto3's paginator."
    import boto3
    from botocore.config import Config
    s3 = boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
        config=Config(s3={'addressing_style': 'path'}))
    paginator = s3.get_paginator('list_objects_v2')
    return lambda: sum(item['Size'] is not None for page in paginator.paginate(Bucket=bucket) for item in page.get('Contents', []))


def rate(list_all):
    "Keys for each second of this process's CPU."
    start = time.process_time()
    found = list_all()
    return found / (time.process_time() - start)


def compare(url, bucket, keys, rounds=5):
    "Keys per CPU second of ours and of boto3: of alternating rounds after one to warm up, the least disturbed of each."
    contenders = [make(url, bucket, keys) for make in (ours, boto3s)]
    assert len({list_all() for list_all in contenders}) == 1, 'the two found different numbers of keys'
    rates = [[rate(list_all) for list_all in contenders] for _ in range(rounds)]
    return [max(column) for column in zip(*rates)]


def measure_canned(rounds=5):
    "`compare` on pages served by a process of its own."
    with subprocess.Popen([sys.executable, '-m', 'tests.bench.listing', '--serve'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try: return compare(server.stdout.readline().strip(), 'canned', ('AKIA', 'secret'), rounds)
        finally: server.stdin.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--serve', action='store_true', help='serve the canned pages')
    parser.add_argument('--url', nargs=2, metavar=('URL', 'BUCKET'), help='list this bucket instead')
    asked = parser.parse_args()
    if asked.serve: return serve()
    import os
    ours,theirs = compare(*asked.url, (os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY'])) if asked.url else measure_canned()
    print('| listing | objstore keys/CPU s | boto3 keys/CPU s | ratio |\n|---|--:|--:|--:|')
    print(f"| {'server' if asked.url else 'canned pages'} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.1f} |")


if __name__ == '__main__': main()
