"""Documents into an unfinished generation: split, encoded and written in portions.

While a portion is encoded, the documents after it are read and split.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from data import Chunk, Document
from indexing.catalog import ChunkRecord, DocumentRecord, FileState
from indexing.embedding import Embedder, digest_of_embedded
from indexing.sparse import Weights
from indexing.splitting import Piece
from indexing.work import State, WorkFile
from indexing.writing import GenerationWriter

if TYPE_CHECKING:
    from encoder import Encoder

Progress = Callable[[int, int, str], None]
"""Called with (documents done, documents in all, the current one's source)."""

ENCODED_AT_ONCE = 1024
"""Chunks that are sorted by length and encoded together."""
WORTH_ENCODING = 128
"""Chunks that are encoded without waiting for more, while the encoder has nothing to do."""
BLIND_SHARE = 0.3
"""Share of unknown tokens from which a document counts as unreadable for the encoder."""
_BLIND_SAMPLE = 1000
_SHOWN_EVERY_S = 0.1
_NOTED_EVERY_S = 1.0

_Rows = tuple[NDArray[np.float32], list[Weights] | None]


@dataclass(slots=True)
class _Portion:
    """Documents that are encoded together."""

    records: list[DocumentRecord] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    done: int = 0
    """Texts that are encoded, of `total` that have to be."""
    total: int = 1
    is_unwanted: bool = False

    @property
    def ids(self) -> list[str]:
        return [record.document.id for record in self.records]

    @property
    def documents_done(self) -> int:
        """About how many documents are encoded."""
        return len(self.records) * self.done // self.total

    def note(self, done: int, total: int) -> None:
        """Called where it is encoded, again and again."""
        self.done, self.total = done, total
        if self.is_unwanted:
            raise CancelledError


class Filler:
    """Takes documents one by one; `finish` writes the last of them.

    Used as a context, it leaves no thread behind that still encodes.
    """

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
        self._source = ""
        self._next = _Portion()
        self._encoded: tuple[_Portion, Future[_Rows]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoding")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being encoded, a second or two; what is done of it is kept."""
        if self._encoded is not None:
            self._encoded[0].is_unwanted = True
        self._thread.shutdown()
        self._encoded = None  # its error holds this object, and with it files that are open

    def add(self, document: Document, state: FileState) -> None:
        """Split a document, and encode and write it with the others of its portion."""
        pieces = self._split(document)
        if self._unknown_share(document, pieces) > BLIND_SHARE:
            self.blind.append(document.id)
        self.add_record(self._record(document, state, pieces), pieces)

    def _unknown_share(self, document: Document, pieces: Sequence[Piece]) -> float:
        """Of what the encoder reads first."""
        ids: list[int] = []
        for piece in pieces:
            if piece.ids is None or piece.start >= _BLIND_SAMPLE:
                break
            ids += piece.ids[1:-1]  # without the marks around it
        if ids:
            return self._encoder.unknown_among(ids)
        return self._encoder.unknown_share(document.text[:_BLIND_SAMPLE])

    def add_record(self, record: DocumentRecord, pieces: Sequence[Piece]) -> None:
        """Encode and write a document whose chunks have their ids, one piece for each."""
        self._source = record.document.source
        self._show()
        self._next.records.append(record)
        self._next.pieces += pieces
        is_idle = self._encoded is None or self._encoded[1].done()
        enough = min(WORTH_ENCODING, ENCODED_AT_ONCE) if is_idle else ENCODED_AT_ONCE
        if len(self._next.pieces) >= enough:
            self._send()

    def finish(self) -> None:
        """Encode and write what was added last."""
        if self._next.records:
            self._send()
        if self._encoded is not None:
            self._write(*self._encoded)
            self._encoded = None

    def _send(self) -> None:
        """Have the next portion encoded, and write the one before meanwhile."""
        before, portion = self._encoded, self._next
        self._work.move(portion.ids, State.PARSED)
        if before is not None:
            self._wait_for(before[1])
        pieces = portion.pieces
        rows = self._thread.submit(self._embedder.rows_and_weights, pieces, portion.note)
        self._encoded, self._next = (portion, rows), _Portion()
        if before is not None:
            self._write(*before)

    def _write(self, portion: _Portion, rows: Future[_Rows]) -> None:
        self._wait_for(rows)
        self._writer.add(portion.records, *rows.result())
        self._work.move(portion.ids, State.ENCODED)
        self.added += portion.ids

    def _wait_for(self, rows: Future[_Rows]) -> None:
        while wait([rows], timeout=_SHOWN_EVERY_S).not_done:
            self._show()
        rows.result()

    def _show(self) -> None:
        encoded = self._encoded[0].documents_done if self._encoded is not None else 0
        self._shown(len(self.added) + encoded, self._source)

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
