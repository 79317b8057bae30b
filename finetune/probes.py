"""General material by which a tuned model shows that it has not forgotten the rest."""

import random
from pathlib import Path

from data.beir import BeirDataset, load_beir
from data.pair_files import load_labelled_pairs
from finetune.measures import LabelledPairs, Measure, RetrievalSet

QUERIES, DISTRACTORS = 150, 300
"""So much of a large set is enough for a probe."""


def read_probe(place: str, *, whole: bool = False) -> Measure:
    """A BEIR folder, with `:split` behind it where that is not `test`, or a file of labelled pairs.

    Args:
        place: Where it lies.
        whole: Take all of it, and not only so much as a probe needs.

    Raises:
        FileNotFoundError: If there is no such file, folder or split.
        ValueError: If a line cannot be used.
    """
    folder, _, tail = place.rpartition(":")
    path, split = (
        (Path(folder), tail) if folder and Path(folder).is_dir() else (Path(place), "test")
    )
    if path.is_dir():
        dataset = load_beir(path, split)
        everything = len(dataset.queries) + len(dataset.corpus)
        return (
            retrieval_set(dataset, queries=everything, distractors=everything)
            if whole
            else retrieval_set(dataset)
        )
    pairs = [(pair.text1, pair.text2, pair.label) for pair in load_labelled_pairs(path)]
    return LabelledPairs(path.name.partition(".")[0], pairs)


def retrieval_set(
    dataset: BeirDataset,
    *,
    queries: int = QUERIES,
    distractors: int = DISTRACTORS,
    documents: int | None = None,
    seed: int = 0,
) -> RetrievalSet:
    """Some of a judged set's queries, their documents, and others to tell them from.

    Args:
        dataset: The judged set.
        queries: Most queries.
        distractors: Most documents that answer none of them.
        documents: Most documents that answer; the others leave with their judgements, and queries
            with all of theirs. For sets with dozens of answers to a query, which else are whole.
        seed: Another one draws others.
    """
    drawn = random.Random(f"probe/{seed}")
    names = list(dataset.queries)
    drawn.shuffle(names)
    names = sorted(names[:queries])
    own = {name for query in names for name, grade in dataset.qrels[query].items() if grade > 0}
    others = [name for name in dataset.corpus if name not in own]
    drawn.shuffle(others)
    if documents is not None and len(own) > documents:
        own = set(drawn.sample(sorted(own), documents))
        names = [
            query
            for query in names
            if any(grade > 0 and text in own for text, grade in dataset.qrels[query].items())
        ]
    kept = own | set(others[:distractors])
    return RetrievalSet(
        dataset.name,
        queries={name: dataset.queries[name] for name in names},
        corpus={
            name: f"{document.title} {document.text}".strip()
            for name, document in dataset.corpus.items()
            if name in kept
        },
        qrels={
            name: {text: grade for text, grade in dataset.qrels[name].items() if text in kept}
            for name in names
        },
    )
