"""A knowledge base as one file and back: its facts, its files, and its index. Knows no screen."""

import hashlib
import os
import re
import shutil
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from app.library import FACTS, SOURCES, Facts, Library, LibraryError, Listing, facts_of, facts_text
from app.uploads import held
from indexing.backup import backup_index
from indexing.ledger import LEDGER, has_ledger, read_ledger
from indexing.managing import restore as restore_index

FOLDER = "backups"
_INDEX = "index.zip"
_MOST_FACTS = 1 << 20
_MOST_LEDGER = 1 << 28
_BLOCK = 1 << 20
_STORED = re.compile(r"([0-9a-f]{64})(\.[0-9a-z.]{1,12})")
_DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, KeyError, OSError)

Progress = Callable[[int, int, str], None]


def backups_folder(home: Path) -> Path:
    """Where backups lie until somebody moves them."""
    return home / FOLDER


def list_backups(home: Path) -> list[Path]:
    """The backups of a library, the newest first."""
    files = backups_folder(home).glob("*.kb.zip")
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def back_up(listing: Listing, name: str, progress: Progress) -> Path:
    """Write a knowledge base into one file below `backups/`, whole or not at all."""
    folder = backups_folder(listing.folder.parent)
    folder.mkdir(exist_ok=True, mode=0o700)
    target = folder / name
    files = sorted({row.file for row in held(listing).values()})
    with TemporaryDirectory(dir=folder, prefix=".unfinished-") as place:
        beside = Path(place) / "kb.zip"
        with zipfile.ZipFile(beside, "w", compresslevel=1) as archive:
            archive.writestr(FACTS, facts_text(listing.facts), zipfile.ZIP_DEFLATED)
            archive.write(listing.sources / LEDGER, f"{SOURCES}/{LEDGER}", zipfile.ZIP_DEFLATED)
            for number, file in enumerate(files):
                progress(number, len(files) + 1, file)
                # Documents are packed in themselves, or small.
                archive.write(listing.sources / file, f"{SOURCES}/{file}", zipfile.ZIP_DEFLATED)
            if listing.has_index:
                backup_index(listing.index, Path(place) / _INDEX)
                archive.write(Path(place) / _INDEX, _INDEX)
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(target)
    progress(1, 1, "")
    return target


def facts_in(file: Path | IO[bytes]) -> Facts:
    """What a backup says that it holds.

    Raises:
        LibraryError: If it is none.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _facts(archive)
    except _DAMAGE as error:
        raise _no_backup(error) from error


def begin_restore(library: Library, file: Path | IO[bytes]) -> Listing:
    """Make an empty knowledge base for a backup, under its name or the next free one."""
    facts = facts_in(file)
    return library.create(replace(facts, name=library.free_name(facts.name)))


def restore(listing: Listing, file: Path, progress: Progress) -> dict[str, Any]:
    """Fill an empty knowledge base from a backup; every file is checked.

    Raises:
        LibraryError: If the backup is damaged, or is none; the files then stay out.
    """
    try:
        with zipfile.ZipFile(file) as archive, TemporaryDirectory(dir=listing.folder) as place:
            names = set(archive.namelist())
            _check_room(archive, listing.folder)
            ledger = f"{SOURCES}/{LEDGER}"
            _extract(archive, ledger, Path(place) / LEDGER, _MOST_LEDGER)
            rows = read_ledger(Path(place)).values() if has_ledger(Path(place)) else ()
            files = sorted({row.file for row in rows})
            for number, name in enumerate(files):
                progress(number, len(files) + 1, name)
                _restore_file(archive, name, listing.sources)
            report: dict[str, Any] = {"files": len(files), "documents": 0, "chunks": 0}
            if _INDEX in names:
                size = archive.getinfo(_INDEX).file_size
                _extract(archive, _INDEX, Path(place) / _INDEX, size)
                found = restore_index(listing.index, Path(place) / _INDEX, _silent)
                report |= {key: found[key] for key in ("documents", "chunks", "encoder")}
            (Path(place) / LEDGER).replace(listing.sources / LEDGER)
    except _DAMAGE as error:
        raise _no_backup(error) from error
    progress(1, 1, "")
    return report


def _check_room(archive: zipfile.ZipFile, folder: Path) -> None:
    needed = sum(info.file_size for info in archive.infolist())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"it unpacks to {needed >> 20} MiB, and the disk has {free >> 20} MiB")


def _silent(done: int, total: int, current: str) -> None:
    """Nobody looks on."""


def _facts(archive: zipfile.ZipFile) -> Facts:
    if archive.getinfo(FACTS).file_size > _MOST_FACTS:
        raise ValueError(f"{FACTS} is too large")
    return facts_of(tomllib.loads(archive.read(FACTS).decode("utf-8")))


def _restore_file(archive: zipfile.ZipFile, name: str, folder: Path) -> None:
    """A stored file under its own name, which is its content's digest."""
    match = _STORED.fullmatch(name)
    if match is None:
        raise ValueError(f"it names a file {name!r}, which no knowledge base keeps")
    place = f"{SOURCES}/{name}"
    found = _extract(archive, place, folder / name, archive.getinfo(place).file_size)
    if found != match[1]:
        (folder / name).unlink()
        raise ValueError(f"{name} is damaged")


def _extract(archive: zipfile.ZipFile, name: str, target: Path, most: int) -> str:
    """Copy at most `most` bytes out; returns their digest."""
    digest, size = hashlib.sha256(), 0
    with archive.open(name) as source, target.open("wb") as file:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > most:
                raise ValueError(f"{name} is larger than it says")
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _no_backup(error: Exception) -> LibraryError:
    return LibraryError(
        "bad_backup", f"This file is no whole backup of a knowledge base ({error})."
    )
