"What the processes of `test_index` do; a module of its own, so that a child starts without pytest."
from objstore.backends.local import LocalObjectStore
from objstore.versioned import VersionedStore


def publish_and_search(root, me, times, ready):
    "Publish, and find what this process has published after each; how many versions it finds once all are done."
    lab = VersionedStore(LocalObjectStore(root)).bucket('lab')
    ready.wait(60)
    for n in range(1, times + 1):
        lab.put(f'k{me}', b'%d %d' % (me, n), metadata={'me': me, 'n': n})
        assert len(lab.search(f'me = {me}')) == n
    ready.wait(60)
    return len(lab.search(max_age=0))
