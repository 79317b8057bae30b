"""PDF pages through PDFium: their words with boxes, ruled lines and pictures; knows no layout.

PDFium serves one thread at a time, so every call here holds a lock.
"""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import hypot, sin
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from data.loaders.base import UnreadableDocumentError, missing_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOCK = RLock()
_THIN = 2.5
"""Points; a filled rectangle up to this thick is a ruled line."""
_FIXED_PITCH = 1
"""A bit of the font's flags. Source: ISO 32000-1, table 123."""
_BOLD = 600
"""Font weights from here on are bold, as in CSS."""
_MOST_PATHS = 20_000
"""Drawings with more parts than this hold no table."""
_TURNED = 0.2
"""Sine of the angle from which text counts as turned."""
_UPRIGHT = 1.3
"""Times its height that turned text may be wide: on a turned page it is wider, and level."""
_FIRST_VISIBLE = 0x20
_HYPHENS = (0x2, 0xAD)
"""What PDFium makes of a hyphen at the end of a line."""
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_MODIFIER = re.compile(r"[\u02b0-\u02ff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_Box = tuple[float, float, float, float]
_REASONS = {
    "4": "The file is encrypted with a password; save it without one.",
    "5": "The file is protected by a security scheme that is not supported; save it without one.",
}


class Word(NamedTuple):
    """Characters without a blank between them, with their box in points from the top left."""

    text: str
    x0: float
    top: float
    x1: float
    bottom: float
    size: float
    """Height of the font in points."""
    is_bold: bool = False
    is_code: bool = False
    """Whether the font is monospaced."""
    is_turned: bool = False
    """Whether it does not run from left to right."""


class Rule(NamedTuple):
    """A straight horizontal or vertical line."""

    x0: float
    top: float
    x1: float
    bottom: float

    @property
    def is_vertical(self) -> bool:
        """Whether it is taller than wide."""
        return self.bottom - self.top > self.x1 - self.x0


@contextmanager
def open_pdf(raw: bytes) -> "Iterator[Pdf]":
    """Open a PDF for reading.

    Raises:
        UnreadableDocumentError: If it is none, is encrypted, or the extra is not installed.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise missing_extra("Reading PDF", "documents") from error
    with _LOCK:
        try:
            document = pypdfium2.PdfDocument(raw)
        except pypdfium2.PdfiumError as error:
            raise UnreadableDocumentError(_reason(error)) from error
        try:
            yield Pdf(document)
        finally:
            document.close()


def _reason(error: Exception) -> str:
    code = getattr(error, "err_code", None)
    return _REASONS.get(str(code), "The file is not a PDF, or too damaged to be read.")


class Pdf:
    """An open PDF; pages count from 0."""

    def __init__(self, document: Any) -> None:  # noqa: ANN401 - the library has no types
        self._document = document

    def __len__(self) -> int:
        return len(self._document)

    @property
    def title(self) -> str:
        """The title in the file's properties, often empty or a name of no meaning."""
        found: str = self._document.get_metadata_value("Title")
        return found

    def words(self, page: int) -> list[Word]:
        """The words of a page in the order in which they are drawn."""
        with self._page(page) as opened:
            text_page = opened.get_textpage()
            try:
                return list(_words(text_page.raw, _ToTopLeft(opened)))
            finally:
                text_page.close()

    def rules(self, page: int) -> list[Rule]:
        """The straight lines of a page: strokes, edges of framed boxes and thin boxes."""
        with self._page(page) as opened:
            return list(_rules(opened))

    def has_pictures(self, page: int) -> bool:
        """Whether a page shows a picture or a drawing."""
        from pypdfium2 import raw

        kinds = (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING)
        with self._page(page) as opened:
            return next(iter(opened.get_objects(filter=kinds)), None) is not None

    def size(self, page: int) -> tuple[float, float]:
        """Width and height in points."""
        with self._page(page) as opened:
            width, height = opened.get_size()
            return float(width), float(height)

    def render(self, page: int, scale: float) -> "NDArray[np.uint8]":
        """The page as an image, shape (height, width, 3), red first; `scale` is pixels a point."""
        with self._page(page) as opened:
            bitmap = opened.render(scale=scale, rev_byteorder=True)
            pixels: NDArray[np.uint8] = bitmap.to_numpy()[:, :, :3].copy()
            bitmap.close()
            return pixels

    @contextmanager
    def _page(self, number: int) -> Iterator[Any]:
        import pypdfium2

        try:
            page = self._document[number]
        except pypdfium2.PdfiumError as error:
            raise UnreadableDocumentError(f"Page {number + 1} is damaged.") from error
        try:
            yield page
        finally:
            page.close()


class _ToTopLeft:
    """Turns PDF's coordinates, from the bottom left of an unturned page, into what is seen."""

    def __init__(self, page: Any) -> None:  # noqa: ANN401
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._turned = page.get_rotation()

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        left, right = min(x0, x1) - self._left, max(x0, x1) - self._left
        top, bottom = self._top - max(y0, y1), self._top - min(y0, y1)
        width, height = self._right - self._left, self._top - self._bottom
        if self._turned == 90:
            return height - bottom, left, height - top, right
        if self._turned == 180:
            return width - right, height - bottom, width - left, height - top
        if self._turned == 270:
            return top, width - right, bottom, width - left
        return left, top, right, bottom


class _Letters:
    """The characters of a word that is being read."""

    def __init__(self, text_page: Any, place: _ToTopLeft) -> None:  # noqa: ANN401
        self._text_page, self._place = text_page, place
        self._chars: list[str] = []
        self._boxes: list[_Box] = []
        self._first = 0

    def add(self, index: int, char: str, box: _Box) -> Word | None:
        """Take one more character; returns the word before it where it starts another."""
        word = None
        if self._chars:
            last, previous = self._boxes[-1], self._chars[-1]
            if char == previous and box != last and _overprints(last, box):
                return None  # drawn twice to look bold
            if _MODIFIER.match(char) and _RIGHT_TO_LEFT.match(previous):
                return None  # a vowel sign that is drawn by itself, and comes again with its letter
            if not _adjoins(last, box):
                word = self.word()
        if not self._chars:
            self._first = index
        self._chars.append(char)
        self._boxes.append(box)
        return word

    def word(self) -> Word | None:
        """The word read so far, if any; the next character starts another."""
        if not self._chars:
            return None
        letters, boxes = "".join(self._in_reading_order()), self._boxes
        box = (
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        )
        self._chars, self._boxes = [], []
        return self._described(letters, self._place.box(*box))

    def _in_reading_order(self) -> list[str]:
        """PDFium turns right-to-left runs around, and so also the letters that one glyph means."""
        chars, boxes, start = self._chars, self._boxes, 0
        for end in range(1, len(chars) + 1):
            if end == len(chars) or boxes[end] != boxes[start]:
                if end - start > 1 and any(map(_RIGHT_TO_LEFT.match, chars[start:end])):
                    chars[start:end] = chars[start:end][::-1]
                start = end
        return chars

    def _described(self, letters: str, box: _Box) -> Word:
        from pypdfium2 import raw

        page, index = self._text_page, self._first
        flags, name = ctypes.c_int(), ctypes.create_string_buffer(128)
        raw.FPDFText_GetFontInfo(page, index, name, 128, flags)
        font, weight = name.value.lower(), raw.FPDFText_GetFontWeight(page, index)
        matrix = raw.FS_MATRIX()
        raw.FPDFText_GetMatrix(page, index, matrix)
        height = raw.FPDFText_GetFontSize(page, index) * hypot(matrix.b, matrix.d)
        angle = raw.FPDFText_GetCharAngle(page, index)
        width = box[2] - box[0]
        if _SURROGATE.search(letters):
            letters = letters.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return Word(
            letters,
            *box,
            size=height or box[3] - box[1],
            is_bold=weight >= _BOLD or any(name in font for name in (b"bold", b"black", b"heavy")),
            is_code=bool(flags.value & _FIXED_PITCH) or b"mono" in font or b"courier" in font,
            is_turned=len(letters) > 1
            and abs(sin(angle)) > _TURNED
            and width < _UPRIGHT * (box[3] - box[1]),
        )


def _words(text_page: Any, place: _ToTopLeft) -> Iterator[Word]:  # noqa: ANN401
    from pypdfium2 import raw

    rect, letters = raw.FS_RECTF(), _Letters(text_page, place)
    for index in range(raw.FPDFText_CountChars(text_page)):
        code = raw.FPDFText_GetUnicode(text_page, index)
        char = "-" if code in _HYPHENS else chr(code)
        if (code < _FIRST_VISIBLE and code not in _HYPHENS) or char.isspace():
            word = letters.word()
        elif raw.FPDFText_HasUnicodeMapError(text_page, index) == 1:
            word = None  # the font does not say which character it is
        elif raw.FPDFText_GetLooseCharBox(text_page, index, rect):
            word = letters.add(index, char, (rect.left, rect.bottom, rect.right, rect.top))
        else:
            word = None
        if word is not None:
            yield word
    if (word := letters.word()) is not None:
        yield word


def _overprints(last: _Box, box: _Box) -> bool:
    """Whether a character covers the same one before it, and does not stand beside it."""
    close = 0.3 * (last[2] - last[0])
    return abs(last[0] - box[0]) < close and abs(last[1] - box[1]) < close


def _adjoins(last: _Box, box: _Box) -> bool:
    """Whether a character follows the last one closely, in any direction of writing."""
    reach = 0.6 * max(last[3] - last[1], box[3] - box[1], 1.0)
    apart_x = max(box[0] - last[2], last[0] - box[2])
    apart_y = max(box[1] - last[3], last[1] - box[3])
    return apart_x < reach and apart_y < 0.2 * reach


def _rules(page: Any) -> Iterator[Rule]:  # noqa: ANN401
    from pypdfium2 import raw

    place = _ToTopLeft(page)
    for count, found in enumerate(page.get_objects(filter=(raw.FPDF_PAGEOBJ_PATH,))):
        if count > _MOST_PATHS:
            return
        x0, top, x1, bottom = place.box(*found.get_bounds())
        if min(x1 - x0, bottom - top) <= _THIN:
            yield Rule(x0, top, x1, bottom)
        elif _is_stroked(found.raw):
            for piece in _segments(found.raw):
                yield Rule(*place.box(*_moved(piece, found.get_matrix())))


def _is_stroked(path: Any) -> bool:  # noqa: ANN401
    from pypdfium2 import raw

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path, fill, stroke)
    return bool(stroke.value)


def _segments(path: Any) -> Iterator[tuple[float, float, float, float]]:  # noqa: ANN401
    """The horizontal and vertical lines of a path, in its own coordinates."""
    from pypdfium2 import raw

    x, y = ctypes.c_float(), ctypes.c_float()
    start = last = (0.0, 0.0)
    for index in range(min(raw.FPDFPath_CountSegments(path), _MOST_PATHS)):
        piece = raw.FPDFPath_GetPathSegment(path, index)
        raw.FPDFPathSegment_GetPoint(piece, x, y)
        here, kind = (x.value, y.value), raw.FPDFPathSegment_GetType(piece)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = here
        elif kind == raw.FPDF_SEGMENT_LINETO and _is_straight(last, here):
            yield *last, *here
        if raw.FPDFPathSegment_GetClose(piece) and _is_straight(here, start):
            yield *here, *start
        last = here


def _is_straight(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return min(abs(one[0] - other[0]), abs(one[1] - other[1])) < 0.5 and one != other


def _moved(
    line: tuple[float, float, float, float],
    matrix: Any,  # noqa: ANN401
) -> tuple[float, float, float, float]:
    return (*matrix.on_point(*line[:2]), *matrix.on_point(*line[2:]))
