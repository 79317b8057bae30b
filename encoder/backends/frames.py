"""What a pool and its workers say to each other over pipes: a kind, a length, and bytes."""

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import IO

import numpy as np
from numpy.typing import NDArray

READY, WORK, ROWS, NO_MEMORY, WRONG = b"+", b"w", b"r", b"m", b"!"
"""Loaded; token ids; embeddings; did not fit into memory; a sentence that says what is wrong."""

_HEAD = struct.Struct("<cQ")


def send(pipe: IO[bytes], kind: bytes, content: bytes) -> None:
    """Write one message."""
    pipe.write(_HEAD.pack(kind, len(content)) + content)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[bytes, bytes]:
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


def pack_ids(ids: Sequence[Sequence[int]], starts: Sequence[int]) -> bytes:
    """Token ids of a batch, and the beginnings that stay out of its pooling, to bytes."""
    lengths = [len(row) for row in ids]
    numbers = [len(ids), len(starts), *lengths, *starts, *(token for row in ids for token in row)]
    return np.array(numbers, "<i4").tobytes()


def unpack_ids(content: bytes) -> tuple[list[list[int]], list[int]]:
    """The inverse of `pack_ids`."""
    texts, starts, *numbers = np.frombuffer(content, "<i4").tolist()
    places = accumulate(numbers[:texts], initial=texts + starts)
    ids = [numbers[start:end] for start, end in pairwise(places)]
    return ids, numbers[texts : texts + starts]


def pack_rows(rows: NDArray[np.float32]) -> bytes:
    """Embeddings to bytes."""
    return np.ascontiguousarray(rows, "<f4").tobytes()


def unpack_rows(content: bytes, texts: int) -> NDArray[np.float32]:
    """The embeddings of a batch of so many texts, shape (texts, dim)."""
    return np.frombuffer(bytearray(content), "<f4").reshape(texts, -1)
