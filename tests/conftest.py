"What every test runs in: real servers on loopback, and no way off this machine for Python's sockets."
import ipaddress, socket
import pytest
from tests import servers

servers.isolate()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    "Start the servers, and name them in the environment, before the first test and before pytest-xdist's workers, who share them."
    if not session.config.option.collectonly: servers.start()


@pytest.fixture(scope='session', autouse=True)
def only_loopback():
    "Refuse names and addresses that are not this machine's; obstore's sockets are Rust's and not seen here."
    with pytest.MonkeyPatch.context() as patch:
        for method in ('connect', 'connect_ex'): patch.setattr(socket.socket, method, guarded(getattr(socket.socket, method)))
        patch.setattr(socket, 'getaddrinfo', guarded_lookup(socket.getaddrinfo))
        yield


def guarded(connect):
    "`connect`, refused where it leaves this machine."
    def loopback_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6): refuse_unless_local(address[0])
        return connect(self, address)
    return loopback_connect


def guarded_lookup(getaddrinfo):
    "`getaddrinfo`, refused where it would ask a name server."
    def local_lookup(host, *args, **kwargs):
        refuse_unless_local(host)
        return getaddrinfo(host, *args, **kwargs)
    return local_lookup


def refuse_unless_local(host):
    "Raise unless `host` is this machine."
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, '', 'localhost') and not is_loopback(name): raise AssertionError(f'a test tried to reach {name}')


def is_loopback(name):
    "Is `name` the text of a loopback address?"
    try: return ipaddress.ip_address(name).is_loopback
    except ValueError: return False
