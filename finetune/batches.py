"""Records in, the batches of every step out: the same for the same seed, in any process."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from data.pairs import Example, Pair, PairRecord, ScoredPair, Triplet

QUERY, DOCUMENT, ALIKE = "query", "document", "alike"
"""What a text is in its example; both texts of a scored pair are alike."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The texts of one step, each once, and who belongs to whom."""

    texts: Sequence[tuple[str, str, str | None]]
    """Role, text, and an instruction where the data ask for another than the encoder's."""
    queries: Sequence[int]
    """Places in `texts`, one for each example."""
    positives: Sequence[int]
    negatives: Sequence[Sequence[int]]
    """Of each example; of any number."""
    labels: Sequence[float]
    """One for each example if these are scored pairs, else none."""
    teacher: Sequence[Sequence[float]]
    """For each example a teacher's scores of the positive and the negatives, or none at all."""
    excluded: Sequence[tuple[int, int]]
    """Example i and place j in `texts`: j is no negative of i, since it is known to answer it."""
    kept: Sequence[int] = ()
    """Places of general texts, on which the encoder is asked to stay as it was."""
    kept_rows: NDArray[np.float32] | None = None
    """The base's embeddings of these, shape (kept, dim)."""

    def without(self, excluded: Sequence[tuple[int, int]]) -> "Batch":
        """The same batch with more that is excluded."""
        return replace(self, excluded=[*self.excluded, *excluded])


@dataclass(frozen=True)
class TrainingSet:
    """Records of one source."""

    name: str
    records: Sequence[PairRecord]
    weight: float = 1.0
    """How often it is gone through in an epoch."""

    @property
    def is_scored(self) -> bool:
        """Whether its records are scored pairs; ValueError if only some are."""
        scored = sum(record.label is not None for record in self.records)
        if scored not in {0, len(self.records)}:
            raise ValueError(
                f"{self.name} mixes {scored} scored pairs with {len(self.records) - scored} pairs "
                "without a score; give them as two files."
            )
        return bool(scored)


class Schedule:
    """Which examples make up which step of a training; batch `step` is known without the others."""

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        *,
        batch_size: int,
        epochs: int,
        negatives: int,
        seed: int,
        queries: int = 1,
        max_steps: int | None = None,
        same_set: bool = True,
    ) -> None:
        """Plan a training.

        Args:
            sets: Each with at least one record.
            batch_size: Records of a step; the last step of a set may have fewer.
            epochs: How often to go through the sets.
            negatives: Most hard negatives of an example.
            seed: Another one gives another order.
            queries: Most queries of a record in one step.
            max_steps: Stop after so many.
            same_set: Whether a step's records come from one set.

        Raises:
            ValueError: If a set is empty, or scored pairs and others would meet in a step.
        """
        empty = [found.name for found in sets if not found.records]
        if empty or not sets:
            raise ValueError(
                f"There is nothing to train on: {', '.join(empty) or 'no set'} is empty."
            )
        if not same_set and len({found.is_scored for found in sets}) > 1:
            raise ValueError(
                "Scored pairs and pairs without a score cannot meet in one step; "
                "leave same-set-batches on."
            )
        self._sets = sets
        self._batch_size, self._negatives, self._seed = batch_size, negatives, seed
        self._queries = queries
        self._same_set = same_set
        self._known = [_known_answers(found.records) for found in sets]
        self.steps_per_epoch = len(self._epoch(0))
        whole = self.steps_per_epoch * epochs
        self.steps = min(whole, max_steps) if max_steps else whole

    def __len__(self) -> int:
        return self.steps

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        chosen = self._epoch_of(epoch)[place]
        examples, known = [], []
        for which, index in chosen:
            record = self._sets[which].records[index]
            count = min(self._queries, len(record.queries))
            # The next epoch goes on with the queries after these.
            for turn in range(epoch * count, (epoch + 1) * count):
                examples.append(
                    record.example(
                        seed=self._seed, epoch=turn, index=index, negatives=self._negatives
                    )
                )
                known.append(self._known[which])
        return make_batch(examples, known)

    @lru_cache(maxsize=2)  # noqa: B019 - one schedule lives as long as its training
    def _epoch_of(self, epoch: int) -> list[list[tuple[int, int]]]:
        return self._epoch(epoch)

    def _epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        drawn = random.Random(f"{self._seed}/{epoch}")
        orders = [self._order(which, epoch) for which in range(len(self._sets))]
        if not self._same_set:
            orders = [[pair for order in orders for pair in order]]
            drawn.shuffle(orders[0])
        batches = [
            order[start : start + self._batch_size]
            for order in orders
            for start in range(0, len(order), self._batch_size)
        ]
        drawn.shuffle(batches)
        return batches

    def _order(self, which: int, epoch: int) -> list[tuple[int, int]]:
        """The records of a set in this epoch's order, as often as its weight says."""
        count, weight = len(self._sets[which].records), self._sets[which].weight
        wanted = max(1, round(count * weight))
        order: list[tuple[int, int]] = []
        for turn in range(ceil(wanted / count)):
            # A set that is not gone through whole goes on in the next epoch with other records.
            places = list(range(count))
            random.Random(f"{self._seed}/{epoch}/{which}/{turn}").shuffle(places)
            order += [(which, place) for place in places]
        return order[:wanted]


def make_batch(examples: Sequence[Example], known: Sequence[dict[str, set[str]]]) -> Batch:
    """Put examples together; equal texts in equal roles stand in the batch once.

    Args:
        examples: All scored pairs, or none.
        known: For each example, query → texts that are known to answer it.
    """
    places: dict[tuple[str, str, str | None], int] = {}

    def place(role: str, text: str, instruction: str | None = None) -> int:
        return places.setdefault((role, text, instruction), len(places))

    queries, positives, negatives, labels, teacher = [], [], [], [], []
    for example in examples:
        if isinstance(example, ScoredPair):
            queries.append(place(ALIKE, example.text1))
            positives.append(place(ALIKE, example.text2))
            labels.append(example.label)
            continue
        queries.append(place(QUERY, example.query, example.instruction))
        positives.append(place(DOCUMENT, example.positive))
        found = example.negatives if isinstance(example, Triplet) else ()
        negatives.append([place(DOCUMENT, text) for text in found])
        teacher.append(list(example.scores) if isinstance(example, Triplet) else [])
    return Batch(
        texts=list(places),
        queries=queries,
        positives=positives,
        negatives=negatives,
        labels=labels,
        teacher=teacher if teacher and all(teacher) else [],
        excluded=_excluded(examples, known, places),
    )


def _excluded(
    examples: Sequence[Example],
    known: Sequence[dict[str, set[str]]],
    places: dict[tuple[str, str, str | None], int],
) -> list[tuple[int, int]]:
    documents = {text: at for (role, text, _), at in places.items() if role == DOCUMENT}
    return [
        (number, documents[text])
        for number, (example, answers) in enumerate(zip(examples, known, strict=True))
        if isinstance(example, Pair | Triplet)
        for text in sorted(answers.get(example.query, ()))
        if text in documents
    ]


def _known_answers(records: Sequence[PairRecord]) -> dict[str, set[str]]:
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.label is None:
            for query in record.queries:
                answers[query].update(record.positives)
    return dict(answers)
