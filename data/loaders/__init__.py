"""A file in, a `Document` out: one loader per format family, chosen by the file's suffix."""

import os
from collections.abc import Callable
from pathlib import Path

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.html import read_html
from data.loaders.markdown import read_markdown
from data.loaders.text import clean_text, decode_text, is_visible, read_text
from data.records import Document

__all__ = [
    "SUFFIXES",
    "Loader",
    "Parsed",
    "UnreadableDocumentError",
    "load_document",
    "readable_name",
]

Loader = Callable[[bytes, str], Parsed]
"""The file's bytes and its stem (the title where the text has none) → title and text."""

SUFFIXES: dict[str, Loader] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_text,
    ".text": read_text,
    ".rst": read_text,
    ".log": read_text,
    ".html": read_html,
    ".htm": read_html,
}


def load_document(path: Path, *, id: str) -> Document:
    """Read and parse one file.

    Args:
        path: The file; its suffix, in any case, chooses the loader.
        id: The document's id.

    Raises:
        UnreadableDocumentError: If the file cannot become text; the message is the reason.
    """
    loader = SUFFIXES.get(path.suffix.lower())
    if loader is None:
        raise UnreadableDocumentError(
            f"Files with the suffix {path.suffix!r} are not supported; "
            f"supported: {', '.join(SUFFIXES)}."
        )
    parsed = loader(_read_bytes(path), readable_name(path.stem))
    text = clean_text(parsed.text)
    if not is_visible(text):
        raise UnreadableDocumentError("The file holds no text.")
    title = " ".join(clean_text(parsed.title).split())
    return Document(id=id, title=title, text=text, source=readable_name(str(path.absolute())))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableDocumentError(f"The file cannot be read: {error.strerror}.") from error


def readable_name(name: str) -> str:
    """Spell a name that is not UTF-8 on disk (GBK from an old archive) as its author read it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        try:
            return decode_text(os.fsencode(name))
        except UnreadableDocumentError:
            return clean_text(name)
    return name
