"The tests' own tools: they must fail when they should."
import ast, json, os, socket, time, urllib.request
import pytest
from tests import forked, mutation
from tests.notebooks import functions, read


def notebook(path, *cells):
    "A notebook of code cells at `path`."
    path.write_text(json.dumps({'cells': [{'cell_type': 'code', 'source': cell} for cell in cells]}))
    return read(path)


@pytest.mark.parametrize('reach', [
    lambda: socket.create_connection(('192.0.2.1', 80), 1),
    lambda: socket.socket().connect_ex(('example.com', 80)),
    lambda: urllib.request.urlopen('http://example.com')])
def test_no_test_can_leave_this_machine(reach):
    with pytest.raises(AssertionError, match='tried to reach'): reach()


def test_servers_answer_on_loopback():
    for name in ('AWS_ENDPOINT_URL', 'OBJSTORE_TEST_MOTO'):
        host,port = os.environ[name].removeprefix('http://').split(':')
        socket.create_connection((host, int(port)), 5).close()


def test_a_child_that_crashes_or_hangs_is_not_taken_for_success():
    assert forked.run(int, '7').value == 7
    assert 'ValueError' in forked.run(int, 'seven').log
    assert not forked.run(os._exit, 0).ended
    assert not forked.run(os.system, 'sleep 60', timeout=0.5).ended


@pytest.mark.skipif(os.name != 'posix', reason='there are no process groups')
def test_what_a_child_leaves_running_ends_with_it(tmp_path):
    os.mkfifo(tmp_path/'pipe')
    reader,began = os.open(tmp_path/'pipe', os.O_RDONLY|os.O_NONBLOCK),time.monotonic()
    assert forked.run(os.system, f'exec 3>{tmp_path}/pipe; echo begun >&3; sleep 60 &').ended
    os.set_blocking(reader, True)
    with open(reader) as pipe: assert pipe.read() == 'begun\n' and time.monotonic() - began < 30 # it ends when nobody holds the other end


def test_a_function_without_an_assert_is_reported(tmp_path):
    toy = notebook(tmp_path/'toy.ipynb', '#| export\ndef told(): return 1\ndef silent(): return 2', '#| export\nclass Box:\n  def _low(self): return 3',
        'assert told() == 1 and Box()')
    assert mutation.complaints(toy) == [f'{name} can return None and no assert notices' for name in ('silent', 'Box._low')]


def test_a_mutant_that_hangs_counts_as_noticed(tmp_path):
    toy = notebook(tmp_path/'toy.ipynb', '#| export\ndef done(): return True', 'while not done(): pass')
    assert mutation.complaints(toy) == []


@pytest.mark.skipif(os.name != 'posix', reason='there is no alarm')
def test_a_cell_that_waits_for_ever_is_given_up_after_its_own_time(tmp_path):
    began = time.monotonic()
    cells = 'import threading, time\ntime.sleep(1)', 'gate = threading.Lock(); gate.acquire(); gate.acquire()'
    run = forked.run(mutation.run_cells, cells, str(tmp_path), [90, 0.5], timeout=90)
    assert not run.ended and mutation.failure(run) and time.monotonic() - began < 45


def test_examples_that_fail_are_not_made_simpler(tmp_path):
    toy = notebook(tmp_path/'toy.ipynb', '#| export\ndef same(text): return text', 'from pathlib import Path\nfrom hypothesis import given, settings, strategies as st\n'
        f'log = open({str(tmp_path/"log")!r}, "a")\n@settings(derandomize=True, deadline=None)\n@given(st.text(min_size=1))\n'
        'def check(text): print(same(text), file=log, flush=True); assert same(text) == text\ncheck()')
    assert mutation.complaints(toy) == []
    assert (tmp_path/'log').read_text().count('None\n') < 5


def test_a_notebook_that_disturbs_its_next_run_is_reported(tmp_path):
    toy = notebook(tmp_path/'toy.ipynb', '#| export\ndef one(): return 1', f'import os; os.mkdir({str(tmp_path/"fixed")!r})', 'assert one() == 1')
    assert 'disturbs the next' in mutation.complaints(toy)[0]


@pytest.mark.parametrize('source,expected', [
    ('def f(): return 1  # é', 'def f(): return None  # é'),
    ('def f(a, # é\n):\n    "Doc."\n    # why\n    for b in a:\n        yield b\nx = 1', 'def f(a, # é\n):\n    "Doc."\n    # why\n    return None\nx = 1'),
    ('def f():\n    @g\n    def h(): pass\n    return h', 'def f():\n    return None')])
def test_only_the_body_is_taken_out(source, expected):
    assert mutation.gutted(source, dict(functions(ast.parse(source)))['f']) == expected


@pytest.mark.parametrize('body', ['...', 'pass', '"Doc."', '"Doc."; raise NotImplementedError', 'return None'])
def test_a_placeholder_has_no_body_to_take_out(body):
    assert mutation.statements(ast.parse(f'def f(): {body}').body[0]) == []
