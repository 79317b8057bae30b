"""RTF in, its text out."""

import re

from data.loaders.base import Parsed, UnreadableDocumentError, missing_extra

_ANSI_CODE_PAGE = re.compile(rb"\\ansicpg(\d+)")


def read_rtf(raw: bytes, stem: str) -> Parsed:
    """Read an RTF file; its title is its file's stem."""
    if not raw.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocumentError("The file is not RTF.")
    return Parsed(stem, rtf_text(raw))


def rtf_text(raw: bytes) -> str:
    """The text of RTF."""
    try:
        from striprtf.striprtf import rtf_to_text
    except ImportError as error:
        raise missing_extra("Reading RTF", "documents") from error
    page = _ANSI_CODE_PAGE.search(raw)
    encoding = f"cp{page[1].decode()}" if page and page[1] != b"0" else "cp1252"
    try:
        # Latin-1 keeps each byte: RTF itself is ASCII, what is beyond belongs to its code page.
        text: str = rtf_to_text(raw.decode("latin-1"), encoding=encoding, errors="replace")
    except (LookupError, ValueError, IndexError) as error:
        raise UnreadableDocumentError(f"The RTF is damaged ({error}).") from error
    return re.sub(r"\n{3,}", "\n\n", text).strip()
