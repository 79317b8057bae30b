"""What `indexing.manage` does; each function returns plain values for people and for JSON."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexing.backup import Progress, backup_index, restore_index
from indexing.config import BuildConfig
from indexing.duplicates import read_duplicates
from indexing.errors import CorruptIndexError, UsageError
from indexing.folder import check_index_folder
from indexing.generation import current_folder, finished_generations, open_current
from indexing.langchain_folder import langchain_records
from indexing.manifest import Manifest
from indexing.near_duplicates import find_near_duplicates
from indexing.pipeline import build_index
from indexing.publishing import KEPT_GENERATIONS, prune, rollback
from indexing.purging import purge_index
from indexing.retyping import retype_index
from indexing.verification import damaged_files
from indexing.work import Job, State, WorkFile, after_publishing, file_states, job, jobs

Found = dict[str, Any]


def status(index: Path) -> Found:
    """The generations, the last run and the files by state."""
    live = current_folder(index)
    last = next(iter(jobs(index)), None)
    return {
        "index": str(index),
        "live": Manifest.read(live).generation,
        "generations": [_generation(folder) for folder in finished_generations(index)],
        "last run": _run(last) if last else None,
        "files": dict(sorted(Counter(row.state.value for row in file_states(index)).items())),
    }


def _generation(folder: Path) -> Found:
    try:
        manifest = Manifest.read(folder)
    except CorruptIndexError as error:
        return {"generation": int(folder.name[4:]), "damaged": str(error)}
    return {
        "generation": manifest.generation,
        "encoder": manifest.encoder.name,
        "documents": manifest.documents,
        "chunks": manifest.chunks,
    }


def _run(last: Job) -> Found:
    started = datetime.fromtimestamp(last.started, UTC).isoformat(timespec="seconds")
    if last.outcome is not None:
        return {"run": last.command, "started": started, "outcome": last.outcome}
    return {
        "run": last.command,
        "started": started,
        "outcome": f"running as process {last.process}, or killed",
        "documents": f"{last.done} of {last.total}",
        "current": last.current,
    }


def files(index: Path, state: str | None) -> Found:
    """The state of every file, or of those in one state."""
    if state is not None and state not in list(State):
        raise UsageError(f"Unknown state {state!r}. Known: {', '.join(State)}.")
    current_folder(index)
    rows = file_states(index, State(state) if state else None)
    return {
        "files": [
            {"state": row.state.value, "source": row.source, "reason": row.reason} for row in rows
        ]
    }


def roll_back(index: Path, to: int | None) -> Found:
    """Return to an earlier generation."""
    current_folder(index)
    with job(index, "rollback") as work:
        before = current_folder(index)
        after = rollback(index, to)
        note_states(index, work)
    return {"index": str(index), "from": before.name, "to": after.name}


def note_states(index: Path, work: WorkFile) -> None:
    """Make the files' states those of the live generation."""
    live = open_current(index, with_stores=False)
    with after_publishing():
        work.reconcile(live.states().keys() | read_duplicates(live.folder).keys(), live.sources)


def verify(index: Path) -> Found:
    """Hash every file of every generation."""
    current_folder(index)
    whole, damaged = [], []
    for folder in finished_generations(index):
        try:
            found = damaged_files(folder, Manifest.read(folder))
        except CorruptIndexError as error:
            found = {error.file.name: error.what}
        damaged += [f"{folder / name} {what}" for name, what in found.items()]
        if not found:
            whole.append(folder.name)
    return {"index": str(index), "whole": whole, "damaged": damaged}


def keep(index: Path, count: int) -> Found:
    """Keep so many generations from now on."""
    if count < 1:
        raise UsageError(f"keep needs at least 1, got {count}.")
    current_folder(index)
    with job(index, f"keep {count}") as work:
        work.set("keep", count)
        removed = prune(index, count)
    return {
        "index": str(index),
        "keep": count,
        "removed": [folder.name for folder in removed],
        "kept": [folder.name for folder in finished_generations(index)],
    }


def index_type(index: Path, kind: str, recall: float | None) -> Found:
    """Make the store anew with another index type."""
    current_folder(index)
    return asdict(retype_index(index, kind, recall))


def back_up(index: Path, file: Path, progress: Progress) -> Found:
    """Write the live generation into one file."""
    manifest = backup_index(index, file, progress)
    return {
        "backup": str(file),
        "generation": manifest.generation,
        "documents": manifest.documents,
        "chunks": manifest.chunks,
        "bytes": file.stat().st_size,
    }


def restore(index: Path, file: Path, progress: Progress) -> Found:
    """Publish a backup."""
    if not file.is_file():
        raise UsageError(f"No such file: {file}. Check the path.")
    check_index_folder(index)
    with job(index, f"restore {file}") as work:
        keep = work.setting("keep", KEPT_GENERATIONS)
        manifest = restore_index(file, index, progress, keep=keep)
        note_states(index, work)
    return {
        "index": str(index),
        "generation": manifest.generation,
        "encoder": manifest.encoder.name,
        "documents": manifest.documents,
        "chunks": manifest.chunks,
    }


def purge(index: Path) -> Found:
    """Leave nothing of what was removed."""
    current_folder(index)
    with job(index, "purge") as work:
        report = purge_index(index, work)
    return report.as_dict()


def near_duplicates(index: Path, threshold: float) -> Found:
    """Pairs of documents that are nearly the same, and files with the same content."""
    live = open_current(index, with_stores=False)
    texts = ((r.document.id, r.document.text) for portion in live.portions() for r in portion)
    return {
        "index": str(index),
        "nearly the same": [
            {"similarity": round(pair.similarity, 3), "first": pair.first, "second": pair.second}
            for pair in find_near_duplicates(texts, threshold)
        ],
        "the same": [
            {"file": one.source, "of": one.of} for one in read_duplicates(live.folder).values()
        ],
    }


def migrate(index: Path, folder: Path, encoder: str | None, progress: Progress) -> Found:
    """Index the texts of a FAISS folder that LangChain saved, encoded anew."""
    config = BuildConfig(encoder=encoder, update="incremental")
    records = langchain_records(folder)
    return build_index(["-"], index, config, lines=records, progress=progress).as_dict()
