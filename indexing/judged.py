"""The rankings of a judged collection by each way of searching; knows no metric."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data import BeirDataset
from indexing.fusion import FUSED_DEPTH, Fusion
from indexing.fusion_choice import Judged
from indexing.hits import Mode
from indexing.lexical import LexicalIndex, LexicalWriter
from indexing.reranking import Reranking
from indexing.sparse import SparseRows, SparseWriter
from indexing.stores import SearchResult, make_store
from indexing.stores.base import NO_ID
from indexing.stores.factory import is_shared, scratch_milvus

if TYPE_CHECKING:
    from encoder import Encoder

Progress = Callable[[int, int], None]
Ranking = dict[int, float]
"""Position of a document → its score, best first."""


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
        index_type: str = "flat",
        task: str | None = None,
        embeddings: NDArray[np.float32] | None = None,
        fusion: Fusion | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Take what is needed; nothing is computed yet.

        Args:
            dataset: The judged split.
            encoder: What embeds queries and documents.
            store: The store that searches.
            index_type: Its kind.
            task: The encoder's task, for its instructions.
            embeddings: The documents' embeddings in the corpus's order, if they are known.
            fusion: How hybrid joins the legs.
            progress: Called as documents are encoded.
        """
        self.dataset = dataset
        self.encoder = encoder
        self._store, self._index_type = store, index_type
        self._task = task
        self._embeddings = embeddings
        self._fusion = fusion or Fusion()
        self._progress = progress
        self._queries = list(dataset.queries.values())
        self._depth = FUSED_DEPTH + 1  # one more, for a query's own document

    @property
    def texts(self) -> list[str]:
        """What is embedded and searched for each document."""
        return [f"{d.title} {d.text}".strip() for d in self.dataset.corpus.values()]

    def rankings(self, mode: Mode) -> list[Ranking]:
        """For each query its documents, at least `FUSED_DEPTH` where so many are found."""
        if mode is Mode.HYBRID:
            return self.fused(self._fusion)
        return self._dense if mode is Mode.DENSE else self._lexical

    def reranked(self, mode: Mode, reranking: Reranking) -> list[Ranking]:
        """The rankings of a mode with their first documents put in order by a loaded reranker.

        Without a time limit: the figures must not depend on the machine.
        """
        texts = self.texts
        found = []
        for query, ranking in zip(self._queries, self.rankings(mode), strict=True):
            first = list(ranking)[: reranking.depth]
            before = [ranking[place] for place in first]
            scores = reranking.scores(query, [texts[place] for place in first], before).tolist()
            order = sorted(range(len(first)), key=lambda place: -scores[place])
            # What was not read stays behind what was, whatever its score is.
            lowest = min(scores, default=0.0)
            rest = list(ranking)[len(first) :]
            behind = {place: lowest - rank for rank, place in enumerate(rest, start=1)}
            found.append({first[at]: scores[at] for at in order} | behind)
        return found

    def fused(self, fusion: Fusion) -> list[Ranking]:
        """The rankings of hybrid search with a given fusion."""
        return [
            dict(fusion.fuse(of.dense, of.lexical, of.unknown_share, of.sparse))
            for of in self.judged()
        ]

    def judged(self) -> list[Judged]:
        """What the legs found for each query, with its grades."""
        place = {name: position for position, name in enumerate(self.dataset.corpus)}
        grades = [
            {place[name]: grade for name, grade in self.dataset.qrels[query].items()}
            for query in self.dataset.queries
        ]
        legs = (self._dense, self._lexical, self._unknown_shares, grades, self._sparse)
        return [Judged(*of_query) for of_query in zip(*legs, strict=True)]

    @cached_property
    def _unknown_shares(self) -> list[float]:
        return [self.encoder.unknown_share(query) for query in self._queries]

    @cached_property
    def _dense(self) -> list[Ranking]:
        rows = self._embeddings
        if rows is None:
            rows = self.encoder.encode_documents(
                self.texts, task=self._task, progress=self._progress
            )
        found = self._nearest(rows, self.encoder.encode_queries(self._queries, task=self._task))
        return [
            {id_: score for id_, score in zip(ids, scores, strict=True) if id_ != NO_ID}
            for ids, scores in zip(found.ids.tolist(), found.scores.tolist(), strict=True)
        ]

    def _nearest(self, rows: NDArray[np.float32], queries: NDArray[np.float32]) -> SearchResult:
        dim, ids = self.encoder.dim, np.arange(len(rows))
        if is_shared(self._store):
            with scratch_milvus(dim, index_type=self._index_type) as shared:
                shared.add(ids, rows)
                shared.finish(len(rows))
                return shared.search(queries, self._depth)
        index = make_store(self._store, dim, index_type=self._index_type)
        index.add(ids, rows)
        return index.search(queries, self._depth)

    @cached_property
    def _sparse(self) -> Sequence[Ranking | None]:
        """The rankings of the learned sparse leg, where the encoder has one."""
        if not self.encoder.weighs_words:
            return [None] * len(self._queries)
        encode = partial(self.encoder.encode_heads, task=self._task, with_multi=False)
        documents = encode(self.texts).lexical
        queries = encode(self._queries, role="query").lexical
        with TemporaryDirectory() as folder:
            writer = SparseWriter(Path(folder))
            writer.add(documents)
            writer.close()
            rows = SparseRows(Path(folder))
            return [_first(rows.scores(query), self._depth) for query in queries]

    @cached_property
    def _lexical(self) -> list[Ranking]:
        with TemporaryDirectory() as folder:
            writer = LexicalWriter(Path(folder))
            writer.add(enumerate(self.texts))
            writer.close()
            index = LexicalIndex(Path(folder))
            found = (index.search(query, self._depth) for query in self._queries)
            return [dict(zip(ids.tolist(), scores.tolist(), strict=True)) for scores, ids in found]


def _first(scores: NDArray[np.float32], k: int) -> Ranking:
    """The places of the `k` highest scores above 0, best first."""
    best = np.argsort(-scores, kind="stable")[:k]
    return {int(place): float(scores[place]) for place in best if scores[place] > 0}
