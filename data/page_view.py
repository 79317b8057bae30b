"""A passage of a PDF in, the picture of its page with the passage's boxes out.

Nothing is stored for it: the boxes are found again from the page's own words.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from data.loaders.base import UnreadableDocumentError, missing_extra
from data.loaders.layout import page_blocks
from data.loaders.pdf import scanned_words
from data.pdfium import Pdf, Word, open_pdf
from data.records import Document

__all__ = ["Box", "PageView", "view_page", "view_passage"]

_LETTER = re.compile(r"\w")
_LEAST_KEPT = 0.5
"""Share of a passage's letters that must be found on the page; with fewer the file has changed."""
_MARK = (255, 213, 0)
"""Red, green and blue of the marker."""
_LEAST_COMMON = 3
"""Letters in a row that count as the same text."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a page, in points from its top left."""

    x0: float
    top: float
    x1: float
    bottom: float


@dataclass(frozen=True, slots=True)
class PageView:
    """A page as it looks, and where a passage stands on it."""

    page: int
    """1-based."""
    width: float
    height: float
    """Points."""
    boxes: tuple[Box, ...]
    """One for each line of the passage; empty where it is not found on the page."""
    png: bytes


def view_passage(
    raw: bytes, document: Document, start: int, end: int, *, scale: float = 1.5
) -> list[PageView]:
    """Show the pages that `document.text[start:end]` stands on, with its lines marked.

    Args:
        raw: The PDF that the document was read from.
        document: The document, for its text and the starts of its pages.
        start: Where the passage starts in the text.
        end: Where it ends.
        scale: Pixels a point.

    Raises:
        UnreadableDocumentError: If the file is no PDF any more, or lacks the page.
        ValueError: If the document has no pages, or the passage is not in its text.
    """
    if not document.page_starts:
        raise ValueError(f"{document.id} has no pages.")
    if not 0 <= start < end <= len(document.text):
        raise ValueError(
            f"The passage {start} to {end} is not in the text, which has {len(document.text)} "
            "characters."
        )
    first, last = document.page_at(start) or 1, document.page_at(end - 1) or 1
    with open_pdf(raw) as pdf:
        return [_view(pdf, document, page, (start, end), scale) for page in range(first, last + 1)]


def view_page(raw: bytes, page: int, *, scale: float = 1.5) -> PageView:
    """Show a page (1-based) with nothing marked; errors as `view_passage`."""
    with open_pdf(raw) as pdf:
        _check_page(pdf, page)
        width, height = pdf.size(page - 1)
        return PageView(page, width, height, (), _png(pdf, page, (), scale))


def _check_page(pdf: Pdf, page: int) -> None:
    if not 1 <= page <= len(pdf):
        raise UnreadableDocumentError(f"The file has no page {page}; it has {len(pdf)}.")


def _view(
    pdf: Pdf, document: Document, page: int, passage: tuple[int, int], scale: float
) -> PageView:
    _check_page(pdf, page)
    bounds = [*document.page_starts, len(document.text)]
    text = document.text[bounds[page - 1] : bounds[page]]
    within = (max(0, passage[0] - bounds[page - 1]), min(len(text), passage[1] - bounds[page - 1]))
    boxes = _line_boxes(_words_of(pdf, page, text, *within))
    width, height = pdf.size(page - 1)
    return PageView(page, width, height, boxes, _png(pdf, page, boxes, scale))


def _words_of(pdf: Pdf, page: int, text: str, start: int, end: int) -> list[Word]:
    """The words that a part of the page's text was made of.

    Both are letters in the same order, with other marks and blanks between. If they differ, the
    file is another than the one that was read; then what both have in common is matched.
    """
    drawn = pdf.words(page - 1)
    rules = pdf.rules(page - 1) if drawn else []
    blocks = page_blocks(drawn or scanned_words(pdf, page - 1), rules)
    words = [word for block in blocks for word in block.words]
    owners = [number for number, word in enumerate(words) for _ in _LETTER.findall(word.text)]
    shown = [letter for word in words for letter in _LETTER.findall(word.text)]
    read = list(_LETTER.finditer(text))
    places = _common_places([match.group() for match in read], shown)
    wanted = [number for number, match in enumerate(read) if start <= match.start() < end]
    hits = {owners[places[number]] for number in wanted if number in places}
    found = sum(number in places for number in wanted)
    return [words[number] for number in sorted(hits)] if found >= _LEAST_KEPT * len(wanted) else []


def _common_places(read: Sequence[str], shown: Sequence[str]) -> dict[int, int]:
    """Where each letter of the one text stands in the other."""
    if read == shown:
        return {number: number for number in range(len(read))}
    matcher = SequenceMatcher(None, read, shown, autojunk=False)
    return {
        block.a + step: block.b + step
        for block in matcher.get_matching_blocks()
        if block.size >= _LEAST_COMMON
        for step in range(block.size)
    }


def _line_boxes(words: Sequence[Word]) -> tuple[Box, ...]:
    """One box for neighbours on a line."""
    boxes: list[Box] = []
    for word in words:
        box = Box(word.x0, word.top, word.x1, word.bottom)
        if boxes and _is_beside(boxes[-1], box):
            last = boxes.pop()
            box = Box(
                min(last.x0, box.x0),
                min(last.top, box.top),
                max(last.x1, box.x1),
                max(last.bottom, box.bottom),
            )
        boxes.append(box)
    return tuple(boxes)


def _is_beside(last: Box, box: Box) -> bool:
    shared = min(last.bottom, box.bottom) - max(last.top, box.top)
    height = min(last.bottom - last.top, box.bottom - box.top)
    return shared > height / 2 and -height < box.x0 - last.x1 < 2 * height


def _png(pdf: Pdf, page: int, boxes: Sequence[Box], scale: float) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("Showing pages", "documents") from error
    import numpy as np

    pixels = pdf.render(page - 1, scale)
    for box in boxes:
        rows = slice(max(0, int(box.top * scale)), int(box.bottom * scale) + 1)
        columns = slice(max(0, int(box.x0 * scale)), int(box.x1 * scale) + 1)
        part = pixels[rows, columns].astype(np.float32)
        # As a marker pen: what is dark stays dark.
        pixels[rows, columns] = (part * (np.array(_MARK) / 255)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
