"The benchmark measures what it says: everybody moves all the bytes, and bytes that are missing or wrong are noticed."
import subprocess, sys
import pytest
from tests import forked
from tests.bench import data, measure
from tests.bench.works import works
from tests.notebooks import root


def test_every_contender_moves_all_the_bytes_in_every_work():
    done = subprocess.run([sys.executable, '-m', 'tests.bench', '--factor', '0.01', '--runs', '1'], cwd=root, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split('\n### ')[1:]
    assert [table.partition(':')[0] for table in tables] == list(works)
    for table,work in zip(tables, works.values()):
        rows = [line.split(' | ') for line in table.splitlines() if line.startswith('| ')][1:]
        assert [row[0].removeprefix('| ') for row in rows] == list(work.contenders)


@pytest.fixture
def copied(tmp_path):
    "Files, and a faithful copy of the small ones."
    data.make(tmp_path/'files', 0.002)
    copy = tmp_path/'copy'
    copy.mkdir()
    for path in (tmp_path/'files'/'small').iterdir(): (copy/path.name).write_bytes(path.read_bytes())
    return tmp_path/'files'/'small',copy


def test_a_copy_that_lacks_a_file_or_has_another_byte_is_noticed(copied):
    source,copy = copied
    data.check_folder(source, copy)
    first,*_,last = sorted(copy.iterdir())
    first.write_bytes(first.read_bytes()[:-1] + bytes([first.read_bytes()[-1] ^ 1]))
    with pytest.raises(AssertionError, match='other bytes'): data.check_folder(source, copy)
    last.unlink()
    with pytest.raises(AssertionError, match='9 files'): data.check_folder(source, copy)


def test_a_process_is_charged_with_what_it_took():
    cost = forked.run(measure.run, [sys.executable, '-c', 'import time; taken = b"1" * 2**28; time.sleep(0.2); raise SystemExit(3)']).value
    assert cost['status'] == 3 and cost['wall'] >= 0.2 and 2**28 < cost['rss'] < 2**30 and cost['cpu'] > 0
