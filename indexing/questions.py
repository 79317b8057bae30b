"""Questions whose answers are known: golden ones, and such as are made from an index's own text."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from data import Chunk, GoldenQuestion
from indexing.generation import Generation
from indexing.telling import telling_sentences

SYNTHETIC_QUESTIONS = 200
KEPT_WORDS = 0.6
"""Share of a sentence's words that a synthetic question keeps: people do not ask in quotations."""
STRANGE_WORDS = 0.2
"""Share of the other words in whose place a word of another text stands, as people use words of
their own; the rest is left out. With both, about as many questions without an answer are answered
as stated on the mean of the judged sets' training and development splits, and fewer or more on
single ones: benchmarks/results/calibration.md shows it for the test splits."""
_SHORTEST, _LONGEST = 10, 16
"""Words of a sentence that a question is made from: of fewer, what is kept stands in any text."""
_HAN_PIECE = 2
"""Most characters of a piece of Chinese that is kept or left out together."""
_WORD = re.compile(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+")
_SEED = 17


@dataclass(frozen=True)
class Question:
    """A question whose answer is known."""

    text: str
    documents: frozenset[str]
    """Where it is answered."""
    is_answered_by: Callable[[Chunk], bool]
    """Whether a chunk is a right hit."""


def golden_questions(golden: Sequence[GoldenQuestion]) -> list[Question]:
    """Golden questions in the form that a calibration takes."""
    from indexing.evaluation import is_right

    return [
        Question(item.question, frozenset([item.document]), partial(is_right, item))
        for item in golden
    ]


def synthetic_questions(generation: Generation, count: int = SYNTHETIC_QUESTIONS) -> list[Question]:
    """Questions made from sentences chosen by chance, in words of which half are others."""
    chance = random.Random(_SEED)
    everything = generation.chunk_ids().tolist()
    chosen = chance.sample(everything, min(count, len(everything)))
    chunks = generation.chunks(chosen)
    strange = [word for id_ in chosen for word in _words(chunks[id_].text, chance)]
    made = (_synthetic(chunks[id_], strange, chance) for id_ in chosen)
    return [question for question in made if question is not None]


def _synthetic(chunk: Chunk, strange: Sequence[str], chance: random.Random) -> Question | None:
    sentences = [
        _words(chunk.text[start:end], chance) for start, end in telling_sentences(chunk.text)
    ]
    long_enough = [words for words in sentences if len(words) >= _SHORTEST]
    if not long_enough:
        return None
    words = chance.choice(long_enough)
    first = chance.randrange(max(1, len(words) - _LONGEST + 1))
    words = words[first : first + _LONGEST]
    said = [word for word in (_said(word, strange, chance) for word in words) if word] or words
    glue = "" if sum(map(_is_han, said)) * 2 > len(said) else " "

    def is_source(found: Chunk) -> bool:
        overlaps = found.start < chunk.end and chunk.start < found.end
        return found.document == chunk.document and overlaps

    return Question(glue.join(said), frozenset([chunk.document]), is_source)


def _said(word: str, strange: Sequence[str], chance: random.Random) -> str:
    """What becomes of a word; nothing, if it is left out."""
    if chance.random() < KEPT_WORDS:
        return word
    return chance.choice(strange) if chance.random() < STRANGE_WORDS else ""


def _words(text: str, chance: random.Random) -> list[str]:
    """The words of a text; Chinese in pieces of a character or two, cut by chance."""
    words = []
    for word in _WORD.findall(text):
        rest = word
        while _is_han(rest) and rest:
            piece = rest[: chance.randint(1, _HAN_PIECE)]
            words.append(piece)
            rest = rest[len(piece) :]
        if rest:
            words.append(rest)
    return words


def _is_han(word: str) -> bool:
    return word > "\u3400"
