"""Example questions for a knowledge base, taken from its own headings; knows no screen."""

import re
from collections.abc import Iterable, Sequence

from data import Chunk
from indexing import SearchIndex

SHOWN = 3
_CHUNKS_READ = 600
_HAN = re.compile(r"[\u4e00-\u9fff]")
_QUESTION = {
    "en": re.compile(r"(?:how|why|what|which|can|does|is)\b.*|.*\?", re.IGNORECASE),
    "zh": re.compile(r".*(?:怎样|怎么|如何|为什么|什么|哪些|哪里|多少|多大|多久|吗|？).*"),
}
_LEANS_ON_CONTEXT = re.compile(
    r".*([:：]|\b(it|its|they|them|this|that|these|there|today)\b|它).*", re.I
)
"""A heading that says little where its page is not at hand."""
_LENGTHS = {"en": range(20, 64), "zh": range(6, 26)}


def example_questions(index: SearchIndex, language: str) -> list[str]:
    """A few things that one could ask this index in a language, each from another document."""
    return choose_examples(_sample(index), language)


def choose_examples(chunks: Iterable[Chunk], language: str) -> list[str]:
    """The headings that read most like a question, at most one of each document."""
    best: dict[str, tuple[bool, str]] = {}
    for chunk in chunks:
        heading = chunk.heading[-1] if chunk.heading else ""
        if _fits(heading, language):
            offer = (_is_question(heading, language), heading)
            best[chunk.document] = max(offer, best.get(chunk.document, offer), key=_worth)
    questions = [heading for is_question, heading in best.values() if is_question]
    others = [heading for is_question, heading in best.values() if not is_question]
    return list(dict.fromkeys([*_spread(questions), *_spread(others)]))[:SHOWN]


def _worth(offer: tuple[bool, str]) -> tuple[bool, int]:
    """A question before a topic, then the longer one: it says more."""
    return offer[0], len(offer[1])


def _spread(headings: Sequence[str]) -> list[str]:
    """Some of the headings, far from each other, so that they do not all come from one corner."""
    step = max(1, len(headings) // SHOWN)
    return list(headings[::step])


def _fits(heading: str, language: str) -> bool:
    is_chinese = bool(_HAN.search(heading))
    fits = is_chinese == (language == "zh") and len(heading) in _LENGTHS[language]
    return fits and not _LEANS_ON_CONTEXT.fullmatch(heading)


def _is_question(heading: str, language: str) -> bool:
    return _QUESTION[language].fullmatch(heading) is not None


def _sample(index: SearchIndex) -> list[Chunk]:
    """Chunks from all over the index: however large it is, only so many are read."""
    generation = index.generation
    ids = range(0, generation.manifest.next_id, 1 + generation.manifest.next_id // _CHUNKS_READ)
    deleted = set(generation.deleted.tolist())
    return list(generation.chunks([id_ for id_ in ids if id_ not in deleted]).values())
