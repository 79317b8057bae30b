"""How well retrieval works: BEIR folders, golden questions over an index, and pairs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from data import BeirDataset, GoldenQuestion, mean
from data.metrics import Qrels, evaluate_queries
from data.pair_files import LabelledPair
from data.pair_metrics import evaluate_pairs
from data.significance import compare_means, mean_interval
from data.trec import ScoredRun
from indexing.hits import Hit, Mode
from indexing.judged import DatasetRankings, Progress
from indexing.reranking import Reranking
from indexing.retriever import SearchIndex

if TYPE_CHECKING:
    from encoder import Encoder

DEPTH = 100
"""Results of each query that the metrics look at."""
TABLE = ("hit@1", "hit@3", "hit@5", "hit@10", "mrr@10", "ndcg@10", "recall@100")
"""What people compare models by."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results of one system over judged queries, and what they are worth."""

    name: str
    split: str
    encoder: str
    mode: str
    documents: int
    qrels: Qrels
    run: ScoredRun
    """Query → document → score, best first, at most `DEPTH`."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """Query → language, to report results by language."""

    @cached_property
    def values(self) -> dict[str, dict[str, float]]:
        """Metric → query → value."""
        ranked = {query: list(found) for query, found in self.run.items()}
        return evaluate_queries(self.qrels, ranked)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `indexing.evaluate`; `intervals` are 95 % bootstrap intervals of means."""
        return {
            "dataset": self.name,
            "split": self.split,
            "encoder": self.encoder,
            "mode": self.mode,
            "queries": len(self.qrels),
            "documents": self.documents,
            **self._means(self.qrels),
            "intervals": {
                name: [round(bound, 5) for bound in mean_interval(list(of.values()))]
                for name, of in self.values.items()
            },
            "by_language": {
                language: self._of_language(language)
                for language in sorted(set(self.languages.values()))
            },
        }

    def _of_language(self, language: str) -> dict[str, float]:
        queries = [query for query, of in self.languages.items() if of == language]
        return self._means(queries) | {"queries": len(queries)}

    def _means(self, queries: Iterable[str]) -> dict[str, float]:
        chosen = list(queries)
        return {
            name: round(mean({query: of[query] for query in chosen}), 5)
            for name, of in self.values.items()
        }


def compare(first: Evaluation, second: Evaluation) -> dict[str, dict[str, Any]]:
    """Metric → what `second` has more than `first`, its 95 % interval, and p.

    Raises:
        ValueError: If the two did not answer the same queries.
    """
    queries = list(first.qrels)
    if set(queries) != set(second.qrels):
        raise ValueError(
            f"Only runs over the same queries can be compared: {first.name} ({first.split}) has "
            f"{len(queries)}, {second.name} ({second.split}) has {len(second.qrels)}, "
            f"{len(set(queries) & set(second.qrels))} of them the same."
        )
    result = {}
    for name in first.values:
        found = compare_means(
            [first.values[name][query] for query in queries],
            [second.values[name][query] for query in queries],
        )
        result[name] = {
            "difference": round(found.difference, 5),
            "interval": [round(bound, 5) for bound in found.interval],
            "p": round(found.p, 5),
        }
    return result


def evaluate_dataset(
    dataset: BeirDataset,
    encoder: "Encoder",
    *,
    mode: str = Mode.DENSE,
    store: str = "exact",
    index_type: str = "flat",
    task: str | None = None,
    ignore_identical_ids: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score one split of a BEIR folder.

    Args:
        dataset: The judged split.
        encoder: What embeds queries and documents.
        mode: `dense`, `lexical` or `hybrid`.
        store: The store that searches.
        index_type: Its kind.
        task: The encoder's task, for its instructions; None for its usual ones.
        ignore_identical_ids: Leave out of a query's results the document that has its id, for sets
            whose queries are documents.
        progress: Called as documents are encoded.
    """
    rankings = DatasetRankings(
        dataset, encoder, store=store, index_type=index_type, task=task, progress=progress
    )
    return score_rankings(rankings, mode, ignore_identical_ids=ignore_identical_ids)


def score_rankings(
    rankings: DatasetRankings,
    mode: str,
    *,
    reranking: Reranking | None = None,
    ignore_identical_ids: bool = False,
) -> Evaluation:
    """Score one mode of rankings that may be used for several; perhaps behind a reranker."""
    dataset = rankings.dataset
    names = list(dataset.corpus)
    run = {}
    of_queries = rankings.rankings(Mode(mode))
    if reranking is not None:
        of_queries = rankings.reranked(Mode(mode), reranking)
    for query, ranking in zip(dataset.queries, of_queries, strict=True):
        found = {names[position]: score for position, score in ranking.items()}
        if ignore_identical_ids:
            found.pop(query, None)
        run[query] = dict(list(found.items())[:DEPTH])
    return Evaluation(
        name=dataset.name,
        split=dataset.split,
        encoder=rankings.encoder.spec.name,
        mode=_stages(mode, reranking),
        documents=len(dataset.corpus),
        qrels=dataset.qrels,
        run=run,
    )


def score_run(
    dataset: BeirDataset, run: Mapping[str, Mapping[str, float]], name: str
) -> Evaluation:
    """Score the run of any system, as a run file holds it."""
    return Evaluation(
        name=dataset.name,
        split=dataset.split,
        encoder=name,
        mode="run",
        documents=len(dataset.corpus),
        qrels=dataset.qrels,
        run={query: dict(list(run.get(query, {}).items())[:DEPTH]) for query in dataset.qrels},
    )


def evaluate_golden(
    index: SearchIndex,
    questions: Sequence[GoldenQuestion],
    *,
    name: str,
    mode: str = Mode.HYBRID,
    reranking: Reranking | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Ask an index its golden questions, as a user would.

    A hit is right if it comes from the question's document and, where the question names them,
    stands under the heading and overlaps the quote.

    Args:
        index: The index to search.
        questions: The questions; at least one.
        name: What to call them in the result.
        mode: `dense`, `lexical` or `hybrid`.
        reranking: A loaded reranker that puts the first hits in order.
        progress: Called as questions are asked.
    """
    run = {}
    for number, question in enumerate(questions):
        hits = index.search(question.question, DEPTH, mode=mode, rerank=reranking)
        run[str(number)] = _keys(question, hits)
        if progress is not None:
            progress(number + 1, len(questions))
    manifest = index.generation.manifest
    return Evaluation(
        name=name,
        split="golden",
        encoder=manifest.encoder.name,
        mode=_stages(mode, reranking),
        documents=manifest.documents,
        qrels={number: {_RIGHT: 1} for number in run},
        run=run,
        languages={str(n): q.language for n, q in enumerate(questions) if q.language},
    )


def _stages(mode: str, reranking: Reranking | None) -> str:
    return str(mode) if reranking is None else f"{mode} + {reranking.name}"


_RIGHT = "right"


def _keys(question: GoldenQuestion, hits: Iterable[Hit]) -> dict[str, float]:
    """A name for each hit; all right ones share one, so that a long section counts once."""
    keys: dict[str, float] = {}
    for hit in hits:
        keys.setdefault(_RIGHT if is_right(question, hit) else str(hit.chunk), hit.score)
    return keys


def is_right(question: GoldenQuestion, hit: Hit) -> bool:
    """Whether a hit answers a golden question."""
    if hit.document != question.document:
        return False
    if question.heading is not None and question.heading not in hit.heading:
        return False
    return question.quote is None or question.quote in hit.text or hit.text in question.quote


def evaluate_pair_file(
    pairs: Sequence[LabelledPair],
    encoder: "Encoder",
    *,
    name: str,
    task: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Agreement of cosines with the labels of pairs, both texts in the same role.

    Args:
        pairs: Two texts and a label each; two or more.
        encoder: What embeds the texts.
        name: What to call the pairs in the result.
        task: The encoder's task for both texts; by default `sts` where it has one, else the
            documents' instruction.
        progress: Called as texts are encoded.

    Raises:
        ValueError: If the encoder has no such task, or the labels are all equal.
    """
    if task is None and "sts" in encoder.spec.tasks:
        task = "sts"
    # A text that stands in many pairs is encoded once.
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.text1, pair.text2)))
    if task is None:
        rows = encoder.encode_documents(texts, progress=progress)
    else:
        rows = encoder.encode_queries(texts, task=task)
    place = {text: position for position, text in enumerate(texts)}
    first = rows[[place[pair.text1] for pair in pairs]]
    second = rows[[place[pair.text2] for pair in pairs]]
    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    figures = evaluate_pairs(cosines.tolist(), [pair.label for pair in pairs])
    return {
        "pairs_file": name,
        "encoder": encoder.spec.name,
        "task": task,
        "pairs": len(pairs),
        **{metric: round(value, 5) for metric, value in figures.items()},
    }
