"The stand-in as a process: one port is the Hub, another the host of large files, to which the Hub's tokens must not go."
import json, re, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from tests.hub.api import Answer, Asked, answer
from tests.hub.hub import Hub
from tests.hub.repository import Refusal


class Server(ThreadingHTTPServer):
    "A thread for each connection, which stays open between requests."
    daemon_threads,request_queue_size = True,256

    def __init__(self, port, handler, hub):
        super().__init__(('127.0.0.1', port), handler)
        self.hub = hub

    def handle_error(self, request, client_address): "A client that hangs up is none of our business."


class Talk(BaseHTTPRequestHandler):
    "What both hosts have in common."
    protocol_version,disable_nagle_algorithm = 'HTTP/1.1',True

    def log_message(self, format, *args): "Silent."

    def asked(self):
        "The request, its body apart."
        parts = urlsplit(self.path)
        return Asked(self.command, parts.path, parse_qs(parts.query, keep_blank_values=True), self.headers)

    def chunks(self):
        "The body of the request, piece by piece."
        if self.headers.get('Transfer-Encoding', '').lower() == 'chunked': yield from self.encoded_chunks()
        left = int(self.headers.get('Content-Length', 0))
        while left:
            chunk = self.rfile.read(min(left, 2**20))
            left -= len(chunk)
            yield chunk

    def encoded_chunks(self):
        "The same for a body that tells its length as it goes."
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def give(self, answer):
        "Send an answer, or the range of it that was asked for."
        size = answer.file.stat().st_size if answer.file else len(answer.body)
        start,end = self.range(size) if answer.status == 200 and 'Accept-Ranges' in answer.headers else (0, size)
        if start is None: answer,start,end = Answer(416, headers={'Content-Range': f'bytes */{size}'}),0,0
        is_part = (start, end) != (0, size)
        self.send_response(206 if is_part and answer.status == 200 else answer.status)
        part = {'Content-Range': f'bytes {start}-{end - 1}/{size}'} if is_part and answer.status == 200 else {}
        for name,value in {**answer.headers, **part, 'Content-Length': str(end - start)}.items(): self.send_header(name, value)
        self.end_headers()
        if self.command != 'HEAD': self.send_body(answer, start, end)

    def send_body(self, answer, start, end):
        "The bytes, from memory or straight from the disk."
        if not answer.file: return self.wfile.write(answer.body[start:end])
        with answer.file.open('rb') as file: self.connection.sendfile(file, start, end - start)

    def range(self, size):
        "The half-open range that was asked for; nothing where no byte is in it."
        match = re.fullmatch(r'bytes=(\d*)-(\d*)', self.headers.get('Range', ''))
        if not match: return 0, size
        start = int(match[1]) if match[1] else max(0, size - int(match[2]))
        end = min(int(match[2]) + 1, size) if match[1] and match[2] else size
        return (start, end) if start < end else (None, None)

    def refuse(self, refusal):
        "Say no as the Hub does: in headers, and in JSON."
        headers = {name: value for name,value in {'X-Error-Code': refusal.code, 'X-Error-Message': refusal.message}.items() if value}
        headers = {name: value.encode('ascii', 'replace').decode().replace('\n', ' ') for name,value in {**headers, **refusal.headers}.items()}
        self.give(Answer(refusal.status, json.dumps({'error': refusal.message}).encode(), headers))


class HubTalk(Talk):
    "The Hub's own host."
    def talk(self):
        asked = self.asked()
        asked.body = b''.join(self.chunks())
        try:
            self.check_faults(asked)
            asked.user = self.server.hub.user(self.headers)
            self.give(answer(self.server.hub, asked))
        except Refusal as refusal: self.refuse(refusal)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = talk

    def check_faults(self, asked):
        "Refuse what a test has asked to be refused."
        for fault in self.server.hub.faults:
            if fault['times'] and re.search(fault['pattern'], f'{asked.method} {asked.path}') and '/stand-in/' not in asked.path:
                fault['times'] -= 1
                raise Refusal(fault['status'], fault.get('code', ''), fault.get('message', ''), fault.get('headers'))


class LargeTalk(Talk):
    "The host of large files."
    def talk(self):
        asked,large = self.asked(),self.server.hub.large
        try:
            large.check(asked.query, self.headers)
            self.give(self.get(asked) if self.command in ('GET', 'HEAD') else self.put(asked))
        except Refusal as refusal:
            self.close_connection = True
            self.refuse(refusal)

    do_GET = do_HEAD = do_PUT = talk

    def get(self, asked):
        "A large file."
        name = asked.path.rpartition('/')[2]
        return Answer(200, file=self.server.hub.large.path(name), headers={'Accept-Ranges': 'bytes', 'ETag': f'"{name[:32]}"'})

    def put(self, asked):
        "Take in a file, or a part of one."
        _,kind,sha256,*number = unquote(asked.path).split('/')
        large = self.server.hub.large
        etag = large.part(sha256, number[0], self.chunks()) if kind == 'part' else large.upload(sha256, self.chunks())
        return Answer(200, headers={'ETag': etag})


def serve(port, large_port, folder):
    "Both hosts, for ever."
    hub = Hub(folder)
    hub.url,hub.large.url = f'http://127.0.0.1:{port}',f'http://127.0.0.1:{large_port}'
    threading.Thread(target=Server(large_port, LargeTalk, hub).serve_forever, daemon=True).start()
    Server(port, HubTalk, hub).serve_forever()


if __name__ == '__main__': serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
