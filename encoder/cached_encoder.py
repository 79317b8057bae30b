"""An encoder that looks into the embedding cache before it encodes; for builds, not for queries."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from encoder.embedding_cache import EmbeddingCache, Row, digest_of
from encoder.encoder import Encoder, Progress
from encoder.texts import check_texts

_AT_ONCE = 2048
"""Texts that are encoded before their rows are remembered; a cut loses at most so many."""


class CachedEncoder:
    """Encodes documents through a cache; an encoder that is used without one pays nothing."""

    def __init__(self, encoder: Encoder, cache: EmbeddingCache | None = None) -> None:
        """Take a loaded encoder, and a cache or the user's own."""
        self.encoder = encoder
        self.cache = EmbeddingCache() if cache is None else cache  # an empty one is false
        self.reused = 0
        """Distinct texts whose rows came from the cache so far."""

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        task: str | None = None,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """As `Encoder.encode_documents`; a text that the cache holds is not encoded again."""
        check_texts(texts)
        spec = self.encoder.spec
        template = spec.template("document", task)
        digests = [digest_of(text, template) for text in texts]
        found = self.cache.get_many(spec.fingerprint, digests)
        self.reused += len(found)
        fresh = {
            digest: text for digest, text in zip(digests, texts, strict=True) if digest not in found
        }
        done = len(texts) - len(fresh)
        for some in _slices(list(fresh)):
            rows = self.encoder.encode_documents(
                [fresh[digest] for digest in some],
                task=task,
                progress=_shifted(progress, done, len(texts)),
            )
            self.cache.put_many(spec.fingerprint, some, rows)
            found |= dict(zip(some, rows, strict=True))
            done += len(some)
        if not fresh and progress is not None and texts:
            progress(len(texts), len(texts))
        return gathered(found, digests, spec.dim)


def gathered(found: dict[bytes, Row], digests: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Rows in the order of their digests, shape (len(digests), dim)."""
    rows = np.empty((len(digests), dim), np.float32)
    for place, digest in enumerate(digests):
        rows[place] = found[digest]
    return rows


def _slices(digests: list[bytes]) -> list[list[bytes]]:
    return [digests[start : start + _AT_ONCE] for start in range(0, len(digests), _AT_ONCE)]


def _shifted(progress: Progress | None, before: int, total: int) -> Callable[[int, int], None]:
    def show(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, total)

    return show
