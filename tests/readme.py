"""README.md from nbs/index.ipynb: its prose, its visible code and its saved outputs.

    python -m tests.readme           # write it
    python -m tests.readme --check   # or only say whether it is up to date"""
import posixpath, re, sys
from tests.notebooks import read, root

readme = root/'README.md'
relative_link = re.compile(r'\]\((?![a-z]+:|#|/)([^)\s]+)')


def render(path=root/'nbs'/'index.ipynb'):
    "The text of README.md."
    return '\n\n'.join(filter(None, map(render_cell, read(path).cells))) + '\n'


def render_cell(cell):
    "One cell as Markdown; nothing for a hidden one."
    if 'hide' in cell.directives or 'nbdev_export()' in cell.source: return ''
    if cell.kind == 'markdown': return relative_link.sub(from_root, cell.source.strip())
    code = re.sub(r'^#\|.*\n', '', cell.source, flags=re.M).strip()
    return '\n\n'.join([fenced(code, 'python'), *filter(None, map(render_output, cell.outputs))])


def from_root(link):
    "The link as it reads in README.md: the notebook lies one folder deeper."
    return f'](./{posixpath.normpath(posixpath.join("nbs", link[1]))}'


def render_output(output):
    "What a cell showed: Markdown as it is, other text fenced; no HTML, which GitHub would strip."
    data = output.get('data', {})
    if 'text/markdown' in data: return ''.join(data['text/markdown']).strip()
    return fenced(''.join(data.get('text/plain', output.get('text', ''))).rstrip(), 'text')


def fenced(text, language):
    "`text` in a fenced block, if there is any."
    return f'```{language}\n{text}\n```' if text else ''


def is_current():
    "Is README.md what the notebook makes?"
    return readme.exists() and readme.read_text(encoding='utf-8') == render()


def main(*arguments):
    "Write README.md, or with `--check` compare; the exit status."
    if '--check' not in arguments: readme.write_text(render(), encoding='utf-8')
    if is_current(): return 0
    print('README.md is not what nbs/index.ipynb makes: run `python -m tests.readme`', file=sys.stderr)
    return 1


if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))
