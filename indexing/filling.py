"""Documents into an unfinished generation: split, encoded and written in portions."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from data import Chunk, Document
from indexing.catalog import ChunkRecord, DocumentRecord, FileState
from indexing.embedding import Embedder, digest_of_embedded
from indexing.splitting import Piece
from indexing.work import State, WorkFile
from indexing.writing import GenerationWriter

if TYPE_CHECKING:
    from encoder import Encoder

Progress = Callable[[int, int, str], None]
"""Called with (documents done, documents in all, the current one's source)."""

ENCODED_AT_ONCE = 1024
"""Chunks that are sorted by length and encoded together."""
BLIND_SHARE = 0.3
"""Share of unknown tokens from which a document counts as unreadable for the encoder."""
_BLIND_SAMPLE = 2000
_SHOWN_EVERY_S = 0.1
_NOTED_EVERY_S = 1.0


class Filler:
    """Takes documents one by one; `finish` writes the last of them."""

    def __init__(
        self,
        writer: GenerationWriter,
        embedder: Embedder,
        work: WorkFile,
        *,
        encoder: "Encoder",
        split: Callable[[Document], list[Piece]],
        next_id: int,
        shown: Callable[[int, str], None],
    ) -> None:
        self.next_id = next_id
        self.added: list[str] = []
        """Documents written so far."""
        self.blind: list[str] = []
        """Those of them that the encoder cannot read."""
        self._writer = writer
        self._embedder = embedder
        self._work = work
        self._encoder = encoder
        self._split = split
        self._shown = shown
        self._records: list[DocumentRecord] = []
        self._pieces: list[Piece] = []

    def add(self, document: Document, state: FileState) -> None:
        """Split a document, and encode and write it with the others of its portion."""
        pieces = self._split(document)
        if self._encoder.unknown_share(document.text[:_BLIND_SAMPLE]) > BLIND_SHARE:
            self.blind.append(document.id)
        self.add_record(self._record(document, state, pieces), pieces)

    def add_record(self, record: DocumentRecord, pieces: Sequence[Piece]) -> None:
        """Encode and write a document whose chunks have their ids, one piece for each."""
        self._shown(len(self.added), record.document.source)
        self._records.append(record)
        self._pieces += pieces
        if len(self._pieces) >= ENCODED_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Encode and write what was added last."""
        if not self._records:
            return
        ids = [record.document.id for record in self._records]
        self._work.move(ids, State.PARSED)
        rows, weights = self._embedder.rows_and_weights(self._pieces, self._show_encoding)
        self._writer.add(self._records, rows, weights)
        self._work.move(ids, State.ENCODED)
        self.added += ids
        self._records, self._pieces = [], []

    def _show_encoding(self, done: int, total: int) -> None:
        now = len(self.added) + len(self._records) * done // total
        self._shown(now, self._records[-1].document.source)

    def _record(
        self, document: Document, state: FileState, pieces: Sequence[Piece]
    ) -> DocumentRecord:
        chunks = []
        for piece in pieces:
            chunk = Chunk(
                id=self.next_id,
                document=document.id,
                start=piece.start,
                end=piece.end,
                page=document.page_at(piece.start),
                heading=piece.heading,
                text=piece.text,
            )
            chunks.append(ChunkRecord(chunk, piece.embedded, digest_of_embedded(piece.embedded)))
            self.next_id += 1
        return DocumentRecord(document, state, tuple(chunks))


class Shown:
    """Passes progress on, now and then to those who look on from another process."""

    def __init__(self, total: int, progress: Progress | None, work: WorkFile) -> None:
        self._total = total
        self._progress = progress
        self._work = work
        self._shown = self._noted = 0.0

    def __call__(self, done: int, source: str) -> None:
        """Show that `done` documents are finished, and which is read now."""
        now = time.monotonic()
        if self._progress is not None and now - self._shown >= _SHOWN_EVERY_S:
            self._progress(done, self._total, source)
            self._shown = now
        if now - self._noted >= _NOTED_EVERY_S:
            self._work.progress(done, self._total, source)
            self._noted = now

    def end(self) -> None:
        """Show that all is done."""
        if self._progress is not None:
            self._progress(self._total, self._total, "")
        self._work.progress(self._total, self._total, "")
