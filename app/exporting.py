"""Hits as files that other programs read; knows no screen."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from indexing import Hit

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet may take for the start of a formula, whatever document it came from."""
COLUMNS = ("rank", "score", "relevance", "base", "document", "title", "page", "heading", "text")


def rows(hits: Sequence[Hit], bases: Mapping[int, str]) -> list[dict[str, Any]]:
    """One row for each hit; nothing of where files lie on the server.

    Args:
        hits: The hits.
        bases: The name of each hit's knowledge base, by rank.
    """
    return [
        {
            "rank": hit.rank,
            "score": hit.score,
            "relevance": hit.relevance,
            "base": bases.get(hit.rank, ""),
            "document": hit.document,
            "title": hit.title,
            "page": hit.page,
            "heading": list(hit.heading),
            "text": hit.text,
        }
        for hit in hits
    ]


def as_json(query: str, found: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as one JSON object."""
    values = {"query": query, "hits": list(found)}
    return json.dumps(values, ensure_ascii=False, indent=2).encode()


def as_csv(found: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as a table for spreadsheets, in which no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in found:
        writer.writerow([safe_cell(row[name]) for name in COLUMNS])
    return text.getvalue().encode("utf-8-sig")  # by the mark, spreadsheets know that it is UTF-8


def safe_cell(value: Any) -> str | int | float:  # noqa: ANN401 - whatever a row holds
    """A value as a cell that shows it and does nothing."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = " › ".join(value) if isinstance(value, list) else str(value)
    text = text.replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
