"""A generation written anew from another's records: nothing is linked, nothing deleted is left."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing.calibration import NAME as CALIBRATION
from indexing.catalog import DocumentRecord
from indexing.duplicates import DUPLICATES
from indexing.generation import Generation
from indexing.manifest import Manifest
from indexing.terms import Terms
from indexing.writing import GenerationWriter

Embeddings = Callable[[Sequence[DocumentRecord]], NDArray[np.float32]]
"""Gives the embeddings of the records' chunks, in order; shape (n, dim)."""


def rewrite(
    old: Generation,
    folder: Path,
    number: int,
    embeddings: Embeddings | None = None,
    *,
    repairs: bool = False,
) -> Manifest:
    """Write all that a generation holds into a new one's folder, as one base.

    Args:
        old: The generation to read; its stores and its word index are not needed.
        folder: Where to write.
        number: The new generation's number.
        embeddings: Gives them; otherwise those of `old` are taken as they are.
        repairs: Compare the rows of a shared store with what they should be.
    """
    with GenerationWriter(
        folder,
        None,
        terms_of(old.manifest),
        weighs_words=old.weighs_words,
        repairs=repairs,
    ) as writer:
        documents = 0
        for records in old.portions():
            documents += len(records)
            ids = [chunk.chunk.id for record in records for chunk in record.chunks]
            writer.add(records, (embeddings or _stored(old))(records), old.sparse_weights(ids))
        for name in (DUPLICATES, CALIBRATION):
            if (old.folder / name).is_file():
                shutil.copy2(old.folder / name, folder / name)
        return writer.finish(number, gone=set(), documents=documents, next_id=old.manifest.next_id)


def _stored(old: Generation) -> Embeddings:
    return lambda records: old.embeddings([c.chunk.id for r in records for c in r.chunks])


def terms_of(manifest: Manifest) -> Terms:
    """The terms that a generation was written under."""
    return Terms(
        encoder=manifest.encoder,
        splitter=manifest.splitter,
        store=manifest.store,
        index_type=manifest.index_type,
        recall=manifest.recall,
        store_options=manifest.store_options,
        shard=manifest.shard,
    )
