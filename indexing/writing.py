"""Fills a new generation: what changed goes into the delta, and later into the base."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing import points
from indexing.calibration import NAME as CALIBRATION
from indexing.catalog import DocumentRecord
from indexing.generation import BASE, DELETED, DELTA, LEXICAL, Generation
from indexing.lexical import LexicalWriter
from indexing.manifest import FileFact, Manifest, file_facts
from indexing.publishing import link_or_copy, next_number
from indexing.segment import Segment, SegmentWriter
from indexing.shared import SharedWriter
from indexing.sparse import Weights
from indexing.stores.factory import is_shared, read_facts
from indexing.stores.index_types import FLAT
from indexing.terms import Terms
from indexing.verification import remember_facts

FOLD_CHUNKS = 20_000
FOLD_SHARE = 0.02
"""The delta is folded into the base when it grows past the larger of these two."""
_COPIED_AT_ONCE = 512
_LARGE_BYTES = 10_000_000
_FOLDED = "folded"


class GenerationWriter:
    """Writes a generation after `old`, or the first one; a context that leaves no file open."""

    def __init__(
        self,
        folder: Path,
        old: Generation | None,
        terms: Terms,
        *,
        weighs_words: bool = False,
        repairs: bool = False,
    ) -> None:
        """Begin a generation.

        Args:
            folder: An empty folder.
            old: The one before, which goes on; None for a first one.
            terms: What all chunks have in common.
            weighs_words: Whether `add` is given weights; what `old` has decides where it is given.
            repairs: Compare the rows of a shared store with what they should be.
        """
        self.weighs_words = weighs_words if old is None else old.weighs_words
        self._shared: SharedWriter | None = None
        if is_shared(terms.store):
            index = folder.parent
            self._shared = SharedWriter(index, terms, next_number(index), repairs=repairs)
        self._folder = folder
        self._old = old
        self._terms = terms
        if old is not None:
            link_or_copy(old.folder / BASE, folder / BASE)
            link_or_copy(old.folder / LEXICAL, folder / LEXICAL)
            if (old.folder / CALIBRATION).is_file():
                shutil.copy2(old.folder / CALIBRATION, folder / CALIBRATION)
        self._segment = self._segment_writer(BASE if old is None else DELTA)
        self._lexical = LexicalWriter(folder / LEXICAL)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the files; a generation that was not finished is thrown away."""
        self._segment.abandon()

    def _segment_writer(self, name: str, grown_from: Path | None = None) -> SegmentWriter:
        return SegmentWriter(
            self._folder / name,
            self._terms.encoder.dim,
            store=None if self._shared is not None else self._terms.store,
            # The delta is small and often written: comparing with all of it is exact and quick.
            index_type=FLAT if name == DELTA else self._terms.index_type,
            recall=self._terms.recall,
            grown_from=grown_from,
            device=self._terms.device,
            weighs_words=self.weighs_words,
        )

    def add(
        self,
        records: Sequence[DocumentRecord],
        embeddings: NDArray[np.float32],
        weights: Sequence[Weights] | None = None,
    ) -> None:
        """Add documents with one embedding for each of their chunks, in order.

        Args:
            records: The documents.
            embeddings: Shape (chunks, dim).
            weights: What the words of each chunk weigh, where the generation `weighs_words`.
        """
        if self._shared is not None:
            for record in records:
                self._shared.check(record)
        self._segment.add(records, embeddings, weights)
        self._lexical.add((c.chunk.id, c.embedded) for record in records for c in record.chunks)

    def finish(self, number: int, *, gone: set[str], documents: int, next_id: int) -> Manifest:
        """Drop what is gone, keep the rest of the old generation, and write the manifest.

        Args:
            number: The generation's number.
            gone: Documents of the old generation that were replaced or deleted.
            documents: How many documents the new generation holds.
            next_id: The next chunk id to give.
        """
        deleted = np.empty(0, np.int64)
        if self._old is not None:
            self._keep_old_delta(self._old, gone)
            self._lexical.remove(_chunk_ids(self._old, gone))
            in_base = self._old.base.catalog.chunk_ids(sorted(gone))
            deleted = np.union1d(self._old.deleted, np.array(in_base, np.int64))
        self._segment.close()
        points.passing("segment closed")
        self._lexical.close()
        if self._old is not None and self._fold_is_due(deleted):
            self._fold(deleted)
            deleted = np.empty(0, np.int64)
        np.save(self._folder / DELETED, deleted)
        return self._write_manifest(number, documents, next_id, len(deleted))

    def _keep_old_delta(self, old: Generation, gone: set[str]) -> None:
        if old.delta is not None:
            kept = [id_ for id_ in old.delta.catalog.states() if id_ not in gone]
            _copy(old.delta, kept, self._segment)

    def _fold_is_due(self, deleted: NDArray[np.int64]) -> bool:
        base = len(self._open(BASE))
        most = max(FOLD_CHUNKS, int(base * FOLD_SHARE))
        return len(self._segment) > most or len(deleted) > most or len(deleted) == base

    def _fold(self, deleted: NDArray[np.int64]) -> None:
        """Write base and delta into a new base."""
        points.passing("folding")
        base, delta = self._open(BASE), self._open(DELTA)
        stale = base.catalog.documents_of(deleted.tolist())
        folded = self._segment_writer(_FOLDED, self._folder / BASE)
        _copy(base, [id_ for id_ in base.catalog.states() if id_ not in stale], folded)
        _copy(delta, list(delta.catalog.states()), folded)
        folded.close()
        shutil.rmtree(self._folder / BASE)
        shutil.rmtree(self._folder / DELTA)
        (self._folder / _FOLDED).rename(self._folder / BASE)
        points.passing("folded")

    def _open(self, name: str) -> Segment:
        return Segment(self._folder / name, store=None)

    def _write_manifest(self, number: int, documents: int, next_id: int, deleted: int) -> Manifest:
        if (self._folder / DELTA).is_dir() and not len(self._open(DELTA)):
            shutil.rmtree(self._folder / DELTA)
        parts = [name for name in (BASE, DELTA) if (self._folder / name).is_dir()]
        options = {} if self._shared is None else self._shared.upload(self._folder)
        manifest = Manifest(
            generation=number,
            encoder=self._terms.encoder,
            splitter=self._terms.splitter,
            store=self._terms.store,
            index_type=self._terms.index_type,
            recall=self._terms.recall,
            made=read_facts(self._folder / BASE),
            documents=documents,
            chunks=sum(len(self._open(name)) for name in parts) - deleted,
            next_id=next_id,
            files=self._facts(),
            store_options=options,
            shard=self._terms.shard,
        )
        manifest.write(self._folder)
        points.passing("manifest written")
        return manifest

    def _facts(self) -> dict[str, FileFact]:
        """Of all files; the first reader of a large index need not hash it once more."""
        published, started_ns = published_facts(self._old), time.time_ns()
        found = file_facts(self._folder, published)
        fresh = {
            self._folder / name: fact
            for name, fact in found.items()
            if fact.size >= _LARGE_BYTES and _inode(self._folder / name) not in published
        }
        remember_facts(self._folder.parent, fresh, started_ns)
        return found


def _chunk_ids(generation: Generation, documents: set[str]) -> list[int]:
    ids = generation.base.catalog.chunk_ids(sorted(documents))
    if generation.delta is not None:
        ids += generation.delta.catalog.chunk_ids(sorted(documents))
    return ids


def _copy(source: Segment, documents: Sequence[str], target: SegmentWriter) -> None:
    """Write documents of one segment into another, a portion at a time."""
    for start in range(0, len(documents), _COPIED_AT_ONCE):
        records = list(source.catalog.records(documents[start : start + _COPIED_AT_ONCE]))
        ids = [chunk.chunk.id for record in records for chunk in record.chunks]
        target.add(records, source.embeddings(ids), source.weights(ids))


def published_facts(old: Generation | None) -> dict[tuple[int, int], FileFact]:
    """What is known of files that the new generation shares with the old one, by inode."""
    if old is None:
        return {}
    return {_inode(old.folder / name): fact for name, fact in old.manifest.files.items()}


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
