"A TCP proxy on loopback that counts what clients send through it."
import socket, threading
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class CountingProxy:
    "Forwards connections to one address; `sent` is how many bytes clients have sent so far."
    def __init__(self, target):
        self._target,self.sent = target,0
        self._server = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self._server.getsockname()[1]}'
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self): self._server.close()

    def _accept(self):
        with suppress(OSError):
            while True: threading.Thread(target=self._join, args=(self._server.accept()[0],), daemon=True).start()

    def _join(self, client):
        try: server = socket.create_connection(self._target)
        except OSError: return client.close()
        for side in (client, server): side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source,sink,counts in (client, server, True), (server, client, False):
            threading.Thread(target=self._pump, args=(source, sink, counts), daemon=True).start()

    def _pump(self, source, sink, counts):
        with suppress(OSError):
            while data := source.recv(2**18):
                if counts: self.sent += len(data)
                sink.sendall(data)
        for side in (source, sink):
            with suppress(OSError): side.shutdown(socket.SHUT_RDWR)
            side.close()


@contextmanager
def counting(url):
    "A proxy before the server at `url`."
    place = urlsplit(url)
    proxy = CountingProxy((place.hostname, place.port))
    try: yield proxy
    finally: proxy.close()
