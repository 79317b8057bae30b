"""Finds out what the scores of a generation mean, from golden questions or from its own chunks."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data import GoldenQuestion
from indexing.calibration import (
    NAME,
    RERANKED,
    SECTION,
    SHOWN_TO_JUDGE,
    Calibration,
    Evidence,
    ModeCalibration,
    fit,
    read_calibration,
    write_section,
)
from indexing.fusion import FUSED_DEPTH, Fusion
from indexing.fusion import SECTION as FUSION
from indexing.fusion_choice import Judged, choose_fusion
from indexing.generation import Generation, open_current
from indexing.hits import Mode, Scores
from indexing.judging import TermsIn, features, gather_evidence, reranked_features
from indexing.legs import Query
from indexing.manifest import NAME as MANIFEST
from indexing.manifest import Manifest, file_fact
from indexing.publishing import (
    KEPT_GENERATIONS,
    link_or_copy,
    new_generation,
    next_number,
    publish,
)
from indexing.questions import Question, golden_questions, synthetic_questions
from indexing.reranking import Reranking, rerank_ranked
from indexing.stores import SearchResult
from indexing.work import job

if TYPE_CHECKING:
    from encoder import Encoder

log = logging.getLogger(__name__)

GOLDEN, SYNTHETIC = "golden", "synthetic"
FEWEST_CHUNKS = 100
"""A smaller index is not calibrated by its build: chance would say more than its scores."""
DUE_SHARE = 0.2
"""A synthetic calibration is made anew when the number of chunks has changed by more than this."""
FEWEST_QUESTIONS = 20
_SHOWN = 10
"""Hits of each question that right and wrong are learned from."""
_UNRELATED = 10
"""Random chunks beside each question."""
_KEPT_TEXTS = 20_000
"""Texts whose terms are remembered while questions are asked."""
_SEED = 17

Progress = Callable[[int, int], None]
Nearest = Callable[[NDArray[np.float32], int], SearchResult]
"""Queries, shape (m, dim), and k to the k nearest chunks of each."""


def calibrate(
    generation: Generation,
    encoder: "Encoder",
    questions: Sequence[Question],
    *,
    source: str,
    nearest: Nearest | None = None,
    reranking: Reranking | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Ask a generation some questions, and learn what its scores say about the hits.

    Args:
        generation: What is asked.
        encoder: The encoder that built it.
        questions: Questions whose answers are known.
        source: Where they come from: `GOLDEN` or `SYNTHETIC`.
        nearest: What searches the embeddings; without it the generation's stores do.
        reranking: A loaded reranker, to learn what it says about the hits of hybrid search.
        progress: Called as questions are asked.

    Raises:
        ValueError: If there are too few questions, or they find nothing to learn from.
    """
    if len(questions) < FEWEST_QUESTIONS:
        raise ValueError(
            f"A calibration needs at least {FEWEST_QUESTIONS} questions, got {len(questions)}."
        )
    seen: dict[str, list[Evidence]] = defaultdict(list)
    gathered = gather(generation, encoder, questions, nearest, reranking)
    for number, evidence in enumerate(gathered, start=1):
        for name, item in evidence.items():
            seen[name].append(item)
        if progress is not None:
            progress(number, len(questions))
    return Calibration(
        source=source,
        questions=len(questions),
        chunks=generation.manifest.chunks,
        modes=_fitted(seen, unrelated := unrelated_cosine(seen[Mode.DENSE])),
        unrelated_cosine=unrelated,
        reranker=reranking.name if reranking is not None else None,
    )


def unrelated_cosine(dense: Sequence[Evidence]) -> float:
    """The mean cosine of the questions to random texts."""
    cosines = np.concatenate([item.unrelated for item in dense])
    return round(float(cosines.mean()), 6) if len(cosines) else 0.0


def _fitted(seen: Mapping[str, Sequence[Evidence]], unrelated: float) -> dict[str, ModeCalibration]:
    """Each mode that can be calibrated: an encoder may find nothing right in a language."""
    modes: dict[str, ModeCalibration] = {}
    reason = ValueError()
    for mode, items in seen.items():
        try:
            modes[str(mode)] = fit(items, unrelated)
        except ValueError as error:
            reason = error
    if not modes:
        raise reason
    return modes


def gather(
    generation: Generation,
    encoder: "Encoder",
    questions: Sequence[Question],
    nearest: Nearest | None = None,
    reranking: Reranking | None = None,
) -> Iterator[dict[str, Evidence]]:
    """The evidence of each question in each mode, and of its reranked hits.

    Args:
        generation: What is asked.
        encoder: The one that built it.
        questions: What to ask.
        nearest: What searches the embeddings; without it the generation's stores do.
        reranking: A loaded reranker.
    """
    everything = generation.chunk_ids()
    chance = np.random.default_rng(_SEED)
    vectors = encoder.encode_queries([question.text for question in questions])
    terms_in = lru_cache(_KEPT_TEXTS)(generation.lexical.terms_in)
    nearest_of_all = (nearest or generation.search)(vectors, FUSED_DEPTH)
    for question, vector, scores, ids in zip(questions, vectors, *nearest_of_all, strict=True):
        asked = Query(question.text, generation, lambda: encoder)
        asked.vector = vector[None]  # encoded and searched for together with the others
        asked.note_dense(FUSED_DEPTH, scores, ids)
        drawn = chance.choice(everything, min(_UNRELATED, len(everything)), replace=False)
        random_ids = [int(id_) for id_ in drawn]
        found = {str(mode): _evidence(asked, question, mode, random_ids, terms_in) for mode in Mode}
        if reranking is not None:
            found[RERANKED] = _reranked_evidence(asked, question, reranking, random_ids)
        yield found


def _evidence(
    asked: Query, question: Question, mode: Mode, random_ids: Sequence[int], terms_in: TermsIn
) -> Evidence:
    ids = [id_ for id_, _ in asked.ranked(mode, FUSED_DEPTH)]
    seen, others = _sorted_out(asked, question, ids, random_ids, partial(features, asked, mode))
    return replace(
        seen,
        found=gather_evidence(asked, mode, ids, terms_in),
        missed=gather_evidence(asked, mode, others, terms_in),
    )


def _reranked_evidence(
    asked: Query, question: Question, reranking: Reranking, random_ids: Sequence[int]
) -> Evidence:
    """The reranker reads all that it would read of a search, however long that takes."""
    patient = replace(reranking, timeout_s=inf, depth=reranking.depth + len(random_ids))
    first = asked.ranked(Mode.HYBRID, reranking.depth)[: reranking.depth]
    known = {id_ for id_, _ in first}
    strangers = [(id_, Scores()) for id_ in random_ids if id_ not in known]
    read = rerank_ranked(asked, [*first, *strangers], patient)
    said = {id_: scores.rerank for id_, scores in read}
    ids = [id_ for id_, _ in read if id_ in known]
    seen, _ = _sorted_out(
        asked, question, ids, random_ids, lambda ids: reranked_features([said[i] for i in ids])
    )
    return seen


def _sorted_out(
    asked: Query,
    question: Question,
    ids: Sequence[int],
    random_ids: Sequence[int],
    features_of: Callable[[Sequence[int]], NDArray[np.float64]],
) -> tuple[Evidence, list[int]]:
    """The evidence of a ranking by what its chunks are judged by, and its hits that are wrong."""
    chunks = asked.chunks([*ids, *random_ids])
    others = [id_ for id_ in ids if chunks[id_].document not in question.documents]
    strangers = [id_ for id_ in random_ids if chunks[id_].document not in question.documents]
    shown = ids[:_SHOWN]
    right = [question.is_answered_by(chunks[id_]) for id_ in shown]
    evidence = Evidence(
        features=features_of(shown),
        is_right=np.array(right, bool),
        unrelated=features_of(strangers),
        without=features_of(others[:SHOWN_TO_JUDGE]),
    )
    return evidence, others


def calibrate_unpublished(folder: Path, manifest: Manifest, encoder: "Encoder | None") -> Manifest:
    """Calibrate a generation that is about to be published, where that is due and quick.

    Golden questions stand until others take their place. A synthetic calibration is made anew when
    the index has grown or shrunk by a fifth, and only if the encoder is there anyway.

    Returns:
        The generation's manifest.
    """
    if encoder is None or not calibration_is_due(folder, manifest):
        return manifest
    generation = Generation(folder, with_stores=False, verify=False)  # it was hashed just now
    questions = synthetic_questions(generation)
    try:
        made = calibrate(generation, encoder, questions, source=SYNTHETIC, nearest=generation.scan)
    except ValueError as error:
        log.info("The scores stay without a meaning: %s", error)
        # Noted, so that not every small change of the index tries again.
        made = Calibration(
            source=SYNTHETIC, questions=len(questions), chunks=manifest.chunks, modes={}
        )
    return _put(folder, manifest, made)


def calibration_is_due(folder: Path, manifest: Manifest) -> bool:
    """Whether `calibrate_unpublished` has something to do, if it has the encoder."""
    known = read_calibration(folder)
    return manifest.chunks >= FEWEST_CHUNKS and _is_due(known, manifest.chunks)


def _is_due(known: Calibration | None, chunks: int) -> bool:
    if known is None:
        return True
    return known.source == SYNTHETIC and abs(chunks - known.chunks) > DUE_SHARE * known.chunks


def calibrate_index(
    index: Path,
    encoder: "Encoder",
    golden: Sequence[GoldenQuestion] | None = None,
    *,
    reranking: Reranking | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate an index, and publish that as a new generation of it.

    Args:
        index: The index's folder.
        encoder: The encoder that built it.
        golden: Questions with their answers; otherwise questions are made from its chunks.
        reranking: A loaded reranker that the index will be searched with; what it says gets a
            meaning too.
        progress: Called as questions are asked.

    Raises:
        IndexNotFoundError: If there is no index in the folder.
        IndexLockedError: If another process is writing it.
        ValueError: If there is too little to learn from.
    """
    with job(index, "calibrate") as work:
        generation = open_current(index)
        questions = synthetic_questions(generation)
        if golden is not None:
            questions = golden_questions(golden)
        source = SYNTHETIC if golden is None else GOLDEN
        made = calibrate(
            generation,
            encoder,
            questions,
            source=source,
            reranking=reranking,
            progress=progress,
        )
        # Questions made from the text share its words and would always speak for the lexical leg.
        fusion = fusion_for(generation, encoder, questions) if golden is not None else None
        number = next_number(index)
        with new_generation(index, number) as folder:
            link_or_copy(generation.folder, folder)
            (folder / MANIFEST).unlink()  # a link: writing into it would change what is published
            if fusion is not None:
                write_section(folder, FUSION, fusion.as_dict())
            _put(folder, replace(generation.manifest, generation=number), made)
            publish(index, folder, keep=work.setting("keep", KEPT_GENERATIONS))
    return made


def fusion_for(generation: Generation, encoder: "Encoder", questions: Sequence[Question]) -> Fusion:
    """How the index should join its legs, by what these questions find."""
    judged = []
    for question in questions:
        asked = Query(question.text, generation, lambda: encoder)
        dense, lexical = asked.dense(FUSED_DEPTH), asked.lexical(FUSED_DEPTH)
        sparse = asked.sparse(FUSED_DEPTH)
        chunks = generation.chunks([*{*dense, *lexical, *(sparse or ())}])
        grades = {id_: int(question.is_answered_by(chunk)) for id_, chunk in chunks.items()}
        judged.append(Judged(dense, lexical, asked.unknown_share, grades, sparse))
    return choose_fusion(judged)


def _put(folder: Path, manifest: Manifest, made: Calibration) -> Manifest:
    write_section(folder, SECTION, made.as_dict())
    files = {**manifest.files, NAME: file_fact(folder / NAME)}
    manifest = replace(manifest, files=files)
    manifest.write(folder)
    return manifest
