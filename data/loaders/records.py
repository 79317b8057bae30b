"""Piped JSON lines in, documents out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from data.json_lines import check_keys, read_json_lines, text_value
from data.loaders.base import UnreadableDocumentError
from data.loaders.text import clean_text, is_visible
from data.records import Document

_REQUIRED = ("id", "text")
_OPTIONAL = ("title", "metadata")


def load_records(lines: Iterable[str]) -> Iterator[Document]:
    """Yield a document for each line of `{"id", "text", "title"?, "metadata"?}`.

    A record without a title has an empty one; its source is its id.

    Raises:
        UnreadableDocumentError: If a line cannot be used; names the line. Nothing follows it.
    """
    first_lines: dict[str, int] = {}
    try:
        for number, row in read_json_lines(lines):
            document = _document(number, row)
            first = first_lines.setdefault(document.id, number)
            if first != number:
                raise ValueError(f"Line {number} repeats the id {document.id!r} of line {first}.")
            yield document
    except UnicodeDecodeError as error:
        raise UnreadableDocumentError(f"The lines are not UTF-8: {error.reason}.") from error
    except ValueError as error:
        raise UnreadableDocumentError(str(error)) from error


def _document(number: int, row: Mapping[str, Any]) -> Document:
    row = {key: value for key, value in row.items() if value is not None}  # null: left out
    check_keys(number, row, _REQUIRED, _OPTIONAL)
    values = {key: clean_text(text_value(number, row, key)) for key in row if key != "metadata"}
    empty = [key for key in _REQUIRED if not is_visible(values[key])]
    if empty:
        raise ValueError(f"Line {number} holds no {empty[0]}; give it one or leave the line out.")
    metadata = row.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError(f"Line {number}: 'metadata' must be an object, got {metadata!r}.")
    title = " ".join(values.get("title", "").split())
    return Document(
        id=values["id"], title=title, text=values["text"], source=values["id"], metadata=metadata
    )
