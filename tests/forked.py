"""Run a function in a child of a clean process: one that has imported the library and the heavy ones, and used none of them.

A child forked from pytest itself would inherit whatever earlier tests started: threads, and obstore's runtime, which
does not survive a fork. Children of multiprocessing's fork server inherit nothing and still start in milliseconds."""
import multiprocessing, os, pickle, signal, sys, tempfile, traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tests.notebooks import modules

method = 'forkserver' if 'forkserver' in multiprocessing.get_all_start_methods() else 'spawn'
context = multiprocessing.get_context(method)
# None of them starts a thread when it is imported, as pandas, polars and duckdb do.
preloaded = ['IPython', 'nbdev.test', 'boto3', 'obstore', 'hypothesis', 'huggingface_hub.file_download', 'azure.storage.blob', 'tests.replies',
    *(name for name,_ in modules())]
if method == 'forkserver': context.set_forkserver_preload(['__main__', *preloaded])


@dataclass(frozen=True)
class Outcome:
    "What a child left: the function's value, or that it raised or was ended, and all it wrote."
    value: object = None
    ended: bool = False  # within the time, with a value
    log: str = ''


def run(function, *args, timeout=120):
    "Call `function(*args)` in a child with its own temp folder; what came of it within `timeout` seconds."
    with tempfile.TemporaryDirectory(prefix='objstore-child-', ignore_cleanup_errors=True) as folder:
        process = context.Process(target=child, args=(folder, dict(os.environ), function, args))
        process.start()
        try: process.join(timeout)
        finally: end(process)
        return outcome(Path(folder))


def run_all(function, calls, timeout=120, at_once=2, is_over=lambda: False):
    "The outcomes of `function(*args)` for each `args` in `calls`, in their order; nothing more begins when `is_over()`."
    with ThreadPoolExecutor(at_once) as pool:
        try: return list(pool.map(lambda args: Outcome() if is_over() else run(function, *args, timeout=timeout), calls))
        except BaseException:
            for process in multiprocessing.active_children(): kill(process)
            raise


def child(folder, environ, function, args):
    "In the child: lead all output, temporary files and child processes to where `run` will clean up, then work."
    os.environ.clear()
    os.environ.update(environ, TMPDIR=folder)
    tempfile.tempdir = None
    if os.name == 'posix': os.setsid()
    log = os.open(f'{folder}/log', os.O_WRONLY|os.O_CREAT|os.O_APPEND)
    for stream in (1, 2): os.dup2(log, stream)
    status = work(folder, function, args)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def work(folder, function, args):
    "Keep the function's value in a file; the exit status."
    try: Path(folder, 'value').write_bytes(pickle.dumps(function(*args)))
    except BaseException: traceback.print_exc()
    else: return 0
    return 1


def end(process):
    "See to it that the child has ended, and what it started: its group is there as long as any of them."
    kill(process)
    process.join()


def kill(process):
    "Kill the child and its own children."
    with suppress(ProcessLookupError, PermissionError, AttributeError): os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def outcome(folder):
    "What the child left in `folder`."
    log = folder/'log'
    text = log.read_text(errors='replace') if log.exists() else ''
    try: return Outcome(pickle.loads((folder/'value').read_bytes()), True, text)
    except (FileNotFoundError, EOFError, pickle.UnpicklingError): return Outcome(log=text)
