"A server on loopback that gives prepared replies, one a request, and remembers what it was asked."
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    "What to answer; `'hang up'` ends the connection without a word, `'break off'` in mid-body, `'stall'` never ends the body."
    status: int = 200
    body: bytes = b''
    headers: dict = field(default_factory=dict)
    fault: str = ''


@dataclass(frozen=True)
class Asked:
    "What a client sent."
    method: str
    target: str
    headers: dict
    body: bytes
    port: int  # the client's: the same for requests over one connection


class Server(ThreadingHTTPServer):
    "Replies in turn, and the last one for ever; a function in place of a reply is given what was asked."
    daemon_threads,block_on_close,request_queue_size = True,False,64

    def __init__(self, replies):
        super().__init__(('127.0.0.1', 0), Handler)
        self.replies,self.asked,self.ending = list(replies),[],threading.Event()
        self.url = f'http://127.0.0.1:{self.server_address[1]}'

    def reply_to(self, asked):
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(asked) if callable(reply) else reply

    def handle_error(self, request, client_address): "A client that hangs up is none of our business."


class Handler(BaseHTTPRequestHandler):
    "Notes down the request, then gives the server's next reply."
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        asked = Asked(self.command, self.path, {n.lower(): v for n,v in self.headers.items()}, body, self.client_address[1])
        self.server.asked.append(asked)
        self.give(self.server.reply_to(asked))

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = answer

    def give(self, reply):
        self.close_connection = bool(reply.fault)
        if reply.fault == 'hang up': return
        self.send_response(reply.status)
        for name,value in {'Content-Length': str(len(reply.body)), **reply.headers}.items(): self.send_header(name, value)
        self.end_headers()
        if self.command == 'HEAD': return
        self.wfile.write(reply.body[:len(reply.body) // 2] if reply.fault else reply.body)
        if reply.fault == 'stall': self.server.ending.wait(30)

    def log_message(self, format, *args): "Silent."


@contextmanager
def replying(*replies):
    "A running server with its `.url` and, in order, all it was `.asked`."
    server = Server(replies)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    try: yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
