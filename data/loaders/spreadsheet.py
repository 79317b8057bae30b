"""Excel and OpenDocument sheets in, Markdown tables out, their header with each group of rows."""

import datetime
import io
from typing import Any

from data.loaders.base import Parsed, UnreadableDocumentError, missing_extra
from data.loaders.tables import grouped_table

_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def read_spreadsheet(raw: bytes, stem: str) -> Parsed:
    """Read the sheets that hold something, each under its name."""
    if _ENCRYPTED in raw:
        raise UnreadableDocumentError("The file is encrypted with a password; save it without one.")
    try:
        from python_calamine import CalamineError, CalamineWorkbook, PasswordError
    except ImportError as error:
        raise missing_extra("Reading spreadsheets", "documents") from error
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(raw))
        sheets = [
            (name, workbook.get_sheet_by_name(name).to_python(skip_empty_area=True))
            for name in workbook.sheet_names
        ]
    except PasswordError as error:
        raise UnreadableDocumentError(
            "The file is encrypted with a password; save it without one."
        ) from error
    except CalamineError as error:
        raise UnreadableDocumentError(
            f"The file is damaged or no spreadsheet ({error})."
        ) from error
    texts = [
        (name, grouped_table([[_text(cell) for cell in row] for row in rows]))
        for name, rows in sheets
    ]
    return Parsed(stem, "\n\n".join(f"## {name}\n\n{text}" for name, text in texts if text))


def _text(value: Any) -> str:  # noqa: ANN401 - a cell holds any of a dozen types
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.15g}"  # as many digits as Excel keeps
    if isinstance(value, datetime.datetime):
        is_day = value.time() == datetime.time()
        return value.date().isoformat() if is_day else value.isoformat(" ", "seconds")
    return str(value)
