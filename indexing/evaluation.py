"""How well retrieval works: BEIR folders, and golden questions over an index."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from data import BeirDataset, GoldenQuestion, evaluate_run
from indexing.fusion import dense_weight, fuse
from indexing.hits import Hit, Mode
from indexing.legs import FUSED_DEPTH
from indexing.lexical import LexicalIndex, LexicalWriter
from indexing.retriever import SearchIndex
from indexing.stores import make_store
from indexing.stores.base import NO_ID

if TYPE_CHECKING:
    from encoder import Encoder

DEPTH = 100
"""Results of each query that the metrics look at."""

Progress = Callable[[int, int], None]
Run = dict[str, list[str]]
Rankings = list[list[int]]
"""For each query the positions of its documents, best first."""


def evaluate_dataset(
    dataset: BeirDataset,
    encoder: "Encoder",
    *,
    mode: str = Mode.DENSE,
    store: str = "exact",
    ignore_identical_ids: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score one split of a BEIR folder.

    Args:
        dataset: The judged split.
        encoder: What embeds queries and documents.
        mode: `dense`, `lexical` or `hybrid`.
        store: The store that searches.
        ignore_identical_ids: Leave out of a query's results the document that has its id, for sets
            whose queries are documents.
        progress: Called as documents are encoded.

    Returns:
        The JSON of `indexing.evaluate`.
    """
    rankings = DatasetRankings(dataset, encoder, store=store, progress=progress)
    return rankings.evaluate(mode, ignore_identical_ids=ignore_identical_ids)


class DatasetRankings:
    """The rankings of a judged split by each mode; each leg is computed once.

    A document is one embedding of title + space + text, cut where the encoder ends, never split.
    """

    def __init__(
        self,
        dataset: BeirDataset,
        encoder: "Encoder",
        *,
        store: str = "exact",
        progress: Progress | None = None,
    ) -> None:
        self._dataset = dataset
        self._encoder = encoder
        self._store = store
        self._progress = progress
        self._texts = [f"{d.title} {d.text}".strip() for d in dataset.corpus.values()]
        self._queries = list(dataset.queries.values())
        self._depth = max(DEPTH, FUSED_DEPTH) + 1  # one more, for a query's own document

    def evaluate(self, mode: str, *, ignore_identical_ids: bool = False) -> dict[str, Any]:
        """The JSON of `indexing.evaluate` for one mode."""
        rankings = self._rankings(Mode(mode))
        names = list(self._dataset.corpus)
        run: Run = {}
        for query, positions in zip(self._dataset.queries, rankings, strict=True):
            found = [names[position] for position in positions]
            if ignore_identical_ids:
                found = [name for name in found if name != query]
            run[query] = found[:DEPTH]
        return {
            "dataset": self._dataset.name,
            "split": self._dataset.split,
            "encoder": self._encoder.spec.name,
            "mode": str(mode),
            "queries": len(self._dataset.queries),
            "documents": len(self._dataset.corpus),
            **_rounded(evaluate_run(self._dataset.qrels, run)),
            "by_language": {},
        }

    def _rankings(self, mode: Mode) -> Rankings:
        if mode is Mode.HYBRID:
            return self._hybrid()
        return self._dense if mode is Mode.DENSE else self._lexical

    @cached_property
    def _dense(self) -> Rankings:
        index = make_store(self._store, self._encoder.dim)
        rows = self._encoder.encode_documents(self._texts, progress=self._progress)
        index.add(np.arange(len(rows)), rows)
        ids = index.search(self._encoder.encode_queries(self._queries), self._depth).ids
        return [row[row != NO_ID].tolist() for row in ids]

    @cached_property
    def _lexical(self) -> Rankings:
        with TemporaryDirectory() as folder:
            writer = LexicalWriter(Path(folder))
            writer.add(enumerate(self._texts))
            writer.close()
            index = LexicalIndex(Path(folder))
            return [index.search(query, self._depth)[1].tolist() for query in self._queries]

    def _hybrid(self) -> Rankings:
        weights = [dense_weight(self._encoder.unknown_share(query)) for query in self._queries]
        return [
            [id_ for id_, _ in fuse(dense, lexical, weight)]
            for dense, lexical, weight in zip(self._dense, self._lexical, weights, strict=True)
        ]


def evaluate_golden(
    index: SearchIndex,
    questions: Sequence[GoldenQuestion],
    *,
    name: str,
    mode: str = Mode.HYBRID,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask an index its golden questions, as a user would.

    A hit is right if it comes from the question's document and, where the question names them,
    stands under the heading and overlaps the quote.

    Args:
        index: The index to search.
        questions: The questions; at least one.
        name: What to call them in the result.
        mode: `dense`, `lexical` or `hybrid`.
        progress: Called as questions are asked.

    Returns:
        The JSON of `indexing.evaluate`, the metrics by language under `by_language`.
    """
    run: Run = {}
    for number, question in enumerate(questions):
        hits = index.search(question.question, DEPTH, mode=mode)
        run[str(number)] = _keys(question, hits)
        if progress is not None:
            progress(number + 1, len(questions))
    languages = sorted({question.language for question in questions if question.language})
    by_language = {
        language: _score(
            [str(n) for n, question in enumerate(questions) if question.language == language], run
        )
        for language in languages
    }
    return {
        "dataset": name,
        "split": "golden",
        "encoder": index.generation.manifest.encoder.name,
        "mode": str(mode),
        "queries": len(questions),
        "documents": index.generation.manifest.documents,
        **_score(list(run), run),
        "by_language": by_language,
    }


_RIGHT = "right"


def _keys(question: GoldenQuestion, hits: Iterable[Hit]) -> list[str]:
    """A name for each hit; all right ones share one, so that a long section counts once."""
    keys = (_RIGHT if is_right(question, hit) else str(hit.chunk) for hit in hits)
    return list(dict.fromkeys(keys))


def is_right(question: GoldenQuestion, hit: Hit) -> bool:
    """Whether a hit answers a golden question."""
    if hit.document != question.document:
        return False
    if question.heading is not None and question.heading not in hit.heading:
        return False
    return question.quote is None or question.quote in hit.text or hit.text in question.quote


def _score(numbers: Sequence[str], run: Run) -> dict[str, float]:
    qrels = {number: {_RIGHT: 1} for number in numbers}
    scores = _rounded(evaluate_run(qrels, {number: run[number] for number in numbers}))
    return scores | {"queries": len(numbers)}


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in scores.items()}
