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
from indexing.sparse import Weights
from indexing.splitting import Piece

if TYPE_CHECKING:
    from encoder import Encoder

_KEPT_EVERY_S = 1.5
"""About how long encoding goes on before its rows are kept: what a crash costs at most."""
_HEADS_AT_ONCE = 64
"""Texts of which an encoder that weighs words gives embeddings and weights together."""

Rows = dict[bytes, NDArray[np.float32]]
Encoded = Callable[[int, int], None]
"""Called with how many of how many texts are encoded, again and again."""
Keep = Callable[[Sequence[int], NDArray[np.float32]], None]


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
        weighs_words: bool = False,
    ) -> None:
        """Take what is known.

        Args:
            encoder: Gives the encoder, loaded.
            journal: Keeps what is encoded until it is published.
            spec: The encoder's.
            old: The generation whose embeddings are of this encoder.
            cache: The user's cache, which other indexes share.
            weighs_words: Whether the encoder's weights of words are wanted too; what is known
                without them is then encoded again.
        """
        self._encoder = encoder
        self._journal = journal
        self._spec = spec
        self._old = old
        self._cache = EmbeddingCache() if cache is None else cache
        self._weights: dict[bytes, Weights] | None = {} if weighs_words else None
        self.dim = spec.dim
        self.tokens = 0
        """Tokens encoded so far."""
        self.seconds = 0.0
        """Seconds that encoding took so far."""

    def rows(self, pieces: Sequence[Piece], encoded: Encoded | None = None) -> NDArray[np.float32]:
        """Embeddings of pieces, in their order; shape (n, dim).

        Args:
            pieces: What to embed.
            encoded: Called with how many of how many texts are encoded, again and again.
        """
        return self.rows_and_weights(pieces, encoded)[0]

    def rows_and_weights(
        self, pieces: Sequence[Piece], encoded: Encoded | None = None
    ) -> tuple[NDArray[np.float32], list[Weights] | None]:
        """As `rows`, with what the words of each piece weigh, where that is wanted."""
        digests = [digest_of_embedded(piece.embedded) for piece in pieces]
        if self._weights is not None:
            self._weights.clear()  # only those of the pieces at hand are needed
        found = self._known(digests, pieces)
        fresh = {d: p for d, p in zip(digests, pieces, strict=True) if d not in found}
        # Sorted, so that texts of like length are encoded together and little is padded.
        order = sorted(fresh, key=lambda digest: -fresh[digest].tokens)
        if order:
            found |= self._encode(order, [fresh[digest] for digest in order], encoded)
        rows = np.empty((len(digests), self._spec.dim), np.float32)
        for place, digest in enumerate(digests):
            rows[place] = found[digest]
        if self._weights is None:
            return rows, None
        return rows, [self._weights[digest] for digest in digests]

    def _known(self, digests: Sequence[bytes], pieces: Sequence[Piece]) -> Rows:
        if self._weights is not None:
            return self._known_with_weights(digests)
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

    def _known_with_weights(self, digests: Sequence[bytes]) -> Rows:
        """What the index holds: journal and cache keep embeddings only."""
        if self._old is None or self._weights is None:
            return {}
        ids = self._old.ids_by_digest(list(dict.fromkeys(digests)))
        weights = self._old.sparse_weights(list(ids.values()))
        if weights is None:
            return {}
        self._weights |= dict(zip(ids, weights, strict=True))
        return dict(zip(ids, self._old.embeddings(list(ids.values())), strict=True))

    def _encode(
        self, digests: Sequence[bytes], pieces: Sequence[Piece], encoded: Encoded | None
    ) -> Rows:
        def keep(places: Sequence[int], rows: NDArray[np.float32]) -> None:
            self._journal.add([digests[place] for place in places], rows)
            keys = [self._cache_key(pieces[place]) for place in places]
            self._cache.put_many(self._spec.fingerprint, keys, rows)

        started = time.monotonic()
        texts = [piece.embedded for piece in pieces]
        keeper = _Keeper(len(texts), keep, encoded)
        try:
            if self._weights is None:
                rows = self._encoded_alone(texts, pieces, keeper)
            else:
                rows = self._encode_heads(digests, texts, keeper, self._weights)
            keeper.add_others(rows)
        finally:
            keeper.keep()
        self.tokens += sum(piece.tokens for piece in pieces)
        self.seconds += time.monotonic() - started
        return dict(zip(digests, rows, strict=True))

    def _encoded_alone(
        self, texts: Sequence[str], pieces: Sequence[Piece], keeper: "_Keeper"
    ) -> NDArray[np.float32]:
        encode = self._encoder().encode_documents
        ids = [piece.ids for piece in pieces]
        if any(ids):
            return encode(texts, on_batch=keeper.add, ids=ids)
        return encode(texts, on_batch=keeper.add)

    def _encode_heads(
        self,
        digests: Sequence[bytes],
        texts: Sequence[str],
        keeper: "_Keeper",
        weights: dict[bytes, Weights],
    ) -> NDArray[np.float32]:
        rows = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _HEADS_AT_ONCE):
            places = range(len(texts))[start : start + _HEADS_AT_ONCE]
            heads = self._encoder().encode_heads([texts[i] for i in places], with_multi=False)
            rows[places.start : places.stop] = heads.dense
            weights |= zip((digests[i] for i in places), heads.lexical, strict=True)
            keeper.add(places, heads.dense)
        return rows

    def _cache_key(self, piece: Piece) -> bytes:
        return digest_of(piece.embedded, self._spec.template("document"))


class _Keeper:
    """Has embeddings kept while more of them are made."""

    def __init__(self, total: int, keep: Keep, encoded: Encoded | None) -> None:
        self._keep, self._encoded = keep, encoded
        self._missing = set(range(total))
        self._total = total
        self._places: list[int] = []
        self._rows: list[NDArray[np.float32]] = []
        self._kept = time.monotonic()

    def add(self, places: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Take embeddings, by the places of their texts."""
        self._places += places
        self._rows.append(rows)
        self._missing.difference_update(places)
        if time.monotonic() - self._kept >= _KEPT_EVERY_S:
            self.keep()
        if self._encoded is not None:
            self._encoded(self._total - len(self._missing), self._total)

    def add_others(self, rows: NDArray[np.float32]) -> None:
        """Take those embeddings that an encoder did not give before its end."""
        if self._missing:
            places = sorted(self._missing)
            self.add(places, rows[places])

    def keep(self) -> None:
        """Keep what was taken last."""
        places, rows = self._places, self._rows
        self._places, self._rows = [], []
        if places:
            self._keep(places, np.concatenate(rows))
            points.passing("portion encoded")
        self._kept = time.monotonic()


def digest_of_embedded(text: str) -> bytes:
    """The key by which a catalogue and a journal know an embedded text."""
    return sha256(text.encode()).digest()
