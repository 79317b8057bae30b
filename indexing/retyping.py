"""Another index type for an index: its store is made anew from the embeddings, nothing else."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing import points
from indexing.config import BuildConfig, write_config
from indexing.errors import UsageError
from indexing.generation import BASE, Generation, open_current
from indexing.manifest import NAME, Manifest, file_facts
from indexing.publishing import KEPT_GENERATIONS, link_or_copy, new_generation, next_number, publish
from indexing.rewriting import terms_of
from indexing.stores import build_store
from indexing.stores.base import EMBEDDINGS, IDS
from indexing.stores.factory import read_facts
from indexing.stores.index_types import FLAT
from indexing.work import job
from indexing.writing import published_facts

STORE_FILES = "store*"
"""How the names of a store's files look."""


@dataclass(frozen=True, kw_only=True)
class Retyped:
    """What a change of the index type did."""

    index: str
    generation: int
    index_type: str
    before: str
    """The type that the index had."""
    chunks: int
    made: dict[str, Any]
    """What the type became for this index, and the recall measured; nothing of a flat one."""
    seconds: float


def retype_index(index: Path, index_type: str, recall: float | None = None) -> Retyped:
    """Publish an index with another type of store.

    Documents, embeddings and word index are those of the generation before, which is kept for
    `rollback`; searches go on with it meanwhile. What was added since the last folding stays in a
    flat store of its own.

    Args:
        index: The index's folder.
        index_type: `auto`, a name of `index_types.NAMED`, or a FAISS factory string.
        recall: Share of the nearest to find; None for what the index asks now.

    Raises:
        UsageError: If there is no such type, or the index's store has no types.
        IndexLockedError: If another process is writing it.
    """
    started = time.monotonic()
    with job(index, f"index-type {index_type}") as work:
        old = open_current(index, with_stores=False)
        if old.manifest.store != "faiss":
            raise UsageError(
                f"The store of {index} is {old.manifest.store}; only faiss has index types that "
                "can be changed. Build a new index for another store."
            )
        choices = BuildConfig(index_type=index_type, recall=recall)
        number = next_number(index)
        with new_generation(index, number) as folder:
            manifest = _written(old, folder, number, choices)
            write_config(index, BuildConfig(), terms_of(manifest))
            publish(index, folder, keep=max(2, work.setting("keep", KEPT_GENERATIONS)))
    return Retyped(
        index=str(index),
        generation=number,
        index_type=manifest.index_type,
        before=old.manifest.index_type,
        chunks=manifest.chunks,
        made=dict(manifest.made),
        seconds=round(time.monotonic() - started, 3),
    )


def _written(old: Generation, folder: Path, number: int, choices: BuildConfig) -> Manifest:
    for path in old.folder.iterdir():
        if path.is_dir():
            link_or_copy(path, folder / path.name)
        elif path.name != NAME:
            shutil.copy2(path, folder / path.name)
    for path in (folder / BASE).glob(STORE_FILES):
        path.unlink()
    index_type, recall = choices.index_type or FLAT, choices.recall or old.manifest.recall
    build_store(
        old.manifest.store,
        folder / BASE,
        np.load(folder / BASE / IDS, allow_pickle=False),
        np.load(folder / BASE / EMBEDDINGS, mmap_mode="r", allow_pickle=False),
        index_type=index_type,
        recall=recall,
    )
    points.passing("segment closed")
    manifest = replace(
        old.manifest,
        generation=number,
        index_type=index_type,
        recall=recall,
        made=read_facts(folder / BASE),
        files=file_facts(folder, published_facts(old)),
    )
    manifest.write(folder)
    points.passing("manifest written")
    return manifest
