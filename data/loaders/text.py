"""Bytes in, clean text out, whatever encoding a plain text file came in."""

import codecs
import re

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.east_asian import decode_east_asian, decode_wide, try_decode

# UTF-32's mark starts with UTF-16's, so it comes first.
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"\x84\x31\x95\x33": "GB18030",
}

# The bytes that no text holds, as file(1) sees it (src/encoding.c: text has BEL, BS, TAB, LF, VT,
# FF, CR and ESC); DOS ended its files with SUB.
_CONTROL = r"[\x00-\x06\x0e-\x19\x1c-\x1f\x7f]|\x1a(?!\Z)"
_BINARY = "The file holds binary content, not text."
_FOREIGN = (b"%PDF-", b"{\\rtf")  # formats that may be spelt in text bytes only
_CONTROL_BYTES = re.compile(_CONTROL.encode())
_CONTROL_CHARACTERS = re.compile(_CONTROL)

# What single-byte and East Asian text is written in on the web: no EBCDIC, no Mac, no DOS pages.
# Source: WHATWG Encoding Standard, §4.2 (https://encoding.spec.whatwg.org/#names-and-labels).
_GUESSED = [
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("cp874", "iso8859_2", "iso8859_15", "cp932", "euc_jp", "cp949"),
]

# Labels mean their supersets there as well.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}

_LINE_BREAK = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
_UNSEEN = re.compile(  # overstrike, terminal colours, control characters, marks of no width
    r"[^\n]\x08|\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\ufeff]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def read_text(raw: bytes, stem: str) -> Parsed:
    """Read plain text; its title is the file's stem."""
    return Parsed(stem, decode_text(raw))


def decode_text(raw: bytes, declared: str | None = None) -> str:
    """Decode text by its byte order mark, as UTF-8, as declared, as East Asian, or by best guess.

    Args:
        raw: A whole file.
        declared: The encoding that the content says it has, such as HTML's `charset`.

    Raises:
        UnreadableDocumentError: If the content is binary or valid in no plausible encoding.
    """
    if raw.startswith(_FOREIGN):
        raise UnreadableDocumentError(_BINARY)
    name = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    text = _decode_unmarked(raw, declared) if name is None else _decode_marked(raw, name)
    if _CONTROL_CHARACTERS.search(text):
        raise UnreadableDocumentError(_BINARY)
    return text.removeprefix("\ufeff")


def is_visible(text: str) -> bool:
    """Whether a text holds a character that can be seen, and not only spaces and marks of none."""
    return any(c.isprintable() and not c.isspace() for c in text)


def clean_text(text: str) -> str:
    r"""End lines with `\n`, drop control characters, replace lone surrogates by U+FFFD."""
    text = _UNSEEN.sub("", _LINE_BREAK.sub("\n", text))
    return _SURROGATE.sub("\ufffd", text)


def _decode_marked(raw: bytes, name: str) -> str:
    text = try_decode(raw, name)
    if text is None:
        raise UnreadableDocumentError(
            f"The file starts with the byte order mark of {name} but is not valid {name}; "
            "save it again as UTF-8."
        )
    return text


def _decode_unmarked(raw: bytes, declared: str | None) -> str:
    text = try_decode(raw, "utf-8")
    if text is not None and not _CONTROL_CHARACTERS.search(text):
        return text
    if _CONTROL_BYTES.search(raw):  # then only UTF-16 or UTF-32 can make text of it
        text = decode_wide(raw)
        if text is None:
            raise UnreadableDocumentError(_BINARY)
        return text
    return _decode_declared(raw, declared) or decode_east_asian(raw) or _decode_by_guess(raw)


def _decode_declared(raw: bytes, declared: str | None) -> str | None:
    try:
        name = codecs.lookup(declared or "").name
    except LookupError:
        return None
    if name.startswith(("utf", "unicode", "raw", "punycode", "idna")):
        return None  # not UTF-8, as we know by now; a declaration read as ASCII is no UTF-16
    return try_decode(raw, _SUPERSETS.get(name, name))


def _refuse_damaged_utf8(raw: bytes) -> None:
    """Name the damage instead of reading a mostly valid UTF-8 text as something else."""
    text = raw.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    intact = sum(char > "\x7f" for char in text) - damaged
    if intact >= damaged:
        place = len(text.partition("\ufffd")[0].encode())
        raise UnreadableDocumentError(
            f"The file is UTF-8 but damaged at byte {place}; save it again as UTF-8."
        )


def _decode_by_guess(raw: bytes) -> str:
    _refuse_damaged_utf8(raw)
    text = try_decode(raw, _guess_encoding(raw) or "ascii")
    if text is None:
        raise UnreadableDocumentError(
            "The file is valid in no plausible encoding; save it again as UTF-8."
        )
    return text


def _guess_encoding(raw: bytes) -> str | None:
    from charset_normalizer import from_bytes

    guesses = from_bytes(raw, cp_isolation=_GUESSED)
    best = guesses.best()
    if best is None:
        return None
    # Of equally good guesses the detector takes the first in the alphabet; cp1252 is by far the
    # most frequent of them.
    western = (guess for guess in guesses if "cp1252" in guess.could_be_from_charset)
    if any(guess.chaos <= best.chaos and guess.coherence >= best.coherence for guess in western):
        return "cp1252"
    return best.encoding
