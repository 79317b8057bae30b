"""An EPUB in, its chapters in reading order out."""

import posixpath
import re
from urllib.parse import unquote

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.html import read_html
from data.loaders.package import Package, local_name

_CONTAINER = "META-INF/container.xml"
_PAGES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}
_DECLARATION = re.compile(rb"\A\s*<\?xml[^>]*\?>")


def read_epub(raw: bytes, stem: str) -> Parsed:
    """Read a book's chapters in the order of its spine; its title is that of its metadata."""
    package = Package(raw)
    roots = [
        one.get("full-path", "")
        for one in package.xml(_CONTAINER).iter()
        if local_name(one) == "rootfile"
    ]
    if not roots:
        raise UnreadableDocumentError("The book does not say where its contents are.")
    book = package.xml(roots[0])
    if "META-INF/encryption.xml" in package.names and "META-INF/rights.xml" in package.names:
        raise UnreadableDocumentError("The book is protected against copying and cannot be read.")
    items = {
        one.get("id", ""): one.get("href", "")
        for one in book.iter()
        if local_name(one) == "item" and one.get("media-type") in _PAGES
    }
    spine = [one.get("idref", "") for one in book.iter() if local_name(one) == "itemref"]
    folder = posixpath.dirname(roots[0])
    paths = [
        posixpath.normpath(posixpath.join(folder, unquote(items[key])))
        for key in spine
        if key in items
    ]
    chapters = [_chapter(package.read(path)) for path in paths if path in package.names]
    title = next((one.text or "" for one in book.iter() if local_name(one) == "title"), "").strip()
    return Parsed(title or stem, "\n\n".join(filter(None, chapters)))


def _chapter(raw: bytes) -> str:
    try:
        return read_html(_DECLARATION.sub(b"", raw), "").text
    except UnreadableDocumentError:
        return ""
