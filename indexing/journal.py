"""The embeddings of an unfinished build, kept as they come, so that a killed build goes on."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = 32
_KEY_BYTES = 8


class EmbeddingJournal:
    """A file that rows are only added to: digest of the embedded text, embedding, checksum.

    A row that was cut by a crash, and all after it, are dropped when the file is opened again.
    """

    def __init__(self, path: Path, dim: int) -> None:
        """Open or begin the journal of embeddings of `dim` values."""
        self._dim = dim
        self._row = np.dtype(
            [("digest", f"V{_DIGEST_BYTES}"), ("embedding", "<f4", (dim,)), ("crc", "<u4")]
        )
        self._rows: dict[bytes, int] = {}
        self._file = path.open("a+b")
        whole = self._read_whole_rows()
        self._file.truncate(whole * self._row.itemsize)
        self._count = whole

    def __len__(self) -> int:
        return self._count

    def _read_whole_rows(self) -> int:
        size = os.fstat(self._file.fileno()).st_size
        for place in range(size // self._row.itemsize):
            row = self._read(place)
            if row is None:
                return place
            self._rows[row[0][:_KEY_BYTES]] = place
        return size // self._row.itemsize

    def _read(self, place: int) -> tuple[bytes, NDArray[np.float32]] | None:
        """A row, None if it is damaged."""
        data = os.pread(self._file.fileno(), self._row.itemsize, place * self._row.itemsize)
        if len(data) < self._row.itemsize:
            return None
        if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            return None
        embedding = np.frombuffer(data, "<f4", self._dim, _DIGEST_BYTES).astype(np.float32)
        return data[:_DIGEST_BYTES], embedding

    def get(self, digests: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The embeddings that are here, by digest."""
        found: dict[bytes, NDArray[np.float32]] = {}
        for digest in digests:
            place = self._rows.get(digest[:_KEY_BYTES])
            row = self._read(place) if place is not None else None
            if row is not None and row[0] == digest:
                found[digest] = row[1]
        return found

    def add(self, digests: Sequence[bytes], embeddings: NDArray[np.float32]) -> None:
        """Keep embeddings, shape (n, dim); they are safe from a crash of this process at once."""
        rows = np.zeros(len(digests), self._row)
        rows["digest"] = np.frombuffer(b"".join(digests), f"V{_DIGEST_BYTES}")
        rows["embedding"] = embeddings
        rows["crc"] = [zlib.crc32(row.tobytes()[:-4]) for row in rows]
        self._file.write(rows.tobytes())
        self._file.flush()
        for digest in digests:
            self._rows[digest[:_KEY_BYTES]] = self._count
            self._count += 1

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()
