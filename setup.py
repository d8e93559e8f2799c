"The package as settings.ini describes it; nothing is written twice."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(root/'settings.ini', encoding='utf-8')
meta = config['DEFAULT']

suffix = '_requirements'
extras = {name.removesuffix(suffix): value.split() for name, value in meta.items() if name.endswith(suffix)}
dev = extras.pop('dev')
extras['all'] = sorted({requirement for extra in extras.values() for requirement in extra})
extras['dev'] = dev + [requirement for extra in meta['dev_extras'].split() for requirement in extras[extra]]

oldest, newest = (int(meta[bound].split('.')[1]) for bound in ('min_python', 'max_python'))
classifiers = [f"Development Status :: {meta['status']}",
    *(f'Intended Audience :: {audience.strip()}' for audience in meta['audience'].split(',')),
    *(f'Programming Language :: Python :: 3.{minor}' for minor in range(oldest, newest + 1)),
    'Typing :: Typed']

setup(
    name=meta['name'],
    version=meta['version'],
    description=meta['description'],
    long_description=(root/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=meta['author'],
    license=meta['license'],
    keywords=meta['keywords'].split(),
    classifiers=classifiers,
    python_requires=f">={meta['min_python']}",
    install_requires=meta['requirements'].split(),
    extras_require=extras,
    packages=find_packages(include=[meta['name'], f"{meta['name']}.*"]),
    # Said outright, so that an editable install puts this folder on the path: nbdev-test imports `tests.servers` from it.
    package_dir={'': '.'},
    package_data={meta['name']: ['py.typed']},
    entry_points={'console_scripts': meta['console_scripts'].split(), 'nbdev': [f"{meta['name']}={meta['name']}._modidx:d"]},
)
