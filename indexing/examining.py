"""Whether the parts of an index agree, and what can be mended; knows no command line."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import CorruptIndexError
from indexing.generation import (
    BASE,
    DELTA,
    LEXICAL,
    Generation,
    current_folder,
    finished_generations,
)
from indexing.lexical import LexicalIndex
from indexing.manifest import NAME, Manifest
from indexing.rewriting import terms_of
from indexing.segment import Segment
from indexing.shared import held_ids
from indexing.shared_reader import BridgeReader, open_shared
from indexing.stores import SearchResult
from indexing.stores.base import NO_ID
from indexing.stores.factory import is_shared
from indexing.stores.index_types import FLAT
from indexing.verification import damaged_files

if TYPE_CHECKING:
    from indexing.stores.approximate import StoreFacts

_AT_ONCE = 65_536
_NORM_TOLERANCE = 1e-3
_ASKED = 50
"""Embeddings that the store is asked for."""
_NEAR = 10
"""Hits among which a row must be that is searched for by its own embedding."""
_FOUND_SHARE = 0.9
"""Of these, so many must be found by a store that is not exact."""
_IMBALANCE = 4.0
"""A search reads so many times the rows that it would read in cells of equal size."""
_NAMED = 5


Search = Callable[[NDArray[np.float32], int], SearchResult]


class Level(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing; searches are right."""
    PROBLEM = "problem"
    FIXED = "fixed"
    BEYOND = "cannot be mended"


@dataclass(kw_only=True)
class Finding:
    """The outcome of one check."""

    check: str
    level: Level
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def examine(index: Path) -> list[Finding]:
    """Check all that an index is made of; changes nothing.

    Raises:
        IndexNotFoundError: If the folder holds no index.
    """
    findings = [*_leftovers(index), *_checksums(index)]
    try:
        live = Generation(current_folder(index), with_stores=False, verify=False)
    except (OSError, sqlite3.Error, ValueError) as error:
        return [*findings, _problem("generation", f"It cannot be opened: {error}")]
    for check in (_fingerprint, _counts, _agreement, _texts, _embeddings, _words, _store):
        try:
            findings += check(live)
        except (OSError, sqlite3.Error, ValueError, RuntimeError) as error:
            findings.append(_problem(check.__name__[1:], f"It cannot be checked: {error}"))
    return [*findings, *_repeats(live), *_sources(live)]


def _good(check: str, detail: str = "") -> Finding:
    return Finding(check=check, level=Level.GOOD, detail=detail)


def _note(check: str, detail: str) -> Finding:
    return Finding(check=check, level=Level.NOTE, detail=detail)


def _problem(check: str, detail: str) -> Finding:
    return Finding(check=check, level=Level.PROBLEM, detail=detail)


def _leftovers(index: Path) -> Iterator[Finding]:
    ends = (".unfinished", ".removed")
    names = sorted(path.name for path in index.iterdir() if path.name.endswith(ends))
    if names:
        yield _problem("leftovers", f"A writer that was killed left {_some(names)}.")
    else:
        yield _good("leftovers")


def _checksums(index: Path) -> Iterator[Finding]:
    for folder in finished_generations(index):
        try:
            manifest = Manifest.read(folder)
        except CorruptIndexError as error:
            yield _problem(f"checksums of {folder.name}", f"{error.file} {error.what}.")
            continue
        damaged = damaged_files(folder, manifest)
        if damaged:
            names = [f"{name} {what}" for name, what in damaged.items()]
            yield _problem(f"checksums of {folder.name}", f"{_some(names)}.")
        else:
            yield _good(f"checksums of {folder.name}", f"{len(manifest.files)} files")
        if odd := orphans(folder, manifest):
            names = [path.relative_to(folder).as_posix() for path in odd]
            yield _problem(f"orphans of {folder.name}", f"No manifest knows {_some(names)}.")


def orphans(folder: Path, manifest: Manifest) -> list[Path]:
    """Files in a generation's folder that are not its own."""
    own = {folder / name for name in (NAME, *manifest.files)}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in own)


def _fingerprint(live: Generation) -> Iterator[Finding]:
    written = json.loads((live.folder / NAME).read_text("utf-8"))["fingerprint"]
    spec = live.manifest.encoder
    if written == spec.fingerprint:
        yield _good("fingerprint", spec.name)
    else:
        yield _note(
            "fingerprint",
            f"It was {written[:12]} when the index was written and is {spec.fingerprint[:12]} now: "
            "another version of Angler counts other facts.",
        )


def _segments(live: Generation) -> list[tuple[str, Segment]]:
    pairs = ((BASE, live.base), (DELTA, live.delta))
    return [(name, segment) for name, segment in pairs if segment is not None]


def content_problems(live: Generation) -> list[Finding]:
    """What is wrong with catalogue and embeddings, from which all else can be made anew."""
    found = [*_agreement(live), *_texts(live)]
    return [finding for finding in found if finding.level is Level.PROBLEM]


def _live_chunks(live: Generation) -> int:
    return sum(len(segment) for _, segment in _segments(live)) - len(live.deleted)


def _counts(live: Generation) -> Iterator[Finding]:
    manifest = live.manifest
    chunks, documents = _live_chunks(live), len(live.states())
    if (chunks, documents) == (manifest.chunks, manifest.documents):
        yield _good("counts", f"{documents} documents, {chunks} chunks")
    else:
        yield _problem(
            "counts",
            f"The manifest says {manifest.documents} documents and {manifest.chunks} chunks, the "
            f"catalogue {documents} and {chunks}.",
        )


def _agreement(live: Generation) -> Iterator[Finding]:
    """Catalogue and embeddings hold the same chunks, and the deletions are of the base."""
    for name, segment in _segments(live):
        in_catalog = set(segment.catalog.digests())
        in_vectors = set(segment.ids.tolist())
        if len(in_vectors) != len(segment.ids):
            yield _problem("vectors", f"{name}: a chunk has two embeddings.")
        if in_catalog != in_vectors:
            yield _problem(
                "vectors",
                f"{name}: {len(in_catalog - in_vectors)} chunks of the catalogue have no "
                f"embedding, {len(in_vectors - in_catalog)} embeddings have no chunk.",
            )
        elif len(in_vectors) == len(segment.ids):
            yield _good(f"vectors of {name}", f"{len(in_vectors)} chunks")
    stray = set(live.deleted.tolist()) - set(live.base.ids.tolist())
    if stray:
        yield _problem("deletions", f"{len(stray)} deleted chunks never were in the base.")


def _texts(live: Generation) -> Iterator[Finding]:
    """Offsets give the chunks' texts, and no chunk is without its document."""
    for name, segment in _segments(live):
        wrong = segment.catalog.misplaced_chunks()
        if wrong:
            yield _problem("texts", f"{name}: {len(wrong)} chunks are not where they say.")
        else:
            yield _good(f"texts of {name}")


def bad_rows(segment: Segment, dim: int) -> set[int]:
    """The chunks whose embedding is not finite, is zero, or has not unit length."""
    bad: set[int] = set()
    for start in range(0, len(segment), _AT_ONCE):
        ids = segment.ids[start : start + _AT_ONCE]
        rows = segment.embeddings(ids.tolist())
        if rows.shape[1] != dim:
            raise ValueError(f"embeddings have {rows.shape[1]} values instead of {dim}")
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        bad |= set(ids[~(np.abs(norms - 1) <= _NORM_TOLERANCE)].tolist())
    return bad


def _embeddings(live: Generation) -> Iterator[Finding]:
    spec = live.manifest.encoder
    if not spec.normalize:
        yield _note("embeddings", f"{spec.name} gives rows of any length.")
        return
    for name, segment in _segments(live):
        bad = bad_rows(segment, spec.dim) - set(live.deleted.tolist())
        if bad:
            yield _problem(
                "embeddings",
                f"{name}: {len(bad)} are not finite, zero, or not of unit length "
                f"(chunks {_some([str(one) for one in sorted(bad)])}).",
            )
        else:
            yield _good(f"embeddings of {name}", f"{spec.dim} values, unit length")


def _words(live: Generation) -> Iterator[Finding]:
    count = len(LexicalIndex(live.folder / LEXICAL))
    if count == _live_chunks(live):
        yield _good("words", f"{count} chunks")
    else:
        yield _problem(
            "words", f"The word index holds {count} chunks, the catalogue {_live_chunks(live)}."
        )


def _store(live: Generation) -> Iterator[Finding]:
    """The store finds what it is asked for: each embedding is nearest to itself."""
    kind = live.manifest.store
    if kind == "langchain":
        yield from _bridged_store(live)
        return
    if is_shared(kind):
        yield from _shared_store(live)
        return
    for name, _ in _segments(live):
        segment = Segment(live.folder / name, store=kind)
        if len(segment.store) != len(segment):
            yield _problem(
                "store", f"{name}: it holds {len(segment.store)} of {len(segment)} embeddings."
            )
            continue
        step = max(1, len(segment) // _ASKED)
        asked = segment.ids[::step][:_ASKED].tolist()
        found = _own_scores(segment.store.search, segment.embeddings(asked), asked)
        least = len(asked) if segment.store.capabilities.exact else _FOUND_SHARE * len(asked)
        if asked and found < least:
            yield _problem("store", f"{name}: of {len(asked)} embeddings it finds {found}.")
        else:
            yield _good(f"store of {name}", f"{kind}, {_type_of(segment)}")
        yield from _balance(name, segment)


def _type_of(segment: Segment) -> str:
    facts: StoreFacts | None = getattr(segment.store, "facts", None)
    if facts is None:
        return FLAT
    return f"{facts.index_type} ({facts.factory}), recall {facts.recall:.3f} when it was made"


def _shared_store(live: Generation) -> Iterator[Finding]:
    """Catalogue and shared rows agree, and a sample of the rows is found by itself."""
    index = live.folder.parent
    store = open_shared(live.manifest, index)
    held, there = live.chunk_ids(), store.ids()
    missing = np.setdiff1d(held, there)
    strays = np.setdiff1d(there, held_ids(index, terms_of(live.manifest)))
    if len(missing):
        yield _problem("store", f"{len(missing)} chunks of the catalogue have no row.")
    if len(strays):
        yield _problem("store", f"{len(strays)} rows belong to no generation that is kept.")
    asked = np.intersect1d(held, there)[:: max(1, len(held) // _ASKED)][:_ASKED].tolist()
    rows = live.embeddings(asked)
    wrong = int(np.sum(np.abs(store.fetch(asked) - rows).max(axis=1, initial=0) > _NORM_TOLERANCE))
    if wrong:
        yield _problem("store", f"Of {len(asked)} rows, {wrong} have another embedding.")
    found = _own_scores(store.search, rows, asked)
    least = len(asked) if store.capabilities.exact else _FOUND_SHARE * len(asked)
    if found < least:
        yield _problem("store", f"Of {len(asked)} embeddings it finds {found}.")
    elif not len(missing) and not len(strays) and not wrong:
        what = f"{live.manifest.store}, {live.manifest.index_type}, {store.place.shown}"
        yield _good("store", f"{len(there)} rows; {what}")


def _bridged_store(live: Generation) -> Iterator[Finding]:
    """What can be found out of a vector store of LangChain, which does not list its rows."""
    reader = BridgeReader(live)
    store, held = reader.store, live.chunk_ids()
    there = store.present(held)
    if there is not None and len(there) < len(held):
        missing = len(held) - len(there)
        yield _problem("store", f"{missing} chunks of the catalogue have no row.")
        return
    asked = held[:: max(1, len(held) // _ASKED)][:_ASKED]
    rows = live.embeddings(asked.tolist())
    found = sum(
        _is_found(id_, row, store.nearest(row, _NEAR), live)
        for id_, row in zip(asked.tolist(), rows, strict=True)
    )
    if found < _FOUND_SHARE * len(asked):
        yield _problem("store", f"Of {len(asked)} embeddings it finds {found}.")
        return
    counted = f"{len(held)} rows" if there is not None else f"{found} rows found by themselves"
    yield _good("store", f"{counted}; langchain, {store.shown.removeprefix('The store ')}")


def _is_found(
    id_: int, row: NDArray[np.float32], found: NDArray[np.int64], live: Generation
) -> bool:
    """Whether a search for a row's own embedding finds it, or others that are as near."""
    if id_ in found:
        return True
    known = np.intersect1d(found, live.chunk_ids())
    scores = live.embeddings(known.tolist()) @ row
    return len(known) == _NEAR and bool(scores.min() > float(row @ row) - _NORM_TOLERANCE)


def _own_scores(search: Search, rows: NDArray[np.float32], asked: list[int]) -> int:
    """How many embeddings find themselves, or another as near."""
    if not asked:
        return 0
    scores, ids = search(rows, 1)
    own = np.einsum("ij,ij->i", rows, rows)
    near = (ids[:, 0] == np.array(asked)) | (np.abs(scores[:, 0] - own) < 1e-3)
    return int(np.sum(near & (ids[:, 0] != NO_ID)))


def _balance(name: str, segment: Segment) -> Iterator[Finding]:
    """How evenly the lists of an inverted file are filled, for stores that have lists."""
    list_sizes: Callable[[], NDArray[np.int64]] | None = getattr(segment.store, "list_sizes", None)
    sizes = list_sizes() if list_sizes is not None else np.empty(0, np.int64)
    if not len(sizes):
        return
    # FAISS's imbalance factor: 1 where all lists are equally long; the cost of a search grows
    # with it (faiss/invlists/InvertedLists.cpp).
    factor = float(len(sizes) * np.sum(sizes.astype(float) ** 2) / max(1, sizes.sum()) ** 2)
    text = f"{name}: {len(sizes)} lists, imbalance {factor:.1f}, {int((sizes == 0).sum())} empty"
    if factor > _IMBALANCE:
        text += (
            ". Searches read more than they need to; python -m indexing.manage index-type makes "
            "the lists anew, and python -m indexing.advise compares other types"
        )
    yield _note("lists", f"{text}.") if factor > _IMBALANCE else _good("lists", text)


def _repeats(live: Generation) -> Iterator[Finding]:
    counts = Counter(
        digest for _, segment in _segments(live) for digest in segment.catalog.digests().values()
    )
    repeated = sum(count - 1 for count in counts.values())
    detail = f"{repeated} chunks repeat the text of another; they share one embedding."
    yield _note("duplicates", detail) if repeated else _good("duplicates")


def _sources(live: Generation) -> Iterator[Finding]:
    """Files that changed or went since the last build."""
    states, sources = live.states(), live.sources()
    gone, changed = [], []
    for id_, state in states.items():
        path = Path(sources[id_])
        if not path.is_absolute() or not Path(state.root).is_absolute():
            continue  # piped in, or from the web
        try:
            status = path.stat()
        except OSError:
            gone.append(id_)
            continue
        if status.st_size != state.size or (
            state.mtime_ns and status.st_mtime_ns != state.mtime_ns
        ):
            changed.append(id_)
    if gone or changed:
        yield _note(
            "sources",
            f"{len(gone)} documents are gone from their sources, {len(changed)} may have changed "
            f"({_some(gone + changed)}). A build brings the index up to date.",
        )
    else:
        yield _good("sources")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
