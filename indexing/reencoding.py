"""Another encoder for an index, from its stored chunks: no sources are read."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing import points
from indexing.calibrating import calibrate_unpublished
from indexing.catalog import DocumentRecord
from indexing.config import BuildConfig, write_config
from indexing.duplicates import read_duplicates, write_duplicates
from indexing.embedding import Embedder
from indexing.errors import UsageError
from indexing.filling import Filler, Progress, Shown
from indexing.generation import Generation, open_current
from indexing.publishing import (
    KEPT_GENERATIONS,
    new_generation,
    next_chunk_id,
    next_number,
    publish,
)
from indexing.splitting import Piece, SplitterConfig, split_document
from indexing.terms import Terms
from indexing.work import WorkFile, after_publishing, job
from indexing.writing import GenerationWriter

if TYPE_CHECKING:
    from encoder import Encoder


@dataclass(kw_only=True)
class ReembedReport:
    """What a change of the encoder did; the JSON of `indexing.reembed`."""

    index: str
    generation: int
    encoder: str
    before: str
    """The encoder that the index had."""
    documents: int
    chunks: int
    split_again: int
    """Documents with a chunk that the new encoder could not read whole."""
    seconds: float = 0.0
    tokens: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def reembed_index(
    index: str | Path, encoder: "Encoder", *, progress: Progress | None = None
) -> ReembedReport:
    """Encode all chunks of an index with another encoder, and swap when it is done.

    Searches go on with the old encoder until then, and the old generation is kept for `rollback`.
    A run that was killed or stopped is continued by the same call.

    Raises:
        UsageError: If the index has this encoder already.
        IndexLockedError: If another process is writing it.
        BuildStoppedError: If it was interrupted; the index is as it was.
    """
    started = time.monotonic()
    folder = Path(index)
    with job(folder, f"reembed {encoder.spec.name}") as work:
        old = open_current(folder, with_stores=False)
        if not encoder.spec.differences(old.manifest.encoder):
            raise UsageError(f"The index in {folder} was built with {encoder.spec.name} already.")
        report = _Reembed(folder, old, encoder, work).run(progress)
    report.seconds = round(time.monotonic() - started, 3)
    return report


class _Reembed:
    def __init__(self, index: Path, old: Generation, encoder: "Encoder", work: WorkFile) -> None:
        self._index = index
        self._old = old
        self._encoder = encoder
        self._work = work
        self._terms = Terms(
            encoder=encoder.spec,
            splitter=_fitting(old.manifest.splitter, encoder.spec.max_tokens),
            store=old.manifest.store,
            index_type=old.manifest.index_type,
            recall=old.manifest.recall,
            store_options=old.manifest.store_options,
            shard=old.manifest.shard,
        )
        self._split_again = 0

    def run(self, progress: Progress | None) -> ReembedReport:
        spec, number = self._encoder.spec, next_number(self._index)
        weighs_words = self._encoder.weighs_words
        embedder = Embedder(
            lambda: self._encoder,
            self._work.journal(spec.fingerprint, spec.dim),
            spec,
            weighs_words=weighs_words,
        )
        with (
            new_generation(self._index, number) as folder,
            GenerationWriter(folder, None, self._terms, weighs_words=weighs_words) as writer,
        ):
            shown = Shown(self._old.manifest.documents, progress, self._work)
            with Filler(
                writer,
                embedder,
                self._work,
                encoder=self._encoder,
                split=lambda document: split_document(
                    document, self._encoder, self._terms.splitter
                ),
                next_id=next_chunk_id(self._index),
                shown=shown,
            ) as filler:
                for record in self._records():
                    pieces = self._pieces_that_fit(record)
                    if pieces is None:
                        self._split_again += 1
                        filler.add(record.document, record.state)
                    else:
                        filler.add_record(record, pieces)
                filler.finish()
            shown.end()
            write_duplicates(folder, read_duplicates(self._old.folder).values())
            manifest = writer.finish(
                number, gone=set(), documents=len(filler.added), next_id=filler.next_id
            )
            manifest = calibrate_unpublished(folder, manifest, self._encoder)
            write_config(self._index, BuildConfig(), self._terms)
            publish(self._index, folder, keep=max(2, self._work.setting("keep", KEPT_GENERATIONS)))
        points.passing("published")
        with after_publishing():
            self._work.drop_work()
        return ReembedReport(
            index=str(self._index),
            generation=number,
            encoder=spec.name,
            before=self._old.manifest.encoder.name,
            documents=manifest.documents,
            chunks=manifest.chunks,
            split_again=self._split_again,
            tokens=embedder.tokens,
        )

    def _records(self) -> Iterator[DocumentRecord]:
        for portion in self._old.portions():
            yield from portion

    def _pieces_that_fit(self, record: DocumentRecord) -> Sequence[Piece] | None:
        """The record's chunks as they are, None if the encoder cannot read one of them whole."""
        embedded = [chunk.embedded for chunk in record.chunks]
        tokens = self._encoder.count_tokens(embedded) if embedded else []
        if max(tokens, default=0) > self._encoder.spec.max_tokens:
            return None
        return [
            Piece(
                start=chunk.chunk.start,
                end=chunk.chunk.end,
                heading=chunk.chunk.heading,
                text=chunk.chunk.text,
                embedded=chunk.embedded,
                tokens=count,
            )
            for chunk, count in zip(record.chunks, tokens, strict=True)
        ]


def _fitting(splitter: SplitterConfig, max_tokens: int) -> SplitterConfig:
    """The index's way of splitting, as far as the new encoder can read."""
    chunk_tokens = min(splitter.chunk_tokens, max_tokens)
    overlap_tokens = min(splitter.overlap_tokens, chunk_tokens // 4)
    return replace(splitter, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
