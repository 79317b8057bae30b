"""A picture in, the text that is printed on it out; the pictures of one file are pages."""

import io

from data.loaders.base import Parsed, UnreadableDocumentError, missing_extra, report_progress
from data.loaders.layout import page_text
from data.loaders.ocr import recognise

_MOST_PIXELS = 100_000_000
_MOST_FRAMES = 500


def read_image(raw: bytes, stem: str) -> Parsed:
    """Read a picture or a fax of several; its title is its file's stem."""
    try:
        import numpy as np
        from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
    except ImportError as error:
        raise missing_extra("Reading text in pictures", "ocr") from error
    pages = []
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise UnreadableDocumentError(
                    f"The picture has {picture.width} x {picture.height} pixels; that is too many."
                )
            frames = 1 if picture.format == "GIF" else _MOST_FRAMES
            for _, frame in zip(range(frames), ImageSequence.Iterator(picture), strict=False):
                upright = ImageOps.exif_transpose(frame)
                pages.append(page_text(recognise(np.asarray(upright.convert("RGB")), 1.0)))
                report_progress()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableDocumentError(
            f"The picture is damaged or of an unknown kind ({error})."
        ) from error
    return Parsed(stem, "", tuple(pages)) if len(pages) > 1 else Parsed(stem, "".join(pages))
