"""Finds out what the scores of a generation mean, from golden questions or from its own chunks."""

import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data import Chunk, GoldenQuestion
from indexing.calibration import (
    FEATURES,
    NAME,
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
from indexing.hits import Mode
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
from indexing.sentences import split_clauses, split_sentences
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
SYNTHETIC_QUESTIONS = 200
_SHOWN = 10
"""Hits of each question that right and wrong are learned from."""
_UNRELATED = 10
"""Random chunks beside each question."""
_KEPT_WORDS = 0.7
"""Share of a clause's words that a synthetic question keeps: people do not ask in quotations."""
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
_SEED = 17

Progress = Callable[[int, int], None]
Nearest = Callable[[NDArray[np.float32], int], SearchResult]
"""Queries, shape (m, dim), and k to the k nearest chunks of each."""


@dataclass(frozen=True)
class Question:
    """A question whose answer is known."""

    text: str
    documents: frozenset[str]
    """Where it is answered."""
    is_answered_by: Callable[[Chunk], bool]
    """Whether a chunk is a right hit."""


def calibrate(
    generation: Generation,
    encoder: "Encoder",
    questions: Sequence[Question],
    *,
    source: str,
    nearest: Nearest | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Ask a generation some questions, and learn what its scores say about the hits.

    Raises:
        ValueError: If there are too few questions, or they find nothing to learn from.
    """
    if len(questions) < FEWEST_QUESTIONS:
        raise ValueError(
            f"A calibration needs at least {FEWEST_QUESTIONS} questions, got {len(questions)}."
        )
    seen: dict[Mode, list[Evidence]] = {mode: [] for mode in Mode}
    gathered = gather(generation, encoder, questions, nearest)
    for number, evidence in enumerate(gathered, start=1):
        for mode, item in evidence.items():
            seen[mode].append(item)
        if progress is not None:
            progress(number, len(questions))
    return Calibration(
        source=source,
        questions=len(questions),
        chunks=generation.manifest.chunks,
        modes=_fitted(seen),
    )


def _fitted(seen: Mapping[Mode, Sequence[Evidence]]) -> dict[str, ModeCalibration]:
    """Each mode that can be calibrated: an encoder may find nothing right in a language."""
    modes: dict[str, ModeCalibration] = {}
    reason = ValueError()
    for mode, items in seen.items():
        try:
            modes[str(mode)] = fit(items)
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
) -> Iterator[dict[Mode, Evidence]]:
    """The evidence of each question in each mode.

    Args:
        generation: What is asked.
        encoder: The one that built it.
        questions: What to ask.
        nearest: What searches the embeddings; without it the generation's stores do.
    """
    everything = generation.chunk_ids()
    chance = np.random.default_rng(_SEED)
    vectors = encoder.encode_queries([question.text for question in questions])
    found = (nearest or generation.search)(vectors, FUSED_DEPTH)
    for question, vector, scores, ids in zip(questions, vectors, *found, strict=True):
        asked = Query(question.text, generation, lambda: encoder)
        asked.vector = vector[None]  # encoded and searched for together with the others
        asked.note_dense(FUSED_DEPTH, scores, ids)
        random_ids = chance.choice(everything, min(_UNRELATED, len(everything)), replace=False)
        yield _evidence(asked, question, random_ids.tolist())


def _evidence(asked: Query, question: Question, random_ids: list[int]) -> dict[Mode, Evidence]:
    ranked = {mode: [id_ for id_, _ in asked.ranked(mode, FUSED_DEPTH)] for mode in Mode}
    chunks = asked.generation.chunks(list({*random_ids, *chain.from_iterable(ranked.values())}))

    def others(ids: Sequence[int]) -> list[int]:
        return [id_ for id_ in ids if chunks[id_].document not in question.documents]

    found = {}
    for mode, ids in ranked.items():
        shown = ids[:_SHOWN]
        found[mode] = Evidence(
            features=features(asked, mode, shown),
            is_right=np.array([question.is_answered_by(chunks[id_]) for id_ in shown], bool),
            unrelated=features(asked, mode, others(random_ids)),
            without=features(asked, mode, others(ids)[:SHOWN_TO_JUDGE]),
        )
    return found


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


def golden_questions(golden: Sequence[GoldenQuestion]) -> list[Question]:
    """Golden questions in the form that a calibration takes."""
    from indexing.evaluation import is_right

    return [
        Question(item.question, frozenset([item.document]), partial(is_right, item))
        for item in golden
    ]


def synthetic_questions(generation: Generation, count: int = SYNTHETIC_QUESTIONS) -> list[Question]:
    """Questions made from clauses of chunks chosen by chance, some words left out."""
    chance = random.Random(_SEED)
    everything = generation.chunk_ids().tolist()
    chosen = chance.sample(everything, min(count, len(everything)))
    chunks = generation.chunks(chosen)
    made = (_synthetic(chunks[id_], chance) for id_ in chosen)
    return [question for question in made if question is not None]


def _synthetic(chunk: Chunk, chance: random.Random) -> Question | None:
    spans = [
        clause
        for sentence in split_sentences(chunk.text)
        for clause in split_clauses(chunk.text, *sentence)
    ]
    clauses = [_WORD.findall(chunk.text[start:end]) for start, end in spans]
    long_enough = [words for words in clauses if len(words) >= 5]
    if not long_enough:
        return None
    words = chance.choice(long_enough)[:20]
    kept = [word for word in words if chance.random() < _KEPT_WORDS] or words
    glue = "" if sum(len(word) == 1 and word > "\u3400" for word in kept) * 2 > len(kept) else " "

    def is_source(found: Chunk) -> bool:
        overlaps = found.start < chunk.end and chunk.start < found.end
        return found.document == chunk.document and overlaps

    return Question(glue.join(kept), frozenset([chunk.document]), is_source)


def judge(
    asked: Query, mode: Mode, ids: Sequence[int]
) -> tuple[list[float | None], list[float | None]]:
    """For each chunk its relevance, and the share of unrelated text that it is better than.

    None for all where the index is not calibrated.
    """
    calibration = asked.generation.calibration
    found = calibration.modes.get(mode) if calibration is not None else None
    if found is None or not ids:
        return [None] * len(ids), [None] * len(ids)
    seen = features(asked, mode, ids)
    return found.relevance(seen).tolist(), found.better_than(seen).tolist()


def calibrate_unpublished(folder: Path, manifest: Manifest, encoder: "Encoder | None") -> Manifest:
    """Calibrate a generation that is about to be published, where that is due and quick.

    Golden questions stand until others take their place. A synthetic calibration is made anew when
    the index has grown or shrunk by a fifth, and only if the encoder is there anyway.

    Returns:
        The generation's manifest.
    """
    known = read_calibration(folder)
    if encoder is None or manifest.chunks < FEWEST_CHUNKS or not _is_due(known, manifest.chunks):
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


def _is_due(known: Calibration | None, chunks: int) -> bool:
    if known is None:
        return True
    return known.source == SYNTHETIC and abs(chunks - known.chunks) > DUE_SHARE * known.chunks


def calibrate_index(
    index: Path,
    encoder: "Encoder",
    golden: Sequence[GoldenQuestion] | None = None,
    *,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate an index, and publish that as a new generation of it.

    Args:
        index: The index's folder.
        encoder: The encoder that built it.
        golden: Questions with their answers; otherwise questions are made from its chunks.
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
        made = calibrate(generation, encoder, questions, source=source, progress=progress)
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
        chunks = generation.chunks([*{*dense, *lexical}])
        grades = {id_: int(question.is_answered_by(chunk)) for id_, chunk in chunks.items()}
        judged.append(Judged(dense, lexical, asked.unknown_share, grades))
    return choose_fusion(judged)


def _put(folder: Path, manifest: Manifest, made: Calibration) -> Manifest:
    write_section(folder, SECTION, made.as_dict())
    files = {**manifest.files, NAME: file_fact(folder / NAME)}
    manifest = replace(manifest, files=files)
    manifest.write(folder)
    return manifest
