"""Whether published files are what was written: sizes always, SHA-256 once for each file."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from encoder.files import digest_of_file
from indexing.errors import CorruptIndexError
from indexing.manifest import FileFact, Manifest

VERIFIED_NAME = "verified.json"
"""Beside the generations: the files that have been hashed, so that no later process need to."""

_SETTLED_NS = 2_000_000_000
"""A file written more recently may be written again within the same time stamp."""
_MOST_REMEMBERED = 10_000

_verified: dict[str, str] = {}
"""SHA-256 of each file that this process has hashed, by `_key`."""


def verify_files(folder: Path, manifest: Manifest, *, again: bool = False) -> None:
    """Compare a generation's files with its manifest.

    Args:
        folder: The generation's folder.
        manifest: What its files must be.
        again: Hash also the files that were hashed before.

    Raises:
        CorruptIndexError: That names the first file which is missing or changed.
    """
    known = {} if again else _remembered(folder.parent) | _verified
    fresh: dict[str, str] = {}
    for name, fact in manifest.files.items():
        what = _fault(folder / name, fact, known, fresh)
        if what is not None:
            raise CorruptIndexError(folder / name, what)
    if fresh:
        _verified.update(fresh)
        _remember(folder.parent, _remembered(folder.parent) | fresh)


def remember_facts(index: Path, facts: Mapping[Path, FileFact], read_ns: int) -> None:
    """Note that files were hashed, so that nobody need hash them again.

    Args:
        index: The index's folder.
        facts: What was found of files that were read back.
        read_ns: When the reading began; files written just before that are not trusted.
    """
    fresh = {}
    for path, fact in facts.items():
        status = path.stat()
        if status.st_mtime_ns < read_ns - _SETTLED_NS:
            fresh[_key(status)] = fact.sha256
    if fresh:
        _verified.update(fresh)
        _remember(index, _remembered(index) | fresh)


def damaged_files(folder: Path, manifest: Manifest) -> dict[str, str]:
    """What is wrong with each file of a generation that is not as published; hashes them all."""
    faults = {name: _fault(folder / name, fact, {}, {}) for name, fact in manifest.files.items()}
    return {name: what for name, what in faults.items() if what is not None}


def _fault(path: Path, fact: FileFact, known: dict[str, str], fresh: dict[str, str]) -> str | None:
    """What is wrong with a file; what had to be hashed and is right is added to `fresh`."""
    now_ns = time.time_ns()
    if not path.is_file():
        return "is missing"
    status = path.stat()
    if status.st_size != fact.size:
        return f"has {status.st_size} bytes instead of {fact.size}"
    key = _key(status)
    if known.get(key) == fact.sha256:
        return None
    if digest_of_file(path) != fact.sha256:
        return "was changed after it was written"
    if status.st_mtime_ns < now_ns - _SETTLED_NS:
        fresh[key] = fact.sha256
    return None


def _key(status: os.stat_result) -> str:
    """What changes when a file does. Its hard links, in other generations, share it."""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _remembered(index: Path) -> dict[str, str]:
    try:
        found = json.loads((index / VERIFIED_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(index: Path, facts: dict[str, str]) -> None:
    """Best effort: who may only read the index hashes it anew in each process."""
    last = dict(list(facts.items())[-_MOST_REMEMBERED:])
    beside = index / f"{VERIFIED_NAME}.{os.getpid()}"
    try:
        beside.write_text(json.dumps(last, indent=0), "utf-8")
        beside.replace(index / VERIFIED_NAME)
    except OSError:
        with suppress(OSError):
            beside.unlink()
