"""An HTTP proxy on loopback with the faults of a bad network, in front of a server of the tests.

What happens to a request is drawn from the seed, the request and how often it has come: threads may come in any order,
and a run can be repeated. Every fault is off until its share is given; all of them can be changed while it runs."""
import http.client, re, socket, struct
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Condition, Event, Thread
from urllib.parse import unquote, urlsplit

block = 2**16  # bytes that are forwarded at once


@dataclass(frozen=True)
class Faults:
    "The share of requests that each fault strikes, from 0 to 1."
    drop: float = 0      # the connection is reset at some byte of the body that is sent or comes back, or before any reply
    stall: float = 0     # from some byte on nothing comes, for as long as the client stays
    delay: float = 0     # the reply comes late
    truncate: float = 0  # the body ends early and in good order, though its length was told
    flip: float = 0      # one byte of an object is another, up or down
    refuse: float = 0    # 500, 503 or 429 instead of the server's answer

    def draw(self, random):
        "The fault that strikes one request, or nothing."
        number = random.random()
        for name,share in asdict(self).items():
            if (number := number - share) < 0: return name
        return ''


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to one server; `delivered` counts the bytes of each object that clients got, `received` those they sent.

    With a `limit` everything stands still as soon as so many bytes have gone either way."""
    daemon_threads,block_on_close,request_queue_size = True,False,128

    def __init__(self, target, faults=Faults(), seed=0):
        super().__init__(('127.0.0.1', 0), Handler)
        self.target,self.faults,self.seed = urlsplit(target).netloc,faults,seed
        self.changed,self.ending,self.limit,self.clients = Condition(),Event(),None,0
        self.url = f'http://127.0.0.1:{self.server_address[1]}'
        self.forget()

    def forget(self):
        "Begin to count anew."
        with self.changed: self.delivered,self.received,self.struck,self.times = Counter(),Counter(),Counter(),Counter()

    def count(self, counter, key, size=1):
        "Add to a counter, and let those know who wait for it."
        with self.changed:
            getattr(self, counter)[key] += size
            self.changed.notify_all()

    def come(self, clients):
        "So many clients more, or fewer: one that was killed has gone when the last byte it left in the network is forwarded."
        with self.changed:
            self.clients += clients
            self.changed.notify_all()

    def pause(self):
        "Return when more may pass."
        with self.changed: self.changed.wait_for(lambda: self.limit is None or self.passed < self.limit or self.ending.is_set())

    def release(self):
        "Let everything pass again."
        with self.changed:
            self.limit = None
            self.changed.notify_all()

    @property
    def passed(self): return self.delivered.total() + self.received.total()

    def wait_for(self, reached, seconds=30):
        "Wait until `reached()` is true; say whether it came to that."
        with self.changed: return self.changed.wait_for(reached, seconds)

    def chance(self, *request):
        "A random number generator for this request, as often as it has come."
        with self.changed:
            self.times[request] += 1
            self.changed.notify_all()
            return Random(f'{self.seed} {request} {self.times[request]}')

    def handle_error(self, request, client_address): "A client that hangs up is none of our business."


class Handler(BaseHTTPRequestHandler):
    "One client's connection, and one to the server beside it."
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    upstream = None

    def setup(self):
        super().setup()
        self.server.come(1)

    def forward(self):
        random = self.server.chance(self.command, re.sub('uploadId=[^&]*', '', self.path), self.headers.get('Range'))
        fault = self.server.faults.draw(random)
        if fault == 'flip' and not self.flips(): fault = ''
        if fault: self.server.count('struck', fault)
        try: getattr(self, f'pass_{fault or "on"}')(random)
        except (OSError, http.client.HTTPException): self.hang_up()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    @property
    def key(self):
        "Bucket and key that the request is about, joined by a `/`."
        return unquote(self.path.partition('?')[0]).lstrip('/')

    def flips(self):
        "Is there a body whose damage a client can see? In a listing it cannot."
        if '/' not in self.key: return False
        return self.command == 'GET' or self.command == 'PUT' and self.size > 0

    @property
    def size(self): return int(self.headers.get('Content-Length', 0))

    def pass_on(self, random, change=None): self.reply(self.answer(self.body(change if self.command == 'PUT' else None)), change)

    def pass_delay(self, random):
        self.server.ending.wait(random.uniform(0.05, 0.2))
        self.pass_on(random)

    def pass_flip(self, random): self.pass_on(random, random.random())

    def pass_refuse(self, random):
        "Take what is sent and answer in the server's place."
        for _ in self.body(): pass
        status,name = random.choice([(500, 'InternalError'), (503, 'SlowDown'), (429, 'TooManyRequests')])
        text = f'<Error><Code>{name}</Code><Message>by the proxy</Message></Error>'.encode()
        self.start(status, {'Content-Length': len(text)})
        if self.command != 'HEAD': self.wfile.write(text)

    def pass_drop(self, random):
        if self.size and random.random() < 0.5: self.send(self.cut(self.body(), self.size, random))
        else: self.reply_in_part(random)
        self.hang_up(reset=True)

    def pass_truncate(self, random):
        self.reply_in_part(random)
        self.hang_up()

    def pass_stall(self, random):
        if random.random() < 0.7: self.reply_in_part(random)
        else: self.answer(self.body())
        self.wait_till_left()

    def reply_in_part(self, random):
        "The head of the answer and some of its body, never all; nothing at all where there is no body."
        answer = self.answer(self.body())
        if not answer.length: return
        self.start(answer.status, dict(answer.getheaders()))
        for part in self.cut(iter(lambda: answer.read(block), b''), answer.length, random): self.give(part)

    def cut(self, parts, size, random):
        "The first of `parts`, up to a random byte before the last."
        left = random.randrange(size)
        for part in parts:
            yield part[:left]
            left -= len(part)
            if left <= 0: return

    def body(self, change=None):
        "What the client sends, as it comes; `change` tells where in it a byte is flipped."
        at,done = int(self.size * change) if change is not None else -1,0
        while done < self.size:
            self.server.pause()
            part = self.rfile.read1(min(block, self.size - done))
            if not part: raise ConnectionError('the client left')
            self.server.count('received', self.key, len(part))
            yield flipped(part, at - done)
            done += len(part)

    def send(self, parts):
        "Begin the request to the server, and send of its body what there is."
        if self.upstream is None: self.upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name,value in self.headers.items(): self.upstream.putheader(name, value)
        self.upstream.endheaders()
        for part in parts: self.upstream.send(part)

    def answer(self, parts):
        "The server's answer to the request."
        self.send(parts)
        return self.upstream.getresponse()

    def reply(self, answer, change=None):
        "All of the answer, and where `change` says so one byte of it flipped."
        headers,whole = dict(answer.getheaders()),None
        if answer.length is None and self.command != 'HEAD':
            whole = answer.read()
            headers = {**{n: v for n,v in headers.items() if n.lower() != 'transfer-encoding'}, 'Content-Length': len(whole)}
        at,done = int((answer.length or 0) * change) if change is not None and self.command == 'GET' and answer.status < 300 else -1,0
        self.start(answer.status, headers)
        for part in [whole] if whole else iter(lambda: answer.read(block), b''):
            self.give(flipped(part, at - done))
            done += len(part)

    def start(self, status, headers):
        self.send_response_only(status)
        for name,value in headers.items(): self.send_header(name, value)
        self.end_headers()

    def give(self, part):
        if '/' in self.key: self.server.pause()
        self.wfile.write(part)
        if self.command == 'GET' and '/' in self.key: self.server.count('delivered', self.key, len(part))

    def wait_till_left(self):
        "Say no more until the client goes, or the proxy."
        self.wfile.flush()
        self.connection.settimeout(0.1)
        while not self.server.ending.is_set():
            with suppress(TimeoutError):
                if not self.connection.recv(block): break
        self.hang_up()

    def hang_up(self, reset=False):
        "End both connections; a reset is what a machine leaves that has gone."
        self.close_connection = True
        if self.upstream is not None: self.upstream.close()
        if reset: self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        with suppress(OSError): self.connection.close() if reset else self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self):
        with suppress(OSError): super().finish()
        if self.upstream is not None: self.upstream.close()
        self.server.come(-1)

    def log_message(self, format, *args): "Silent."


def flipped(part, at):
    "`part` with one bit of byte `at` turned, if it has such a byte."
    return part[:at] + bytes([part[at] ^ 1]) + part[at + 1:] if 0 <= at < len(part) else part


@contextmanager
def faulty(url, faults=Faults(), seed=0):
    "A running proxy before the server at `url`."
    proxy = FaultyProxy(url, faults, seed)
    Thread(target=proxy.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
    try: yield proxy
    finally:
        proxy.ending.set()
        proxy.release()
        proxy.shutdown()
        proxy.server_close()
