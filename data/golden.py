"""A golden file in, its questions out: what a user would ask, and where the answer stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.json_lines import check_keys, read_json_lines, text_value

_REQUIRED = ("question", "document")
_OPTIONAL = ("heading", "quote", "language")


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenQuestion:
    """A question with the place that answers it."""

    question: str
    document: str
    """Id of the document that answers."""
    heading: str | None = None
    """The heading above the answer."""
    quote: str | None = None
    """The words of the document that answer."""
    language: str | None = None
    """Language code such as `en` or `zh`, to report results by language."""


def load_golden(path: Path) -> list[GoldenQuestion]:
    """Read JSON lines of `{"question", "document", "heading"?, "quote"?, "language"?}`.

    Raises:
        ValueError: If a line cannot be used or the file holds no question; names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            questions = [_question(number, row) for number, row in read_json_lines(lines)]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not questions:
        raise ValueError(f"{path} holds no question; give one JSON object a line.")
    return questions


def _question(number: int, row: Mapping[str, Any]) -> GoldenQuestion:
    check_keys(number, row, _REQUIRED, _OPTIONAL)
    values = {
        key: text_value(number, row, key)
        for key in row
        if key in _REQUIRED or row[key] is not None  # null means the same as leaving the key out
    }
    empty = [key for key in _REQUIRED if not values[key].strip()]
    if empty:
        raise ValueError(f"Line {number}: {empty[0]!r} is empty; give its text.")
    return GoldenQuestion(**values)
