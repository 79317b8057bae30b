"""A hit's text and place as safe HTML; knows no screen."""

from html import escape
from pathlib import PurePosixPath

from app.language import Say
from app.marking import Span, excerpt, to_html
from indexing import Hit
from indexing.answers import ScoredSentence

_MARKDOWN = frozenset({".md", ".markdown", ".html", ".htm"})
"""What is kept as Markdown; HTML is read into it."""
SHOWN_FIRST = {"en": 480, "zh": 220}
"""Characters of a long chunk that are shown before the reader asks for all, by language."""
_SLACK = 1.35
"""A chunk only this much longer is shown whole: a fold would hide a line or two."""


def is_markdown(hit: Hit) -> bool:
    """Whether the text's Markdown is to be shown as such."""
    return PurePosixPath(hit.source).suffix.lower() in _MARKDOWN


def place(hit: Hit) -> list[str]:
    """Title and headings, outermost first, without repetitions."""
    names = dict.fromkeys(name for name in (hit.title, *hit.heading) if name.strip())
    return list(names) or [hit.document]


def span_in(hit: Hit, sentence: ScoredSentence) -> Span:
    """Where a sentence stands in its hit's text."""
    return sentence.start - hit.start, sentence.end - hit.start


def language_of(text: str) -> str:
    """Tells the browser which fonts and which voice to use."""
    han = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return "zh" if han * 4 > len(text) else "en"


def text_html(hit: Hit, mark: Span | None, say: Say) -> str:
    """A hit's text with one sentence marked; if it is long, the part around the mark and a fold."""
    language = language_of(hit.text)
    most = SHOWN_FIRST[language]
    start, end = excerpt(hit.text, mark, most)
    whole = to_html(hit.text, mark, is_markdown=is_markdown(hit))
    if end - start == len(hit.text) or len(hit.text) <= most * _SLACK:
        return f'<div class="angler-text" lang="{language}">{whole}</div>'
    shifted = (mark[0] - start, mark[1] - start) if mark else None
    part = to_html(hit.text[start:end], shifted, is_markdown=is_markdown(hit))
    more, less = escape(say("show_more")), escape(say("show_less"))
    return (
        f'<div class="angler-text" lang="{language}"><div class="excerpt">{part}</div><details>'
        f'<summary><span class="more">{more}</span><span class="less">{less}</span></summary>'
        f"{whole}</details></div>"
    )
