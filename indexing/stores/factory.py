"""Makes and opens stores by name, so that an engine is imported only where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexing.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from indexing.stores.base import Store
    from indexing.stores.exact import ExactStore
    from indexing.stores.faiss import FaissStore
    from indexing.stores.milvus import MilvusStore

_SHARED = ("milvus",)
_INDEX_TYPES = {"faiss": ("flat",), "exact": ("flat",)}


def store_kinds() -> tuple[str, ...]:
    """Names of the stores that lie in an index's own folder."""
    return tuple(_INDEX_TYPES)


def is_shared(kind: str) -> bool:
    """Whether a store's rows lie where other programs write too, instead of in the index."""
    return kind in _SHARED


def canonical_type(kind: str, index_type: str) -> str:
    """An index type in the one way to write it.

    Raises:
        UsageError: If a shared store has no such type; of others, that is found out later.
    """
    if not is_shared(kind):
        return index_type
    from indexing.stores.milvus_types import MilvusType

    return str(MilvusType.parse(index_type))


def open_milvus(
    options: Mapping[str, str],
    fingerprint: str,
    index: Path,
    dim: int,
    *,
    index_type: str = "auto",
    generation: int | None = None,
    create: bool = False,
) -> MilvusStore:
    """The rows of an index in Milvus.

    Args:
        options: Where they lie, as the manifest says.
        fingerprint: The encoder's.
        index: The index's folder.
        dim: The embeddings' width.
        index_type: The collection's, with its parameters.
        generation: The last one that is read; all if None.
        create: Make the collection if it is not there.

    Raises:
        UsageError: If a choice is wrong.
        StoreError: If it cannot be reached, or what is there does not fit.
        MissingExtraError: If its engine is not installed.
    """
    from indexing.stores.milvus import NEWEST, MilvusStore
    from indexing.stores.milvus_options import place_of

    return MilvusStore(
        place_of(options, fingerprint, index),
        dim,
        index_type=index_type,
        generation=NEWEST if generation is None else generation,
        create=create,
    )


def make_store(kind: str, dim: int, *, index_type: str = "flat") -> Store:
    """An empty store.

    Raises:
        UsageError: If there is no such store or index type.
        MissingExtraError: If its engine is not installed.
    """
    _class(kind)
    if index_type not in _INDEX_TYPES[kind]:
        raise UsageError(
            f"The {kind} store has no index type {index_type!r}. "
            f"Known: {', '.join(_INDEX_TYPES[kind])}."
        )
    return _class(kind)(dim)


def build_store(
    kind: str,
    folder: Path,
    ids: NDArray[np.int64],
    embeddings: NDArray[np.float32],
    *,
    index_type: str = "flat",
) -> None:
    """Write a store of all these rows, which may be mapped from a file.

    Raises:
        UsageError: If there is no such store or index type.
        MissingExtraError: If its engine is not installed.
    """
    make_store(kind, embeddings.shape[1], index_type=index_type)
    _class(kind).build(folder, ids, embeddings)


def open_store(kind: str, folder: Path) -> Store:
    """The store that was saved in a folder."""
    return _class(kind).open(folder)


def scratch_milvus(dim: int, *, index_type: str) -> AbstractContextManager[MilvusStore]:
    """A collection of its own in Milvus for measuring, gone afterwards.

    Raises:
        UsageError: If a choice is wrong.
        StoreError: If it cannot be reached.
        MissingExtraError: If its engine is not installed.
    """
    from indexing.stores.milvus import scratch_store

    return scratch_store(dim, index_type=index_type)


def _class(kind: str) -> type[FaissStore] | type[ExactStore]:
    if kind == "faiss":
        from indexing.stores.faiss import FaissStore

        return FaissStore
    if kind == "exact":
        from indexing.stores.exact import ExactStore

        return ExactStore
    raise UsageError(f"Unknown store {kind!r}. Known: {', '.join([*store_kinds(), *_SHARED])}.")
