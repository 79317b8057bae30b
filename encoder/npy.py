"""Array files that are written row by row: .npy, float32, the number of rows known last."""

import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 128
"""Numpy pads the header of an array file to a multiple of 64 bytes; ours needs less than this."""


def npy_header(rows: int, dim: int) -> bytes:
    """A header of fixed length, so that the number of rows can be written last.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (version 1.0).
    """
    facts = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    length = HEADER_BYTES - 10
    padded = facts.ljust(length - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + padded.encode("ascii")


class NpyWriter:
    """Writes rows under another name; only a whole file takes the place of the old one.

    A context manager: leaving it in peace publishes the file, an error removes what was written,
    unless it is to be kept for another run.
    """

    def __init__(self, path: Path, unfinished: Path, dim: int, *, rows: int = 0) -> None:
        """Begin a file, or go on with one.

        Args:
            path: The file that is to be.
            unfinished: Where it is written; in the same folder.
            dim: Values of a row.
            rows: How many rows of `unfinished` are kept; what lies behind them is cut off.
        """
        self._path = path
        self._unfinished = unfinished
        self._dim = dim
        self.rows = rows
        self.keep = False
        """Whether an error leaves the unfinished file where it is."""
        self._file = unfinished.open("r+b" if rows else "wb")
        self._file.write(npy_header(rows, dim))
        self._file.truncate(HEADER_BYTES + rows * dim * 4)
        self._file.seek(0, os.SEEK_END)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Write rows, shape (n, dim), behind those that are there."""
        self._file.write(np.ascontiguousarray(rows, "<f4").data)  # as it lies, without a copy
        self.rows += len(rows)

    def flush(self) -> None:
        """Return when all rows so far are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "NpyWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._file.write(npy_header(self.rows, self._dim))
                self.flush()
        finally:
            self._file.close()
            if kind is not None and not self.keep:
                self._unfinished.unlink(missing_ok=True)
        if kind is None:
            self._unfinished.replace(self._path)
