"""Mends what `examining` finds, and says what cannot be mended."""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.catalog import DocumentRecord
from indexing.embedding import Embedder
from indexing.errors import CorruptIndexError
from indexing.examining import Finding, Level, bad_rows, content_problems, examine, orphans
from indexing.generation import LEXICAL, Generation, current_folder, finished_generations
from indexing.manifest import Manifest
from indexing.publishing import (
    KEPT_GENERATIONS,
    clear_leftovers,
    new_generation,
    next_number,
    point_to,
    publish,
)
from indexing.rewriting import Embeddings, rewrite
from indexing.splitting import Piece
from indexing.verification import damaged_files
from indexing.work import WorkFile, after_publishing

if TYPE_CHECKING:
    from encoder import Encoder

_STORE = "store"
"""How the names of a store's files begin."""


def mend(index: Path, work: WorkFile, encoder: "Callable[[], Encoder]") -> list[Finding]:
    """Mend what can be mended; the caller holds the lock.

    What is derived, the store and the word index, is made anew from catalogue and embeddings; bad
    embeddings are encoded again from the stored texts. Where the catalogue itself is damaged, the
    newest sound generation becomes the live one. Nothing is deleted before a sound state is live.

    Returns:
        What was mended, and the state afterwards.
    """
    before = _problems(index)
    if not before:
        return examine(index)
    clear_leftovers(index)
    _remove_orphans(index)
    if not _is_live_sound(index) and not (
        _rewritten(index, work, encoder) or _returned_to_sound(index)
    ):
        return [*examine(index), _beyond()]
    _remove_damaged(index)
    left = {finding.check for finding in _problems(index)}
    fixed = [
        Finding(check=finding.check, level=Level.FIXED, detail=finding.detail)
        for finding in before
        if finding.check not in left
    ]
    return [*fixed, *examine(index)]


def _problems(index: Path) -> list[Finding]:
    return [finding for finding in examine(index) if finding.level is Level.PROBLEM]


def _beyond() -> Finding:
    return Finding(
        check="index",
        level=Level.BEYOND,
        detail="No generation is sound, and texts or embeddings are damaged. Restore a backup, or "
        "delete the folder and build again from the sources.",
    )


def _remove_orphans(index: Path) -> None:
    for folder in finished_generations(index):
        try:
            odd = orphans(folder, Manifest.read(folder))
        except CorruptIndexError:
            continue
        for path in odd:
            path.unlink()


def _is_live_sound(index: Path) -> bool:
    try:
        live = current_folder(index).name
    except CorruptIndexError:
        return False
    others = {folder.name for folder in finished_generations(index)} - {live}
    return all(finding.check.rpartition(" ")[2] in others for finding in _problems(index))


def _rewritten(index: Path, work: WorkFile, encoder: "Callable[[], Encoder]") -> bool:
    """Write the live generation anew, if its catalogue and embeddings are sound."""
    try:
        folder = current_folder(index)
        manifest = Manifest.read(folder)
        if not all(map(_is_derived, damaged_files(folder, manifest))):
            return False
        live = Generation(folder, with_stores=False, verify=False)
        if content_problems(live):
            return False
        number = next_number(index)
        with new_generation(index, number) as unfinished:
            rewrite(live, unfinished, number, _mended_embeddings(live, work, encoder), repairs=True)
            publish(index, unfinished, keep=work.setting("keep", KEPT_GENERATIONS))
    except (CorruptIndexError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.OperationalError):  # the disk of the new one, not the old one
            raise
        return False
    with after_publishing():
        work.drop_work()
    return True


def _is_derived(name: str) -> bool:
    """Whether a file can be made anew from the catalogue and the embeddings."""
    return name.startswith(f"{LEXICAL}/") or Path(name).name.startswith(_STORE)


def _mended_embeddings(
    live: Generation, work: WorkFile, encoder: "Callable[[], Encoder]"
) -> Embeddings:
    """The stored embeddings; bad ones are encoded again."""
    spec = live.manifest.encoder
    segments = [segment for segment in (live.base, live.delta) if segment is not None]
    bad = set().union(*(bad_rows(one, spec.dim) for one in segments)) if spec.normalize else set()

    def embeddings(records: Sequence[DocumentRecord]) -> NDArray[np.float32]:
        chunks = [chunk for record in records for chunk in record.chunks]
        rows = live.embeddings([chunk.chunk.id for chunk in chunks])
        places = [place for place, chunk in enumerate(chunks) if chunk.chunk.id in bad]
        if places:
            embedder = Embedder(encoder, work.journal(spec.fingerprint, spec.dim), spec)
            texts = [chunks[place].embedded for place in places]
            counts = encoder().count_tokens(texts)
            rows[places] = embedder.rows(
                [
                    Piece(0, len(text), (), text, text, count)
                    for text, count in zip(texts, counts, strict=True)
                ]
            )
        return rows

    return embeddings


def _returned_to_sound(index: Path) -> bool:
    """Make the newest generation live that is whole and sound."""
    for folder in reversed(finished_generations(index)):
        try:
            if content_problems(Generation(folder, with_stores=False)):
                continue
            point_to(index, folder)
        except (OSError, sqlite3.Error, ValueError):
            continue
        return True
    return False


def _remove_damaged(index: Path) -> None:
    live = current_folder(index)
    for folder in finished_generations(index):
        try:
            is_damaged = bool(damaged_files(folder, Manifest.read(folder)))
        except CorruptIndexError:
            is_damaged = True
        if is_damaged and folder != live:
            shutil.rmtree(folder)
