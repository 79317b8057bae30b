"""Pairs and a corpus in, the same pairs with hard negatives out; our own search finds them.

A hard negative looks right and is not. What looks right because it *is* right is kept out by four
filters: known positives, near-duplicates of them, a margin below the positive's score, and where
asked a cross-encoder that reads both texts.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from data.pairs import PairRecord
from encoder.embedding_cache import EmbeddingCache, digest_of
from indexing.lexical import LexicalIndex, LexicalWriter
from indexing.near_duplicates import similarity
from indexing.reranking import TextScorer
from indexing.stores import make_store

if TYPE_CHECKING:
    from encoder import Encoder

Mode = Literal["dense", "lexical"]
Progress = Callable[[int, int], None]
_PORTION = 1024
_SUSPICIOUS = 1000
"""So many suspicious texts are told; the others are only counted."""


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """Which texts count as hard negatives."""

    negatives: int = 7
    """How many each record gets at most."""
    first_rank: int = 1
    """1-based rank of the best candidate; FlagEmbedding leaves out the first nine."""
    last_rank: int = 200
    margin: float = 0.0
    """A negative scores at least so much less than the positive."""
    relative_margin: float = 0.05
    """And at least this share of the positive's score less (NV-Retriever's best:
    https://arxiv.org/abs/2407.15831, TopK-PercPos with 95 %). Only the dense mode has scores whose
    shares mean something."""
    near_duplicate: float = 0.8
    """Share of equal word sequences from which a text counts as a copy of a positive; above 1, none
    does."""
    reranker_share: float = 0.5
    """A negative's score by the cross-encoder is at most this share of the positive's."""
    sampling: Literal["top", "random"] = "top"
    """The hardest that are left, or any of them."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ValueError(f"negatives must be at least 1, got {self.negatives}.")
        if not 1 <= self.first_rank <= self.last_rank:
            raise ValueError(
                "The ranks must go from at least 1 upwards, "
                f"got {self.first_rank} to {self.last_rank}."
            )
        if self.margin < 0 or not 0 <= self.relative_margin < 1:
            raise ValueError(
                "margin must be 0 or more and relative_margin from 0 to below 1, "
                f"got {self.margin} and {self.relative_margin}."
            )
        if self.sampling not in {"top", "random"}:
            raise ValueError(f"sampling must be top or random, got {self.sampling!r}.")


@dataclass(frozen=True, kw_only=True)
class Suspicious:
    """A text that is not marked as right and looks as if it were."""

    query: str
    positive: str
    text: str
    reason: str
    """`margin`, `near-duplicate` or `cross-encoder`."""
    score: float
    """Of the text, by what gave the reason."""
    positive_score: float


@dataclass(kw_only=True)
class MiningReport:
    """What was found, and what was left out for which reason."""

    records: int = 0
    documents: int = 0
    mined: int = 0
    """Negatives in all."""
    without: int = 0
    """Records for which nothing was left."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Candidates by the filter that they did not pass."""
    suspicious: list[Suspicious] = field(default_factory=list)
    """The first of them, as their records come."""


def mine_negatives(
    records: Sequence[PairRecord],
    corpus: Sequence[str] | None = None,
    *,
    encoder: "Encoder | None" = None,
    config: MiningConfig | None = None,
    reranker: TextScorer | None = None,
    cache: EmbeddingCache | None = None,
    progress: Progress = lambda done, total: None,
    report: MiningReport | None = None,
) -> list[PairRecord]:
    """Add hard negatives to pairs and triplets.

    Args:
        records: Pairs and triplets; their own negatives stay, in front.
        corpus: Where to look; the documents of the records if not given.
        encoder: Finds by meaning; without one the search is lexical.
        config: Which texts count.
        reranker: Reads every candidate beside the query, and its scores of positives and negatives
            are kept in the records, for distillation.
        cache: Keeps the embeddings, so that another run with the same encoder encodes nothing.
        progress: Called with (queries done, of how many).
        report: Is filled.

    Returns:
        The records in their order; where nothing was left to mine, as they were.

    Raises:
        ValueError: If a record is a scored pair, or there is no other text than the positives.
    """
    config = config or MiningConfig()
    report = report if report is not None else MiningReport()
    if any(record.label is not None for record in records):
        raise ValueError("Scored pairs have no negatives; give pairs or triplets.")
    texts = _distinct(corpus if corpus is not None else _documents(records))
    report.records, report.documents = len(records), len(texts)
    positives = _known_positives(records)
    depth = config.last_rank + max(map(len, positives.values()), default=0) + 1
    search = (
        _lexical_search(texts, records, depth)
        if encoder is None
        else _dense_search(texts, records, depth, encoder, cache)
    )
    found = []
    for place, (record, candidates) in enumerate(zip(records, search, strict=True)):
        miner = _OfOneRecord(record, positives[_folded(record.queries[0])], config, reranker)
        found.append(miner.mined(candidates, report, random.Random(f"{config.seed}/{place}")))
        progress(place + 1, len(records))
    return found


class _Candidates:
    """The texts that a search found for one query, best first, and the scores of the positives."""

    def __init__(
        self, texts: Sequence[str], scores: Sequence[float], positives: Sequence[float]
    ) -> None:
        self.texts = texts
        self.scores = scores
        self.positives = positives
        """Scores of the record's positives; empty where the search gives none."""


class _Scores(NamedTuple):
    """What a cross-encoder says of a record's texts."""

    positives: tuple[float, ...]
    negatives: tuple[float, ...]


class _OfOneRecord:
    """Chooses the negatives of one record."""

    def __init__(
        self,
        record: PairRecord,
        known: set[str],
        config: MiningConfig,
        reranker: TextScorer | None,
    ) -> None:
        self._record = record
        self._known = known
        self._config = config
        self._reranker = reranker

    def mined(
        self, candidates: _Candidates, report: MiningReport, drawn: random.Random
    ) -> PairRecord:
        """The record with what passed every filter."""
        config, record = self._config, self._record
        own = {_folded(text) for text in (*record.queries, *record.negatives)}
        others = [
            (text, score)
            for text, score in zip(candidates.texts, candidates.scores, strict=True)
            if _folded(text) not in self._known | own
        ]
        band = others[config.first_rank - 1 : config.last_rank]
        if config.sampling == "random":
            drawn.shuffle(band)
        # One after the other: comparing texts takes its time, and mostly the first ones suffice.
        passed = (
            text
            for text, score in band
            if self._is_below(text, score, candidates.positives, report)
            and not self._is_copy(text, report)
        )
        scores: _Scores | None = None
        if self._reranker is None:
            chosen = list(islice(passed, config.negatives))
        else:
            chosen, scores = self._read(passed, report)
        report.mined += len(chosen)
        report.without += not chosen
        mined = replace(record, negatives=(*record.negatives, *chosen))
        if scores is None:
            return mined
        return replace(mined, positive_scores=scores.positives, negative_scores=scores.negatives)

    def _is_below(
        self, text: str, score: float, positives: Sequence[float], report: MiningReport
    ) -> bool:
        if not positives:
            return True
        # Below the weakest of several positives: each of them is drawn as the positive at times.
        lowest = min(positives)
        bound = lowest - max(self._config.margin, self._config.relative_margin * abs(lowest))
        if score <= bound:
            return True
        self._suspect(text, "margin", score, lowest, report)
        return False

    def _is_copy(self, text: str, report: MiningReport) -> bool:
        if self._config.near_duplicate > 1:
            return False
        alike = max(similarity(text, positive) for positive in self._record.positives)
        if alike < self._config.near_duplicate:
            return False
        self._suspect(text, "near-duplicate", alike, 1.0, report)
        return True

    def _read(self, texts: Iterator[str], report: MiningReport) -> tuple[list[str], _Scores]:
        """What the cross-encoder lets through, and its scores."""
        record, reranker = self._record, self._reranker
        assert reranker is not None
        query = record.queries[0]
        positives = [float(score) for score in reranker.score(query, record.positives)]
        bound = self._config.reranker_share * min(positives)
        chosen: list[str] = []
        scores: list[float] = []
        while portion := list(islice(texts, self._config.negatives - len(chosen))):
            for text, score in zip(portion, reranker.score(query, portion), strict=True):
                if score > bound:
                    self._suspect(text, "cross-encoder", float(score), min(positives), report)
                else:
                    chosen.append(text)
                    scores.append(float(score))
        own = [float(score) for score in reranker.score(query, record.negatives)]
        return chosen, _Scores(tuple(positives), (*own, *scores))

    def _suspect(
        self, text: str, reason: str, score: float, positive: float, report: MiningReport
    ) -> None:
        report.left_out[reason] += 1
        if len(report.suspicious) < _SUSPICIOUS:
            report.suspicious.append(
                Suspicious(
                    query=self._record.queries[0],
                    positive=self._record.positives[0],
                    text=text,
                    reason=reason,
                    score=round(score, 6),
                    positive_score=round(positive, 6),
                )
            )


def _dense_search(
    texts: Sequence[str],
    records: Sequence[PairRecord],
    depth: int,
    encoder: "Encoder",
    cache: EmbeddingCache | None,
) -> Iterator[_Candidates]:
    store = make_store("exact", encoder.dim)
    rows = embedded(texts, "document", encoder, cache)
    store.add(np.arange(len(texts)), rows)
    places_of = {text: place for place, text in enumerate(texts)}
    for start in range(0, len(records), _PORTION):
        portion = records[start : start + _PORTION]
        queries = embedded([record.queries[0] for record in portion], "query", encoder, cache)
        scores, ids = store.search(queries, min(depth, len(texts)))
        answers = {text for record in portion for text in record.positives} - places_of.keys()
        more = sorted(answers)
        elsewhere = dict(zip(more, embedded(more, "document", encoder, cache), strict=True))
        for record, query, some, places in zip(portion, queries, scores, ids, strict=True):
            positives = [
                float(query @ (rows[places_of[text]] if text in places_of else elsewhere[text]))
                for text in record.positives
            ]
            there = places >= 0
            yield _Candidates(
                [texts[place] for place in places[there]], some[there].tolist(), positives
            )


def _lexical_search(
    texts: Sequence[str], records: Sequence[PairRecord], depth: int
) -> Iterator[_Candidates]:
    with TemporaryDirectory(prefix="angler-mining-") as folder:
        writer = LexicalWriter(Path(folder))
        writer.add(enumerate(texts))
        writer.close()
        index = LexicalIndex(Path(folder))
        for record in records:
            # BM25 scores of different queries have no common scale, so there is no margin here.
            scores, ids = index.search(record.queries[0], depth)
            yield _Candidates([texts[place] for place in ids], scores.tolist(), [])


def embedded(
    texts: Sequence[str],
    role: Literal["query", "document"],
    encoder: "Encoder",
    cache: EmbeddingCache | None,
) -> NDArray[np.float32]:
    """Embeddings in the order of the texts; what the cache holds is not encoded again."""
    encode = encoder.encode_queries if role == "query" else encoder.encode_documents
    template = encoder.spec.template(role)
    rows = np.empty((len(texts), encoder.dim), np.float32)
    for start in range(0, len(texts), _PORTION):
        portion = texts[start : start + _PORTION]
        digests = [digest_of(text, template) for text in portion]
        known = cache.get_many(encoder.spec.fingerprint, digests) if cache is not None else {}
        fresh = {d: t for d, t in zip(digests, portion, strict=True) if d not in known}
        if fresh:
            encoded = encode(list(fresh.values()))
            if cache is not None:
                cache.put_many(encoder.spec.fingerprint, list(fresh), encoded)
            known |= dict(zip(fresh, encoded, strict=True))
        for place, digest in enumerate(digests, start):
            rows[place] = known[digest]
    return rows


def _known_positives(records: Iterable[PairRecord]) -> dict[str, set[str]]:
    """Of each query, whatever record it stands in, its positives; by folded texts."""
    known: dict[str, set[str]] = {}
    for record in records:
        positives = {_folded(text) for text in record.positives}
        for query in record.queries:
            known.setdefault(_folded(query), set()).update(positives)
    return known


def _documents(records: Iterable[PairRecord]) -> Iterator[str]:
    for record in records:
        yield from record.positives
        yield from record.negatives


def _distinct(texts: Iterable[str]) -> list[str]:
    found = list({_folded(text): text for text in texts}.values())
    if len(found) < 2:
        raise ValueError(f"There must be at least two texts to mine among, got {len(found)}.")
    return found


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def modes() -> tuple[str, ...]:
    """The ways to search."""
    return get_args(Mode)
