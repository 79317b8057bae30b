"""`python -m app.worker FOLDER NUMBER LOCK`: one job of a knowledge base; `app.jobs` starts it."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.jobs import Recorder
    from app.library import Library, Listing
    from indexing import BuildConfig

Report = Mapping[str, Any]

HOSTS_VARIABLE = "ANGLER_ALLOWED_HOSTS"
"""Hosts with private addresses that web pages may be read from, with commas between."""
BACKUPS = "backups"
_SLOT = "working.lock"
_NICER = 5
_LISTED = 1000
"""Failed files, or pairs of documents, that a report holds at most."""

log = logging.getLogger("app.worker")


def main() -> int:
    """Do the job that the command line names."""
    from app.jobs import Outcome, Recorder

    folder, number, lock = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    # A server that a script started in the background ignores this signal, and so would its child.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.nice(_NICER)  # those who search come first
    record = Recorder(folder, number)
    try:
        report = _do(folder, record)
    except KeyboardInterrupt:
        record.end(Outcome.CANCELLED)
    except Exception as error:
        log.exception("The job failed.")
        record.end(Outcome.FAILED, _sentence(error))
    else:
        record.end(Outcome.DONE, report=report)
    # Not only when the process is gone, which takes torch a moment: the next job may begin now.
    os.close(lock)
    return 0


def _sentence(error: Exception) -> str:
    """What a reader is told: our own errors say what to do, others are told by their kind."""
    text = str(error).strip()
    return text if text else type(error).__name__


def _do(folder: Path, record: "Recorder") -> Report:
    from app.jobs import Kind
    from app.library import Library

    library = Library(folder.parent)
    kind, choices = record.begin()
    todo: dict[Kind, Callable[..., Report]] = {
        Kind.UPDATE: _update,
        Kind.PURGE: _purge,
        Kind.REEMBED: _reembed,
        Kind.ROLLBACK: _roll_back,
        Kind.BACKUP: _back_up,
        Kind.RESTORE: _restore,
        Kind.NEAR_DUPLICATES: _near_duplicates,
    }
    with _alone(folder.parent):
        return todo[kind](library, library.get(folder.name), record, **choices)


@contextmanager
def _alone(home: Path) -> "Iterator[None]":
    """One job at a time: several encoders at once would each take more than their share longer."""
    with (home / _SLOT).open("a") as slot:
        flock(slot, LOCK_EX)
        yield


def build_config(listing: "Listing", *, purge: bool = False) -> "BuildConfig":
    """The choices that a knowledge base stands for."""
    from indexing import BuildConfig

    is_new = not listing.has_index
    facts = listing.facts
    return BuildConfig(
        encoder=facts.encoder or None,
        # An index keeps the way of splitting that it began with.
        chunk_tokens=(facts.chunk_tokens or None) if is_new else None,
        update="full",
        allow_mass_delete=True,  # the ledger is what people chose, whatever it leaves out
        depth=facts.links,
        public_only=True,
        private_hosts=os.environ.get(HOSTS_VARIABLE, ""),
        purge=purge,
    )


def _update(
    library: "Library", listing: "Listing", record: "Recorder", *, purge: bool = False
) -> Report:
    from indexing import build_index

    sources = [str(listing.sources), *listing.facts.addresses]
    name = _namer(listing)
    report = build_index(
        sources,
        listing.index,
        build_config(listing, purge=purge),
        progress=lambda done, total, current: record.progress(done, total, name(current)),
        estimated=lambda found: record.expect(found.seconds),
    ).as_dict()
    del report["index"]
    for one in report["failed"][:_LISTED]:
        log.warning("%s: %s was not read: %s", listing.id, one["source"], one["reason"])
    return report | {"failed": len(report["failed"])}


def _namer(listing: "Listing") -> Callable[[str], str]:
    """What people call a stored file, which bears a digest for a name."""
    from app.uploads import held

    folder = f"{listing.sources.resolve()}{os.sep}"
    names = {row.file: id_ for id_, row in held(listing).items()}

    def name(path: str) -> str:
        stored, slash, within = path.removeprefix(folder).partition("/")
        return names[stored] + slash + within if stored in names else path

    return name


def _purge(library: "Library", listing: "Listing", record: "Recorder") -> Report:
    from app.uploads import sweep

    report = _update(library, listing, record, purge=True)
    return {**report, "removed_files": sweep(listing)}


def _reembed(library: "Library", listing: "Listing", record: "Recorder", *, encoder: str) -> Report:
    from encoder import load_encoder
    from indexing.reencoding import reembed_index

    model = load_encoder(encoder or None)
    report = reembed_index(listing.index, model, progress=record.progress).as_dict()
    library.change(listing, encoder=encoder)
    del report["index"]
    return report


def _roll_back(library: "Library", listing: "Listing", record: "Recorder", *, to: int) -> Report:
    from indexing.generation import current_folder
    from indexing.managing import roll_back
    from indexing.manifest import Manifest

    roll_back(listing.index, to)
    live = Manifest.read(current_folder(listing.index))
    if not same_encoder(listing, live.encoder.name):
        library.change(listing, encoder=live.encoder.name)
    return {"generation": live.generation, "documents": live.documents, "chunks": live.chunks}


def same_encoder(listing: "Listing", name: str) -> bool:
    """Whether a knowledge base asks for the encoder that is called so."""
    from encoder.registry import DEFAULT_MODEL

    return (listing.facts.encoder or DEFAULT_MODEL) == name


def _back_up(library: "Library", listing: "Listing", record: "Recorder", *, file: str) -> Report:
    from app.backups import back_up

    target = back_up(listing, file, record.progress)
    return {"file": target.name, "bytes": target.stat().st_size}


def _restore(library: "Library", listing: "Listing", record: "Recorder", *, file: str) -> Report:
    from app.backups import restore

    return restore(listing, Path(file), record.progress)


def _near_duplicates(library: "Library", listing: "Listing", record: "Recorder") -> Report:
    from indexing.managing import near_duplicates
    from indexing.near_duplicates import DEFAULT_THRESHOLD

    found = near_duplicates(listing.index, DEFAULT_THRESHOLD)
    return {
        "near": found["nearly the same"][:_LISTED],
        "same": found["the same"][:_LISTED],
        "left_out": max(0, len(found["nearly the same"]) - _LISTED),
    }


if __name__ == "__main__":
    sys.exit(main())
