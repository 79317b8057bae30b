"""Keeps what is made from models between runs: a key in, a folder of files out.

Several processes may share it. Whatever lies here can be made again: a damaged entry is deleted,
and a cache that cannot be written costs time and nothing else.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from encoder.files import cache_folder, digest_of_file, read_object

log = logging.getLogger(__name__)

SIZE_GIB = 20
"""Most that the entries take together; those that were not used for longest make room."""
_CONTENTS = "contents.json"
_UNFINISHED = ".unfinished-"
_ABANDONED_S = 24 * 3600
"""Age at which an entry that nobody finished counts as left behind by a process that died."""


def find_entry(key: str) -> Path | None:
    """The folder kept under a key, every file of it checked by SHA-256; None if there is none."""
    entry = models_folder() / key
    if not entry.is_dir():
        return None
    try:
        contents = read_object(entry / _CONTENTS)
        sound = bool(contents) and all(
            digest_of_file(entry / name) == digest for name, digest in contents.items()
        )
    except (OSError, ValueError):
        sound = False
    if not sound:
        log.warning("What was made from a model in %s is damaged; it is made anew.", entry)
        _delete(entry)
        return None
    with suppress(OSError):
        os.utime(entry)  # its last use
    return entry


def keep_entry(key: str, write: Callable[[Path], None]) -> Path | None:
    """Keep what `write` puts into the folder that it is given; the first of two writers wins.

    Returns:
        The entry's folder; None where it cannot be kept, which is logged.
    """
    models = models_folder()
    unfinished = None
    try:
        models.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = Path(mkdtemp(prefix=_UNFINISHED, dir=models))
        write(unfinished)
        contents = {file.name: digest_of_file(file) for file in sorted(unfinished.iterdir())}
        (unfinished / _CONTENTS).write_text(json.dumps(contents), "utf-8")
        with suppress(OSError):  # another process was sooner, with the same model
            unfinished.rename(models / key)
        _make_room(models, spared=key)
    except OSError as error:
        log.warning("What was made from a model cannot be kept in %s: %s.", models, error)
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return find_entry(key)


def clear_cache() -> int:
    """Delete every kept model; one that is in use goes on working.

    Returns:
        How many bytes are free now.
    """
    entries = _entries(models_folder())
    freed = sum(_size(entry) for entry in entries)
    for entry in entries:
        _delete(entry)
    return freed


def used_bytes() -> int:
    """Bytes that the kept models take."""
    return sum(_size(entry) for entry in _entries(models_folder()))


def models_folder() -> Path:
    """Where the entries lie."""
    return cache_folder() / "models"


def _entries(models: Path) -> list[Path]:
    return [path for path in models.iterdir() if path.is_dir()] if models.is_dir() else []


def _size(entry: Path) -> int:
    with suppress(OSError):  # another process has just deleted it
        return sum(file.stat().st_size for file in entry.iterdir())
    return 0


def _last_use(entry: Path) -> float:
    with suppress(OSError):
        return entry.stat().st_mtime
    return 0.0


def _make_room(models: Path, *, spared: str) -> None:
    left = float(SIZE_GIB * 2**30)
    for entry in sorted(_entries(models), key=_last_use, reverse=True):
        if entry.name.startswith(_UNFINISHED):
            if _last_use(entry) < time.time() - _ABANDONED_S:
                shutil.rmtree(entry, ignore_errors=True)
            continue
        left -= _size(entry)
        if left < 0 and entry.name != spared:
            _delete(entry)


def _delete(entry: Path) -> None:
    # Renamed first, so that nobody meets an entry of which half is gone.
    with suppress(OSError):
        doomed = mkdtemp(prefix=_UNFINISHED, dir=entry.parent)
        entry = entry.rename(Path(doomed) / entry.name)
        shutil.rmtree(doomed)
