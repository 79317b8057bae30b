"""A mail in, its heading lines, body and attachments out."""

import email
import email.policy
from collections.abc import Iterable
from email.message import EmailMessage, MIMEPart
from pathlib import PurePosixPath

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.html import read_html
from data.loaders.text import decode_text

_HEADINGS = ("From", "To", "Cc", "Date", "Subject")
_MOST_ATTACHMENTS = 100
_READ_ATTACHED = {
    ".txt",
    ".md",
    ".csv",
    ".html",
    ".htm",
    ".pdf",
    ".docx",
    ".pptx",
    ".xlsx",
    ".rtf",
    ".eml",
}


def read_mail(raw: bytes, stem: str) -> Parsed:
    """Read a mail; its title is its subject, or the stem."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise UnreadableDocumentError("The file is no mail: it has no heading lines.")
    headings = {name: _heading(message, name) for name in _HEADINGS}
    body = message.get_body(("plain", "html"))
    attached = [
        (part.get_filename() or "", _content(part))
        for part in message.iter_attachments()
        if part.get_filename()
    ]
    return told(headings, _body(body) if body is not None else "", attached, stem)


def told(
    headings: dict[str, str], body: str, attached: Iterable[tuple[str, bytes]], stem: str
) -> Parsed:
    """A mail's parts as one text: heading lines, body, and what the attachments hold."""
    lines = "\n".join(f"{name}: {value}" for name, value in headings.items() if value)
    parts = (
        f"## {name}\n\n{_attachment(name, raw)}".strip()
        for name, raw in list(attached)[:_MOST_ATTACHMENTS]
    )
    blocks = [lines, body.strip(), *parts]
    metadata = {name.lower(): headings[name] for name in ("From", "Date") if headings.get(name)}
    return Parsed(headings.get("Subject") or stem, "\n\n".join(filter(None, blocks)), (), metadata)


def _heading(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, LookupError, IndexError):  # addresses that no rule foresees
        return ""


def _body(part: MIMEPart) -> str:
    raw, charset = _content(part), part.get_content_charset()
    if part.get_content_type() == "text/html":
        return read_html(raw, "").text
    return decode_text(raw, charset) if raw.strip() else ""


def _content(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _attachment(name: str, raw: bytes) -> str:
    from data.loaders import SUFFIXES, parse

    path = PurePosixPath(name)
    if path.suffix.lower() not in _READ_ATTACHED or not raw:
        return ""
    try:
        parsed = parse(raw, SUFFIXES[path.suffix.lower()].loader, path.stem)
    except UnreadableDocumentError:
        return ""
    return parsed.text or "\n\n".join(parsed.pages)
