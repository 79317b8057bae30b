"""What the user points at (files, folders, archives, pages, piped records), each with an id."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import NoReturn

from data import (
    SUFFIXES,
    Document,
    UnreadableDocumentError,
    load_document,
    load_records,
    readable_name,
)
from data.fetching import AddressRule, normal_url
from data.loaders import document_of, format_of
from data.loaders.archives import Member, is_archive, list_members, read_member
from data.site import KnownPage, Page, SiteLimits, read_site
from indexing.errors import BuildFailedError, UsageError
from indexing.ledger import has_ledger, read_ledger

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
    pages: dict[str, "SeenPage"] = field(default_factory=dict)
    """The web pages that were read or that are as they were, by address."""


@dataclass(frozen=True, slots=True)
class SeenPage:
    """A web page and the document that was made of it."""

    content: str
    """The document's digest."""
    known: KnownPage


def check_sources(sources: Sequence[str]) -> None:
    """Raise UsageError unless every SOURCE is there and their names differ."""
    if not sources:
        raise UsageError("No SOURCE given. Give files, folders, or - for JSON lines.")
    names: dict[str, str] = {}
    for source in sources:
        if is_url(source):
            _check_url(source)
        elif source != PIPE and not Path(source).exists():
            raise UsageError(f"No such file or folder: {source}. Check the path.")
        name = root_name(source)
        if name in names:
            raise UsageError(
                f"{names[name]} and {source} are both called {name!r}, so their documents' ids "
                "would clash. Index their parent folder, or rename one."
            )
        names[name] = source


def is_url(source: str) -> bool:
    """Whether a SOURCE is a web address."""
    return "://" in source


def _check_url(source: str) -> None:
    try:
        normal_url(source)
    except ValueError as error:
        raise UsageError(str(error)) from error


def root_name(source: str) -> str:
    """The name that documents of a source carry in their ids."""
    if is_url(source):
        return normal_url(source)
    return PIPE if source == PIPE else Path(source).resolve().name


def root_key(source: str) -> str:
    """What tells one source from another between runs."""
    if is_url(source):
        return normal_url(source)
    return PIPE if source == PIPE else readable_name(str(Path(source).resolve()))


def scan_sources(
    sources: Sequence[str],
    lines: Iterable[str] = (),
    *,
    depth: int = 0,
    pages: Mapping[str, SeenPage] | None = None,
    may_connect: AddressRule | None = None,
) -> Scan:
    """List what the sources hold, without reading files; web pages are read.

    Args:
        sources: Files, folders, archives, web addresses, or `-`.
        lines: JSON lines for `-`.
        depth: Links followed from a web address.
        pages: Web pages whose documents the index holds; they are read only if they changed.
        may_connect: Which addresses may be asked for pages; without a rule all may.
    """
    scan = Scan()
    for source in sources:
        before = len(scan.items) + len(scan.failures)
        if source == PIPE:
            _scan_records(lines, scan)
        elif is_url(source):
            _scan_site(source, scan, depth, pages or {}, may_connect)
        elif has_ledger(Path(source)):
            _scan_ledger(Path(source).resolve(), scan)
        elif Path(source).is_dir():
            _scan_folder(Path(source).resolve(), scan)
        else:
            path = Path(source).resolve()
            _add_file(str(path), path.name, str(path), scan)
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

    above = len(str(root.parent).rstrip(os.sep)) + 1
    for folder, subfolders, files in os.walk(root, onerror=unlisted):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        # Plain strings: of a hundred thousand files, paths as objects would take seconds.
        place = folder[above:].replace(os.sep, "/")
        for name in sorted(files):
            if not name.startswith(".") and (_is_read(name) or is_archive(name)):
                path = os.path.join(folder, name)  # noqa: PTH118
                _add_file(path, f"{place}/{name}" if place else name, str(root), scan)


def _scan_ledger(root: Path, scan: Scan) -> None:
    """The documents that a ledger names; files that it does not name are left alone."""
    for id_, row in read_ledger(root).items():
        _add_file(str(root / row.file), id_, str(root), scan)


def _is_read(name: str) -> bool:
    """Whether a file of a folder is a document; pictures are where their text can be read."""
    format_ = SUFFIXES.get(os.path.splitext(name)[1].lower())  # noqa: PTH122 - half a second
    return format_ is not None and (format_.name != "pictures" or _reads_pictures())


@cache
def _reads_pictures() -> bool:
    return find_spec("rapidocr") is not None


def _add_file(path: str, place: str, root: str, scan: Scan) -> None:
    """Add one file.

    Args:
        path: Where it lies.
        place: Its path from the source's own name on, with slashes: the id, once readable.
        root: The source that it belongs to.
        scan: What it is added to.
    """
    id_, source = readable_name(place), readable_name(path)
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        scan.failures.append(Failure(source, f"The file cannot be read: {error.strerror}."))
        scan.hidden.append(source)
        return
    if is_archive(path):
        _add_archive(Path(path), Path(root), id_, status.st_mtime_ns, scan)
        return
    scan.items.append(
        Item(
            id=id_,
            root=readable_name(root),
            source=source,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            digest=lambda: _digest_of_file(Path(path)),
            load=lambda: load_document(Path(path), id=id_, name=id_),
        )
    )


def _add_archive(path: Path, root: Path, id_: str, mtime_ns: int, scan: Scan) -> None:
    source = readable_name(str(path))
    try:
        members = list_members(path)
    except UnreadableDocumentError as error:
        scan.failures.append(Failure(source, str(error)))
        scan.hidden.append(source)
        return
    for member in members:
        if member.problem:
            scan.failures.append(Failure(f"{source}/{member.path}", member.problem))
        elif _is_read(member.path):
            scan.items.append(_member_item(path, root, id_, mtime_ns, member))
    if not any(member.problem or _is_read(member.path) for member in members):
        names = f" ({members[0].path}, ...)" if members else ""
        scan.failures.append(Failure(source, f"The archive holds no file that is read{names}."))


def _member_item(path: Path, root: Path, id_: str, mtime_ns: int, member: Member) -> Item:
    id_, source = f"{id_}/{member.path}", f"{readable_name(str(path))}/{member.path}"

    def load() -> Document:
        format_, stem = format_of(member.path), PurePath(member.path).stem
        return document_of(read_member(path, member), format_, id=id_, stem=stem, source=source)

    return Item(
        id=id_,
        root=readable_name(str(root)),
        source=source,
        size=member.size,
        mtime_ns=mtime_ns,
        digest=lambda: hashlib.sha256(read_member(path, member)).hexdigest(),
        load=load,
    )


def _scan_site(
    source: str,
    scan: Scan,
    depth: int,
    seen: Mapping[str, SeenPage],
    may_connect: AddressRule | None,
) -> None:
    root = root_key(source)
    known = {url: page.known for url, page in seen.items()}
    limits = SiteLimits(depth=depth)
    for page in read_site(source, limits=limits, known=known, may_connect=may_connect):
        if page.document is not None:
            item = _described_item(page.document, root)
        elif page.is_unchanged:
            item = _unchanged_item(page.url, root, seen[page.url].content, may_connect)
        elif page.is_gone and page.url != root:
            continue
        else:
            item = _unread_item(page, root)
            # What it leads to is not known, so nothing of the site may be taken for gone.
            scan.hidden.append(root)
        scan.items.append(item)
        if page.known is not None:
            scan.pages[page.url] = SeenPage(item.digest(), page.known)


def _unchanged_item(url: str, root: str, content: str, may_connect: AddressRule | None) -> Item:
    def load() -> Document:
        page = next(read_site(url, may_connect=may_connect))
        if page.document is None:
            raise UnreadableDocumentError(page.reason)
        return page.document

    return Item(
        id=url, root=root, source=url, size=0, mtime_ns=0, digest=lambda: content, load=load
    )


def _unread_item(page: Page, root: str) -> Item:
    def fail() -> NoReturn:
        raise UnreadableDocumentError(page.reason)

    return Item(id=page.url, root=root, source=page.url, size=0, mtime_ns=0, digest=fail, load=fail)


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _scan_records(lines: Iterable[str], scan: Scan) -> None:
    try:
        scan.items += [_described_item(document, PIPE) for document in load_records(lines)]
    except UnreadableDocumentError as error:
        # Going on without a line would delete its document from the index.
        raise BuildFailedError(f"Standard input: {error} Nothing was changed.") from error


def _described_item(document: Document, root: str) -> Item:
    """A document that is read already."""
    content = json.dumps([document.title, document.text, dict(document.metadata)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Item(
        id=document.id,
        root=root,
        source=document.source,
        size=len(content),
        mtime_ns=0,
        digest=lambda: digest,
        load=lambda: document,
    )
