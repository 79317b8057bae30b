"""How well retrieval works: BEIR folders, and golden questions over an index."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from data import BeirDataset, GoldenQuestion, evaluate_run
from indexing.fusion import dense_weight, fuse
from indexing.hits import Hit, Mode
from indexing.lexical import LexicalIndex, LexicalWriter
from indexing.retriever import FUSED_DEPTH, SearchIndex
from indexing.stores import make_store
from indexing.stores.base import NO_ID

if TYPE_CHECKING:
    from encoder import Encoder

DEPTH = 100
"""Results of each query that the metrics look at."""

Progress = Callable[[int, int], None]
Run = dict[str, list[str]]
Ranking = Mapping[int, Sequence[int]]
"""Query position → document positions, best first."""


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

    A document is one embedding of title + space + text, cut where the encoder ends, never split.

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
    texts = [f"{d.title} {d.text}".strip() for d in dataset.corpus.values()]
    queries = list(dataset.queries.values())
    depth = max(DEPTH, FUSED_DEPTH) + ignore_identical_ids
    legs: list[Ranking] = []
    if mode != Mode.LEXICAL:
        legs.append(_dense(texts, queries, encoder, store, depth, progress))
    if mode != Mode.DENSE:
        legs.append(_lexical(texts, queries, depth))
    rankings = legs[0] if len(legs) == 1 else _hybrid(legs[0], legs[1], queries, encoder)
    names = list(dataset.corpus)
    run = {
        query: [
            names[position]
            for position in rankings[number]
            if not (ignore_identical_ids and names[position] == query)
        ][:DEPTH]
        for number, query in enumerate(dataset.queries)
    }
    return {
        "dataset": dataset.name,
        "split": dataset.split,
        "encoder": encoder.spec.name,
        "mode": str(mode),
        "queries": len(dataset.queries),
        "documents": len(dataset.corpus),
        **_rounded(evaluate_run(dataset.qrels, run)),
        "by_language": {},
    }


def _dense(
    texts: list[str],
    queries: list[str],
    encoder: "Encoder",
    store: str,
    depth: int,
    progress: Progress | None,
) -> Ranking:
    index = make_store(store, encoder.dim)
    index.add(np.arange(len(texts)), encoder.encode_documents(texts, progress=progress))
    ids = index.search(encoder.encode_queries(queries), depth).ids
    return {number: row[row != NO_ID].tolist() for number, row in enumerate(ids)}


def _lexical(texts: list[str], queries: list[str], depth: int) -> Ranking:
    with TemporaryDirectory() as folder:
        writer = LexicalWriter(Path(folder))
        writer.add(enumerate(texts))
        writer.close()
        index = LexicalIndex(Path(folder))
        return {n: index.search(query, depth)[1].tolist() for n, query in enumerate(queries)}


def _hybrid(dense: Ranking, lexical: Ranking, queries: list[str], encoder: "Encoder") -> Ranking:
    weights = [dense_weight(encoder.unknown_share(query)) for query in queries]
    return {
        number: [id_ for id_, _ in fuse(dense[number], lexical[number], weight)]
        for number, weight in enumerate(weights)
    }


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
