"What the processes of `test_search` do; a module of its own, so that a child starts without pytest and hypothesis."
from objstore.entry import Entry
from objstore.errors import PreconditionError
from objstore.index import Index

news = 2000  # versions there are to read


def entry(n):
    "The version that is number `n` of the news."
    return Entry(f'key-{n % 50:02}', n // 50 + 1, f'id-{n}', metadata={'n': n, f'name_{n % 7}': n})


def refresh(folder, step, ready):
    "Read what is new in steps, until there is no more, as a process does that shares the index with others."
    index = Index(folder)
    ready.wait(60)
    while (seen := index.cursor() or 0) < news: read_on(index, seen, step)
    return len(index.search())


def read_on(index, seen, step):
    "One step; in vain if another process took it."
    until = min(news, seen + step)
    try: index.add(map(entry, range(seen, until)), after=seen or None, cursor=until)
    except PreconditionError: pass


def write_for_ever(folder, begun):
    "Add versions in one transaction that never ends; say when it is well under way."
    Index(folder).add(endless(begun), after=1, cursor=2)


def endless(begun):
    "Versions without end, the old ones over again among them."
    n = 0
    while True:
        yield Entry(f'new-{n % 100_000}', 1, 'new', metadata={f'new_{n % 20}': n})
        yield Entry(f'old-{n % 100}', 1, 'changed')
        if n == 20_000: begun.set()
        n += 1
