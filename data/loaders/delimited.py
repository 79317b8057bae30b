"""Comma, tab or semicolon separated rows in, Markdown tables out."""

import csv
import io

from data.loaders.base import Parsed
from data.loaders.tables import grouped_table
from data.loaders.text import decode_text

_DELIMITERS = ",\t;|"
_SAMPLE_LINES = 50
_LONGEST_FIELD = 2**27


def read_delimited(raw: bytes, stem: str) -> Parsed:
    """Read rows, in any encoding and with the delimiter that fits the first lines best."""
    text = decode_text(raw)
    csv.field_size_limit(_LONGEST_FIELD)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    return Parsed(stem, grouped_table(rows))


def _delimiter(text: str) -> str:
    """The delimiter that parts most lines into the same number of fields, more than one."""
    lines = text.splitlines()[:_SAMPLE_LINES]

    def fit(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        common = max(set(widths), key=widths.count, default=0)
        return (widths.count(common) if common > 1 else 0, common)

    return max(_DELIMITERS, key=fit)
