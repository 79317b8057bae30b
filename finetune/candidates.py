"""What a reranker is measured on: queries with the hits that a search gave them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.beir import BeirDataset, BeirDocument
from data.metrics import ndcg_at_k
from data.significance import compare_means
from finetune.measures import (
    Difference,
    Encode,
    LabelledPairs,
    Measure,
    PairFigures,
    QueryFigures,
    RetrievalSet,
)
from indexing.hits import Mode
from indexing.judged import DatasetRankings
from indexing.reranking import DEPTH, held_against

if TYPE_CHECKING:
    from encoder import Encoder

ScoreTexts = Callable[[str, Sequence[str]], NDArray[np.float32]]
"""A query and texts to raw scores, shape (texts,)."""
_K = 10


@dataclass(frozen=True)
class Candidates:
    """The first hits of one query, best first."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    before: tuple[float, ...]
    """The search's scores."""


class CandidateSet:
    """Judged queries with their first hits; a `Measure` of what puts these in order."""

    metric: str = f"nDCG@{_K}"

    def __init__(
        self,
        name: str,
        queries: Mapping[str, str],
        candidates: Mapping[str, Candidates],
        qrels: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.name = name
        self.queries, self.candidates, self.qrels = queries, candidates, qrels
        self.prior = 0.0
        """What `measured` takes for a reranker's prior."""

    @property
    def items(self) -> str:
        """Queries and hits."""
        hits = max((len(found.names) for found in self.candidates.values()), default=0)
        return f"{len(self.queries)} queries, {hits} hits each"

    def said(self, score: ScoreTexts) -> dict[str, NDArray[np.float32]]:
        """What a reranker says of every hit."""
        return {
            query: score(text, self.candidates[query].texts) for query, text in self.queries.items()
        }

    def as_found(self) -> QueryFigures:
        """The figures of the order that the search gave."""
        return self._figures({query: found.names for query, found in self.candidates.items()})

    def reordered(self, said: Mapping[str, NDArray[np.float32]], prior: float) -> QueryFigures:
        """The figures of the order that a reranker makes of it."""
        run = {}
        for query, found in self.candidates.items():
            scores = held_against(said[query], found.before, prior)
            run[query] = tuple(found.names[at] for at in np.argsort(-scores, kind="stable"))
        return self._figures(run)

    def measured(self, score: ScoreTexts) -> QueryFigures:
        """What a reranker reaches with `prior`."""
        return self.reordered(self.said(score), self.prior)

    def compared(self, first: QueryFigures, second: QueryFigures) -> Difference:
        """Paired over the queries."""
        found = compare_means(
            [first.values[query] for query in self.queries],
            [second.values[query] for query in self.queries],
        )
        return Difference(value=found.difference, interval=found.interval, p=found.p)

    def _figures(self, run: Mapping[str, Sequence[str]]) -> QueryFigures:
        first = {query: list(names[:_K]) for query, names in run.items()}
        return QueryFigures(ndcg_at_k(self.qrels, first, _K))


class ScoredTexts:
    """Labelled pairs, which a reranker scores; a `Measure`."""

    metric: str = "Spearman"

    def __init__(self, pairs: LabelledPairs) -> None:
        self._pairs = pairs
        self.name, self.items = pairs.name, pairs.items

    def of_encoder(self, encode: Encode) -> PairFigures:
        """What the cosines of an encoder reach."""
        return self._pairs.measured(encode)

    def measured(self, score: ScoreTexts) -> PairFigures:
        """What a reranker reaches."""
        said = [score(first, [second])[0] for first, second, _ in self._pairs.pairs]
        labels = [label for _, _, label in self._pairs.pairs]
        return PairFigures(np.array(said, np.float64), np.array(labels, np.float64))

    def compared(self, first: PairFigures, second: PairFigures) -> Difference:
        """Paired bootstrap over the pairs."""
        return self._pairs.compared(first, second)


def as_read(measure: Measure, encoder: "Encoder", most: int) -> CandidateSet | ScoredTexts:
    """Judged material as a reranker meets it: behind the hybrid search of an encoder.

    Args:
        measure: A retrieval set, or labelled pairs.
        encoder: Of the search.
        most: Queries, the first ones; reading thirty hits of each takes its time.

    Raises:
        TypeError: If the material is of another kind.
    """
    if isinstance(measure, LabelledPairs):
        return ScoredTexts(measure)
    if not isinstance(measure, RetrievalSet):
        raise TypeError(f"A reranker cannot be measured on a {type(measure).__name__}.")
    queries = dict(list(measure.queries.items())[:most])
    dataset = BeirDataset(
        name=measure.name,
        split="",
        corpus={name: BeirDocument("", text) for name, text in measure.corpus.items()},
        queries=queries,
        qrels={query: measure.qrels[query] for query in queries},
    )
    return candidates_of(DatasetRankings(dataset, encoder), Mode.HYBRID)


def candidates_of(rankings: DatasetRankings, mode: Mode) -> CandidateSet:
    """The first hits of each query of a judged set."""
    dataset, texts = rankings.dataset, rankings.texts
    names = list(dataset.corpus)
    found = {}
    for query, ranking in zip(dataset.queries, rankings.rankings(mode), strict=True):
        places = list(ranking)[:DEPTH]
        found[query] = Candidates(
            tuple(names[place] for place in places),
            tuple(texts[place] for place in places),
            tuple(ranking[place] for place in places),
        )
    return CandidateSet(dataset.name, dataset.queries, found, dataset.qrels)
