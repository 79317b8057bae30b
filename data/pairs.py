"""Training pairs as they come out of any file, and the example that one of them gives per epoch."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A query and a text that answers it."""

    query: str
    positive: str
    instruction: str | None = None
    """What stands in place of the encoder's own query instruction, if the data says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Triplet:
    """A query, a text that answers it and texts that do not."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    scores: tuple[float, ...] = ()
    """A teacher's scores of the positive and of each negative, in this order; empty without one."""
    instruction: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPair:
    """Two texts and how alike they are; higher is more alike."""

    text1: str
    text2: str
    label: float


Example = Pair | Triplet | ScoredPair


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRecord:
    """What one line of a file holds: each text may have several wordings to draw from."""

    queries: tuple[str, ...]
    """Wordings of one query, or of the first text of a scored pair; at least one."""
    positives: tuple[str, ...]
    """Texts that answer, or wordings of the second text of a scored pair; at least one."""
    negatives: tuple[str, ...] = ()
    label: float | None = None
    """How alike the two texts are; only a scored pair has one."""
    positive_scores: tuple[float, ...] = ()
    """A teacher's score of each positive, or none."""
    negative_scores: tuple[float, ...] = ()
    instruction: str | None = None
    kind: str | None = None
    """FlagEmbedding's `type` of the data, such as `symmetric_sts` or `only_1neg`."""
    place: str = ""
    """Where it stands, such as `line 17`."""

    @property
    def shape(self) -> str:
        """One of `pair`, `triplet` and `scored pair`."""
        if self.label is not None:
            return "scored pair"
        return "triplet" if self.negatives else "pair"

    def texts(self) -> Iterator[str]:
        """Every text, queries first."""
        yield from self.queries
        yield from self.positives
        yield from self.negatives

    def example(
        self, *, seed: int = 0, epoch: int = 0, index: int = 0, negatives: int = 1
    ) -> Example:
        """The example of one epoch: one wording of each text, taken in turn from epoch to epoch.

        The same numbers give the same example on every machine; after as many epochs as a list has
        texts, each of them was drawn once.

        Args:
            seed: Another seed starts the lists elsewhere.
            epoch: 0-based.
            index: The record's place in the data set.
            negatives: How many to draw; fewer come where the record has fewer.
        """
        # One order per list, drawn by place and not by epoch, so that epochs walk through it.
        drawn = random.Random(f"{seed}/{index}")
        query = self.queries[_turn(len(self.queries), epoch, drawn)]
        place = _turn(len(self.positives), epoch, drawn)
        positive = self.positives[place]
        if self.label is not None:
            return ScoredPair(text1=query, text2=positive, label=self.label)
        places = _some(len(self.negatives), negatives, epoch, drawn)
        if not places:
            return Pair(query=query, positive=positive, instruction=self.instruction)
        scored = self.positive_scores and self.negative_scores
        return Triplet(
            query=query,
            positive=positive,
            negatives=tuple(self.negatives[i] for i in places),
            scores=(
                (self.positive_scores[place], *(self.negative_scores[i] for i in places))
                if scored
                else ()
            ),
            instruction=self.instruction,
        )


def _turn(count: int, epoch: int, drawn: random.Random) -> int:
    return (drawn.randrange(count) + epoch) % count


def _some(count: int, wanted: int, epoch: int, drawn: random.Random) -> Sequence[int]:
    """`wanted` distinct places of a list, the next ones of a fixed order in each epoch."""
    order = drawn.sample(range(count), count)
    wanted = min(wanted, count)
    return [order[(epoch * wanted + i) % count] for i in range(wanted)]
