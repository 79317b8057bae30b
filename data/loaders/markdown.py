"""Markdown in, its text and title out; the text stays Markdown."""

import re

from data.loaders.base import Parsed
from data.loaders.text import clean_text, decode_text

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.M)
_YAML_LINE = re.compile(r"[\w-]+[ \t]*:(?:\s|\Z)|\s|#|-[ \t]|\Z")
_YAML_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+)$", re.M)

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*\Z")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*\Z")
_PARAGRAPH = re.compile(r" {0,3}[^\s>#|*+-]")
_MARKUP = (
    (re.compile(r"<[/a-zA-Z][^>]*>|\{#[^}]*\}\s*\Z"), ""),  # HTML tags, heading ids
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),  # links and pictures
    (re.compile(r"(\*\*|__|`)(.+?)\1"), r"\2"),  # bold, code
    (re.compile(r"(?<!\w)([*_])(?=\S)(.+?)(?<=\S)\1(?!\w)"), r"\2"),  # italics
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),  # escapes
)


def read_markdown(raw: bytes, stem: str) -> Parsed:
    """Read Markdown; its title is front matter's, the first H1, or the file's stem."""
    text = clean_text(decode_text(raw))
    front_matter, text = _split_front_matter(text)
    return Parsed(_yaml_title(front_matter) or first_h1(text) or stem, text)


def first_h1(text: str) -> str | None:
    """Return the first top heading, freed of its markup, if there is one.

    Source: CommonMark 0.31, §4.2 ATX headings, §4.3 setext headings, §4.5 fenced code blocks.
    """
    previous = ""
    for line in _lines_outside_fences(text):
        title = None
        if match := _ATX.match(line):
            title = match[1]
        elif _UNDERLINE.match(line) and _PARAGRAPH.match(previous):
            title = previous
        if title and (plain := _plain(title)):
            return plain
        previous = line
    return None


def _split_front_matter(text: str) -> tuple[str, str]:
    """Split YAML front matter off; a block between rules that is no YAML stays text."""
    match = _FRONT_MATTER.match(text)
    if match is None or not all(map(_YAML_LINE.match, match[1].split("\n"))):
        return "", text
    return match[1], text[match.end() :]


def _yaml_title(front_matter: str) -> str:
    match = _YAML_TITLE.search(front_matter)
    title = match[1].strip() if match else ""
    if title[:1] in ("'", '"') and title[:1] == title[-1:]:
        title = title[1:-1]
    return "" if title[:1] in ("|", ">") else title.strip()


def _lines_outside_fences(text: str) -> list[str]:
    """Return the lines, with an empty one for each line of a fenced code block."""
    lines, fence = [], ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        mark = match[1] if match else ""
        inside = bool(fence or mark)
        if not fence:
            fence = mark
        elif mark.startswith(fence) and line.strip() == mark:
            fence = ""
        lines.append("" if inside else line)
    return lines


def _plain(title: str) -> str:
    for pattern, replacement in _MARKUP:
        title = pattern.sub(replacement, title)
    return title.strip()
