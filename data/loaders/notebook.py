"""A Jupyter notebook in, its text, code and printed results out."""

import json
from collections.abc import Iterator
from typing import Any

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.code import fenced
from data.loaders.html import read_html
from data.loaders.markdown import read_markdown
from data.loaders.text import decode_text

_LONGEST_OUTPUT = 5000
"""Characters of a result that are kept; progress bars and dumps go on for ever."""


def read_notebook(raw: bytes, stem: str) -> Parsed:
    """Read a notebook; its title is its first top heading, or the stem."""
    try:
        notebook = json.loads(decode_text(raw))
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "")
        blocks = [block for cell in cells for block in _blocks(cell, str(language))]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableDocumentError(f"The file is no Jupyter notebook ({error!r}).") from error
    return read_markdown("\n\n".join(filter(None, blocks)).encode(), stem)


def _blocks(cell: dict[str, Any], language: str) -> Iterator[str]:
    source = _joined(cell.get("source", cell.get("input", "")))
    if cell.get("cell_type") != "code":
        yield source
        return
    yield fenced(source, language)
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = _joined(output.get("text", data.get("text/plain", "")))
        if "text/html" in data:
            page = _joined(data["text/html"])
            yield read_html(page.encode(), "").text if page.strip() else ""
        elif output.get("output_type") != "error":
            yield fenced(text[:_LONGEST_OUTPUT])


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)
