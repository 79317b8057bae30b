"""Chunks to embeddings: what is known already is looked up, the rest is encoded and kept."""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoder import EncoderSpec
from encoder.embedding_cache import EmbeddingCache, digest_of
from indexing import points
from indexing.generation import Generation
from indexing.journal import EmbeddingJournal
from indexing.splitting import Piece

if TYPE_CHECKING:
    from encoder import Encoder

_PORTION_S = 1.5
"""About how long encoding goes on before its rows are kept: what a crash costs at most."""
_FIRST_PORTION = 32
_SMALLEST_PORTION, _LARGEST_PORTION = 8, 2048

Rows = dict[bytes, NDArray[np.float32]]


class Embedder:
    """Gives embeddings of chunks, and encodes each embedded text once only."""

    def __init__(
        self,
        encoder: Callable[[], "Encoder"],
        journal: EmbeddingJournal,
        spec: EncoderSpec,
        *,
        old: Generation | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        """Take what is known.

        Args:
            encoder: Gives the encoder, loaded.
            journal: Keeps what is encoded until it is published.
            spec: The encoder's.
            old: The generation whose embeddings are of this encoder.
            cache: The user's cache, which other indexes share.
        """
        self._encoder = encoder
        self._journal = journal
        self._spec = spec
        self._old = old
        self._cache = EmbeddingCache() if cache is None else cache
        self._portion = _FIRST_PORTION
        self.dim = spec.dim
        self.tokens = 0
        """Tokens encoded so far."""
        self.seconds = 0.0
        """Seconds that encoding took so far."""

    def rows(
        self, pieces: Sequence[Piece], encoded: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embeddings of pieces, in their order; shape (n, dim).

        Args:
            pieces: What to embed.
            encoded: Called with how many of how many texts are encoded, again and again.
        """
        digests = [digest_of_embedded(piece.embedded) for piece in pieces]
        found = self._known(digests, pieces)
        fresh = {d: p for d, p in zip(digests, pieces, strict=True) if d not in found}
        # Sorted, so that texts of like length are encoded together and little is padded.
        order = sorted(fresh, key=lambda digest: -fresh[digest].tokens)
        done = 0
        while done < len(order):
            some = order[done : done + self._portion]
            found |= self._encode(some, [fresh[digest] for digest in some])
            done += len(some)
            points.passing("portion encoded")
            if encoded is not None:
                encoded(done, len(order))
        rows = np.empty((len(digests), self._spec.dim), np.float32)
        for place, digest in enumerate(digests):
            rows[place] = found[digest]
        return rows

    def _known(self, digests: Sequence[bytes], pieces: Sequence[Piece]) -> Rows:
        wanted = dict(zip(digests, pieces, strict=True))
        found: Rows = {}
        if self._old is not None:
            ids = self._old.ids_by_digest(list(wanted))
            found = dict(zip(ids, self._old.embeddings(list(ids.values())), strict=True))
        found |= self._journal.get([digest for digest in wanted if digest not in found])
        missing = [digest for digest in wanted if digest not in found]
        if missing:
            keys = {self._cache_key(wanted[digest]): digest for digest in missing}
            kept = self._cache.get_many(self._spec.fingerprint, list(keys))
            found |= {keys[key]: row for key, row in kept.items()}
        return found

    def _encode(self, digests: Sequence[bytes], pieces: Sequence[Piece]) -> Rows:
        started = time.monotonic()
        rows = self._encoder().encode_documents([piece.embedded for piece in pieces])
        seconds = time.monotonic() - started
        self._journal.add(digests, rows)
        self._cache.put_many(self._spec.fingerprint, [self._cache_key(p) for p in pieces], rows)
        self.tokens += sum(piece.tokens for piece in pieces)
        self.seconds += seconds
        fitting = int(len(pieces) * _PORTION_S / max(seconds, 1e-6))
        # Not more than double: the first portion warms the engine up, and the long come first.
        self._portion = min(max(fitting, _SMALLEST_PORTION), 2 * self._portion, _LARGEST_PORTION)
        return dict(zip(digests, rows, strict=True))

    def _cache_key(self, piece: Piece) -> bytes:
        return digest_of(piece.embedded, self._spec.template("document"))


def digest_of_embedded(text: str) -> bytes:
    """The key by which a catalogue and a journal know an embedded text."""
    return sha256(text.encode()).digest()
