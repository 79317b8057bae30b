"""One hit: where it stands, its text with the matching sentence marked, and its score."""

from html import escape

from app.components.text_view import place, text_html
from app.language import Say
from app.marking import Span
from indexing import Hit


def hit_html(hit: Hit, mark: Span | None, say: Say, base: str = "") -> str:
    """A hit as safe HTML.

    Args:
        hit: The hit.
        mark: The sentence to mark.
        say: The reader's language.
        base: The name of its knowledge base, where there are several.
    """
    *above, name = map(escape, place(hit))
    path = "".join(f'<span class="above">{part} › </span>' for part in above)
    return (
        f'<article class="angler-hit" id="hit-{hit.rank}">'
        f'<h3><span class="angler-number">{hit.rank}</span>{path}{name}</h3>'
        f"{text_html(hit, mark, say)}"
        f'<p class="facts">{_facts(hit, say, base)}</p></article>'
    )


def _facts(hit: Hit, say: Say, base: str) -> str:
    facts = [f'<span class="base">{escape(base)}</span>'] if base else []
    facts += [f'<span class="document">{escape(hit.document)}</span>']
    if hit.page is not None:
        facts.append(f"<span>{escape(say('page', page=hit.page))}</span>")
    facts.append(f'<span class="score">{escape(_scores(hit, say))}</span>')
    return "".join(facts)


def _scores(hit: Hit, say: Say) -> str:
    """The score that orders the hits, and what it is made of if it is made of two."""
    parts = [say("score", score=f"{hit.score:.3f}")]
    if hit.scores.fused is not None and hit.scores.dense is not None:
        parts.append(say("score_dense", score=f"{hit.scores.dense:.2f}"))
    if hit.scores.fused is not None and hit.scores.lexical is not None:
        parts.append(say("score_lexical", score=f"{hit.scores.lexical:.1f}"))
    return " · ".join(parts)
