"""An index as one portable file and back: a ZIP of the live generation, hashed both ways."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from indexing import points
from indexing.errors import BackupError, BuildFailedError, CorruptIndexError, UsageError
from indexing.generation import current_folder
from indexing.manifest import NAME, FileFact, Manifest
from indexing.publishing import (
    KEPT_GENERATIONS,
    new_generation,
    next_chunk_id,
    next_number,
    publish,
)
from indexing.rewriting import terms_of
from indexing.shared import SharedWriter, renamed
from indexing.stores.factory import is_shared

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, the current file)."""

_BLOCK = 1 << 20
_LARGEST_MANIFEST = 1 << 28
_ARRAY = ".npy"


def backup_index(index: Path, target: Path, progress: Progress | None = None) -> Manifest:
    """Write the live generation into one file, which appears whole or not at all.

    Builds may go on meanwhile.

    Raises:
        UsageError: If the file is there already.
        CorruptIndexError: If a file of the index is not what was published.
        BuildFailedError: If the disk is full, or otherwise cannot be written.
    """
    if target.exists():
        raise UsageError(f"{target} is there already; give another name, or delete it first.")
    beside = target.with_name(f"{target.name}.unfinished")
    while True:
        folder = current_folder(index)
        try:
            manifest = _write(folder, beside, progress)
            beside.replace(target)
            return manifest
        except CorruptIndexError:
            if current_folder(index) == folder:
                raise
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or current_folder(index) == folder:
                raise BuildFailedError(
                    f"Writing {target} failed: {error.strerror or error}. The index is untouched."
                ) from error
        finally:
            if not beside.exists() or current_folder(index) != folder:
                beside.unlink(missing_ok=True)


def _write(folder: Path, target: Path, progress: Progress | None) -> Manifest:
    manifest = Manifest.read(folder)
    total = sum(fact.size for fact in manifest.files.values())
    done = 0
    try:
        with target.open("wb") as file:
            with zipfile.ZipFile(file, "w", compresslevel=1) as archive:
                archive.write(folder / NAME, NAME, zipfile.ZIP_DEFLATED)
                for name, fact in manifest.files.items():
                    if progress is not None:
                        progress(done, total, name)
                    _add(archive, folder / name, name, fact)
                    done += fact.size
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if progress is not None:
        progress(total, total, "")
    return manifest


def _add(archive: zipfile.ZipFile, path: Path, name: str, fact: FileFact) -> None:
    # Embeddings do not get smaller; texts do, to a third.
    kind = zipfile.ZIP_STORED if path.suffix == _ARRAY else zipfile.ZIP_DEFLATED
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type, info.file_size = kind, fact.size
    with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
        found = _copy(source, target, fact.size)
    if found != fact:
        raise CorruptIndexError(path, "was changed after it was written")


def restore_index(
    backup: Path,
    index: Path,
    progress: Progress | None = None,
    *,
    keep: int = KEPT_GENERATIONS,
) -> Manifest:
    """Publish a backup as the newest generation of an index, or as the first of a new one.

    What is there stays live until the last step, and is kept for `rollback`. The caller holds the
    lock of the index.

    Raises:
        BackupError: If the file is not a whole, unchanged backup; nothing was changed.
    """
    try:
        with zipfile.ZipFile(backup) as archive:
            number = next_number(index)
            with new_generation(index, number) as folder:
                manifest = _extract(archive, backup, folder, progress)
                next_id = max(manifest.next_id, next_chunk_id(index))
                manifest = replace(manifest, generation=number, next_id=next_id)
                manifest = _with_rows(manifest, index, folder, number)
                manifest.write(folder)
                publish(index, folder, keep=keep)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise BackupError(backup, f"cannot be read ({error})") from error
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # what bz2 says of damaged data
            raise BackupError(backup, f"cannot be read ({error})") from error
        raise
    return manifest


def _with_rows(manifest: Manifest, index: Path, folder: Path, number: int) -> Manifest:
    """Bring the rows to a shared store, as a knowledge base of their own.

    Not among those that this index has there: a backup's ids may stand for other chunks.
    """
    if not is_shared(manifest.store):
        return manifest
    terms = replace(terms_of(manifest), store_options=renamed(manifest.store_options))
    writer = SharedWriter(index, terms, number, repairs=False)
    return replace(manifest, store_options=writer.upload(folder))


def _extract(
    archive: zipfile.ZipFile, backup: Path, folder: Path, progress: Progress | None
) -> Manifest:
    names = archive.namelist()
    if names.count(NAME) != 1 or archive.getinfo(NAME).file_size > _LARGEST_MANIFEST:
        raise BackupError(backup, "holds no manifest of an index")
    if any(info.header_offset < 0 for info in archive.infolist()):
        raise BackupError(backup, "has a damaged table of contents")
    (folder / NAME).write_bytes(archive.read(NAME))
    try:
        manifest = Manifest.read(folder)
    except CorruptIndexError as error:
        raise BackupError(backup, f"holds a manifest that {error.what}") from error
    if sorted(names) != sorted([NAME, *manifest.files]):
        odd = sorted(set(names) ^ {NAME, *manifest.files})
        what = f"does not hold what its manifest says ({odd[0]!r})" if odd else "repeats a file"
        raise BackupError(backup, what)
    total = sum(fact.size for fact in manifest.files.values())
    done = 0
    for name, fact in manifest.files.items():
        if progress is not None:
            progress(done, total, name)
        target = _place(folder, name, backup)
        with archive.open(name) as source, target.open("wb") as file:
            found = _copy(source, file, fact.size)
        if found != fact:
            raise BackupError(backup, f"holds a damaged {name}")
        points.passing("file restored")
        done += fact.size
    return manifest


def _place(folder: Path, name: str, backup: Path) -> Path:
    """Where a file goes: below the folder, whatever its name tries."""
    path = PurePosixPath(name)
    is_plain = path.as_posix() == name and not path.is_absolute() and "\\" not in name
    if not is_plain or {"..", "."} & set(path.parts) or ":" in name or "\0" in name:
        raise BackupError(backup, f"holds a file with the name {name!r}, which no index has")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _copy(source: IO[bytes], target: IO[bytes], most: int) -> FileFact:
    """Copy at most one block more than `most` bytes, so that no archive can fill the disk."""
    digest, size = hashlib.sha256(), 0
    while size <= most and (block := source.read(_BLOCK)):
        target.write(block)
        digest.update(block)
        size += len(block)
    return FileFact(size=size, sha256=digest.hexdigest())
