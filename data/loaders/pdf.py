"""A PDF in, the text of its pages out; pages without text are read from their pictures."""

import re

from data.loaders.base import Parsed, UnreadableDocumentError, report_progress
from data.loaders.layout import page_text
from data.loaders.text import clean_text, is_visible
from data.pdfium import Pdf, Word, open_pdf

SCAN_SCALE = 2.0
"""Pixels a point for recognition: 144 dots an inch."""
_NO_TITLE = re.compile(
    r"\.(?:docx?|pdf|indd|qxd|tex|pptx?|xlsx?|rtf)\b|^microsoft|^untitled|^无标题|^[\d\W_]*\Z", re.I
)


def read_pdf(raw: bytes, stem: str) -> Parsed:
    """Read a PDF; its title is its file's name, with that of its properties if it says more."""
    with open_pdf(raw) as pdf:
        pages, unread, reason = [], [], None
        for number in range(len(pdf)):
            try:
                pages.append(_page(pdf, number))
            except UnreadableDocumentError as error:
                pages.append("")
                unread.append(number + 1)
                reason = error
            report_progress()
        if reason is not None and not any(map(is_visible, pages)):
            raise reason
        metadata = {"unread_pages": unread} if unread else {}
        return Parsed(_title(pdf, stem), "", tuple(pages), metadata)


def _page(pdf: Pdf, number: int) -> str:
    words = pdf.words(number)
    if words:
        return page_text(words, pdf.rules(number))
    return page_text(scanned_words(pdf, number)) if pdf.has_pictures(number) else ""


def scanned_words(pdf: Pdf, number: int) -> list[Word]:
    """The words of a page without text, recognised in its picture."""
    from data.loaders.ocr import recognise

    return recognise(pdf.render(number, SCAN_SCALE), SCAN_SCALE)


def _title(pdf: Pdf, stem: str) -> str:
    title = " ".join(clean_text(pdf.title).split())
    return stem if not title or _NO_TITLE.search(title) else title
