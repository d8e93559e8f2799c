"The notebooks as data: which there are, their cells, and the module each becomes."
import ast, json, re
from dataclasses import dataclass
from pathlib import Path

root = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cell:
    "One cell: its kind and source."
    kind: str
    source: str
    outputs: tuple = ()

    @property
    def directives(self):
        "`{'export': '', 'eval': 'false'}`: the `#|` lines it opens with."
        lines = re.findall(r'^#\| *(\w+):? *(.*)$', re.match(r'(#\|.*\n?|\s*\n)*', self.source)[0], re.M)
        return dict(lines)

    @property
    def runs(self):
        "Would nbdev-test run it without flags?"
        return self.kind == 'code' and bool(self.source.strip()) and 'nbdev_export()' not in self.source and not (
            {'slow', 'live'} & self.directives.keys() or self.directives.get('eval') == 'false')

    @property
    def exported(self):
        "Does it define public parts of the module?"
        return self.kind == 'code' and bool({'export', 'exports'} & self.directives.keys())


@dataclass(frozen=True)
class Notebook:
    "A notebook: where it is and what it holds."
    path: Path
    cells: tuple

    @property
    def code(self): return [cell for cell in self.cells if cell.kind == 'code']

    @property
    def rank(self):
        "`(22, 'a')`: its place among the layers."
        number,letter = re.match(r'(\d\d)([a-z]?)_', self.path.name).groups()
        return int(number),letter

    @property
    def module(self):
        "`objstore.backends.s3`; `None` where it becomes no module."
        names = [cell.directives['default_exp'] for cell in self.code if 'default_exp' in cell.directives]
        return f'objstore.{names[0]}' if names else None


def read(path):
    "The notebook at `path`."
    cells = json.loads(Path(path).read_text(encoding='utf-8'))['cells']
    return Notebook(Path(path), tuple(Cell(c['cell_type'], ''.join(c['source']), tuple(c.get('outputs', ()))) for c in cells))


def numbered(folder=root/'nbs'):
    "The notebooks that become modules, in the order of their layers."
    return sorted((read(path) for path in Path(folder).glob('[0-9][0-9]*_*.ipynb')), key=lambda notebook: notebook.rank)


def modules(folder=root/'objstore'):
    "Every module that has a notebook, as `(name, path)`."
    paths = [path for path in sorted(Path(folder).rglob('*.py')) if path.name not in ('__init__.py', '_modidx.py')]
    return [('.'.join(['objstore', *path.relative_to(folder).with_suffix('').parts]), path) for path in paths]


def fence(cell):
    "The lines of the first fenced block in a markdown cell, or `[]`."
    block = re.search(r'^```[^\n]*\n(.*?)^```', cell.source, re.M|re.S)
    return block[1].splitlines() if block else []


def functions(tree):
    "Each function and method at the top of `tree` that Python itself does not call: `(dotted name, node)`."
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith('__'): yield node.name,node
        if isinstance(node, ast.ClassDef): yield from ((f'{node.name}.{name}', method) for name,method in functions(node))
