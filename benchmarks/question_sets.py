"""Judged sets as knowledge bases: an index of a set's documents, and its questions with answers."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import judged_sets
from data import BeirDataset, load_beir
from indexing import build_index, open_index

if TYPE_CHECKING:
    from encoder import Encoder
    from indexing import SearchIndex


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question of a set."""

    text: str
    documents: frozenset[str]
    """Ids of the documents that answer it."""
    answers: tuple[str, ...]
    """Accepted answers; none where the set has none."""


def index_set(dataset: BeirDataset, folder: Path, encoder: "Encoder") -> "SearchIndex":
    """Build an index of a set's documents with the default choices, and open it."""
    lines = (
        json.dumps({"id": id_, "title": document.title, "text": document.text})
        for id_, document in dataset.corpus.items()
        if document.text.strip()
    )
    build_index(["-"], folder, encoder=encoder, lines=lines)
    return open_index(folder, encoder=encoder)


def read_questions(name: str, split: str) -> tuple[BeirDataset, Sequence[AskedQuestion]]:
    """A set, and the questions of one split that have a document."""
    dataset = load_beir(judged_sets() / name, split)
    answers = _answers(judged_sets() / name / "answers.jsonl.gz")
    questions = []
    for id_, text in dataset.queries.items():
        right = frozenset(d for d, grade in dataset.qrels[id_].items() if grade > 0)
        if right:
            given = answers.get(id_, ())
            questions.append(AskedQuestion(text=text, documents=right, answers=tuple(given)))
    return dataset, questions


def _answers(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        return {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {row["_id"]: row["answers"] for row in rows}
