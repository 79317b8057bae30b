"""OpenDocument text and slides in, Markdown out; slides are pages."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.package import Package, attribute, local_name
from data.loaders.tables import markdown_table

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SKIPPED = {"tracked-changes", "forms", "sequence-decls", "annotation-end", "date-time"}
_MOST_REPEATED = 100
"""Columns and blanks repeat by count; a sheet's empty rest repeats thousands of times."""


def read_opendocument(raw: bytes, stem: str) -> Parsed:
    """Read an ODT or ODP file; its title is that of its properties, or the stem."""
    package = Package(raw)
    if b"manifest:encryption-data" in (
        package.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in package.names else b""
    ):
        raise UnreadableDocumentError("The file is encrypted with a password; save it without one.")
    root = package.xml("content.xml")
    slides = [one for one in root.iter() if local_name(one) == "page"]
    title = package.title() or stem
    if slides:
        return Parsed(title, "", tuple("\n\n".join(_blocks(slide)) for slide in slides))
    body = next((one for one in root.iter() if local_name(one) == "body"), root)
    return Parsed(title, "\n\n".join(_blocks(body)))


def _blocks(parent: "Element") -> Iterator[str]:
    for element in parent:
        name = local_name(element)
        if name == "h":
            level = attribute(element, "outline-level")
            text = " ".join(_text(element).split())
            yield f"{'#' * min(int(level) if level.isdigit() else 1, 6)} {text}" if text else ""
        elif name == "p":
            if text := _text(element).strip():
                yield text
            yield from _frames(element)
        elif name == "list":
            yield "\n".join(_items(element, 0))
        elif name == "table":
            yield markdown_table(list(_rows(element)))
        elif name not in _SKIPPED:
            yield from _blocks(element)


def _frames(paragraph: "Element") -> Iterator[str]:
    for one in paragraph.iter():
        if local_name(one) == "text-box":
            yield from _blocks(one)


def _items(listing: "Element", depth: int) -> Iterator[str]:
    for item in listing:
        for element in item:
            if local_name(element) == "list":
                yield from _items(element, depth + 1)
            elif text := " ".join(_text(element).split()):
                yield f"{'  ' * depth}- {text}"


def _rows(table: "Element") -> Iterator[list[str]]:
    for element in table:
        if local_name(element) == "table-row":
            cells: list[str] = []
            for cell in element:
                text = " ".join(filter(None, _blocks(cell)))
                repeated = attribute(cell, "number-columns-repeated")
                count = int(repeated) if repeated.isdigit() else 1
                cells += [text] * min(count, _MOST_REPEATED)
            yield cells
        elif local_name(element) in {"table-header-rows", "table-rows", "table-row-group"}:
            yield from _rows(element)


def _text(element: "Element") -> str:
    pieces = [element.text or ""]
    for child in element:
        name = local_name(child)
        if name == "s":
            count = attribute(child, "c")
            pieces.append(" " * min(int(count) if count.isdigit() else 1, _MOST_REPEATED))
        elif name == "tab":
            pieces.append("\t")
        elif name == "line-break":
            pieces.append("\n")
        elif name not in {*_SKIPPED, "frame", "annotation"}:
            pieces.append(_text(child))
        pieces.append(child.tail or "")
    return "".join(pieces)
