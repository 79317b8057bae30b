"""Files of word vectors as fastText, MUSE and GloVe write them, and texts cut into their words."""

import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from encoder.files import digest_of_json
from encoder.model_cache import find_entry, keep_entry
from encoder.spec import EncoderSpec
from encoder.templates import fill
from encoder.tokenizer import Tokenizer, Tokens

UNKNOWN = -1
"""The id of a word that the file does not hold."""
_FORMAT = 1
_HAN = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_PIECE = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+|\S")
_IS_HAN = re.compile(rf"[{_HAN}]")


@dataclass(frozen=True)
class Head:
    """What the first line of a file says."""

    dim: int
    has_line: bool
    """Whether the first line says so (fastText, MUSE) or is a word already (GloVe)."""


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield file  # type: ignore[misc]


def read_head(path: Path) -> Head:
    """Read how long the vectors are.

    Raises:
        ValueError: If the file is no file of word vectors.
    """
    try:
        with _opened(path) as file:
            parts = file.readline().split()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return Head(int(parts[1]), True)
    if len(parts) < 3:
        raise ValueError(f"{path} is no file of word vectors: its first line holds no vector.")
    return Head(len(parts) - 1, False)


def load_words(path: Path, digest: str) -> tuple[list[str], NDArray[np.float32]]:
    """The words of a file and their vectors, shape (words, dim); kept between runs.

    Args:
        path: The file.
        digest: Its SHA-256.

    Raises:
        ValueError: If a line is damaged.
    """
    key = digest_of_json([str(_FORMAT), "words", digest])
    entry = find_entry(key) or keep_entry(key, lambda folder: _write(path, folder))
    if entry is None:  # nothing can be kept here
        return _read(path)
    words = (entry / "words.txt").read_text("utf-8").split("\n")
    return words, np.load(entry / "vectors.npy", mmap_mode="r", allow_pickle=False)


def _write(path: Path, folder: Path) -> None:
    words, vectors = _read(path)
    (folder / "words.txt").write_text("\n".join(words), "utf-8")
    np.save(folder / "vectors.npy", vectors, allow_pickle=False)


def _read(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    head = read_head(path)
    places: dict[str, int] = {}
    rows: list[NDArray[np.float32]] = []
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and head.has_line:
                    continue
                word, row = _line(line, head.dim, path, number)
                if word not in places:  # the first one counts
                    places[word] = len(rows)
                    rows.append(row)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read to its end: {error}.") from error
    if not rows:
        raise ValueError(f"{path} holds no word.")
    return list(places), np.stack(rows)


def _line(line: bytes, dim: int, path: Path, number: int) -> tuple[str, NDArray[np.float32]]:
    # A word may hold blanks, a number may not.
    parts = line.rstrip().rsplit(b" ", dim)
    try:
        row = np.array(parts[1:], dtype=np.float32)
    except ValueError:
        row = np.empty(0, np.float32)
    if len(row) != dim or not np.isfinite(row).all():
        raise ValueError(f"{path}, line {number}: expected a word and {dim} numbers.")
    return parts[0].decode("utf-8", "replace").replace("\n", " "), row


class WordTokenizer(Tokenizer):
    """Cuts a text into the words of a file: as written, else in lower case.

    Chinese and Japanese are cut into the longest words that the file holds, from left to right.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words in the order of their vectors."""
        super().__init__(None, pad_id=0, unknown_id=UNKNOWN, eos_id=None, marks=())
        self._ids = {word: place for place, word in enumerate(words)}
        self._longest = max((len(word) for word in words if _IS_HAN.match(word)), default=1)

    def encode(self, texts: Sequence[str], template: str, spec: EncoderSpec) -> list[Tokens]:
        """As `Tokenizer.encode`; a text without a word is one unknown word."""
        rows = []
        for text in texts:
            ids = [token for token, _ in self._tokens(fill(template, text).composed)]
            rows.append(
                Tokens(ids[: spec.max_tokens] or [UNKNOWN], max(0, len(ids) - spec.max_tokens))
            )
        return rows

    def spans(self, text: str) -> list[tuple[int, int]]:
        """As `Tokenizer.spans`."""
        return [span for _, span in self._tokens(text)]

    def count(self, texts: Sequence[str], template: str, spec: EncoderSpec) -> list[int]:
        """As `Tokenizer.count`."""
        return [len(self.spans(fill(template, text).composed)) for text in texts]

    def unknown_share(self, text: str) -> float:
        """As `Tokenizer.unknown_share`; signs that are no words do not count."""
        ids = [
            token
            for token, (start, end) in self._tokens(text)
            if token != UNKNOWN or text[start:end].isalnum()
        ]
        return ids.count(UNKNOWN) / len(ids) if ids else 0.0

    def _tokens(self, text: str) -> Iterator[tuple[int, tuple[int, int]]]:
        for match in _PIECE.finditer(text):
            start, end = match.span()
            if _IS_HAN.match(text, start):
                yield from self._han(text, start, end)
            else:
                piece = match.group()
                found = self._ids.get(piece, self._ids.get(piece.lower(), UNKNOWN))
                yield found, (start, end)

    def _han(self, text: str, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
        while start < end:
            for stop in range(min(end, start + self._longest), start, -1):
                found = self._ids.get(text[start:stop])
                if found is not None or stop == start + 1:
                    yield (UNKNOWN if found is None else found), (start, stop)
                    start = stop
                    break
