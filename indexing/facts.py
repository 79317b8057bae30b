"""What filters can ask of a document: its path, title, language, date and metadata, as facts."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from data import Document
from indexing.filters import metadata_field
from indexing.language import SAMPLE, language_of

TEXT, NUMBER, BOOL, DAY = "text", "number", "bool", "day"

_DATE_KEYS = ("date", "published", "publication_date", "created", "updated", "modified")
_LANGUAGE_KEYS = ("language", "lang")
_LANGUAGE_NAMES = {"chinese": "zh", "中文": "zh", "汉语": "zh", "english": "en", "英文": "en"}
_DAY = re.compile(r"\s*(\d{4})(?:-(\d\d)-(\d\d)|/(\d\d?)/(\d\d?)|年(\d\d?)月(\d\d?)日)(?!\d)")
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")


class Fact(NamedTuple):
    """One value of one field of a document."""

    field: str
    kind: str
    """`text`, `number`, `bool`, or `day` (text as 2024-01-31)."""
    value: str | int | float
    is_listed: bool
    """Whether it is one of several in a list."""


def document_facts(document: Document, mtime_ns: int) -> tuple[Fact, ...]:
    """All that filters can ask of a document.

    Args:
        document: The document, or at least the first `SAMPLE` characters of its text.
        mtime_ns: When its file was last changed, for documents that state no date; 0 where that
            is not known.
    """
    facts = [Fact("path", TEXT, document.id, False), Fact("title", TEXT, document.title, False)]
    metadata = dict(document.metadata)
    language = _stated_language(metadata) or language_of(document.text[:SAMPLE])
    if language is not None:
        facts.append(Fact("language", TEXT, language, False))
    day = _stated_day(metadata)
    if day is None and mtime_ns > 0:
        day = datetime.fromtimestamp(mtime_ns / 1e9, UTC).date()
    if day is not None:
        facts.append(Fact("date", DAY, day.isoformat(), False))
    facts += _metadata_facts("", metadata)
    return tuple(dict.fromkeys(facts))


def _metadata_facts(prefix: str, values: dict[str, Any]) -> Iterator[Fact]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _metadata_facts(f"{name}.", value)
            continue
        is_listed = isinstance(value, list | tuple)
        for item in value if is_listed else [value]:
            for kind, plain in _kinds(item):
                yield Fact(metadata_field(name), kind, plain, is_listed)


def _kinds(value: object) -> Iterator[tuple[str, str | int | float]]:
    """A value in each kind that it can be compared as."""
    if isinstance(value, bool):
        yield BOOL, int(value)
    elif isinstance(value, int):
        # SQLite holds 64 bits; beyond them the nearest float has to do.
        yield NUMBER, value if -(2**63) <= value < 2**63 else _as_float(value)
    elif isinstance(value, float):
        if not math.isnan(value):  # which equals nothing
            yield NUMBER, value
    elif isinstance(value, str):
        yield TEXT, value
        if _ISO_DAY.match(value) and (day := read_day(value)):
            yield DAY, day.isoformat()


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def read_day(text: str) -> date | None:
    """The day that a text begins with: 2024-01-31, 2024/1/31 or 2024年1月31日."""
    match = _DAY.match(text)
    if match is None:
        return None
    year, *parts = (int(part) for part in match.groups() if part is not None)
    try:
        return date(year, *parts)
    except ValueError:
        return None


def _stated_day(metadata: dict[str, Any]) -> date | None:
    texts = (metadata.get(key) for key in _DATE_KEYS)
    days = (read_day(text) for text in texts if isinstance(text, str))
    return next((day for day in days if day is not None), None)


def _stated_language(metadata: dict[str, Any]) -> str | None:
    for key in _LANGUAGE_KEYS:
        value = metadata.get(key)
        if isinstance(value, str) and value.strip():
            name = value.strip().lower()
            return _LANGUAGE_NAMES.get(name) or re.split(r"[-_]", name)[0]
    return None
