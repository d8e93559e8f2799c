"""Do the asserts of a notebook bite? Each exported function in turn loses its body; the notebook must then fail.

Those with an underscore lose theirs too: a backend's primitives are all of that kind. The cells run as nbdev-test runs
them, in order in one `__main__`, but with plain `exec`: it starts at once, and shows no value, so that only what a cell
asserts can make it fail."""
import ast, codeop, linecache, os, signal, sys, time, traceback, types
from dataclasses import dataclass
from pathlib import Path
from hypothesis import Phase, settings
from tests import forked
from tests.notebooks import functions, root

memory_limit = 8 * 2**30  # bytes of address space for one copy


@dataclass(frozen=True)
class Mutant:
    "A copy of a notebook's cells in which the function `name`, defined in cell `at`, returns `None`."
    name: str
    at: int
    cells: tuple


def runnable(notebook):
    "The notebook's cells that nbdev-test would run."
    return [cell for cell in notebook.code if cell.runs]


def mutants(notebook):
    "A mutant for each function of the module that does something."
    cells = runnable(notebook)
    sources = [cell.source for cell in cells]
    for at,cell in enumerate(cells):
        if not cell.exported: continue
        for name,function in functions(ast.parse(cell.source)):
            if statements(function): yield Mutant(name, at, (*sources[:at], gutted(cell.source, function), *sources[at+1:]))


def statements(function):
    "What the function does: its body without docstring, unless that is only a placeholder."
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return [] if all(map(is_placeholder, body)) else body


def is_placeholder(statement):
    "Is it `...`, `pass`, `return None` or `raise NotImplementedError`?"
    text = ast.unparse(statement)
    return text in ('...', 'pass', 'return', 'return None') or text.startswith('raise NotImplementedError')


def gutted(source, function):
    "`source` with the function's statements replaced by `return None`; all else, comments too, stays as it is."
    body = statements(function)
    first,column = start(body[0])
    lines = source.encode().split(b'\n')
    before = lines[:first-1] + [lines[first-1][:column] + b'return None']
    after = lines[body[-1].end_lineno-1][body[-1].end_col_offset:]
    return b'\n'.join([*before[:-1], before[-1] + after, *lines[body[-1].end_lineno:]]).decode()


def start(statement):
    "Line and column where the statement begins, decorators included."
    decorators = [d.lineno for d in getattr(statement, 'decorator_list', [])]
    return min([statement.lineno, *decorators]), statement.col_offset


@dataclass(frozen=True)
class Run:
    "How far the cells of a notebook came."
    seconds: list              # that each cell took
    failed: int | None = None  # index of the cell that fails, if one does


def run_cells(cells, folder, patience=()):
    "Run `cells` in `folder`; with `patience`, the process ends when one takes more seconds. Only for a child of its own."
    limit_memory()
    if patience: fail_at_once()
    main = sys.modules['__main__'] = types.ModuleType('__main__')
    main.__spec__ = None
    os.chdir(folder)
    sys.path.insert(0, str(root))
    sys.argv = ['notebook']
    os.environ['IN_TEST'] = '1'
    compiled = codeop.Compile()  # remembers `from __future__` from cell to cell, as IPython does
    seconds = []
    for at,source in enumerate(cells):
        began = time.monotonic()
        if patience: end_in(patience[at])
        try: exec(compiled(source, named(source, at), 'exec'), main.__dict__)
        except BaseException:
            traceback.print_exc()
            return Run(seconds, at)
        seconds.append(time.monotonic() - began)
    return Run(seconds)


def end_in(seconds):
    "Let the system end this process then, whatever it hangs in, unless a later call puts it off. Windows has no such alarm."
    if hasattr(signal, 'setitimer'): signal.setitimer(signal.ITIMER_REAL, seconds)


def fail_at_once():
    "Let Hypothesis stop at the first example that fails: which is the simplest one matters only to readers."
    settings.register_profile('mutant', phases=[Phase.explicit, Phase.reuse, Phase.generate], report_multiple_bugs=False)
    settings.load_profile('mutant')


def named(source, at):
    "A file name for cell `at`, under which tracebacks and `inspect` find its source."
    name = f'<cell {at}>'
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    return name


def limit_memory():
    "A mutant that allocates without end must not take the machine with it."
    try: import resource
    except ImportError: return
    _,most = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == 'linux': resource.setrlimit(resource.RLIMIT_AS, (memory_limit, most))


def complaints(notebook, is_over=lambda: False):
    "What is wrong with the notebook's asserts: a sentence each; empty when every one of its functions is asserted."
    whole,folder = [cell.source for cell in runnable(notebook)],str(Path(notebook.path).parent)
    sound = forked.run(run_cells, whole, folder, timeout=300)
    if broken := failure(sound): return [f'the notebook itself fails {broken}']
    patience = [5 + 4 * seconds for seconds in sound.value.seconds]  # for each cell; a mutant that hangs fails, too
    found = list(mutants(notebook))
    runs = forked.run_all(run_cells, [(mutant.cells, folder, patience) for mutant in found], timeout=sum(patience), is_over=is_over)
    # A mutant stops half-way: if that disturbs the next run, the next mutant fails for the wrong reason.
    if broken := failure(forked.run(run_cells, whole, folder, timeout=300)):
        return [f'what a failed run leaves behind disturbs the next, give buckets names of their own: {broken}']
    return [f'{mutant.name} can return None and no assert notices' for mutant,run in zip(found, runs) if not failure(run)]


def failure(run):
    "Where and how a notebook's cells failed; empty if they didn't."
    if run.ended and run.value.failed is None: return ''
    return f'(cell {run.value.failed if run.ended else "unknown"}):\n{run.log[-3000:]}'
