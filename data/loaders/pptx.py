"""PowerPoint slides in, a page of Markdown for each out: text, tables, charts and notes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.package import Package, attribute, local_name
from data.loaders.tables import markdown_table

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MAIN = "ppt/presentation.xml"
_RELATION_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_TITLES = {"title", "ctrTitle"}
_FURNITURE = {"sldNum", "dt", "ftr", "sldImg"}
"""Slide numbers, dates, footers, and the picture of the slide above its notes."""


def read_pptx(raw: bytes, stem: str) -> Parsed:
    """Read slides in the order in which they are shown; each is a page."""
    package = Package(raw)
    relations = package.relations(_MAIN)
    shown = (one for one in package.xml(_MAIN).iter() if local_name(one) == "sldId")
    paths = [
        relations[one.get(_RELATION_ID, "")][1]
        for one in shown
        if one.get(_RELATION_ID) in relations
    ]
    slides = [_Slide(package, path) for path in paths if path in package.names]
    if not slides:
        raise UnreadableDocumentError("The presentation has no slides.")
    pages = tuple("\n\n".join(filter(None, slide.blocks())) for slide in slides)
    title = package.title()
    if not title or title.lower() in {"powerpoint presentation", "powerpoint 演示文稿"}:
        title = next(filter(None, (slide.title for slide in slides)), "") or stem
    return Parsed(title, "", pages)


class _Slide:
    def __init__(self, package: Package, path: str) -> None:
        self._package = package
        self._root = package.xml(path)
        self._relations = package.relations(path)
        shapes = (one for one in self._root.iter() if local_name(one) == "sp")
        titles = [_paragraphs(shape) for shape in shapes if _placeholder(shape) in _TITLES]
        self.title = " ".join(" ".join(titles).split())

    def blocks(self) -> Iterator[str]:
        """The title as a heading, then the shapes, then the speaker's notes and comments."""
        if self.title:
            yield f"## {self.title}"
        tree = next((one for one in self._root.iter() if local_name(one) == "spTree"), None)
        if tree is not None:
            yield from self._shapes(tree)
        for kind, path in self._relations.values():
            if path in self._package.names and kind in {"notesSlide", "comments"}:
                yield from self._aside(kind, path)

    def _shapes(self, tree: "Element") -> Iterator[str]:
        for shape in tree:
            name = local_name(shape)
            if name == "sp" and _placeholder(shape) not in _TITLES | _FURNITURE:
                yield _paragraphs(shape)
            elif name == "pic":
                yield _description(shape)
            elif name == "graphicFrame":
                yield from self._frame(shape)
            elif name in {"grpSp", "AlternateContent", "Choice"}:
                yield from self._shapes(shape)

    def _frame(self, frame: "Element") -> Iterator[str]:
        for element in frame.iter():
            name = local_name(element)
            if name == "tbl":
                rows = [one for one in element if local_name(one) == "tr"]
                yield markdown_table([_cells(row) for row in rows])
            elif name in {"chart", "relIds"}:
                key = element.get(_RELATION_ID) or attribute(element, "dm")
                _, path = self._relations.get(key, ("", ""))
                if path in self._package.names:
                    root = self._package.xml(path)
                    yield _chart(root) if name == "chart" else _paragraphs(root)

    def _aside(self, kind: str, path: str) -> Iterator[str]:
        root = self._package.xml(path)
        if kind == "comments":
            yield "\n".join(one.text or "" for one in root.iter() if local_name(one) == "text")
            return
        for shape in root.iter():
            if local_name(shape) == "sp" and _placeholder(shape) not in _FURNITURE:
                yield _paragraphs(shape)


def _placeholder(shape: "Element") -> str:
    found = next((one for one in shape.iter() if local_name(one) == "ph"), None)
    return attribute(found, "type") if found is not None else ""


def _paragraphs(shape: "Element") -> str:
    lines = [_line(one) for one in shape.iter() if local_name(one) == "p"]
    return "\n".join(line for line in lines if line.strip())


def _line(paragraph: "Element") -> str:
    pieces = []
    for one in paragraph.iter():
        if local_name(one) == "t":
            pieces.append(one.text or "")
        elif local_name(one) == "br":
            pieces.append("\n")
    return "".join(pieces).strip()


def _cells(row: "Element") -> list[str]:
    return [_paragraphs(cell) for cell in row if local_name(cell) == "tc"]


def _description(picture: "Element") -> str:
    """What the author says of a picture, and not its file's name."""
    found = next((one for one in picture.iter() if local_name(one) == "cNvPr"), None)
    text = attribute(found, "descr").strip() if found is not None else ""
    return f"[{text}]" if text and "generated" not in text.lower() and "." not in text[-5:] else ""


def _chart(root: "Element") -> str:
    """A chart's title, and its numbers as a table."""
    title = next((one for one in root.iter() if local_name(one) == "title"), None)
    series = [one for one in root.iter() if local_name(one) == "ser"]
    names = [" ".join(_points(one, "tx")) for one in series]
    labels = _points(series[0], "cat") if series else []
    columns = [_points(one, "val") or _points(one, "yVal") for one in series]
    rows = [["", *names]]
    for number in range(max(map(len, [labels, *columns]), default=0)):
        rows.append(
            [column[number] if number < len(column) else "" for column in [labels, *columns]]
        )
    text = _paragraphs(title) if title is not None else ""
    return "\n\n".join(filter(None, [text, markdown_table(rows)]))


def _points(series: "Element", name: str) -> list[str]:
    part = next((one for one in series if local_name(one) == name), None)
    return [] if part is None else [one.text or "" for one in part.iter() if local_name(one) == "v"]
