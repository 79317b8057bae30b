"""Makes and opens stores by name, so that an engine is imported only where it is used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from indexing.errors import UsageError
from indexing.stores.index_types import AUTO, DEFAULT_RECALL, FLAT, recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from indexing.stores.approximate import ApproximateStore
    from indexing.stores.base import Store
    from indexing.stores.exact import ExactStore
    from indexing.stores.faiss import FaissStore
    from indexing.stores.langchain import LangChainStore
    from indexing.stores.milvus import MilvusStore
    from indexing.stores.torch_exact import TorchStore

_KINDS = ("faiss", "exact", "torch")
_SHARED = ("milvus", "langchain")
_FACTS_FILE = "store.json"
"""Beside every store that is not flat."""


def store_kinds() -> tuple[str, ...]:
    """Names of the stores that lie in an index's own folder."""
    return _KINDS


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
    if kind == "langchain":
        raise UsageError(
            f"The langchain store has no --index-type, got {index_type!r}: what its class can do "
            "about that stands in --store-config."
        )
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


def open_bridge(
    options: Mapping[str, str],
    fingerprint: str,
    index: Path,
    dim: int,
    *,
    embeddings: Callable[[Sequence[int]], NDArray[np.float32]] | None = None,
) -> LangChainStore:
    """The rows of an index in a vector store of LangChain.

    Args:
        options: Its class and configuration, as the manifest says.
        fingerprint: The encoder's.
        index: The index's folder.
        dim: The embeddings' width.
        embeddings: Gives those of chunks in order, for a store that is searched.

    Raises:
        UsageError: If the class or its configuration is wrong.
        StoreError: If it cannot be reached.
        MissingExtraError: If LangChain is not installed.
    """
    from indexing.stores.langchain import LangChainStore
    from indexing.stores.langchain_options import bridge_options

    return LangChainStore(
        bridge_options(options["class"], options["config"]),
        options["knowledge_base"],
        index,
        fingerprint,
        dim,
        embeddings=embeddings,
    )


def make_store(
    kind: str, dim: int, *, index_type: str = FLAT, recall: float = DEFAULT_RECALL
) -> Store:
    """An empty store.

    Args:
        kind: One of `store_kinds`.
        dim: Values of a row.
        index_type: A name of `index_types.NAMED`, `auto`, or a FAISS factory string.
        recall: Share of the nearest that an approximate type is tuned to find.

    Raises:
        UsageError: If there is no such store or index type.
        MissingExtraError: If its engine is not installed.
    """
    made = _class(kind)
    if is_flat(kind, index_type):
        return made(dim)
    return _approximate()(dim, index_type, recall=recall)


def is_flat(kind: str, index_type: str) -> bool:
    """Whether a store of this type compares with every row, however many there are.

    Raises:
        UsageError: If the store has no such type.
    """
    if kind != "faiss" and index_type not in {AUTO, FLAT}:
        raise UsageError(
            f"The {kind} store has no index type {index_type!r}, only {FLAT}. "
            "The faiss store has others."
        )
    return kind != "faiss" or index_type == FLAT


def build_store(
    kind: str,
    folder: Path,
    ids: NDArray[np.int64],
    embeddings: NDArray[np.float32],
    *,
    index_type: str = FLAT,
    recall: float = DEFAULT_RECALL,
    grown_from: Path | None = None,
    device: str = "cpu",
) -> None:
    """Write a store of all these rows, which may be mapped from a file.

    Types that need more rows than there are become flat. With `grown_from`, the folder of a store
    that holds most of the rows, what it learned from them is used again. On a `device` other than
    the CPU, torch learns cells and codes and sorts the rows into them.

    Raises:
        UsageError: If there is no such store or index type.
        MissingExtraError: If its engine is not installed.
    """
    count, dim = embeddings.shape
    make_store(kind, dim, index_type=index_type, recall=recall)
    if (
        is_flat(kind, index_type)
        or count < recipe(index_type, count, dim).fewest
        or (recipe(index_type, count, dim).name == FLAT)
    ):
        _class(kind).build(folder, ids, embeddings)
    else:
        _approximate().build(
            folder,
            ids,
            embeddings,
            index_type=index_type,
            recall=recall,
            grown_from=grown_from,
            device=device,
        )


def open_store(kind: str, folder: Path) -> Store:
    """The store that was saved in a folder."""
    opened = _class(kind)
    if kind == "faiss" and (folder / _FACTS_FILE).is_file():
        return _approximate().open(folder)
    return opened.open(folder)


def read_facts(folder: Path) -> dict[str, object]:
    """What is written beside a store of how it was made, and of the recall that was measured.

    Nothing of a flat store, which finds all.
    """
    path = folder / _FACTS_FILE
    found: dict[str, object] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def _approximate() -> type[ApproximateStore]:
    from indexing.stores.approximate import ApproximateStore

    return ApproximateStore


def scratch_milvus(dim: int, *, index_type: str) -> AbstractContextManager[MilvusStore]:
    """A collection of its own in Milvus for measuring, gone afterwards.

    Raises:
        UsageError: If a choice is wrong.
        StoreError: If it cannot be reached.
        MissingExtraError: If its engine is not installed.
    """
    from indexing.stores.milvus import scratch_store

    return scratch_store(dim, index_type=index_type)


def _class(kind: str) -> type[FaissStore] | type[ExactStore] | type[TorchStore]:
    if kind == "faiss":
        from indexing.stores.faiss import FaissStore

        return FaissStore
    if kind == "exact":
        from indexing.stores.exact import ExactStore

        return ExactStore
    if kind == "torch":
        from indexing.stores.torch_exact import TorchStore

        return TorchStore
    raise UsageError(f"Unknown store {kind!r}. Known: {', '.join([*store_kinds(), *_SHARED])}.")
