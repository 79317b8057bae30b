"""An index in, training pairs out, for when nobody has labels.

Queries are headings, titles, questions that stand in the text, sentences taken out of their place
(inverse cloze, Lee et al. 2019, https://arxiv.org/abs/1906.00300), the words that are frequent
in a text and rare elsewhere, and wordings of a sentence as people type or ask them. What does not
find its own text again in the index (round trip, Alberti et al. 2019,
https://arxiv.org/abs/1906.05416) is left out.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Protocol

from data.pairs import PairRecord
from data.records import Chunk, Document
from finetune.teaching import HybridTeacher
from finetune.wordings import asked, phrase
from indexing.sentences import split_sentences
from indexing.words import common_words, words

WAYS = ("heading", "title", "question", "cloze", "keywords", "phrase", "asked")
"""Ways to a query without a language model."""
_KEYWORDS = (2, 5)
"""Fewest and most words of a query."""
_COMMON = 3
"""A heading of more documents than this names no subject, as "Introduction" does."""
_LEAST_QUERY, _LEAST_TEXT = 4, 40
"""Characters; in Chinese four can be a question."""
_LEAST_WORDS = 4
"""Of a sentence that is put in other words."""
_NO_PROSE = ("```", " | ", "://")
"""Signs of code, tables and addresses, of which nothing is worded."""
_KEPT_SENTENCE = 0.1
"""How often inverse cloze leaves the sentence in its text, so that words count too (Lee et al.)."""
_WORDINGS: dict[str, Callable[[str, random.Random], str]] = {"phrase": phrase, "asked": asked}
Progress = Callable[[int, int], None]


class Searches(Protocol):
    """An open index, as far as it is needed."""

    def search(self, query: str, k: int = 10) -> Sequence[object]:
        """Hits, best first; each has a `chunk`, its id."""
        ...


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk with the title of its document."""

    chunk: Chunk
    title: str
    is_first: bool
    """Of its document."""


@dataclass(frozen=True, slots=True)
class Made:
    """A query that was made for a chunk."""

    way: str
    query: str
    text: str
    chunk: int


@dataclass(kw_only=True)
class SynthesisReport:
    """What was made, and what was left out for which reason."""

    passages: int = 0
    made: Counter[str] = field(default_factory=Counter)
    """Pairs that are kept, by way."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason: `round trip`, `duplicate`, `too few others`."""


def passages_of(portions: Iterable[Iterable[tuple[Document, Sequence[Chunk]]]]) -> list[Passage]:
    """The chunks of documents with their titles."""
    return [
        Passage(chunk, document.title, place == 0)
        for portion in portions
        for document, chunks in portion
        for place, chunk in enumerate(chunks)
    ]


def make_pairs(
    passages: Sequence[Passage], *, ways: Sequence[str] = WAYS, seed: int = 0
) -> Iterator[Made]:
    """Make queries for chunks; the same seed makes the same ones.

    Args:
        passages: All chunks of the knowledge base.
        ways: Of `WAYS`.
        seed: Draws the sentences of inverse cloze and the numbers of keywords.

    Raises:
        ValueError: If a way is unknown.
    """
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise ValueError(f"Unknown way to pairs {unknown[0]!r}. Known: {', '.join(WAYS)}.")
    common = _common_headings(passages)
    rarity = _Rarity(passages) if "keywords" in ways else None
    for passage in passages:
        chunk = passage.chunk
        body = _body(chunk)
        for way in ways:
            drawn = random.Random(f"{seed}/{way}/{chunk.document}/{chunk.start}")
            if way == "keywords":
                assert rarity is not None
                found: Iterable[tuple[str, str]]
                found = [(rarity.keywords(body, drawn.randint(*_KEYWORDS)), body)]
            else:
                found = _queries(way, passage, body, common, drawn)
            for query, text in found:
                query, text = " ".join(query.split()), text.strip()
                if len(query) >= _LEAST_QUERY and len(text) >= _LEAST_TEXT:
                    yield Made(way, query, text, chunk.id)


def _queries(
    way: str, passage: Passage, body: str, common: set[str], drawn: random.Random
) -> Iterable[tuple[str, str]]:
    """Queries by a way that looks at one passage alone, with the texts that answer them."""
    if way == "heading":
        return _from_heading(passage.chunk, body, common)
    if way == "title":
        return [(passage.title, body)] if passage.is_first else []
    if way == "question":
        return _from_questions(body)
    if way == "cloze":
        return _from_cloze(body, drawn)
    return _from_sentence(body, drawn, _WORDINGS[way])


def keep_found(
    made: Iterable[Made],
    index: Searches | None,
    *,
    k: int = 10,
    teacher: HybridTeacher | None = None,
    report: SynthesisReport | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[PairRecord]:
    """Keep each query once, and only where its own chunk is among the first `k` hits for it.

    Inverse cloze is not searched for: its sentence stands in the index as it is.

    Args:
        made: Queries.
        index: Where they must find their chunks; None keeps all.
        k: How deep to look.
        teacher: Puts other texts beside the own one, and scores all of them.
        report: Is filled.
        progress: Called with (queries done, None).
    """
    report = report if report is not None else SynthesisReport()
    seen: set[str] = set()
    kept = []
    for done, one in enumerate(made, start=1):
        progress(done, None)
        if one.query.casefold() in seen:
            report.left_out["duplicate"] += 1
            continue
        seen.add(one.query.casefold())
        if index is not None and one.way != "cloze":
            hits = index.search(one.query, k)
            if one.chunk not in {getattr(hit, "chunk", None) for hit in hits}:
                report.left_out["round trip"] += 1
                continue
        record: PairRecord | None
        if teacher is None:
            record = PairRecord(queries=(one.query,), positives=(one.text,), place=one.way)
        else:
            record = teacher.record(one.query, one.chunk, one.way)
        if record is None:
            report.left_out["too few others"] += 1
            continue
        report.made[one.way] += 1
        kept.append(record)
    return kept


class _Rarity:
    """In how many passages each word stands."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._count = len(passages)
        self._passages = Counter(
            word for passage in passages for word in set(words(passage.chunk.text))
        )

    def keywords(self, text: str, count: int) -> str:
        """The words with the highest term frequency · inverse document frequency, as they come.

        Source: Spärck Jones 1972 (https://doi.org/10.1108/eb026526).
        """
        found = Counter(word for word in words(text) if len(word) > 1)
        for word in found.keys() & common_words():
            del found[word]

        def weight(word: str) -> float:
            return (1 + log(found[word])) * log(self._count / self._passages[word])

        best = sorted(found, key=weight, reverse=True)[:count]
        return " ".join(word for word in found if word in best)


def _common_headings(passages: Iterable[Passage]) -> set[str]:
    documents: dict[str, set[str]] = {}
    for passage in passages:
        for heading in passage.chunk.heading[-1:]:
            documents.setdefault(heading.casefold(), set()).add(passage.chunk.document)
    return {heading for heading, found in documents.items() if len(found) > _COMMON}


def _body(chunk: Chunk) -> str:
    """The chunk's text without the heading that it starts with: it would give the query away."""
    lines = chunk.text.split("\n")
    headings = {heading.casefold() for heading in chunk.heading}
    while lines and (
        not lines[0].strip() or lines[0].strip("#=- \t").casefold() in headings | {""}
    ):
        lines.pop(0)
    return "\n".join(lines)


def _from_heading(chunk: Chunk, body: str, common: set[str]) -> Iterator[tuple[str, str]]:
    if chunk.heading and chunk.heading[-1].casefold() not in common:
        yield chunk.heading[-1], body


def _from_questions(body: str) -> Iterator[tuple[str, str]]:
    """Each question of the text with what follows it."""
    for start, end in split_sentences(body):
        sentence = body[start:end].strip()
        if sentence.endswith(("?", "？")) and "\n" not in sentence:
            yield sentence.lstrip("#>*-0123456789. \t"), body[end:]


def _from_cloze(body: str, drawn: random.Random) -> Iterator[tuple[str, str]]:
    """One sentence, and the text without it."""
    spans = split_sentences(body)
    fitting = [
        (start, end)
        for start, end in spans
        if end - start >= 2 * _LEAST_QUERY and end - start <= len(body) / 2
    ]
    if len(spans) < 3 or not fitting:
        return
    start, end = drawn.choice(fitting)
    is_kept = drawn.random() < _KEPT_SENTENCE
    yield body[start:end], body if is_kept else body[:start] + body[end:]


def _from_sentence(
    body: str, drawn: random.Random, worded: Callable[[str, random.Random], str]
) -> Iterator[tuple[str, str]]:
    """One sentence in other words, and the whole text."""
    sentences = [body[start:end] for start, end in split_sentences(body)]
    fitting = [
        sentence
        for sentence in sentences
        if len(sentence.split()) >= _LEAST_WORDS and not any(sign in sentence for sign in _NO_PROSE)
    ]
    if fitting:
        yield worded(drawn.choice(fitting), drawn), body
