"""Documents to an index, and an index to hits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexing.config import BuildConfig
    from indexing.errors import (
        BuildFailedError,
        CorruptIndexError,
        IndexLockedError,
        IndexMismatchError,
        IndexNotFoundError,
        UsageError,
    )
    from indexing.pipeline import BuildReport, build_index
    from indexing.retriever import Hit, SearchIndex, open_index

_HOMES = {
    "build_index": "indexing.pipeline",
    "open_index": "indexing.retriever",
    "BuildConfig": "indexing.config",
    "BuildReport": "indexing.pipeline",
    "SearchIndex": "indexing.retriever",
    "Hit": "indexing.retriever",
    "BuildFailedError": "indexing.errors",
    "CorruptIndexError": "indexing.errors",
    "IndexLockedError": "indexing.errors",
    "IndexMismatchError": "indexing.errors",
    "IndexNotFoundError": "indexing.errors",
    "UsageError": "indexing.errors",
}

__all__ = [
    "build_index",
    "open_index",
    "BuildConfig",
    "BuildReport",
    "SearchIndex",
    "Hit",
    "BuildFailedError",
    "CorruptIndexError",
    "IndexLockedError",
    "IndexMismatchError",
    "IndexNotFoundError",
    "UsageError",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
