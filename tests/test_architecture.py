"The shape of the library: layers, sizes, the order of a notebook, and asserts that bite."
import ast, statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Event
import pytest
from tests import mutation
from tests.notebooks import fence, modules, numbered, root

notebooks = numbered()
ranks = {notebook.module: notebook.rank for notebook in notebooks}
blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, *([ast.Match] if hasattr(ast, 'Match') else []))
functions = (ast.FunctionDef, ast.AsyncFunctionDef)

# Functions that may take `**kw`, each with its reason.
takes_any_keyword = {
    'objstore.urls.connect': 'the options are each backend\'s own; an unknown one is an error that names the nearest',
    'objstore.urls.locate': 'the same options',
    'objstore.checks.registry.bites': 'names are methods of a class, all handed to `type`',
}


def refuse(complaints):
    "Fail with all of them, a line each."
    assert not complaints, '\n' + '\n'.join(complaints)


def parsed(path):
    "The module at `path`."
    return ast.parse(path.read_text(encoding='utf-8'))


def imported(tree, module):
    "Names of modules that `tree`, the source of `module`, imports anywhere: in functions, and as text, too."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom): yield from from_import(node, module)
        if isinstance(node, ast.Call) and called(node) in ('import_module', '__import__'): yield from text_arguments(node, module)


def from_import(node, module):
    "What a `from … import …` may load: the module, and each name, for it can be a submodule."
    start = absolute('.' * node.level + (node.module or ''), module)
    names = [f'{start}.{alias.name}' for alias in node.names]
    return names if start == 'objstore' else [start, *names]


def absolute(name, module):
    "`..errors` seen from `objstore.backends.s3` is `objstore.errors`."
    dots = len(name) - len(name.lstrip('.'))
    return '.'.join([*module.split('.')[:-dots], *filter(None, [name[dots:]])]) if dots else name


def called(call):
    "The last part of the name of what is called."
    return getattr(call.func, 'attr', getattr(call.func, 'id', None))


def text_arguments(call, module):
    "Module names given as text."
    return [absolute(arg.value, module) for arg in call.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]


def forbidden(module, other):
    "May `module` not import `other`? Only lower numbers, and no backend (20-29) another."
    own,theirs = ranks[module],ranks[other]
    return theirs >= own or 30 > own[0] > theirs[0] >= 20


def through_the_package(name):
    "Is `name` something that only `objstore/__init__.py` could hand out, from whatever layer?"
    packages = {module.rpartition('.')[0] for module in ranks}
    package,_,last = name.rpartition('.')
    return name == 'objstore' or package == 'objstore' and not (name in packages or name in ranks or last.startswith('__'))


def import_complaints():
    "Every import that breaks the layer rule, a sentence each."
    for module,path in modules():
        for name in sorted(set(imported(parsed(path), module)) - {module}):
            if through_the_package(name) or name in ranks and forbidden(module, name): yield f'{module} imports {name}'


def test_every_module_has_a_notebook_and_every_notebook_a_module():
    assert {module for module,_ in modules()} == set(ranks)


def test_modules_import_only_from_lower_layers_and_backends_never_from_each_other():
    refuse(list(import_complaints()))


def function_nodes():
    "Every function of the library, nested ones too: `(qualified name, node)`."
    return chain.from_iterable(qualified(parsed(path), module) for module,path in modules())


def qualified(node, prefix):
    "Functions below `node`, with their dotted names."
    for child in ast.iter_child_nodes(node):
        name = f'{prefix}.{child.name}' if isinstance(child, (*functions, ast.ClassDef)) else prefix
        if isinstance(child, functions): yield name,child
        yield from qualified(child, name)


def length(function):
    "Lines of signature and body, docstring aside."
    return total_length(function) - docstring_length(function)


def total_length(function):
    "Lines of signature, docstring and body."
    return function.end_lineno - function.lineno + 1


def docstring_length(function):
    "Lines that only the docstring has."
    if ast.get_docstring(function) is None or len(function.body) == 1: return 0
    return function.body[0].end_lineno - function.body[0].lineno + 1


def depth(node):
    "How deep blocks are nested inside `node`; an `elif` is no deeper than its `if`, a nested function starts anew."
    return max((block_depth(child, node) for child in ast.iter_child_nodes(node) if not isinstance(child, (*functions, ast.ClassDef))), default=0)


def block_depth(child, parent):
    "The depth that `child` adds below `parent`."
    is_elif = isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child] and child.col_offset == parent.col_offset
    return depth(child) + (isinstance(child, blocks) and not is_elif)


def takes_keywords(function):
    "Does it accept any keyword, with no `@delegates` to say which?"
    return function.args.kwarg is not None and not any('delegates' in ast.unparse(d) for d in function.decorator_list)


def test_functions_are_small():
    lengths = sorted(length(node) for _,node in function_nodes())
    assert statistics.median(lengths) <= 6
    assert lengths[len(lengths) * 9 // 10] <= 20
    refuse([f'{name} has {total_length(node)} lines' for name,node in function_nodes() if total_length(node) > 40])


def test_blocks_nest_at_most_twice():
    refuse([f'{name} is {depth(node)} deep' for name,node in function_nodes() if depth(node) > 2])


def test_no_function_swallows_keywords():
    refuse([name for name,node in function_nodes() if takes_keywords(node) and name not in takes_any_keyword])


def test_modules_are_at_most_400_lines():
    lines = {module: sum(not line.startswith('# %%') for line in path.read_text(encoding='utf-8').splitlines()) for module,path in modules()}
    refuse([f'{module} has {n} lines' for module,n in lines.items() if n > 400])


def order_complaints(notebook):
    "What in the order of the notebook's cells is not house style: a sentence each."
    title,name,promise,*_ = notebook.cells
    rules = {
        'cell 1 is a title and a one-line quote': title.kind == 'markdown' and title.source.startswith('# ') and '\n> ' in title.source,
        'cell 2 names the module': name.kind == 'code' and 'default_exp' in name.directives,
        'cell 3 is a promise of at most 8 lines': promise.kind == 'markdown' and 0 < len(fence(promise)) <= 8,
        'the last cell is hidden and exports': {'hide'} <= notebook.cells[-1].directives.keys() and 'nbdev_export()' in notebook.cells[-1].source,
        'no cell is switched off': all(cell.directives.get('eval') != 'false' for cell in notebook.code),
        'cells are plain Python': all(map(is_plain, notebook.code)),
    }
    return [rule for rule,kept in rules.items() if not kept]


def is_plain(cell):
    "Does the cell do without magics and top-level await?"
    try: return bool(compile(cell.source, '<cell>', 'exec'))
    except SyntaxError: return False


@pytest.mark.parametrize('notebook', notebooks, ids=lambda notebook: notebook.path.name)
def test_notebook_reads_in_the_house_order(notebook):
    refuse([f'broken: {rule}' for rule in order_complaints(notebook)])


@pytest.fixture(scope='module')
def bitten(request):
    "What `mutation.complaints` will say of each notebook that is to be tested: two at a time, for much of it is waiting."
    wanted = [item.callspec.params['notebook'] for item in request.session.items if item.originalname == 'test_asserts_bite']
    over = Event()
    with ThreadPoolExecutor(2) as pool:
        try: yield {notebook.module: pool.submit(mutation.complaints, notebook, over.is_set) for notebook in wanted}
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize('notebook', notebooks, ids=lambda notebook: notebook.path.name)
def test_asserts_bite(notebook, bitten):
    refuse(bitten[notebook.module].result())


def test_layer_rule_sees_imports_however_they_are_written():
    source = 'import objstore.a\ndef f():\n  from ..b import x\n  from . import c\n  import_module("objstore.d")\n'
    assert set(imported(ast.parse(source), 'objstore.backends.s3')) >= {'objstore.a', 'objstore.b', 'objstore.backends.c', 'objstore.d'}
