"What the processes of `test_between` do; a module of its own, so that a child starts without pytest."
import re, resource, sys
from pathlib import Path
from objstore.between import copy_items
from objstore.transfer import opened


def memory_peak():
    "Bytes that this process has held at most. On Linux what the operating system charges begins with the peak of whoever started it."
    try: status = Path('/proc/self/status').read_text()
    except FileNotFoundError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(re.search(r'VmHWM:\s*(\d+)', status)[1]) * 1024


def main(source, target):
    "Copy between two buckets; print what became of each object, and the peak of memory."
    report = copy_items(opened(source)[0], opened(target)[0])
    print(*(row.error or row.state for row in report), memory_peak(), sep='\n')


if __name__ == '__main__': main(*sys.argv[1:])
