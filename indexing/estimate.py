"""Before a long build: how long it will take and how much disk it needs, from a measured sample."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data import UnreadableDocumentError
from indexing.embedding import Embedder
from indexing.errors import BuildFailedError
from indexing.sources import Item
from indexing.splitting import Piece

WORTH_BYTES = 1_000_000
"""Smaller sources are done before an estimate would be."""
_SAMPLED_DOCUMENTS = 24
_SAMPLED_CHUNKS = 96
_WARM_UP = 16
_READING_S = 5.0
_LEXICAL_SHARE = 0.6
"""Bytes of the word index for each byte of embedded text; measured on English and Chinese."""
_CHUNK_BYTES = 300
"""Bytes of a chunk in the catalogue besides its texts."""


SplitItem = Callable[[Item], tuple[str, list[Piece]]]
"""Gives the text and the pieces of a document."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a build will cost."""

    documents: int
    chunks: int
    seconds: float
    disk_mib: float
    """Most that it needs while it runs, besides what is there."""
    free_mib: float
    """What the disk has."""

    def __str__(self) -> str:
        return (
            f"About {self.chunks} chunks of {self.documents} documents: about "
            f"{_duration(self.seconds)}, and up to {_size(self.disk_mib)} of disk "
            f"({_size(self.free_mib)} free)."
        )


@dataclass
class _Sample:
    bytes: int = 0
    seconds: float = 0.0
    text_bytes: int = 0
    """UTF-8 bytes of the texts of its documents."""
    pieces: list[Piece] = field(default_factory=list)


def estimate(
    items: Sequence[Item],
    index: Path,
    embedder: Embedder,
    split: SplitItem,
) -> Estimate | None:
    """Read, split and encode a few documents from all over; None if none of them can be read.

    Nothing is done twice: the embeddings stay in the journal.
    """
    sample = _read_sample(items, split)
    if not sample.pieces or not sample.bytes:
        return None
    share = sum(item.size for item in items) / sample.bytes
    tokens = sum(piece.tokens for piece in sample.pieces) * share
    chunks = len(sample.pieces) * share
    embedded = sum(len(piece.embedded.encode()) for piece in sample.pieces) * share
    # Embeddings stand in the journal, beside the store, and in the store.
    disk = chunks * (3 * 4 * embedder.dim + _CHUNK_BYTES) + sample.text_bytes * share
    disk += embedded * (2 + _LEXICAL_SHARE)
    return Estimate(
        documents=len(items),
        chunks=round(chunks),
        seconds=sample.seconds * share + tokens / _tokens_per_s(sample.pieces, embedder),
        disk_mib=disk / 2**20,
        free_mib=shutil.disk_usage(index).free / 2**20,
    )


def check_room(found: Estimate, index: Path) -> None:
    """Raise BuildFailedError if the disk cannot hold the build."""
    if found.disk_mib > found.free_mib:
        raise BuildFailedError(
            f"The disk of {index} has {_size(found.free_mib)} free, and this build needs about "
            f"{_size(found.disk_mib)}. Nothing was changed. Free some space, or give another "
            "folder for --index."
        )


def _read_sample(items: Sequence[Item], split: SplitItem) -> _Sample:
    sample = _Sample()
    started = time.monotonic()
    step = max(1, len(items) // _SAMPLED_DOCUMENTS)
    for item in items[step // 2 :: step]:
        before = time.monotonic()
        try:
            text, pieces = split(item)
        except (OSError, UnreadableDocumentError):
            continue  # the build itself will say so
        sample.seconds += time.monotonic() - before
        sample.bytes += item.size
        sample.text_bytes += len(text.encode())
        sample.pieces += pieces
        if time.monotonic() - started > _READING_S:
            break
    return sample


def _tokens_per_s(pieces: Sequence[Piece], embedder: Embedder) -> float:
    step = max(1, len(pieces) // _SAMPLED_CHUNKS)
    chosen = list(pieces[::step][:_SAMPLED_CHUNKS])
    embedder.rows(chosen[:_WARM_UP])
    tokens, seconds = embedder.tokens, embedder.seconds
    embedder.rows(chosen[_WARM_UP:])
    if embedder.seconds == seconds:  # all of it was known, or there was too little
        tokens, seconds = 0, 0.0
    return max(1.0, embedder.tokens - tokens) / max(1e-3, embedder.seconds - seconds)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _size(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{max(1, round(mib))} MiB"
