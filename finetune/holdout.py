"""What is kept out of the training: no query and, where that can be, no document of it is seen."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.pairs import PairRecord
from finetune.batches import TrainingSet
from finetune.measures import LabelledPairs, Measure, RetrievalSet

FEW = 200
"""Queries that a hold-out wants, where a tenth is fewer; a fifth of all at most."""
MOST = 600
"""Queries that are enough."""
DISTRACTORS = 500
"""Most documents of the training that stand beside the hold-out's own, to be told from them."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A training and what it is measured on."""

    train: list[TrainingSet]
    choice: list[Measure]
    """For the choices: which checkpoint, how much of it."""
    proof: list[Measure]
    """For the verdict; touched once, at the end."""
    held_out: int
    """Records kept out."""
    by_document: bool
    """Whether no text of the hold-out stands in the training; else only no query does."""


def split(sets: Sequence[TrainingSet], share: float | None, seed: int) -> Split:
    """Keep records out, by query and by document.

    Records that share a text hang together and go to one side together. Where most of the set
    hangs together, as where every query has many documents, only queries are kept apart.

    Args:
        sets: What there is to train on.
        share: Of the queries, 0 to 1; None for a tenth, or more where that is few.
        seed: Another one keeps others out.

    Raises:
        ValueError: If so much would be kept out that nothing is left.
    """
    if share == 0:
        return Split(train=list(sets), choice=[], proof=[], held_out=0, by_document=True)
    train: list[TrainingSet] = []
    choice: list[Measure] = []
    proof: list[Measure] = []
    held_out, by_document = 0, True
    for found in sets:
        groups, is_apart = _groups(found.records)
        by_document &= is_apart
        kept_out = _drawn(groups, _wanted(len(found.records), share), seed)
        places: set[int] = set().union(*kept_out)
        rest = [record for at, record in enumerate(found.records) if at not in places]
        if not rest or len(kept_out) < 2:
            raise ValueError(
                f"{found.name} has {len(found.records)} records, too few to keep some out and "
                "train on the others; give more, or holdout = 0 to train without a proof."
            )
        train.append(TrainingSet(found.name, rest, found.weight))
        for number, measures in enumerate((choice, proof)):
            records = [found.records[at] for group in kept_out[number::2] for at in sorted(group)]
            measures.append(measure_of(records, rest, found.name, seed))
            held_out += len(records)
    return Split(
        train=train, choice=choice, proof=proof, held_out=held_out, by_document=by_document
    )


def measure_of(
    records: Sequence[PairRecord], others: Iterable[PairRecord], name: str, seed: int
) -> Measure:
    """What records measure: their queries find their positives among their texts and others'."""
    if records and records[0].label is not None:
        pairs = [(r.queries[0], r.positives[0], float(r.label or 0)) for r in records]
        return LabelledPairs(name, pairs)
    answers: dict[str, set[str]] = {}
    for record in records:
        answers.setdefault(record.queries[0], set()).update(record.positives)
    own = dict.fromkeys(text for r in records for text in (*r.positives, *r.negatives))
    more = dict.fromkeys(text for r in others if r.label is None for text in r.positives)
    drawn = [text for text in more if text not in own]
    random.Random(f"distractors/{seed}").shuffle(drawn)
    documents = {text: str(place) for place, text in enumerate([*own, *drawn[:DISTRACTORS]])}
    return RetrievalSet(
        name,
        queries={str(place): query for place, query in enumerate(answers)},
        corpus={number: text for text, number in documents.items()},
        qrels={
            str(place): {documents[text]: 1 for text in texts}
            for place, texts in enumerate(answers.values())
        },
    )


def _wanted(count: int, share: float | None) -> int:
    if share is not None:
        return round(count * share)
    return min(MOST, max(count // 10, min(FEW, count // 5)))


def _drawn(groups: list[set[int]], wanted: int, seed: int) -> list[set[int]]:
    order = list(groups)
    random.Random(f"holdout/{seed}").shuffle(order)
    drawn: list[set[int]] = []
    count = 0
    for group in order:
        if count >= wanted:
            break
        drawn.append(group)
        count += len(group)
    return drawn


def _groups(records: Sequence[PairRecord]) -> tuple[list[set[int]], bool]:
    """Places of records that share a text; or a query only, where else most would be one group."""
    whole = _joined([list(record.texts()) for record in records])
    answering = _joined([[*record.queries, *record.positives] for record in records])
    for groups in (whole, answering):
        if max(map(len, groups)) <= max(1, len(records) // 10):
            return groups, True
    return _joined([list(record.queries) for record in records]), False


def _joined(keys: Sequence[Sequence[str]]) -> list[set[int]]:
    parent = list(range(len(keys)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[str, int] = {}
    for place, texts in enumerate(keys):
        for text in texts:
            parent[root(place)] = root(first.setdefault(text, place))
    groups: dict[int, set[int]] = {}
    for place in range(len(keys)):
        groups.setdefault(root(place), set()).add(place)
    return list(groups.values())


def constant_label(records: Sequence[PairRecord]) -> float | None:
    """The label that all scored pairs have, if they all have one and the same."""
    labels = Counter(record.label for record in records)
    return next(iter(labels)) if len(labels) == 1 else None
