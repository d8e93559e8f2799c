"""A server that costs next to nothing: the files of a folder as objects, to be listed and read.

`python -m tests.bench.static FOLDER` serves each folder in it as a bucket, prints its URL, and ends when its input closes.
It asks for no signature and knows no folders below a bucket: SeaweedFS is the server that is true to S3."""
import hashlib, re, socket, socketserver, sys, threading
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from time import gmtime, strftime
from urllib.parse import parse_qs, unquote, urlsplit

page_size,small = 1000,2**20
entry = '<Contents><Key>{key}</Key><LastModified>{when}</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>'


@dataclass(frozen=True)
class Object:
    "A file to serve; the bytes of a small one are kept in memory."
    path: Path
    size: int
    etag: str
    modified: float
    body: bytes


def load(path):
    "The file at `path`, ready to be served; the etag of a big one looks like that of parts."
    size,modified = path.stat().st_size,path.stat().st_mtime
    body = path.read_bytes() if size <= small else b''
    etag = hashlib.md5(body).hexdigest() if body else f'{hashlib.md5(str(path).encode()).hexdigest()}-64'
    return Object(path, size, etag, modified, body)


def page(objects, query):
    "A page of a listing, as `query` asks for it; a token is the number of its first object."
    start = int(query.get('continuation-token', ['0'])[0])
    found = [(key, o) for key,o in objects.items() if key.startswith(query.get('prefix', [''])[0])]
    entries = ''.join(entry.format(key=key, when=strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime(o.modified)), etag=o.etag, size=o.size)
        for key,o in found[start:start + page_size])
    more = f'<NextContinuationToken>{start + page_size}</NextContinuationToken>' if start + page_size < len(found) else ''
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f'<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{entries}</ListBucketResult>').encode()


def span(head, size):
    "The half-open range of bytes that the request's `head` asks for, and whether it asks for one."
    asked = re.search(rb'(?im)^range: *bytes=(\d+)-(\d*)', head)
    if not asked: return 0,size,False
    return int(asked[1]),min(int(asked[2]) + 1 if asked[2] else size, size),True


def reply(status, length, headers=()):
    "The head of an answer."
    return '\r\n'.join([f'HTTP/1.1 {status}', f'Content-Length: {length}', *(f'{name}: {value}' for name,value in headers), '', '']).encode()


def object_reply(o, start, end, partial):
    "The head of an answer with the bytes `start:end` of an object."
    headers = [('ETag', f'"{o.etag}"'), ('Last-Modified', formatdate(o.modified, usegmt=True)), ('Content-Type', 'application/octet-stream'),
        ('Accept-Ranges', 'bytes'), *([('Content-Range', f'bytes {start}-{end - 1}/{o.size}')] if partial else [])]
    return reply('206 Partial Content' if partial else '200 OK', end - start, headers)


class Connection(socketserver.BaseRequestHandler):
    "Answers request after request."

    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while head := self.head(): self.answer(head)
        except ConnectionError: return

    def head(self):
        "The next request, which has no body; nothing once the client is gone."
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            if not (more := self.request.recv(65_536)): return b''
            head += more
        return head

    def answer(self, head):
        "Send what the request asks for."
        method,target,_ = head.partition(b'\r\n')[0].decode().split()
        url = urlsplit(target)
        bucket,_,key = unquote(url.path).strip('/').partition('/')
        objects = self.server.buckets.get(bucket, {})
        if key in objects: return self.send(method, objects[key], *span(head, objects[key].size))
        body = page(objects, parse_qs(url.query)) if method == 'GET' and not key else b''
        self.request.sendall(reply('404 Not Found' if key else '200 OK', len(body), [('Content-Type', 'application/xml')]) + body)

    def send(self, method, o, start, end, partial):
        "Send the bytes `start:end` of an object, or for a HEAD only what is said of them."
        head = object_reply(o, start, end, partial)
        if method == 'HEAD' or o.body: return self.request.sendall(head if method == 'HEAD' else head + o.body[start:end])
        self.request.sendall(head)
        with o.path.open('rb') as file: self.request.sendfile(file, start, end - start)


class Server(socketserver.ThreadingTCPServer):
    "Serves the buckets in `folder`, a thread a connection."
    daemon_threads,request_queue_size = True,256

    def __init__(self, folder):
        self.buckets = {bucket.name: {path.name: load(path) for path in sorted(bucket.iterdir())} for bucket in folder.iterdir()}
        super().__init__(('127.0.0.1', 0), Connection)


def main():
    server = Server(Path(sys.argv[1]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'http://127.0.0.1:{server.server_address[1]}', flush=True)
    sys.stdin.read()


if __name__ == '__main__': main()
