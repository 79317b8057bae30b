"""A Word file in, its text as Markdown out: headings, lists, tables, notes and comments."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data.loaders.base import Parsed
from data.loaders.package import Package, attribute, local_name
from data.loaders.tables import markdown_table

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_LEVEL = 6
_BODY_LEVEL = 9
"""Outline level of text that is no heading. Source: ECMA-376, part 1, 17.3.1.20."""
_SKIPPED = {"del", "moveFrom", "instrText", "delText", "pPr", "rPr", "fldData", "Fallback"}
"""What was deleted or moved away, properties, field codes, and drawings told twice."""
_NOTES = (("footnotes", "footnote"), ("endnotes", "endnote"), ("comments", "comment"))


def read_docx(raw: bytes, stem: str) -> Parsed:
    """Read a Word file; its title is that of its properties, its style Title, or the stem."""
    package = Package(raw)
    main = _main_part(package)
    styles = _Styles(package.optional_xml(f"{main.rpartition('/')[0]}/styles.xml"))
    body = _find(package.xml(main), "body")
    blocks = list(_blocks(body, styles)) if body is not None else []
    for kind, path in package.relations(main).values():
        element = dict(_NOTES).get(kind)
        if element and path in package.names:
            blocks += _notes(package.xml(path), element, styles)
    title = package.title() or styles.title or stem
    return Parsed(title, "\n\n".join(filter(None, blocks)))


def _main_part(package: Package) -> str:
    for kind, path in package.relations("").values():
        if kind == "officeDocument":
            return path
    return "word/document.xml"


class _Styles:
    """What the names of paragraph styles mean."""

    def __init__(self, root: "Element | None") -> None:
        self.title = ""
        self._levels: dict[str, int] = {}
        styles = [] if root is None else [one for one in root if local_name(one) == "style"]
        self._parents = {attribute(one, "styleId"): _value(one, "basedOn") for one in styles}
        for style in styles:
            name = _value(style, "name").lower()
            if name == "title":
                self._levels[attribute(style, "styleId")] = 1
                self._title_style = attribute(style, "styleId")
            elif name.startswith("heading ") and name[8:].isdigit():
                self._levels[attribute(style, "styleId")] = int(name[8:])
            elif (outline := _find(style, "outlineLvl")) is not None:
                self._set_outline(attribute(style, "styleId"), attribute(outline, "val"))

    def _set_outline(self, style: str, level: str) -> None:
        if level.isdigit() and int(level) < _BODY_LEVEL:
            self._levels[style] = int(level) + 1

    def level(self, paragraph: "Element") -> int:
        """The heading level of a paragraph, 0 for text."""
        properties = next((one for one in paragraph if local_name(one) == "pPr"), None)
        if properties is None:
            return 0
        outline = _value(properties, "outlineLvl")
        if outline.isdigit():
            return int(outline) + 1 if int(outline) < _BODY_LEVEL else 0
        style, seen = _value(properties, "pStyle"), set()
        while style and style not in seen:
            if style in self._levels:
                return min(self._levels[style], _MOST_LEVEL)
            seen.add(style)
            style = self._parents.get(style, "")
        return 0


def _blocks(parent: "Element", styles: _Styles) -> Iterator[str]:
    """Paragraphs and tables in order, also those in boxes of other things."""
    listed: list[str] = []
    for element in parent:
        name = local_name(element)
        if name == "p":
            text, boxes = _text(element), list(_boxes(element, styles))
            if text and _is_listed(element) and not styles.level(element):
                listed.append(f"{'  ' * _depth(element)}- {text}")
            else:
                yield from _flushed(listed)
                yield _paragraph(text, styles.level(element), styles)
            yield from boxes
            continue
        yield from _flushed(listed)
        if name == "tbl":
            yield from _table(element, styles)
        elif name not in _SKIPPED:
            yield from _blocks(element, styles)
    yield from _flushed(listed)


def _flushed(listed: list[str]) -> Iterator[str]:
    if listed:
        yield "\n".join(listed)
        listed.clear()


def _paragraph(text: str, level: int, styles: _Styles) -> str:
    if level == 1 and not styles.title:
        styles.title = " ".join(text.split())
    return f"{'#' * level} {' '.join(text.split())}" if level and text else text


def _text(element: "Element") -> str:
    """The text of a paragraph, without that of boxes that are anchored in it."""
    return "".join(_pieces(element)).strip()


def _pieces(element: "Element") -> Iterator[str]:
    for child in element:
        name = local_name(child)
        if name == "t":
            yield child.text or ""
        elif name in {"tab", "ptab"}:
            yield "\t"
        elif name in {"br", "cr"}:
            yield "\n"
        elif name == "noBreakHyphen":
            yield "-"
        elif name == "docPr":
            yield _description(child)
        elif name not in _SKIPPED and name != "txbxContent":
            yield from _pieces(child)


def _description(picture: "Element") -> str:
    """What the author says of a picture; not what a program makes up."""
    text = attribute(picture, "descr").strip()
    return f"[{text}]" if text and "generated" not in text.lower() and "." not in text[-5:] else ""


def _boxes(paragraph: "Element", styles: _Styles) -> Iterator[str]:
    for child in paragraph:
        if local_name(child) == "txbxContent":
            yield from _blocks(child, styles)
        elif local_name(child) not in _SKIPPED:
            yield from _boxes(child, styles)


def _table(table: "Element", styles: _Styles) -> Iterator[str]:
    """A table; tables in its cells follow it."""
    rows, inner = [], []
    for row in _children(table, "tr"):
        cells: list[str] = [""] * int(_value(row, "gridBefore") or 0)
        for cell in _children(row, "tc"):
            blocks = list(_blocks(cell, styles))
            inner += [block for block in blocks if block.startswith("|")]
            text = " ".join(block for block in blocks if not block.startswith("|"))
            merge = _find(cell, "vMerge")
            is_continued = merge is not None and attribute(merge, "val") != "restart"
            cells.append("" if is_continued else text.lstrip("#- "))
            span = _value(cell, "gridSpan")
            cells += [""] * (int(span) - 1 if span.isdigit() else 0)
        rows.append(cells)
    yield markdown_table(rows)
    yield from inner


def _children(element: "Element", name: str) -> Iterator["Element"]:
    """Rows or cells, also those within content controls and tracked changes."""
    for child in element:
        if local_name(child) == name:
            yield child
        elif local_name(child) in {"sdt", "sdtContent", "ins", "customXml", "smartTag"}:
            yield from _children(child, name)


def _notes(root: "Element", name: str, styles: _Styles) -> list[str]:
    notes = (note for note in root if local_name(note) == name)
    texts = [
        " ".join(_blocks(note, styles)).strip()
        for note in notes
        if attribute(note, "type") not in {"separator", "continuationSeparator"}
    ]
    return [text for text in texts if text]


def _is_listed(paragraph: "Element") -> bool:
    properties = next((one for one in paragraph if local_name(one) == "pPr"), None)
    return properties is not None and _find(properties, "numPr") is not None


def _depth(paragraph: "Element") -> int:
    level = _value(paragraph, "ilvl")
    return int(level) if level.isdigit() else 0


def _find(element: "Element", name: str) -> "Element | None":
    return next((one for one in element.iter() if local_name(one) == name), None)


def _value(element: "Element", name: str) -> str:
    found = _find(element, name)
    return attribute(found, "val") if found is not None else ""
