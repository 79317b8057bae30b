"""Encoders on judged material: a figure each, its interval, and what is more than chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.metrics import ndcg_at_k
from data.pair_metrics import average_ranks, pearson
from data.significance import compare_means, mean_interval

Rows = NDArray[np.float32]
Encode = Callable[[Sequence[str], str], Rows]
"""Texts and their role (`query`, `document`, `alike`) to unit rows."""
_K = 10
_SAMPLES, _SEED = 1000, 20_231


class Measured(Protocol):
    """What one encoder reached."""

    @property
    def figure(self) -> float:
        """Higher is better."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % by bootstrap."""


class Measure(Protocol):
    """Judged material."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def metric(self) -> str:
        """What is measured: `nDCG@10` or `Spearman`."""

    @property
    def items(self) -> str:
        """How much there is, for people: `200 queries`."""

    def measured(self, encode: Encode) -> Any:  # noqa: ANN401 - each has its own
        """What an encoder reaches."""

    def compared(self, first: Any, second: Any) -> "Difference":  # noqa: ANN401 - as measured
        """What `second` has more than `first`."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What one encoder has more than another on the same material."""

    value: float
    interval: tuple[float, float]
    p: float
    """How often chance alone gives as much, two-sided."""

    @property
    def is_better(self) -> bool:
        """Whether the second is better by more than chance."""
        return self.interval[0] > 0

    @property
    def is_worse(self) -> bool:
        """Whether the second is worse by more than chance."""
        return self.interval[1] < 0


@dataclass(frozen=True)
class QueryFigures:
    """The figure of every query."""

    values: Mapping[str, float]

    @cached_property
    def figure(self) -> float:
        """The mean."""
        return float(np.mean(list(self.values.values())))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % by bootstrap over the queries."""
        return mean_interval(list(self.values.values()))


@dataclass(frozen=True)
class RetrievalSet:
    """Queries that look for their documents."""

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    @property
    def metric(self) -> str:
        """nDCG@10."""
        return f"nDCG@{_K}"

    @property
    def items(self) -> str:
        """Queries and documents."""
        return f"{len(self.queries)} queries, {len(self.corpus)} documents"

    def measured(self, encode: Encode) -> QueryFigures:
        """What an encoder reaches."""
        names = np.array(list(self.corpus))
        documents = encode(list(self.corpus.values()), "document")
        queries = encode(list(self.queries.values()), "query")
        depth = min(_K, len(names))
        scores = queries @ documents.T
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        run = {}
        for query, places, row in zip(self.queries, best, scores, strict=True):
            run[query] = names[places[np.argsort(-row[places], kind="stable")]].tolist()
        return QueryFigures(ndcg_at_k(self.qrels, run, _K))

    def compared(self, first: QueryFigures, second: QueryFigures) -> Difference:
        """Paired over the queries."""
        found = compare_means(
            [first.values[query] for query in self.queries],
            [second.values[query] for query in self.queries],
        )
        return Difference(value=found.difference, interval=found.interval, p=found.p)


@dataclass(frozen=True)
class PairFigures:
    """The cosine of every pair."""

    cosines: NDArray[np.float64]
    labels: NDArray[np.float64]

    @cached_property
    def figure(self) -> float:
        """Spearman's correlation of cosines and labels."""
        return _spearman(self.cosines, self.labels)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % by bootstrap over the pairs."""
        found = [
            _spearman(self.cosines[at], self.labels[at]) for at in _resampled(len(self.labels))
        ]
        low, high = np.percentile(found, (2.5, 97.5))
        return float(low), float(high)


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of texts with labels."""

    name: str
    pairs: Sequence[tuple[str, str, float]]

    @property
    def metric(self) -> str:
        """Spearman."""
        return "Spearman"

    @property
    def items(self) -> str:
        """Pairs."""
        return f"{len(self.pairs)} pairs"

    def measured(self, encode: Encode) -> PairFigures:
        """What an encoder reaches."""
        texts = list(dict.fromkeys(text for pair in self.pairs for text in pair[:2]))
        place = {text: at for at, text in enumerate(texts)}
        rows = encode(texts, "alike")
        first = rows[[place[pair[0]] for pair in self.pairs]]
        second = rows[[place[pair[1]] for pair in self.pairs]]
        cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64)
        return PairFigures(cosines, np.array([pair[2] for pair in self.pairs], float))

    def compared(self, first: PairFigures, second: PairFigures) -> Difference:
        """Paired bootstrap over the pairs."""
        labels = first.labels
        found = np.array(
            [
                _spearman(second.cosines[at], labels[at]) - _spearman(first.cosines[at], labels[at])
                for at in _resampled(len(labels))
            ]
        )
        low, high = np.percentile(found, (2.5, 97.5))
        tail = min(int((found <= 0).sum()), int((found >= 0).sum()))
        return Difference(
            value=second.figure - first.figure,
            interval=(float(low), float(high)),
            p=min(1.0, 2 * (tail + 1) / (_SAMPLES + 1)),
        )


def _spearman(cosines: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    return pearson(average_ranks(cosines), average_ranks(labels))


def _resampled(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SEED).integers(0, count, (_SAMPLES, count))


def encode_by(encoder: Any) -> Encode:  # noqa: ANN401 - an Encoder, or one that acts as one
    """How a loaded encoder embeds texts of each role."""

    def encode(texts: Sequence[str], role: str) -> Rows:
        if role == "query":
            return encoder.encode_queries(texts)  # type: ignore[no-any-return]
        if role == "alike" and "sts" in encoder.spec.tasks:
            return encoder.encode_queries(texts, task="sts")  # type: ignore[no-any-return]
        return encoder.encode_documents(texts)  # type: ignore[no-any-return]

    return encode
