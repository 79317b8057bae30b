"""Source code in, the same in a Markdown fence out, so that its comments are no headings."""

import re

from data.loaders.base import Parsed
from data.loaders.text import decode_text, is_visible

_TICKS = re.compile(r"^ {0,3}(`{3,})", re.M)


def read_code(raw: bytes, stem: str) -> Parsed:
    """Read source code; its title is its file's stem."""
    return Parsed(stem, fenced(decode_text(raw)))


def fenced(text: str, language: str = "") -> str:
    """Put a fence around text that is longer than any within."""
    if not is_visible(text):
        return ""
    longest = max((len(ticks) for ticks in _TICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"
