"""An answer of a conversation as safe HTML: its words, and the passages that its numbers open."""

import re
from collections.abc import Sequence
from html import escape

from app.components.text_view import is_markdown, language_of, place
from app.language import Say
from app.marking import to_html
from app.searching import Found
from indexing import Hit
from indexing.answers import ScoredSentence

_GLIMPSE = 120
"""Characters; the line shows as many as it has room for."""
_MARKS = re.compile(r"```\w*|[*`#|>]+")
_CITATION = re.compile(r"\[(\d{1,4})\]")


def worded_html(text: str, prefix: str, say: Say) -> str:
    """A model's answer, whose citations were checked: nothing of it becomes a tag or an address."""
    html = to_html(text, is_markdown=True)
    linked = _CITATION.sub(lambda match: _link(int(match[1]), prefix, say), html)
    return (
        f'<section class="angler-answer"><div class="angler-text" lang="{language_of(text)}">'
        f"{linked}</div></section>"
    )


def quoted_html(sentences: Sequence[ScoredSentence], found: Found, prefix: str, say: Say) -> str:
    """Sentences of the documents, word for word."""
    if not sentences:
        return ""
    hits = {hit.rank: hit for hit in found.hits}
    quotes = "".join(
        f'<blockquote class="angler-text" lang="{language_of(one.text)}">'
        f"{to_html(one.text, is_markdown=is_markdown(hits[one.hit]))} "
        f"{_link(one.hit, prefix, say)}</blockquote>"
        for one in sentences
    )
    return (
        f'<section class="angler-answer"><h2>{escape(say("answer_title"))}</h2>{quotes}</section>'
    )


def sources_html(found: Found, prefix: str, say: Say, *, several: bool) -> str:
    """The passages, folded; a citation's link unfolds its own."""
    parts = "".join(
        _source(hit, found.home[hit.rank].listing.name if several else "", prefix, say)
        for hit in found.hits
    )
    return f'<div class="angler-sources">{parts}</div>'


def _source(hit: Hit, base: str, prefix: str, say: Say) -> str:
    name = " › ".join(map(escape, place(hit)))
    facts = [base, hit.document, say("page", page=hit.page) if hit.page is not None else ""]
    below = "".join(f"<span>{escape(fact)}</span>" for fact in facts if fact)
    text = to_html(hit.text, is_markdown=is_markdown(hit))
    return (
        f'<details><summary><span class="angler-number">{hit.rank}</span>{name}'
        f'<span class="glimpse">{escape(_glimpse(hit.text))}</span></summary>'
        f'<div id="{prefix}-{hit.rank}" class="angler-text" lang="{language_of(hit.text)}">{text}'
        f'<p class="facts">{below}</p></div></details>'
    )


def _glimpse(text: str) -> str:
    """How a passage begins: several may come from one document."""
    return " ".join(_MARKS.sub(" ", text).split())[:_GLIMPSE]


def _link(number: int, prefix: str, say: Say) -> str:
    label = escape(say("citation", rank=number))
    return (
        f'<a class="angler-cite" href="#{prefix}-{number}" aria-label="{label}">'
        f'<span class="angler-number">{number}</span></a>'
    )
