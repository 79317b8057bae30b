"""Pictures of pages in, their words with boxes out, as a recogniser reads them."""

import logging
import re
from collections.abc import Iterator
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from data.loaders.base import missing_extra
from data.pdfium import Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_SCORE = 0.5
"""Lines that the recogniser is less sure of are left out."""
_MOST_LEAN = 0.35
"""Radians to which a page may lie askew."""
_LEAST_ODD, _MOST_ODD = 0.7, 1.4
"""Times the usual height of a line, beyond which its font is another."""


def recognise(pixels: "NDArray[np.uint8]", scale: float) -> list[Word]:
    """Read the printed words of a picture, English and Chinese.

    Args:
        pixels: Shape (height, width, 3).
        scale: Pixels a point, so that boxes come in points.

    Raises:
        UnreadableDocumentError: If the extra is not installed.
    """
    found = _engine()(pixels)
    if found.boxes is None or found.txts is None:
        return []
    level = _levelled(found.boxes / scale)
    lines = [
        (corners, text.strip())
        for corners, text, score in zip(level, found.txts, found.scores, strict=True)
        if score >= LEAST_SCORE and text.strip()
    ]
    usual = median(_height(corners) for corners, _ in lines) if lines else 0.0
    return [word for corners, text in lines for word in _words(corners, text, usual)]


def _levelled(boxes: Any) -> Any:  # noqa: ANN401
    """The corners of lines, shape (n, 4, 2), turned about the origin so that most lie level."""
    import numpy as np

    along = boxes[:, 1] - boxes[:, 0]
    lean = float(np.median(np.arctan2(along[:, 1], along[:, 0])))
    if abs(lean) > _MOST_LEAN:
        return boxes
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    return boxes @ turn


def _height(corners: Any) -> float:  # noqa: ANN401
    """The height of a line's letters, also where it lies askew."""
    return float(((corners[3] - corners[0]) ** 2).sum() ** 0.5)


def _words(corners: Any, text: str, usual: float) -> Iterator[Word]:  # noqa: ANN401
    """The words of a recognised line, each with its share of the line's width."""
    height, (x0, top), (x1, bottom) = _height(corners), corners.min(axis=0), corners.max(axis=0)
    middle, width = (top + bottom) / 2, (x1 - x0) / len(text)
    # Boxes are not drawn to the point: lines of about the usual height are of one font.
    size = usual if _LEAST_ODD < height / usual < _MOST_ODD else height
    for word in re.finditer(r"\S+", text):
        yield Word(
            word.group(),
            float(x0 + word.start() * width),
            float(middle - height / 2),
            float(x0 + word.end() * width),
            float(middle + height / 2),
            size,
        )


@cache
def _engine() -> Any:  # noqa: ANN401 - the library has no types
    try:
        from rapidocr import EngineType, RapidOCR
    except ImportError as error:
        raise missing_extra("Reading text in pictures", "ocr") from error
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    engine = EngineType.OPENVINO
    stages = {f"{stage}.engine_type": engine for stage in ("Det", "Cls", "Rec")}
    return RapidOCR(params=stages | {"Global.log_level": "error"})
