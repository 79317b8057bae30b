"""The files that a knowledge base keeps: stored by their content, called what people called them.

What a browser sends is a name and bytes. The bytes go to `sources/<their SHA-256><ending>`, the
name into the ledger beside them, cleaned and never used as a path. Knows no screen.
"""

import fcntl
import hashlib
import logging
import os
import re
import time
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import uuid4

from app.library import Library, LibraryError, Listing
from data.fetching import normal_url
from data.loaders import SUFFIXES, UnreadableDocumentError, format_of
from data.loaders.archives import ARCHIVE_SUFFIXES, is_archive
from indexing.ledger import LedgerRow, read_ledger, write_ledger

MOST_UPLOAD_MIB = 200
"""As `server.maxUploadSize` in `.streamlit/config.toml`."""
LONGEST_PATH = 400
MOST_ADDRESSES = 1_000
_BLOCK = 1 << 20
_LOCK = ".lock"
_UNFINISHED = ".unfinished-"
_DRIVE = re.compile("[A-Za-z]:")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as a browser sends it."""

    name: str
    """What it is called there, with its folders if a folder was chosen."""
    content: BinaryIO
    size: int


def add_file(listing: Listing, upload: Upload) -> str:
    """Keep a file, in the place of another with its name; returns the document's id.

    Raises:
        LibraryError: If it is refused: for its name, its size or its format.
    """
    try:
        id_ = document_id(upload.name)
        _check_size(upload.size)
        ending = _ending(id_)
    except LibraryError as error:
        log.warning("An upload to %s was refused: %s", listing.id, error)
        raise
    with _changing(listing) as rows:
        rows[id_] = LedgerRow(file=_store(listing.sources, upload, ending), added=time.time())
    return id_


def remove(listing: Listing, ids: Collection[str]) -> int:
    """Take documents out of the ledger; the next update takes them out of the index.

    The stored files stay for as long as an older version of the index may be returned to.
    """
    with _changing(listing) as rows:
        gone = [id_ for id_ in ids if rows.pop(id_, None) is not None]
    return len(gone)


def held(listing: Listing) -> dict[str, LedgerRow]:
    """The documents that a knowledge base keeps, by id."""
    return read_ledger(listing.sources)


def sweep(listing: Listing) -> int:
    """Delete stored files that the ledger does not name; returns how many there were."""
    with _changing(listing) as rows:
        named = {row.file for row in rows.values()}
        doomed = [
            path
            for path in listing.sources.iterdir()
            if path.name not in named
            and (not path.name.startswith(".") or path.name.startswith(_UNFINISHED))
        ]
        for path in doomed:
            path.unlink()
    return len(doomed)


def add_address(library: Library, listing: Listing, text: str) -> Listing:
    """Let a web page belong to a knowledge base.

    Raises:
        LibraryError: If it is no web address.
    """
    try:
        address = normal_url(text)
    except (ValueError, UnicodeError) as error:
        log.warning("An address for %s was refused: %s", listing.id, error)
        raise LibraryError("bad_address", str(error), address=text.strip()[:100]) from error
    addresses = dict.fromkeys([*library.get(listing.id).facts.addresses, address])
    if len(addresses) > MOST_ADDRESSES:
        raise LibraryError("too_many_addresses", f"At most {MOST_ADDRESSES} web addresses fit.")
    return library.change(listing, addresses=tuple(addresses))


def remove_addresses(library: Library, listing: Listing, gone: Collection[str]) -> Listing:
    """Let web pages go; the next update takes them out of the index."""
    addresses = library.get(listing.id).facts.addresses
    return library.change(listing, addresses=tuple(one for one in addresses if one not in gone))


def document_id(name: str) -> str:
    """The id of a document that is called so, its folders before it.

    Raises:
        LibraryError: If the name tries to be more than that.
    """
    id_ = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = PurePosixPath(id_).parts
    is_odd = (
        not parts
        or id_.startswith("/")
        or _DRIVE.match(parts[0])
        or parts[0].endswith(":")  # as the beginning of a web address does
        or {"..", "."} & {*id_.split("/")}
        or any(unicodedata.category(character) in {"Cc", "Cs"} for character in id_)
        or any(
            character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
            for character in id_
        )
        or len(id_) > LONGEST_PATH
        or not parts[-1].strip(". ")
    )
    if is_odd:
        raise LibraryError("bad_file_name", f"The file name {name[:100]!r} cannot be used.")
    return "/".join(parts)


def _check_size(size: int) -> None:
    if size > MOST_UPLOAD_MIB * 2**20:
        raise LibraryError(
            "too_large",
            f"The file has {size / 2**20:.0f} MiB; at most {MOST_UPLOAD_MIB} are taken.",
            most=MOST_UPLOAD_MIB,
        )


def _ending(id_: str) -> str:
    """The ending to store a file under: one that we know, as we spell it."""
    name = id_.rpartition("/")[2].lower()
    if is_archive(name):
        return max((end for end in ARCHIVE_SUFFIXES if name.endswith(end)), key=len)
    suffix = PurePosixPath(name).suffix
    if suffix not in SUFFIXES:
        try:
            format_of(name)
        except UnreadableDocumentError as error:
            raise LibraryError("bad_format", str(error), ending=suffix or name[:40]) from error
    return suffix


def _store(folder: Path, upload: Upload, ending: str) -> str:
    """Write the bytes under their digest; what is there already is not written again."""
    beside = folder / f"{_UNFINISHED}{uuid4()}"
    digest, size = hashlib.sha256(), 0
    try:
        with beside.open("xb") as file:
            while block := upload.content.read(_BLOCK):
                size += len(block)
                _check_size(size)
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        stored = folder / f"{digest.hexdigest()}{ending}"
        if not stored.exists():
            beside.rename(stored)
    finally:
        beside.unlink(missing_ok=True)
    return stored.name


@contextmanager
def _changing(listing: Listing) -> Iterator[dict[str, LedgerRow]]:
    """The ledger's rows, written back at the end; one at a time, whoever writes."""
    listing.sources.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (listing.sources / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = read_ledger(listing.sources)
        before = dict(rows)
        yield rows
        if rows != before or not before:
            write_ledger(listing.sources, rows)
