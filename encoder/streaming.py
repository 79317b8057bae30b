"""Texts without end to embeddings on the disk, in the memory of a few thousand of them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.files import read_object
from encoder.npy import HEADER_BYTES, NpyWriter
from encoder.texts import check_text

WINDOW_TEXTS = 8192
WINDOW_CHARACTERS = 2**22
WINDOW_BYTES = 2**25
"""What is held at a time, at most: so many texts, characters, and bytes of embeddings."""

StreamProgress = Callable[[int, int | None], None]
"""Called with (texts done, texts in all, or None where nobody knows)."""
Encode = Callable[[Iterable[str], int], Iterator[NDArray[np.float32]]]
"""From texts and the position of the first one to arrays of rows."""


def windows(texts: Iterable[str], dim: int, first: int = 0) -> Iterator[list[str]]:
    """The texts in their order, in lists that fit into memory with their embeddings.

    Raises:
        TypeError, ValueError: As `check_text`, when the text's turn comes.
    """
    most = max(1, min(WINDOW_TEXTS, WINDOW_BYTES // (4 * dim)))
    window: list[str] = []
    characters = 0
    for position, text in enumerate(texts, first):
        check_text(text, position)
        window.append(text)
        characters += len(text)
        if len(window) == most or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def write_embeddings(texts: Iterable[str], path: Path, dim: int, encode: Encode) -> None:
    """Encode texts into a .npy file, which is replaced when all rows are there.

    Args:
        texts: Any number of them.
        path: The file; its folder exists.
        dim: Values of an embedding.
        encode: Does the work.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with NpyWriter(path, unfinished, dim) as writer:
        for rows in encode(texts, 0):
            writer.add(rows)


def resume_embeddings(
    texts: Iterable[str], path: Path, dim: int, encode: Encode, identity: dict[str, str]
) -> int:
    """As `write_embeddings`; what is cut off goes on where it was, if called again.

    The rows so far are kept in `PATH.part`, and what they are in `PATH.part.json`.

    Args:
        texts: The same ones at every call, from the first one on.
        path: The file; its folder exists.
        dim: Values of an embedding.
        encode: Does the work.
        identity: What must be the same at every call besides the texts.

    Returns:
        How many rows were there already.

    Raises:
        ValueError: If what was begun is not of these texts or this identity.
    """
    unfinished = path.with_name(f"{path.name}.part")
    journal = path.with_name(f"{path.name}.part.json")
    begun = read_object(journal) if unfinished.is_file() else {}
    done = int(begun.get("rows", 0))
    if done and unfinished.stat().st_size < HEADER_BYTES + done * dim * 4:
        raise ValueError(f"{unfinished} is damaged: it is too short; delete it.")
    texts = iter(texts)
    digest = hashlib.sha256()
    found = sum(1 for _ in _digested(islice(texts, done), 0, digest))
    if done and begun != _state(identity, found, digest.hexdigest()):
        raise ValueError(
            f"{unfinished} was begun with other texts, another encoder or another instruction; "
            "delete it, or begin afresh without resuming."
        )
    with NpyWriter(path, unfinished, dim, rows=done) as writer:
        writer.keep = True
        for rows in encode(_digested(texts, done, digest), done):
            writer.add(rows)
            writer.flush()
            _replace(journal, json.dumps(_state(identity, writer.rows, digest.hexdigest())))
    journal.unlink(missing_ok=True)
    return done


def _digested(texts: Iterable[str], first: int, digest: "hashlib._Hash") -> Iterator[str]:
    for position, text in enumerate(texts, first):
        check_text(text, position)
        content = text.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
        yield text


def _state(identity: dict[str, str], rows: int, texts: str) -> dict[str, object]:
    return {**identity, "rows": rows, "texts": texts}


def _replace(path: Path, content: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(content, "utf-8")
    unfinished.replace(path)
