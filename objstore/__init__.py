"One interface to every object store."
__version__ = "0.1.0"

from importlib import import_module
from typing import TYPE_CHECKING

# Where each public name lives; it is imported when it is first asked for, so that `import objstore` costs next to nothing.
_homes = {
    'connect':'urls', 'locate':'urls', 'ObjectStoreInterface':'interface', 'Bucket':'interface', 'Stats':'stats', 'Report':'report',
    'MemoryObjectStore':'backends.memory', 'LocalObjectStore':'backends.local', 'S3ObjectStore':'backends.s3',
    'GCSObjectStore':'backends.gcs', 'AzureObjectStore':'backends.azure', 'HFObjectStore':'backends.hf', 'VersionedStore':'versioned',
}
__all__ = ['connect', 'locate', 'ObjectStoreInterface', 'Bucket', 'Stats', 'Report', 'MemoryObjectStore', 'LocalObjectStore', 'S3ObjectStore',
    'GCSObjectStore', 'AzureObjectStore', 'HFObjectStore', 'VersionedStore']

if TYPE_CHECKING:
    from .backends.azure import AzureObjectStore as AzureObjectStore
    from .backends.gcs import GCSObjectStore as GCSObjectStore
    from .backends.hf import HFObjectStore as HFObjectStore
    from .backends.local import LocalObjectStore as LocalObjectStore
    from .backends.memory import MemoryObjectStore as MemoryObjectStore
    from .backends.s3 import S3ObjectStore as S3ObjectStore
    from .urls import connect as connect, locate as locate
    from .interface import Bucket as Bucket, ObjectStoreInterface as ObjectStoreInterface
    from .report import Report as Report
    from .stats import Stats as Stats
    from .versioned import VersionedStore as VersionedStore


def __getattr__(name):
    if name not in _homes: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_homes[name]}'), name)


def __dir__(): return sorted({*globals(), *_homes})
