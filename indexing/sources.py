"""What the user points at: files, folders and piped records, each with the id of its document."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data import (
    SUFFIXES,
    Document,
    UnreadableDocumentError,
    load_document,
    load_records,
    readable_name,
)
from indexing.errors import BuildFailedError, UsageError

PIPE = "-"
"""The SOURCE that stands for JSON lines on standard input."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be read, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Item:
    """One document that a source offers, not read yet."""

    id: str
    root: str
    source: str
    size: int
    mtime_ns: int
    digest: Callable[[], str]
    """SHA-256 of the content; raises OSError or UnreadableDocumentError."""
    load: Callable[[], Document]
    """The document; raises UnreadableDocumentError."""


@dataclass
class Scan:
    """What stands in the sources now."""

    items: list[Item] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    empty_roots: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    """Folders that could not be listed: what was in them may still be there."""


def check_sources(sources: Sequence[str]) -> None:
    """Raise UsageError unless every SOURCE is there and their names differ."""
    if not sources:
        raise UsageError("No SOURCE given. Give files, folders, or - for JSON lines.")
    names: dict[str, str] = {}
    for source in sources:
        if "://" in source:
            raise UsageError(f"URLs cannot be read yet, got {source}. Save the page as a file.")
        if source != PIPE and not Path(source).exists():
            raise UsageError(f"No such file or folder: {source}. Check the path.")
        name = root_name(source)
        if name in names:
            raise UsageError(
                f"{names[name]} and {source} are both called {name!r}, so their documents' ids "
                "would clash. Index their parent folder, or rename one."
            )
        names[name] = source


def root_name(source: str) -> str:
    """The name that documents of a source carry in their ids."""
    return PIPE if source == PIPE else Path(source).resolve().name


def root_key(source: str) -> str:
    """What tells one source from another between runs."""
    return PIPE if source == PIPE else readable_name(str(Path(source).resolve()))


def scan_sources(sources: Sequence[str], lines: Iterable[str] = ()) -> Scan:
    """List what the sources hold, without reading files.

    Args:
        sources: Files, folders, or `-`.
        lines: JSON lines for `-`.
    """
    scan = Scan()
    for source in sources:
        before = len(scan.items) + len(scan.failures)
        if source == PIPE:
            _scan_records(lines, scan)
        elif Path(source).is_dir():
            _scan_folder(Path(source).resolve(), scan)
        else:
            _add_file(Path(source).resolve(), Path(source).resolve(), scan)
        if len(scan.items) + len(scan.failures) == before:
            scan.empty_roots.append(source)
    _drop_repeated_ids(scan)
    return scan


def _drop_repeated_ids(scan: Scan) -> None:
    """Keep the first item of each id: piped records may clash with files."""
    first: dict[str, Item] = {}
    for item in scan.items:
        if first.setdefault(item.id, item) is not item:
            reason = f"its id {item.id!r} is also that of {first[item.id].source}"
            scan.failures.append(Failure(item.source, reason))
    scan.items = list(first.values())


def _scan_folder(root: Path, scan: Scan) -> None:
    def unlisted(error: OSError) -> None:
        name = readable_name(str(error.filename))
        scan.failures.append(Failure(name, f"The folder cannot be listed: {error.strerror}."))
        scan.hidden.append(name)

    for folder, subfolders, files in os.walk(root, onerror=unlisted):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder) / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                _add_file(path, root, scan)


def _add_file(path: Path, root: Path, scan: Scan) -> None:
    place = path.name if path == root else f"{root.name}/{path.relative_to(root).as_posix()}"
    id_, source = readable_name(place), readable_name(str(path))
    try:
        status = path.stat()
    except OSError as error:
        scan.failures.append(Failure(source, f"The file cannot be read: {error.strerror}."))
        scan.hidden.append(source)
        return
    scan.items.append(
        Item(
            id=id_,
            root=readable_name(str(root)),
            source=source,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            digest=lambda: _digest_of_file(path),
            load=lambda: load_document(path, id=id_),
        )
    )


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _scan_records(lines: Iterable[str], scan: Scan) -> None:
    try:
        scan.items += [_record_item(document) for document in load_records(lines)]
    except UnreadableDocumentError as error:
        # Going on without a line would delete its document from the index.
        raise BuildFailedError(f"Standard input: {error} Nothing was changed.") from error


def _record_item(document: Document) -> Item:
    content = json.dumps([document.title, document.text, dict(document.metadata)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Item(
        id=document.id,
        root=PIPE,
        source=document.id,
        size=len(content),
        mtime_ns=0,
        digest=lambda: digest,
        load=lambda: document,
    )
