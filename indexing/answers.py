"""Answers without a language model: the sentences of the hits that answer best, quoted exactly."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from indexing.calibration import SHOWN_TO_JUDGE
from indexing.fusion import trust_in
from indexing.hits import Hit
from indexing.sentence_cache import SentenceCache
from indexing.telling import telling_sentences
from indexing.words import words

if TYPE_CHECKING:
    from encoder import Encoder

HITS_READ = 5
"""Hits whose sentences are compared with the query."""
MOST_SENTENCES = 3
LEAST_SHARE = 0.75
"""A further sentence is quoted if it scores at least this share of the best one."""
COSINE_SHARE = 0.3
"""What the cosine counts of 1 where the encoder knows the whole query; shared words the rest."""
HIT_WEIGHT = 0.55
"""How much a sentence loses by what its hit is behind the best one: a chunk that scores high as a
whole is better evidence than a sentence that happens to repeat the question's words. Both weights
are from a logistic regression over the sentences of the judged sets' training and development
questions."""


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
    """How likely the first hits answer, 0 to 1; None where the index is not calibrated."""
    threshold: float | None
    """What it must exceed for the chosen rate of false answers."""

    @property
    def is_found(self) -> bool:
        """Whether the documents hold an answer, as far as can be said."""
        return bool(self.sentences)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def best_relevance(hits: Sequence[Hit]) -> float | None:
    """The highest relevance among the first hits; None where it is not known."""
    known = [hit.relevance for hit in hits[:SHOWN_TO_JUDGE] if hit.relevance is not None]
    return max(known, default=None)


def score_sentences(
    query: str,
    hits: Sequence[Hit],
    encoder: "Encoder",
    *,
    hits_read: int = HITS_READ,
    cache: SentenceCache | None = None,
) -> list[ScoredSentence]:
    """Compare the sentences of the first hits with the query, best first.

    A sentence's score joins the cosine to the query, as far as the encoder knows the query's
    tokens, with the share of the query's words that the sentence holds, rare words counting more;
    a sentence loses by what its hit is behind the best one.

    Args:
        query: The question.
        hits: Best first.
        encoder: The one that built the index.
        hits_read: How many of the hits are read.
        cache: What remembers sentences that were encoded before.
    """
    places = [
        (hit, start, end) for hit in hits[:hits_read] for start, end in telling_sentences(hit.text)
    ]
    if not places:
        return []
    texts = [hit.text[start:end] for hit, start, end in places]
    trust = trust_in(encoder.unknown_share(query))
    similar = [0.0] * len(texts)
    if trust:  # else the cosines are noise, and encoding is what takes the time
        rows = (cache or SentenceCache()).embeddings(encoder, texts)
        similar = (rows @ encoder.encode_queries([query])[0]).tolist()
    shared = _shared_words(query, texts)
    behind = _behind(hits[:hits_read])
    scored = [
        ScoredSentence(
            hit=hit.rank,
            document=hit.document,
            start=hit.start + start,
            end=hit.start + end,
            text=hit.text[start:end],
            score=max(0.0, _joined(max(0.0, cosine), share, trust) - behind[hit.rank]),
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


def _joined(cosine: float, share: float, trust: float) -> float:
    counts = trust * COSINE_SHARE
    return counts * cosine + (1.0 - counts) * share


def _behind(hits: Sequence[Hit]) -> dict[int, float]:
    """By rank, what the sentences of a hit lose."""
    first = hits[0].score
    # BM25 has no upper end, and the stages of a reranked list have scales of their own.
    scale = first if hits[0].scores.last == hits[0].scores.lexical and first > 0 else 1.0
    lost, most = {}, 0.0
    for hit in hits:
        most = max(most, min(1.0, (first - hit.score) / scale))
        lost[hit.rank] = HIT_WEIGHT * most
    return lost


def _shared_words(query: str, texts: Sequence[str]) -> list[float]:
    """For each text the share of the query's words that it holds, weighted by rarity among them."""
    wanted = set(words(query))
    held = [set(words(text)) & wanted for text in texts]
    frequency = Counter(word for some in held for word in some)
    weight = {word: math.log(1 + len(texts) / (1 + frequency[word])) for word in wanted}
    total = sum(weight.values())
    return [sum(weight[word] for word in some) / total if total else 0.0 for some in held]
