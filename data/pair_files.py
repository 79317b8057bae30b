"""A file of labelled pairs in, its pairs out: two texts and how alike they are."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from data.json_lines import read_json_lines, text_value


class LabelledPair(NamedTuple):
    """Two texts; a higher label means more alike."""

    text1: str
    text2: str
    label: float


def load_labelled_pairs(path: Path) -> list[LabelledPair]:
    """Read JSON lines of `{"text1", "text2", "label"}`, plain or gzipped; other keys are ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line cannot be used or there is none; names file and line.
    """
    try:
        with _open(path) as lines:
            pairs = [_pair(number, row) for number, row in read_json_lines(lines)]
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: {error}") from error
    if not pairs:
        raise ValueError(f"{path} holds no pair; give one JSON object a line.")
    return pairs


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
    return path.open(encoding="utf-8-sig", newline="\n")


def _pair(number: int, row: Mapping[str, Any]) -> LabelledPair:
    missing = [key for key in LabelledPair._fields if key not in row]
    if missing:
        raise ValueError(f"Line {number} has no {missing[0]!r}; it needs text1, text2 and label.")
    label = row["label"]
    if isinstance(label, bool) or not isinstance(label, int | float):
        raise ValueError(f"Line {number}: 'label' must be a number, got {label!r}.")
    text1, text2 = (text_value(number, row, key) for key in ("text1", "text2"))
    return LabelledPair(text1, text2, float(label))
