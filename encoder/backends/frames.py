"""What a pool and its workers say to each other over pipes: a kind, a length, and bytes."""

import struct
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

READY, WORK, ROWS, NO_MEMORY, WRONG = b"+", b"w", b"r", b"m", b"!"
"""Loaded; token ids; embeddings; did not fit into memory; a sentence that says what is wrong."""

_HEAD = struct.Struct("<cQ")


def send(pipe: BinaryIO, kind: bytes, content: bytes) -> None:
    """Write one message."""
    pipe.write(_HEAD.pack(kind, len(content)) + content)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[bytes, bytes]:
    """Read one message.

    Raises:
        EOFError: If the other side is gone.
    """
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    kind, length = _HEAD.unpack(head)
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return kind, content


def pack_ids(ids: Sequence[Sequence[int]]) -> bytes:
    """Token ids of a batch to bytes: how many texts, their lengths, all ids."""
    lengths = [len(row) for row in ids]
    numbers = [len(ids), *lengths, *(token for row in ids for token in row)]
    return np.array(numbers, "<i4").tobytes()


def unpack_ids(content: bytes) -> list[list[int]]:
    """The inverse of `pack_ids`."""
    numbers = np.frombuffer(content, "<i4")
    texts = int(numbers[0])
    ends = np.cumsum(numbers[1 : texts + 1])[:-1]
    return [row.tolist() for row in np.split(numbers[texts + 1 :], ends)]


def pack_rows(rows: NDArray[np.float32]) -> bytes:
    """Embeddings to bytes."""
    return np.ascontiguousarray(rows, "<f4").tobytes()


def unpack_rows(content: bytes, texts: int) -> NDArray[np.float32]:
    """The embeddings of a batch of so many texts, shape (texts, dim)."""
    return np.frombuffer(bytearray(content), "<f4").reshape(texts, -1)
