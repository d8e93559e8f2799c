"The documents tell the truth: the README runs, promises are kept, every public name says what it is."
import ast, os, re, subprocess, sys
import pytest
from objstore.backend import capabilities
from objstore.commands.verbs import stores
from tests import readme
from tests.notebooks import fence, functions, modules, numbered, root

notebooks = numbered()
first_screen = 40  # lines


def readme_text():
    "README.md as it is."
    return readme.readme.read_text(encoding='utf-8')


def test_readme_is_what_the_index_notebook_makes():
    assert readme.is_current(), 'run `python -m tests.readme`'


def test_the_readme_shows_what_the_stores_claim(monkeypatch):
    for name in [name for name in os.environ if name.startswith(('AZURE_', 'STORAGE_', 'GOOGLE_'))]: monkeypatch.delenv(name)
    rows = list(stores())
    for name in capabilities: assert f"| `{name}` | {' | '.join('yes' if row[name] else '–' for row in rows)} |" in readme_text()
    assert f"| | {' | '.join('`' + row['store'] + '`' for row in rows)} |" in readme_text()


def test_first_screen_of_the_readme_is_a_program_that_runs(tmp_path):
    screen = '\n'.join(readme_text().splitlines()[:first_screen])
    program = re.search(r'^```python\n(.*?)^```', screen, re.M|re.S)
    assert program, f'no whole Python program in the first {first_screen} lines'
    environ = {name: value for name, value in os.environ.items() if not name.startswith(('AWS_', 'OBJSTORE_'))}
    run = subprocess.run([sys.executable, '-c', program[1]], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_relative_links_of_the_readme_resolve():
    links = re.findall(r'\]\((?![a-z]+:|#)([^)#\s]+)', readme_text())
    assert [link for link in links if not (root/link).exists()] == []


def missing_lines(promise, kept):
    "Lines of `promise` that do not occur, in order, in `kept`: there a line may be part of a longer one, such as an assert."
    rest = iter(kept)
    return [line for line in promise if not any(line in other for other in rest)]


def facts(lines):
    "The lines that say something, without indentation and trailing comments."
    stripped = (re.sub(r'(^|\s+)#.*$', '', line).strip() for line in lines)
    return [line for line in stripped if line]


@pytest.mark.parametrize('notebook', notebooks, ids=lambda notebook: notebook.path.name)
def test_promise_is_kept(notebook):
    kept = [cell.source for cell in notebook.code if 'hide' not in cell.directives][-1]
    assert re.search('assert|test_eq|expect_fail', kept), 'the last visible cell asserts nothing'
    assert missing_lines(facts(fence(notebook.cells[2])), kept.splitlines()) == []


def public_names(tree):
    "Public classes and functions at the top of a module, and public methods, those of private base classes too."
    yield from ((node.name, node) for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith('_'))
    yield from ((name, node) for name,node in functions(tree) if not name.rpartition('.')[2].startswith('_'))


def is_variant(node):
    "Is it an overload or the setter of a property, which the first definition documents?"
    return any(ast.unparse(d).endswith(('overload', '.setter', '.deleter')) for d in node.decorator_list)


@pytest.mark.parametrize('module,path', modules(), ids=lambda value: value if isinstance(value, str) else '')
def test_every_public_name_has_a_docstring(module, path):
    names = public_names(ast.parse(path.read_text(encoding='utf-8')))
    missing = [name for name,node in names if ast.get_docstring(node) is None and not is_variant(node)]
    assert not missing, missing


def test_a_promise_that_is_only_partly_kept_is_noticed():
    promise = facts(["b.put('k', b'1')  # one", '', "b.get('k')"])
    assert missing_lines(promise, ["b.put('k', b'1')", "assert b.get('k') == b'1'"]) == []
    assert missing_lines(promise, ["assert b.get('k') == b'1'", "b.put('k', b'1')"]) == ["b.get('k')"]
    assert missing_lines(promise, []) == promise
