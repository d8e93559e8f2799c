"What a search promises whatever is asked of whatever metadata, and an index whatever happens to its processes."
import json, multiprocessing, re, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone
import duckdb, pandas, polars, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from objstore.entry import Entry
from objstore.errors import ConfigError, IntegrityError, PreconditionError
from objstore.index import Index
from objstore.where import instant, parse
from objstore.where_sql import flat
from tests import search_workers as work

context = multiprocessing.get_context('spawn')
pytestmark = pytest.mark.filterwarnings('ignore:.* and compared with', 'ignore:.* differ in type')

# What is asked, as trees of tuples: written as SQL below, and answered by plain Python.
names = ['a', 'b', 'p.q', '"odd name"', 'size', 'message']
texts = st.text('aAbé%_\'"\\ 05.', max_size=4)
numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -0.5, 2.0, 2**53 + 1, float(2**53), 1e300, 2**63 - 1, -2**63]))
values = st.one_of(numbers, texts, st.booleans())
json_values = st.one_of(st.none(), values, st.lists(st.integers(0, 1), max_size=1))
leaves = st.one_of(
    st.tuples(st.just('compare'), st.sampled_from(['=', '==', '<>', '!=', '<', '<=', '>', '>=']), st.sampled_from(names), values),
    st.tuples(st.just('names'), st.sampled_from(['=', '<>', '<', '<=', '>', '>=']), st.sampled_from(names), st.sampled_from(names)),
    st.tuples(st.just('like'), st.sampled_from(names), texts, st.sampled_from(['', '\\', 'a'])),
    st.tuples(st.just('in'), st.sampled_from(names), st.lists(values, min_size=1, max_size=3)),
    st.tuples(st.just('between'), st.sampled_from(names), values, values),
    st.tuples(st.just('null'), st.sampled_from(names)))
trees = st.recursive(leaves, lambda inner: st.one_of(
    st.tuples(st.just('not'), inner), st.tuples(st.just('and'), inner, inner), st.tuples(st.just('or'), inner, inner)), max_leaves=8)
records = st.fixed_dictionaries({}, optional={'a': json_values, 'b': json_values, 'p': st.fixed_dictionaries({}, optional={'q': json_values}), 'odd name': json_values})
versions = st.tuples(st.none() | st.integers(0, 3), st.none() | texts, records)


def written(tree):
    "The tree as one would type it."
    kind,*parts = tree
    if kind == 'compare': return f'{parts[1]} {parts[0]} {literal(parts[2])}'
    if kind == 'names': return f'{parts[1]} {parts[0]} {parts[2]}'
    if kind == 'like': return f'{parts[0]} like {literal(parts[1])}' + (f' escape {literal(parts[2])}' if parts[2] else '')
    if kind == 'in': return f"{parts[0]} in ({', '.join(map(literal, parts[1]))})"
    if kind == 'between': return f'{parts[0]} between {literal(parts[1])} and {literal(parts[2])}'
    if kind == 'null': return f'{parts[0]} is null'
    if kind == 'not': return f'not ({written(parts[0])})'
    return f'({written(parts[0])}) {kind.upper()} ({written(parts[1])})'


def literal(value):
    "A value as SQL writes it."
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else json.dumps(value)


def kind_of(value):
    "Text, numbers and booleans compare among themselves only, lists and objects not at all."
    if isinstance(value, bool): return 'boolean'
    return next((kind for kind,held in (('text', str), ('number', (int, float))) if isinstance(value, held)), None)


def compare(op, left, right):
    "`True`, `False`, or `None` where SQL knows neither."
    if left is None or right is None: return None
    if kind_of(left) != kind_of(right) or kind_of(left) is None: return False
    return {'=': left == right, '<>': left != right, '<': left < right, '<=': left <= right, '>': left > right, '>=': left >= right}[{'==': '=', '!=': '<>'}.get(op, op)]


def like(value, pattern, escape):
    "SQL's pattern: an escape makes the next character mean itself, ASCII letters match in either case."
    if value is None: return None
    return isinstance(value, str) and bool(re.fullmatch(pattern_of(pattern, escape), value, re.S))


def pattern_of(pattern, escape):
    "The regular expression for a pattern; nothing matches one that ends in its escape."
    found,rest = '',iter(pattern)
    for c in rest:
        if escape and c == escape: found += folded(next(rest, None))
        else: found += {'%': '.*', '_': '.'}.get(c) or folded(c)
    return found


def folded(c):
    "One character, in either case if it is an ASCII letter."
    return '(?!)' if c is None else f'[{c.lower()}{c.upper()}]' if c.isascii() and c.isalpha() else re.escape(c)


def both(left, right):
    "SQL's AND."
    return False if False in (left, right) else None if None in (left, right) else True


def opposite(value):
    "SQL's NOT."
    return None if value is None else not value


def answer(tree, record):
    "What the tree says of a version, by the rules as the documents state them."
    kind,*parts = tree
    value = record.get(parts[0]) if kind in ('like', 'in', 'between', 'null') else None
    if kind == 'compare': return compare(parts[0], record.get(parts[1]), parts[2])
    if kind == 'names': return compare(parts[0], record.get(parts[1]), record.get(parts[2]))
    if kind == 'like': return like(value, *parts[1:])
    if kind == 'in': return None if value is None else any(compare('=', value, member) for member in parts[1])
    if kind == 'between': return both(compare('>=', value, parts[1]), compare('<=', value, parts[2]))
    if kind == 'null': return value is None
    if kind == 'not': return opposite(answer(parts[0], record))
    left,right = (answer(part, record) for part in parts)
    return both(left, right) if kind == 'and' else opposite(both(opposite(left), opposite(right)))


def known(metadata, **fields):
    "What can be asked of a version: its fields and its flat metadata."
    return {**dict(flat(metadata)), **fields}


@pytest.fixture
def index(tmp_path):
    "An index that nobody has written yet."
    return Index(tmp_path/'index')


everything = {'a': 1, 'b': 1, 'p': {'q': 1}, 'odd name': 1}  # so that every name exists


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(trees, min_size=5, max_size=5), st.lists(versions, min_size=1, max_size=8))
def test_sqlite_answers_as_plain_python_does(index, asked, rows):
    index.drop()
    entries = [Entry('k', n, f'{n}', size=size, message=message, metadata=metadata) for n,(size,message,metadata) in enumerate(rows)]
    index.add([Entry('all', 1, 'all', size=1, metadata=everything), *entries])
    for tree in asked:
        found = {entry.version for entry in index.search(written(tree)) if entry.key == 'k'}
        assert found == {e.version for e in entries if answer(tree, known(e.metadata, size=e.size, message=e.message)) is True}, written(tree)


@settings(max_examples=500, deadline=None)
@given(st.text('ab.\'"()=<>,;-+*/%_ \n0123e|&$#\\éandornotlikeinbetweenisnull', max_size=40) | st.text(max_size=20))
def test_any_text_is_read_or_refused_and_breaks_nothing(text):
    with suppress(ConfigError): parse(text, ['a', 'b', 'a.b'])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=10))
def test_any_json_is_kept_and_every_name_of_it_can_be_asked_for(index, value):
    index.drop()
    entry = Entry('k', 1, 'x', metadata={'value': value, 'list': [value]})
    index.add([entry])
    assert index.search() == [entry]
    for name,inner in flat(entry.metadata): assert len(index.search(f'{name} is null')) == (inner is None)


@settings(max_examples=200)
@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-14 * 60, 14 * 60))
def test_times_of_any_zone_sort_as_text(when, minutes):
    there = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse(f"created > '{there.isoformat()}'", []).right == instant(there)
    assert (instant(there) < '2026-11-01T00:00:00.000000Z') == (there < datetime(2026, 11, 1, tzinfo=timezone.utc))


def test_a_pattern_of_many_wildcards_is_answered(index):
    index.add([Entry('k', n, 'x', message='a' * 10_000) for n in range(20)])
    assert len(index.search(f"message like '{'%a' * 2000}%b'")) == 0


def snapshot(index, path):
    "Write the index's snapshot to `path`."
    index.snapshot(lambda cursor, parts: path.write_bytes(b''.join(parts)))
    return str(path)


def test_duckdb_and_polars_query_the_snapshot_in_place(index, tmp_path):
    index.add([Entry(f'models/{n % 10}', n // 10 + 1, f'{n}', size=n, created=datetime(2026, 11, 1, tzinfo=timezone.utc) + timedelta(hours=n), message='é "x"\n' * (n % 2),
        metadata={'accuracy': n / 100, 'stage': 'prod' if n % 3 else 'dev', 'params': {'lr': 0.1}}, parents=(n,), aliases=('best',) if n == 99 else ()) for n in range(100)])
    path = snapshot(index, tmp_path/'versions.jsonl.gz')
    rows = duckdb.sql(f"SELECT id FROM '{path}' WHERE metadata.accuracy > 0.9 AND metadata.stage = 'prod' AND metadata.params.lr = 0.1 ORDER BY key, version DESC").fetchall()
    assert [id for id, in rows] == [entry.id for entry in index.search("accuracy > 0.9 and stage = 'prod' and params.lr = 0.1")] and len(rows) == 6
    assert duckdb.sql(f"SELECT count(*), sum(size) FROM '{path}' WHERE created >= TIMESTAMP '2026-11-03' AND NOT is_deleted").fetchall() == [(52, sum(range(48, 100)))]
    assert duckdb.sql(f"SELECT id FROM '{path}' WHERE list_contains(aliases, 'best')").fetchall() == [('99',)]
    assert polars.read_ndjson(path).filter(polars.col('metadata').struct.field('accuracy') > 0.9)['id'].len() == 9


def test_duckdb_reads_metadata_whose_types_differ_from_version_to_version(index, tmp_path):
    index.add([Entry('k', n, f'{n}', metadata=metadata) for n,metadata in enumerate([{'a': 1}, {'a': 'x'}, {'a': [True]}, {'b': {'c': None}}, {}])])
    path = snapshot(index, tmp_path/'versions.jsonl.gz')
    assert duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall() == [(5,)]
    query = f"SELECT id FROM read_json('{path}', columns={{id: 'VARCHAR', metadata: 'JSON'}}) WHERE metadata->>'$.a' = 'x'"
    assert duckdb.sql(query).fetchall() == [('1',)]


def test_frames_hold_what_was_found(index):
    when = datetime(2026, 11, 1, tzinfo=timezone.utc)
    index.add([Entry('k', 1, 'a', 7, created=when, metadata={'n': 1, 'f': 0.5, 'mixed': 1, 'big': 2**70, 'half': '\ud800'}, aliases=('prod',)),
               Entry('k', 2, 'b', created=when, metadata={'n': 2, 'f': 1, 'mixed': 'x', 'l': [1]})])
    frame = index.search(order_by='version').to_frame()
    assert isinstance(frame, pandas.DataFrame) and frame['n'].tolist() == [1, 2] and frame['mixed'].tolist() == [1, 'x'] and frame['f'].sum() == 1.5
    assert frame['created'].iloc[0] == when and frame['aliases'].tolist() == [['prod'], []] and frame['size'].isna().tolist() == [False, True]
    frame = index.search(order_by='version').to_frame('polars')
    assert frame['mixed'].to_list() == ['1', 'x'] and frame['l'].to_list() == [None, '[1]'] and frame['big'].to_list() == [2.0**70, None]
    assert frame['created'].to_list() == [when, when] and frame['size'].to_list() == [7, None] and frame['half'].to_list() == ['?', None]
    assert index.search('n > 5').to_frame('polars').shape[0] == index.search('n > 5').to_frame().shape[0] == 0


def test_processes_refresh_one_index_together(tmp_path):
    with context.Manager() as manager, context.Pool(3) as pool:
        ready = manager.Barrier(3)
        runs = [pool.apply_async(work.refresh, (tmp_path/'index', step, ready)) for step in (1, 7, 40)]
        assert [run.get(120) for run in runs] == [work.news] * 3
    index = Index(tmp_path/'index')
    assert index.cursor() == work.news and {entry.id for entry in index.search()} == {f'id-{n}' for n in range(work.news)}
    assert [entry.version for entry in index.search(latest=True)] == [work.news // 50] * 50 and len(index.search('n is not null')) == work.news


def test_a_process_killed_while_it_writes_leaves_the_index_as_it_was(index, tmp_path):
    index.add([Entry(f'old-{n}', 1, 'old', metadata={'n': n}) for n in range(100)], cursor=1)
    begun = context.Event()
    process = context.Process(target=work.write_for_ever, args=(tmp_path/'index', begun), daemon=True)
    process.start()
    assert begun.wait(120)
    assert len(index.search('n >= 0')) == 100  # while it writes
    process.kill()
    process.join(60)
    assert index.cursor() == 1 and {entry.id for entry in index.search()} == {'old'} and set(index.names()) == {'n'}
    index.add([Entry('new', 1, 'new')], after=1, cursor=2)
    assert index.cursor() == 2 and len(index.search()) == 101


def test_threads_search_while_one_writes(index):
    index.add([Entry('k', 0, 'x', metadata={'n': 0})])
    def look(_): return [len(index.search('n >= 0')) for _ in range(30)]
    def write(): [index.add([Entry('k', n, 'x', metadata={'n': n, f'm{n}': n})]) for n in range(1, 60)]
    with ThreadPoolExecutor(4) as pool:
        writer = pool.submit(write)
        seen = list(pool.map(look, range(3)))
        writer.result(60)
    assert all(counts == sorted(counts) for counts in seen) and len(index.search('n >= 0')) == 60


def test_removing_the_index_under_its_users_loses_nothing_and_breaks_nobody(tmp_path):
    folder,until = tmp_path/'index',time.monotonic() + 2
    def build_and_search(me):
        done = 0
        while time.monotonic() < until: done += used(Index(folder), me)
        return done
    def remove():
        while time.monotonic() < until: Index(folder).drop()
    with ThreadPoolExecutor(4) as pool:
        remover,users = pool.submit(remove),[pool.submit(build_and_search, me) for me in range(3)]
        remover.result(60)
        assert all(user.result(60) for user in users)


def used(index, me):
    "Build, search, and accept that the index may be gone in between."
    try: index.add([Entry(f'{me}', 1, 'x', metadata={'n': me})], after=index.cursor(), cursor=me)
    except (IntegrityError, PreconditionError): return 1
    try: return 1 + (len(index.search("key <> ''")) > 100)
    except IntegrityError: return 1
