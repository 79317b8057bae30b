"""Pictures of pages in, their words with boxes out, as a recogniser reads them."""

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from data.loaders.base import missing_extra
from data.pdfium import Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_SCORE = 0.5
"""Lines that the recogniser is less sure of are left out."""


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
    words = []
    for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
        if score >= LEAST_SCORE and text.strip():
            words.append(_word(corners / scale, text.strip()))
    return words


def _word(corners: Any, text: str) -> Word:  # noqa: ANN401
    """A recognised line as one word: its box is upright even where the page lies askew."""
    x0, top = corners.min(axis=0)
    x1, bottom = corners.max(axis=0)
    # Of a line askew, the box is higher than its letters; its left edge is not.
    height = float(((corners[3] - corners[0]) ** 2).sum() ** 0.5)
    middle = (top + bottom) / 2
    return Word(
        text, float(x0), float(middle - height / 2), float(x1), float(middle + height / 2), height
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
