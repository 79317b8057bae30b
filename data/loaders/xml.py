"""XML in, its text out; feeds as entries with their titles."""

import re
from typing import TYPE_CHECKING

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.html import read_html
from data.loaders.package import local_name, parse_xml
from data.loaders.text import decode_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*?(?:encoding\s*=\s*[\"']([\w.-]+)[\"'])?[^>]*\?>")
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]*encoding\s*=\s*[\"']([\w.-]+)[\"']")
_ENTRIES = {"item", "entry"}
_MARKUP = re.compile(r"<[a-zA-Z/!][^>]*>|&\w+;")


def read_xml(raw: bytes, stem: str) -> Parsed:
    """Read XML in any encoding; what is not well-formed is read as a page."""
    declared = _DECLARED.match(raw)
    text = decode_text(raw, declared[1].decode("ascii") if declared else None)
    body = _DECLARATION.sub("", text, count=1)
    try:
        root = parse_xml(body.encode())
    except UnreadableDocumentError as error:
        if "entities" in str(error):
            raise
        return read_html(body.encode(), stem)
    entries = [one for one in root.iter() if local_name(one) in _ENTRIES]
    if not entries:
        return Parsed(_title(root) or stem, "\n".join(_lines(root)))
    title = _title(root)
    heading = f"# {title}" if title else ""
    return Parsed(title or stem, "\n\n".join(filter(None, [heading, *map(_entry, entries)])))


def _title(root: "Element") -> str:
    found = next((one for one in root.iter() if local_name(one) == "title"), None)
    return " ".join("".join(found.itertext()).split()) if found is not None else ""


def _entry(entry: "Element") -> str:
    title = next((one for one in entry if local_name(one) == "title"), None)
    rest = [line for one in entry if one is not title for line in _lines(one)]
    heading = f"## {_plain(''.join(title.itertext()))}" if title is not None else ""
    return "\n\n".join(filter(None, [heading, "\n".join(rest)]))


def _lines(element: "Element") -> list[str]:
    texts = [element.text or ""]
    for child in element:
        texts += _lines(child)
        texts.append(child.tail or "")
    return [line for text in texts if (line := _plain(text))]


def _plain(text: str) -> str:
    """Text without the HTML that feeds hold in it."""
    if _MARKUP.search(text):
        text = read_html(text.encode(), "").text
    return text.strip() if "\n" in text.strip() else " ".join(text.split())
