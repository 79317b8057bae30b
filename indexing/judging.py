"""What a hit is judged by, and what an index's calibration makes of it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.calibration import FEATURES, RERANKED
from indexing.evidence import EVIDENCE, READ
from indexing.hits import Mode
from indexing.legs import Query
from indexing.selection import Ranked
from indexing.telling import telling_sentences

Judgement = tuple[list[float | None], list[float | None]]
"""For each hit its relevance, and the share of unrelated text that it is better than."""
TermsIn = Callable[[str], frozenset[str]]
_SUREST = 1e-6
"""A reranker that says 0 or 1 is taken to be as sure as this, so that the log odds are finite."""


def features(asked: Query, mode: Mode, ids: Sequence[int]) -> NDArray[np.float64]:
    """What chunks are judged by in a mode, shape (ids, features)."""
    if not ids:
        return np.empty((0, len(FEATURES[mode])))
    if mode is Mode.DENSE:
        return asked.cosines(ids)[:, None].astype(np.float64)
    shares = asked.lexical_shares(ids).astype(np.float64)
    if mode is Mode.LEXICAL:
        return shares[:, None]
    trust = 1.0 - asked.unknown_share
    return np.column_stack([trust * asked.cosines(ids), shares, np.full(len(ids), trust)])


def reranked_features(scores: Sequence[float | None]) -> NDArray[np.float64]:
    """What hits are judged by that a reranker read: the log odds that it gave, shape (n, 1)."""
    said = np.array([np.nan if score is None else score for score in scores], np.float64)
    said = np.clip(said, _SUREST, 1.0 - _SUREST)
    return np.asarray(np.log(said / (1.0 - said))[:, None])


def gather_evidence(
    asked: Query, mode: Mode, ids: Sequence[int], terms_in: TermsIn | None = None
) -> NDArray[np.float64]:
    """What speaks for an answer among the first of some hits; shape (evidence,).

    Args:
        asked: The query.
        mode: How it was searched; by words alone, the encoder is not asked.
        ids: The hits, best first.
        terms_in: Gives the terms of a text, where they may have been looked up before.
    """
    ids = ids[:READ]
    if not ids:
        return np.zeros(len(EVIDENCE))
    lexical = asked.generation.lexical
    terms_in = terms_in or lexical.terms_in
    worth = lexical.worth(asked.text)
    total = sum(worth.values()) or 1.0

    def coverage(text: str) -> float:
        return sum(worth[term] for term in worth.keys() & terms_in(text)) / total

    embedded = asked.generation.embedded_texts(ids)
    texts = [chunk.text for chunk in asked.chunks(ids).values()]
    sentences = [text[start:end] for text in texts for start, end in telling_sentences(text)]
    shares = asked.lexical_shares(ids)
    reads = mode is not Mode.LEXICAL
    return np.array(
        [
            max(coverage(embedded[id_]) for id_ in ids),
            max(map(coverage, sentences), default=0.0),
            asked.cosines(ids).max() if reads else 0.0,
            asked.trust if reads else 0.0,
            shares.max() - shares.mean(),
        ],
        np.float64,
    )


def judge(asked: Query, mode: Mode, ids: Sequence[int]) -> Judgement:
    """What the legs say of chunks; None for all where the index is not calibrated."""
    calibration = asked.generation.calibration
    found = calibration.modes.get(mode) if calibration is not None else None
    if found is None or not ids:
        return [None] * len(ids), [None] * len(ids)
    seen = features(asked, mode, ids)
    return found.relevance(seen).tolist(), found.better_than(seen).tolist()


def judge_reranked(asked: Query, mode: Mode, ranked: Ranked, reranker: str) -> Judgement:
    """What a reranker's scores say of the hits that it read, and the legs of the others.

    None for all where the index was not calibrated with that reranker: what the legs say would
    contradict the order.
    """
    calibration = asked.generation.calibration
    if calibration is None or calibration.reranker != reranker or RERANKED not in calibration.modes:
        return [None] * len(ranked), [None] * len(ranked)
    relevance, better_than = judge(asked, mode, [id_ for id_, _ in ranked])
    read = [place for place, (_, scores) in enumerate(ranked) if scores.rerank is not None]
    if read:
        seen = reranked_features([ranked[place][1].rerank for place in read])
        found = calibration.modes[RERANKED]
        values = zip(read, found.relevance(seen), found.better_than(seen), strict=True)
        for place, is_right, is_better in values:
            relevance[place], better_than[place] = float(is_right), float(is_better)
    return relevance, better_than
