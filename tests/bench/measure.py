"""Run a program and say what the operating system charged for it: `python -IS measure.py SECONDS PROGRAM ARGUMENTS...`.

The last line of output is JSON: wall and CPU seconds, peak resident bytes, exit status. A program inherits the peak of
whoever starts it, so this starter loads next to nothing; one that takes longer than SECONDS is killed."""
import json, os, signal, sys, time

peak_unit = 1 if sys.platform == 'darwin' else 1024


def run(program):
    "Run `program` to its end: what it cost."
    start = time.perf_counter()
    process = os.posix_spawn(program[0], program, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(process, signal.SIGKILL))
    _,status,used = os.wait4(process, 0)
    wall = time.perf_counter() - start
    return {'wall': wall, 'cpu': used.ru_utime + used.ru_stime, 'rss': used.ru_maxrss * peak_unit, 'status': os.waitstatus_to_exitcode(status)}


if __name__ == '__main__':
    signal.alarm(int(sys.argv[1]))
    print('\n' + json.dumps(run(sys.argv[2:])))
