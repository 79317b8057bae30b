"""Embeddings of the sentences that were read last: hits of one question are hits of the next."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from encoder import Encoder

MOST_SENTENCES = 4096
"""Remembered; of 384 values each they take about 8 MiB."""
_DIGEST_BYTES = 16


class SentenceCache:
    """Encodes each sentence once while it is remembered; safe from several threads.

    It holds no text: what is purged from an index cannot be read out of it.
    """

    def __init__(self, most: int = MOST_SENTENCES) -> None:
        """Remember so many, those that were asked for last."""
        self._most = most
        self._rows: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def embeddings(self, encoder: "Encoder", texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of texts as documents, shape (len(texts), dim)."""
        keys = [_key(encoder.spec.fingerprint, text) for text in texts]
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._lock:
            for key in keys:
                if key in self._rows:
                    self._rows.move_to_end(key)
                    found[key] = self._rows[key]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            rows = encoder.encode_documents(list(missing.values()))
            # Each row apart, so that one of them does not keep all the others in memory.
            found |= {key: row.copy() for key, row in zip(missing, rows, strict=True)}
            self._keep({key: found[key] for key in missing})
        return np.stack([found[key] for key in keys])

    def _keep(self, rows: dict[bytes, NDArray[np.float32]]) -> None:
        with self._lock:
            self._rows.update(rows)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)


def _key(fingerprint: str, text: str) -> bytes:
    return blake2b(f"{fingerprint}\0{text}".encode(), digest_size=_DIGEST_BYTES).digest()
