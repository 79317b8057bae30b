"""Answers without a language model: the sentences of the hits that answer best, quoted exactly."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from indexing.calibration import SHOWN_TO_JUDGE
from indexing.hits import Hit
from indexing.sentences import split_sentences
from indexing.structure import blocks, items
from indexing.words import words

if TYPE_CHECKING:
    from encoder import Encoder

HITS_READ = 5
"""Hits whose sentences are compared with the query."""
MOST_SENTENCES = 3
LEAST_SHARE = 0.75
"""A further sentence is quoted if it scores at least this share of the best one."""
RANK_DISCOUNT = 0.15
"""How much a sentence counts less for each hit above its own: a chunk that ranks high as a whole is
better evidence than a sentence that happens to repeat the question's words."""
_SHORTEST = 12
_HAN_WEIGHT = 3
"""A Chinese character says about as much as three letters."""
_ADJACENT = re.compile(r"[\u2e80-\U0003ffff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredSentence:
    """A sentence of a hit: `document.text[start:end]`."""

    hit: int
    """The hit's rank."""
    document: str
    start: int
    end: int
    text: str
    score: float
    """How well it answers, 0 to 1, within one query only."""
    page: int | None = None
    """The page that it begins on, where the format has pages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the documents say to a query, in their own words; nothing, if they do not say it."""

    sentences: tuple[ScoredSentence, ...]
    """Quoted exactly, best first; none if the answer is not in these documents."""
    relevance: float | None
    """Of the best hit; None where the index is not calibrated."""
    threshold: float | None
    """The relevance that a best hit needs, for the chosen rate of false answers."""

    @property
    def is_found(self) -> bool:
        """Whether the documents hold an answer, as far as can be said."""
        return bool(self.sentences)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def falls_short(hits: Sequence[Hit], threshold: float | None) -> bool:
    """Whether no hit is relevant enough; never where the index is not calibrated."""
    best = best_relevance(hits)
    return threshold is not None and best is not None and best <= threshold


def best_relevance(hits: Sequence[Hit]) -> float | None:
    """The highest relevance among the first hits, which decides whether there is an answer."""
    known = [hit.relevance for hit in hits[:SHOWN_TO_JUDGE] if hit.relevance is not None]
    return max(known, default=None)


def score_sentences(
    query: str, hits: Sequence[Hit], encoder: "Encoder", *, hits_read: int = HITS_READ
) -> list[ScoredSentence]:
    """Compare the sentences of the first hits with the query, best first.

    A sentence's score joins the cosine to the query, as far as the encoder knows the query's
    tokens, with the share of the query's words that the sentence holds, rare words counting more;
    a sentence of a lower hit counts less.
    """
    places = [
        (hit, start, end)
        for hit in hits[:hits_read]
        for start, end in _sentences(hit.text)
        if _is_telling(hit.text[start:end])
    ]
    if not places:
        return []
    texts = [hit.text[start:end] for hit, start, end in places]
    similar = (encoder.encode_documents(texts) @ encoder.encode_queries([query])[0]).tolist()
    shared = _shared_words(query, texts)
    trust = 1.0 - encoder.unknown_share(query)
    scored = [
        ScoredSentence(
            hit=hit.rank,
            document=hit.document,
            start=hit.start + start,
            end=hit.start + end,
            text=hit.text[start:end],
            score=_joined(max(0.0, cosine), share, trust) / (1 + RANK_DISCOUNT * (hit.rank - 1)),
        )
        for (hit, start, end), cosine, share in zip(places, similar, shared, strict=True)
    ]
    return sorted(scored, key=lambda sentence: -sentence.score)


def answer(sentences: Sequence[ScoredSentence]) -> list[ScoredSentence]:
    """The few sentences to quote as an answer, best first; repetitions are left out."""
    quoted: list[ScoredSentence] = []
    for sentence in sentences:
        if len(quoted) == MOST_SENTENCES or sentence.score < sentences[0].score * LEAST_SHARE:
            break
        if sentence.score > 0 and sentence.text not in {other.text for other in quoted}:
            quoted.append(sentence)
    return quoted


def _sentences(text: str) -> list[tuple[int, int]]:
    spans = []
    for block in blocks(text, 0, len(text)):
        if block.is_code:  # a line torn out of a listing answers nothing
            continue
        parts = items(text, block) if block.by_lines else [(block.start, block.end)]
        for part in parts:
            for start, end in split_sentences(text, *part):
                sentence = text[start:end]
                indent = len(sentence) - len(sentence.lstrip())
                spans.append((start + indent, start + len(sentence.rstrip())))
    return spans


def _is_telling(sentence: str) -> bool:
    han = len(_ADJACENT.findall(sentence))
    is_long = len(sentence) + (_HAN_WEIGHT - 1) * han >= _SHORTEST
    return is_long and any(map(str.isalnum, sentence))


def _joined(cosine: float, share: float, trust: float) -> float:
    return trust * (cosine + share) / 2 + (1.0 - trust) * share


def _shared_words(query: str, texts: Sequence[str]) -> list[float]:
    """For each text the share of the query's words that it holds, weighted by rarity among them."""
    wanted = set(words(query))
    held = [set(words(text)) & wanted for text in texts]
    frequency = Counter(word for some in held for word in some)
    weight = {word: math.log(1 + len(texts) / (1 + frequency[word])) for word in wanted}
    total = sum(weight.values())
    return [sum(weight[word] for word in some) / total if total else 0.0 for some in held]
