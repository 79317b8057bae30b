"""The answer: sentences quoted exactly, each with the number of the hit that it stands in."""

from collections.abc import Mapping, Sequence
from html import escape

from app.components.text_view import is_markdown, language_of, place
from app.language import Say
from app.marking import to_html
from indexing import Hit
from indexing.answers import ScoredSentence, answer

LONGEST_QUOTE = 400
"""Characters; a whole table or listing marks a hit well, but answers nobody."""


def quotable(sentences: Sequence[ScoredSentence]) -> list[ScoredSentence]:
    """The few sentences to show as an answer."""
    return answer([sentence for sentence in sentences if len(sentence.text) <= LONGEST_QUOTE])


def answer_html(sentences: Sequence[ScoredSentence], hits: Mapping[int, Hit], say: Say) -> str:
    """The answer as safe HTML.

    Args:
        sentences: Those to quote.
        hits: By rank.
        say: The reader's language.
    """
    quotes = "".join(_quote(sentence, hits[sentence.hit], say) for sentence in sentences)
    return (
        f'<section class="angler-answer"><h2>{escape(say("answer_title"))}</h2>{quotes}'
        f'<p class="note">{escape(say("answer_note"))}</p></section>'
    )


def waiting_html(say: Say) -> str:
    """What stands in the answer's place until the hits are read."""
    return (
        f'<section class="angler-answer angler-waiting"><h2>{escape(say("reading"))}</h2></section>'
    )


def _quote(sentence: ScoredSentence, hit: Hit, say: Say) -> str:
    text = to_html(sentence.text, is_markdown=is_markdown(hit))
    source = " › ".join(map(escape, place(hit)))
    label = escape(say("citation", rank=hit.rank))
    return (
        f'<blockquote class="angler-text" lang="{language_of(sentence.text)}">{text}</blockquote>'
        f'<p class="place"><a href="#hit-{hit.rank}" aria-label="{label}: {source}">'
        f'<span class="angler-number">{hit.rank}</span><span class="path">{source}</span></a></p>'
    )
