"""What a knowledge base holds, file by file: where each stands, and why. Knows no screen."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from app.library import Listing
from app.uploads import held
from indexing.ledger import LedgerRow
from indexing.work import FileRow, State, file_states


class Standing(StrEnum):
    """Where a document stands."""

    NEW = "new"
    """Kept here, not in the index yet."""
    CHANGED = "changed"
    """Another version is in the index."""
    LEAVING = "leaving"
    """In the index, and leaves it with the next update."""
    QUEUED = "queued"
    READ = "read"
    """Split, and being encoded."""
    INDEXED = "indexed"
    DUPLICATE = "duplicate"
    FAILED = "failed"


WAITING = frozenset({Standing.NEW, Standing.CHANGED, Standing.LEAVING})
"""What an update would change."""
_OF = {
    State.QUEUED: Standing.QUEUED,
    State.PARSED: Standing.READ,
    State.ENCODED: Standing.READ,
    State.PUBLISHED: Standing.INDEXED,
    State.UNCHANGED: Standing.INDEXED,
    State.DUPLICATE: Standing.DUPLICATE,
    State.FAILED: Standing.FAILED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One document, or one file or page that none came of yet."""

    document: str
    owner: str
    """The file or address that it belongs to: itself, its archive, or the page that led to it."""
    standing: Standing
    reason: str
    size: int | None
    """Bytes of the file; None for pages and for what lies in an archive."""
    added: float | None
    """When it came, in seconds since 1970."""
    file: Path | None
    """Where it is stored, if it is a file of its own."""


def inventory(listing: Listing) -> list[Row]:
    """Every document of a knowledge base, by name."""
    if not listing.is_managed:
        return [
            _row(row.document, row.document, row, None, None) for row in file_states(listing.index)
        ]
    rows = held(listing)
    folder = listing.sources.resolve()
    called = {str(folder / row.file): id_ for id_, row in rows.items()}
    owners = {*rows, *listing.facts.addresses}
    found: dict[str, Row] = {}
    for state in file_states(listing.index):
        document = _called(state.document, called)
        owner = _owner(document, owners)
        kept = rows.get(document)
        if owner is None:
            found[document] = _row(document, document, state, None, None, Standing.LEAVING)
        else:
            file = folder / kept.file if kept is not None else None
            is_other = file is not None and state.source not in {str(file), state.document}
            standing = Standing.CHANGED if is_other else None
            found[document] = _row(document, owner, state, kept, file, standing)
    begun = {row.owner for row in found.values()}
    for id_ in owners - begun:
        kept = rows.get(id_)
        file = folder / kept.file if kept is not None else None
        found[id_] = _row(id_, id_, None, kept, file, Standing.NEW)
    return sorted(found.values(), key=lambda row: row.document.casefold())


def _row(
    document: str,
    owner: str,
    state: FileRow | None,
    kept: LedgerRow | None,
    file: Path | None,
    standing: Standing | None = None,
) -> Row:
    return Row(
        document=document,
        owner=owner,
        standing=standing or (_OF[state.state] if state else Standing.NEW),
        reason=state.reason if state and standing is None else "",
        size=_size(file),
        added=kept.added if kept else None,
        file=file,
    )


def _size(file: Path | None) -> int | None:
    try:
        return file.stat().st_size if file is not None else None
    except OSError:
        return None


def _called(document: str, called: Mapping[str, str]) -> str:
    """What people call something that was noted under its place on disk."""
    if document in called:
        return called[document]
    for place, id_ in called.items():
        if document.startswith(f"{place}/"):
            return id_ + document.removeprefix(place)
    return document


def _owner(document: str, owners: set[str]) -> str | None:
    if document in owners:
        return document
    if "://" in document:
        # A page may have led to another address of its site.
        site = urlsplit(document).netloc
        return next((one for one in sorted(owners) if urlsplit(one).netloc == site), None)
    place = document
    while "/" in place:
        place = place.rpartition("/")[0]
        if place in owners:
            return place
    return None
