"Every notebook is a test: nbdev's own runner runs it."
import os
from pathlib import Path
import nbdev.test
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from tests import forked
from tests.notebooks import root

paths = sorted(nbglob(root/'nbs', as_path=True))


def run_notebook(path):
    "Does the notebook at `path` run? `NBDEV_FLAGS='slow live'` adds the cells that are otherwise left out."
    config = get_config(root)
    passed,_ = nbdev.test.test_nb(Path(path), skip_flags=config.tst_flags.split(), force_flags=os.environ.get('NBDEV_FLAGS', '').split(),
        basepath=root, cell_timeout=config.cell_timeout)
    return passed


@pytest.mark.parametrize('path', paths, ids=lambda path: path.name)
def test_notebook_runs(path):
    outcome = forked.run(run_notebook, path, timeout=600)
    assert outcome.value, outcome.log
