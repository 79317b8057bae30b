"""One writer at a time makes a generation, publishes it whole, and removes the oldest ones."""

import fcntl
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexing import points
from indexing.errors import BuildFailedError, IndexLockedError, StoreError, UsageError
from indexing.generation import CURRENT, CURRENT_NEXT, current_folder, finished_generations
from indexing.manifest import NAME, Manifest
from indexing.shared import forget_rows
from indexing.verification import verify_files

log = logging.getLogger(__name__)

LOCK_NAME = "LOCK"
KEPT_GENERATIONS = 2
"""The live one, and the one before it for readers that have not moved on."""
_TRIES, _PAUSE_S = 20, 0.05

_UNFINISHED = ".unfinished"
_REMOVED = ".removed"


@contextmanager
def writer_lock(index: Path) -> Iterator[None]:
    """Keep other writers out of an index; the lock ends with the process, however it ends.

    Raises:
        IndexLockedError: That names the process which is writing.
        BuildFailedError: If the folder cannot be written.
    """
    try:
        index.mkdir(parents=True, exist_ok=True)
        lock = (index / LOCK_NAME).open("a+b", buffering=0)
    except OSError as error:
        raise BuildFailedError(f"{index} cannot be written: {error.strerror}.") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode("utf-8", "replace").strip()
            raise IndexLockedError(
                f"The index in {index} is being written by {holder}. "
                "Wait until it is done, or stop it."
            ) from None
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield


@contextmanager
def new_generation(index: Path, number: int) -> Iterator[Path]:
    """A folder to write a generation into; removed again if the writing fails."""
    clear_leftovers(index)
    folder = index / f"{_name(number)}{_UNFINISHED}"
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        _remove_whole(folder)
        raise


def clear_leftovers(index: Path) -> list[str]:
    """Remove what a killed writer left behind; returns the names of what could not be removed."""
    found = [path for end in (_UNFINISHED, _REMOVED) for path in index.glob(f"gen-*{end}")]
    for path in found:
        _remove(index, path)
        if path.name.endswith(_UNFINISHED) and path.exists():
            raise OSError(f"{path} cannot be removed; delete it by hand.")
    return [path.name for path in found if path.exists()]


def publish(index: Path, unfinished: Path, *, keep: int = KEPT_GENERATIONS) -> Path:
    """Make a finished folder the live generation: nothing is seen of it before the last step."""
    before = current_folder(index) if (index / CURRENT).exists() else None
    final = unfinished.with_name(unfinished.name.removesuffix(_UNFINISHED))
    _make_durable(unfinished)
    points.passing("files synced")
    # Before the folder has its name: a crash in between leaves this file, by which readers tell a
    # first generation that was never published from an index whose pointer was lost.
    _prepare_pointer(index, final.name)
    points.passing("pointer prepared")
    unfinished.rename(final)
    _sync(index)
    points.passing("generation named")
    _replace_pointer(index)
    try:
        prune(index, keep, before)
    except OSError as error:  # it is published, and no failure
        log.warning("An older generation of %s was not removed: %s.", index, error)
    return final


def point_to(index: Path, folder: Path) -> None:
    """Make a generation the live one that was finished before.

    Raises:
        CorruptIndexError: If one of its files is missing or changed; the live one stays.
    """
    verify_files(folder, Manifest.read(folder), again=True)
    _prepare_pointer(index, folder.name)
    points.passing("pointer prepared")
    _replace_pointer(index)


def rollback(index: Path, to: int | None = None) -> Path:
    """Return to an earlier generation, or to any that is kept; the caller holds the lock.

    Raises:
        UsageError: If there is no such generation.
        CorruptIndexError: If it is damaged.
    """
    kept = {int(path.name[4:]): path for path in finished_generations(index)}
    live = current_folder(index)
    if to is None:
        to = max((number for number in kept if kept[number].name < live.name), default=None)
    if to is None or to not in kept:
        others = ", ".join(str(number) for number in kept) or "none"
        wanted = "an earlier generation" if to is None else f"generation {to}"
        raise UsageError(f"{index} keeps no {wanted.removeprefix('an ')}. Kept: {others}.")
    if kept[to] != live:
        point_to(index, kept[to])
    return kept[to]


def next_number(index: Path) -> int:
    """One more than the highest generation that was ever finished here."""
    return max((int(path.name[4:]) for path in finished_generations(index)), default=0) + 1


def next_chunk_id(index: Path) -> int:
    """An id that no generation here has given, not even one that was rolled back."""
    manifests = (folder / NAME for folder in finished_generations(index))
    return max(
        (Manifest.read(path.parent).next_id for path in manifests if path.is_file()), default=1
    )


def prune(index: Path, keep: int, before: Path | None = None) -> list[Path]:
    """Remove old generations; the live one always stays.

    Args:
        index: The index's folder; the caller holds its lock.
        keep: How many generations to keep, at least 1.
        before: The generation that readers may still be on; it stays as long as two are kept.
    """
    live = current_folder(index)
    newest_first = [path for path in reversed(finished_generations(index)) if path != live]
    newest_first.sort(key=lambda path: path != before)
    doomed = newest_first[max(0, keep - 1) :]
    for folder in doomed:
        # Set aside first: a half-removed folder must not pass for a generation.
        aside = folder.rename(folder.with_name(folder.name + _REMOVED))
        points.passing("old generation set aside")
        _remove(index, aside)
        points.passing("old generation removed")
    return doomed


def _remove(index: Path, folder: Path) -> None:
    """Remove a folder; of a generation, the rows first that a shared store has of it alone."""
    if folder.name.endswith(_REMOVED):
        try:
            forget_rows(index, folder)
        except StoreError as error:
            log.warning("%s stays until its rows can be deleted: %s", folder, error)
            return
    _remove_whole(folder)


def _remove_whole(folder: Path) -> None:
    """Remove a folder into which threads of a writer that failed may still put a last file."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


def link_or_copy(source: Path, target: Path) -> None:
    """Bring a folder of published files into a new generation: hard links, or copies."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
            continue
        try:
            os.link(path, place)
        except OSError:  # another device, or a file system without hard links
            shutil.copy2(path, place)


def _make_durable(folder: Path) -> None:
    """Bring all files to the disk, readable by those who may read the manifest."""
    mode = (folder / NAME).stat().st_mode
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_mode != mode:
            path.chmod(mode)  # the lexical engine keeps some of its files to their owner
        _sync(path)
    _sync(folder)


def _prepare_pointer(index: Path, name: str) -> None:
    pointer = index / CURRENT_NEXT
    pointer.write_text(name + "\n", "utf-8")
    _sync(pointer)
    _sync(index)


def _replace_pointer(index: Path) -> None:
    (index / CURRENT_NEXT).replace(index / CURRENT)
    points.passing("pointer replaced")
    _sync(index)


def _name(number: int) -> str:
    return f"gen-{number:06d}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
