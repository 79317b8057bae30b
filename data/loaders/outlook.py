"""A mail saved by Outlook (MSG) in, the same as of any other mail out."""

import io
import struct
from typing import Any

from data.loaders.base import Parsed, UnreadableDocumentError, missing_extra
from data.loaders.html import read_html
from data.loaders.mail import told
from data.loaders.rtf import rtf_text
from data.loaders.text import decode_text

# Properties and types. Source: [MS-OXPROPS] and [MS-OXCDATA] 2.11.1.
_SUBJECT, _BODY, _HTML, _RTF = "0037", "1000", "1013", "1009"
_FROM, _FROM_ADDRESS, _TO, _CC, _DATE = "0C1A", "0C1F", "0E04", "0E03", "0039"
_LONG_NAME, _SHORT_NAME, _DATA = "3707", "3704", "3701"
_UNICODE, _STRING, _BINARY = "001F", "001E", "0102"
_CODE_PAGES = (0x3FFD, 0x3FDE)
_PROPERTIES = "__properties_version1.0"
_UTF8 = 65001
_WINDOWS_EPOCH = 11644473600
"""Seconds from 1601, where Windows counts from, to 1970."""
_RTF_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript "
    rb"\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
"""What compressed RTF may refer to before its own start. Source: [MS-OXRTFCP] 2.1.2.1."""
_COMPRESSED, _PLAIN = b"LZFu", b"MELA"
_RING = 4096
_MOST_RTF = 64 * 2**20


def read_msg(raw: bytes, stem: str) -> Parsed:
    """Read an Outlook mail; its title is its subject, or the stem."""
    try:
        import olefile
    except ImportError as error:
        raise missing_extra("Reading Outlook mail", "documents") from error
    if not olefile.isOleFile(io.BytesIO(raw)):
        raise UnreadableDocumentError("The file is no Outlook mail.")
    try:
        with olefile.OleFileIO(io.BytesIO(raw)) as ole:
            message = _Properties(ole, "")
            headings = {
                "From": _sender(message),
                "To": message.text(_TO),
                "Cc": message.text(_CC),
                "Date": message.date(),
                "Subject": message.text(_SUBJECT),
            }
            folders = sorted({path[0] for path in ole.listdir() if path[0].startswith("__attach")})
            attached = [_attachment(_Properties(ole, folder)) for folder in folders]
            return told(headings, _body(message), [one for one in attached if one[0]], stem)
    except (OSError, struct.error) as error:
        raise UnreadableDocumentError(f"The mail is damaged ({error}).") from error


class _Properties:
    """The properties of a message or an attachment."""

    def __init__(self, ole: Any, folder: str) -> None:  # noqa: ANN401 - the library has no types
        self._ole, self._prefix = ole, f"{folder}/" if folder else ""
        self._fixed = self._stream(_PROPERTIES)

    def _stream(self, name: str) -> bytes:
        path = self._prefix + name
        if not self._ole.exists(path):
            return b""
        with self._ole.openstream(path) as stream:
            content: bytes = stream.read()
            return content

    def binary(self, key: str) -> bytes:
        return self._stream(f"__substg1.0_{key}{_BINARY}")

    def text(self, key: str) -> str:
        wide = self._stream(f"__substg1.0_{key}{_UNICODE}")
        if wide:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        narrow = self._stream(f"__substg1.0_{key}{_STRING}").rstrip(b"\0")
        return decode_text(narrow, self._encoding()) if narrow.strip() else ""

    def _encoding(self) -> str | None:
        pages = (self._number(key) for key in _CODE_PAGES)
        page = next(filter(None, pages), 0)
        return "utf-8" if page == _UTF8 else f"cp{page}" if page else None

    def _number(self, key: int) -> int:
        """A property of fixed size: rows of 16 bytes with type, key, flags and value."""
        for start in (24, 32, 8):  # attachment, message, embedded message
            for place in range(start, len(self._fixed) - 15, 16):
                _, found, _, value = struct.unpack_from("<HHIQ", self._fixed, place)
                if found == key:
                    return int(value)
        return 0

    def date(self) -> str:
        from datetime import UTC, datetime

        ticks = self._number(int(_DATE, 16))
        seconds = ticks / 10_000_000 - _WINDOWS_EPOCH
        if not 0 < seconds < 2**33:
            return ""
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _sender(message: _Properties) -> str:
    name, address = message.text(_FROM), message.text(_FROM_ADDRESS)
    return f"{name} <{address}>" if "@" in address and address != name else name or address


def _body(message: _Properties) -> str:
    if text := message.text(_BODY).strip():
        return text
    if page := message.binary(_HTML) or message.text(_HTML).encode():
        return read_html(page, "").text
    packed = message.binary(_RTF)
    return rtf_text(unpacked_rtf(packed)) if packed else ""


def _attachment(part: _Properties) -> tuple[str, bytes]:
    return part.text(_LONG_NAME) or part.text(_SHORT_NAME), part.binary(_DATA)


def unpacked_rtf(packed: bytes) -> bytes:
    """Undo the compression of RTF in mails. Source: [MS-OXRTFCP] 2.2."""
    _, size, kind, _ = struct.unpack_from("<II4sI", packed)
    if kind == _PLAIN:
        return packed[16 : 16 + size]
    if kind != _COMPRESSED or size > _MOST_RTF:
        raise UnreadableDocumentError("The mail's text is in an unknown format.")
    ring = bytearray(_RTF_START.ljust(_RING, b" "))
    write, out, place = len(_RTF_START), bytearray(), 16
    while place < len(packed) and len(out) < size:
        control, place = packed[place], place + 1
        for bit in range(8):
            if place >= len(packed) or len(out) >= size:
                break
            if control >> bit & 1:
                if place + 1 >= len(packed):
                    break
                reference = packed[place] << 8 | packed[place + 1]
                start, length, place = reference >> 4, (reference & 15) + 2, place + 2
                if start == write:
                    return bytes(out)
                found = [start + step for step in range(length)]
            else:
                found = []
                ring[write] = packed[place]
                out.append(packed[place])
                write, place = (write + 1) % _RING, place + 1
            for source in found:
                byte = ring[source % _RING]
                ring[write] = byte
                out.append(byte)
                write = (write + 1) % _RING
    return bytes(out)
