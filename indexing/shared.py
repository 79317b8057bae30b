"""Rows of an index in a store that other programs share: published with the catalogue, never alone.

New rows are inserted before the catalogue is published, and old ones deleted only when no kept
generation holds them. A reader asks for rows up to its generation and drops ids that its catalogue
does not hold, so whatever breaks off half-way is invisible.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing import points
from indexing.catalog import DocumentRecord
from indexing.errors import CorruptIndexError, RowsMissingError, UsageError
from indexing.generation import BASE, DELETED, DELTA, finished_generations
from indexing.manifest import Manifest
from indexing.segment import Segment
from indexing.stores.factory import is_shared, open_bridge, open_milvus
from indexing.stores.langchain_options import CONFIG_COPY, bridge_options, read_store_config
from indexing.stores.milvus_options import CONSISTENCIES, stored_uri

if TYPE_CHECKING:
    from indexing.config import BuildConfig
    from indexing.stores.shared_store import SharedStore
    from indexing.terms import Terms
    from indexing.work import WorkFile

WRITTEN = "written"
_KNOWLEDGE_BASE = "knowledge_base"
_OPTIONS = {
    "uri": "milvus",
    "consistency": "milvus",
    "store_class": "langchain",
    "store_config": "langchain",
}
_AT_ONCE = 512
"""Documents of a portion."""
_SAME = 1e-6
"""Embeddings that differ by no more are equal: they were stored in float32."""


def new_options(config: "BuildConfig", index: Path) -> dict[str, str]:
    """What a new index keeps of where its rows lie; empty for a store in its own folder.

    Raises:
        UsageError: If the choices do not fit each other.
    """
    refuse_others(config)
    own = {_KNOWLEDGE_BASE: _name(secrets.randbits(63))}
    if config.store == "langchain":
        return {**_class_and_config(config), **own}
    if config.store != "milvus":
        return {}
    consistency = config.consistency or CONSISTENCIES[0]
    if consistency not in CONSISTENCIES:
        raise UsageError(f"Unknown consistency {consistency!r}. Known: {', '.join(CONSISTENCIES)}.")
    return {
        "uri": stored_uri(config.uri, index),
        "consistency": consistency,
        **own,
    }


def refuse_others(config: "BuildConfig") -> None:
    """Raise UsageError for an option of a store that was not chosen."""
    for option, store in _OPTIONS.items():
        if getattr(config, option) is not None and config.store != store:
            shown = option.replace("_", "-")
            raise UsageError(f"--{shown} is for --store {store}; give that too, or leave it out.")


def _class_and_config(config: "BuildConfig") -> dict[str, str]:
    """The class of LangChain and its configuration, checked, as an index keeps them."""
    if config.store_class is None:
        raise UsageError(
            "--store langchain needs --store-class module:Class, such as "
            "langchain_qdrant:QdrantVectorStore."
        )
    text = "" if config.store_config is None else read_store_config(Path(config.store_config))
    bridge_options(config.store_class, text)
    return {"class": config.store_class, "config": text}


def check_same_store(index: Path, options: Mapping[str, str], config: "BuildConfig") -> None:
    """Raise UsageError if a build of an existing index names another class or configuration."""
    if config.store_class is not None and config.store_class != options["class"]:
        raise UsageError(
            f"The index in {index} was built with --store-class {options['class']}, got "
            f"{config.store_class}. Leave the option out, or build a new index."
        )
    if config.store_config is None:
        return
    text = read_store_config(Path(config.store_config))
    if bridge_options(options["class"], text) != bridge_options(
        options["class"], options["config"]
    ):
        raise UsageError(
            f"The index in {index} was built with another --store-config, which lies in "
            f"{index / CONFIG_COPY}. Leave the option out, or build a new index."
        )


def remembered(options: Mapping[str, str], work: "WorkFile") -> dict[str, str]:
    """The options of a first build, with the knowledge base of one before that did not end."""
    if not options:
        return {}
    number = work.setting(_KNOWLEDGE_BASE, int(options[_KNOWLEDGE_BASE][2:], 16))
    work.set(_KNOWLEDGE_BASE, number)
    return {**options, _KNOWLEDGE_BASE: _name(number)}


def renamed(options: Mapping[str, str]) -> dict[str, str]:
    """The same place for another index: a knowledge base of its own, with nothing in it."""
    own = {_KNOWLEDGE_BASE: _name(secrets.randbits(63))}
    return {key: value for key, value in {**options, **own}.items() if key != WRITTEN}


def _name(number: int) -> str:
    return f"kb{number:016x}"


class SharedWriter:
    """Writes the rows of one new generation."""

    def __init__(self, index: Path, terms: "Terms", number: int, *, repairs: bool) -> None:
        """Connect, and remove what a writer of this generation left that did not end.

        Args:
            index: The index's folder; the caller holds its lock.
            terms: What the index has in common.
            number: The generation's number.
            repairs: Compare all rows with what they should be, instead of adding new ones alone.

        Raises:
            UsageError: If the store's choices are wrong.
            StoreError: If it cannot be reached, or refuses them.
        """
        self._index = index
        self._terms = terms
        self._number = number
        self._repairs = repairs
        self._store = _opened(index, terms)
        self._store.begin(number, held_ids(index, terms))

    def check(self, record: DocumentRecord) -> None:
        """Raise StoreError if the rows of a document do not fit."""
        self._store.check(record)

    def upload(self, folder: Path) -> dict[str, str]:
        """Insert the rows of an unfinished generation that are not there yet.

        Returns:
            The options that its manifest must keep.
        """
        segments = [
            Segment(folder / name, store=None) for name in (BASE, DELTA) if (folder / name).is_dir()
        ]
        deleted = np.load(folder / DELETED, allow_pickle=False)
        there, added = self._there(segments), self._number
        if self._repairs:  # seen at once by the readers of every generation that lacks them
            added = min(_numbers(self._index), default=self._number)
        lacking = [np.setdiff1d(np.setdiff1d(one.ids, deleted), there) for one in segments]
        self._store.announce(np.concatenate([np.empty(0, np.int64), *lacking]))
        count = 0
        for segment, missing in zip(segments, lacking, strict=True):
            for records in _records(segment, missing):
                count += self._write(segment, records, missing, added)
                points.passing("rows uploaded")
        self._store.finish(count)
        if self._repairs:
            self._remove_strays(segments, deleted)
        if not self._store.written:
            return dict(self._terms.store_options)
        return {**self._terms.store_options, WRITTEN: str(self._store.written)}

    def _there(self, segments: list[Segment]) -> NDArray[np.int64]:
        """The ids whose rows are there, as they should be."""
        if not self._repairs:
            return held_ids(self._index, self._terms)
        sound = []
        for ids, rows in self._store.embeddings() or ():
            for segment in segments:
                mine = np.isin(ids, segment.ids)
                gap = np.abs(segment.embeddings(ids[mine].tolist()) - rows[mine])
                sound.append(ids[mine][gap.max(axis=1, initial=0) <= _SAME])
        return np.concatenate([np.empty(0, np.int64), *sound])

    def _write(
        self,
        segment: Segment,
        records: list[DocumentRecord],
        missing: NDArray[np.int64],
        added: int,
    ) -> int:
        found = [row for record in records for row in self._store.rows_of(record)]
        mine = np.isin([row.id for row in found], missing)
        rows = [row for row, is_mine in zip(found, mine.tolist(), strict=True) if is_mine]
        embeddings = segment.embeddings([row.id for row in rows])
        self._store.write(rows, embeddings, added, replacing=self._repairs)
        return len(rows)

    def _remove_strays(self, segments: list[Segment], deleted: NDArray[np.int64]) -> None:
        """Remove the rows that neither this nor a kept generation holds, where they are listed."""
        there = self._store.ids()
        if there is None:
            return
        own = [np.setdiff1d(segment.ids, deleted) for segment in segments]
        held = np.concatenate([held_ids(self._index, self._terms), *own])
        self._store.remove(np.setdiff1d(there, held))


def forget_rows(index: Path, folder: Path) -> None:
    """Delete the rows that only a generation held which is being removed.

    Args:
        index: The index's folder; the caller holds its lock.
        folder: The generation, set aside already.

    Raises:
        StoreError: If the store cannot be reached.
    """
    try:
        manifest = Manifest.read(folder)
        if not is_shared(manifest.store):
            return
        doomed = _ids_of(folder)
    except (CorruptIndexError, FileNotFoundError):
        return  # half removed already: its rows went first
    fingerprint = manifest.encoder.fingerprint
    kept = [
        _ids_of(other)
        for other in finished_generations(index)
        if _place(found := Manifest.read(other)) == _place(manifest)
        and found.encoder.fingerprint == fingerprint
    ]
    gone = np.setdiff1d(doomed, np.concatenate([np.empty(0, np.int64), *kept]))
    if len(gone):
        # Where there is no collection, the rows are gone already.
        with suppress(RowsMissingError):
            _of_removed(index, manifest).remove(gone)


def _opened(index: Path, terms: "Terms") -> "SharedStore":
    """The rows of an index, to be written."""
    spec, options = terms.encoder, terms.store_options
    if terms.store == "langchain":
        return open_bridge(options, spec.fingerprint, index, spec.dim)
    return open_milvus(
        options, spec.fingerprint, index, spec.dim, index_type=terms.index_type, create=True
    )


def _of_removed(index: Path, manifest: Manifest) -> "SharedStore":
    """The rows among which those of a generation are that is being removed."""
    spec, options = manifest.encoder, manifest.store_options
    if manifest.store == "langchain":
        return open_bridge(options, spec.fingerprint, index, spec.dim)
    return open_milvus(options, spec.fingerprint, index, spec.dim)


def held_ids(index: Path, terms: "Terms") -> NDArray[np.int64]:
    """The chunks of all kept generations whose rows lie where these terms say, ascending."""
    parts = [np.empty(0, np.int64)]
    for folder in finished_generations(index):
        try:
            manifest = Manifest.read(folder)
        except CorruptIndexError:
            continue
        same = manifest.encoder.fingerprint == terms.encoder.fingerprint
        if same and _place(manifest) == _where(terms.store_options):
            parts.append(_ids_of(folder))
    return np.unique(np.concatenate(parts))


def _place(manifest: Manifest) -> tuple[str, ...] | None:
    return _where(manifest.store_options) if is_shared(manifest.store) else None


def _where(options: Mapping[str, str]) -> tuple[str, ...]:
    places = (options.get(key, "") for key in ("uri", "class", "config"))
    return *places, options[_KNOWLEDGE_BASE]


def _ids_of(folder: Path) -> NDArray[np.int64]:
    """The chunks that a generation holds."""
    parts = [
        np.load(folder / name / "ids.npy", allow_pickle=False)
        for name in (BASE, DELTA)
        if (folder / name).is_dir()
    ]
    deleted = np.load(folder / DELETED, allow_pickle=False)
    ids: NDArray[np.int64] = np.setdiff1d(np.concatenate(parts), deleted)
    return ids


def _numbers(index: Path) -> list[int]:
    return [int(folder.name[4:]) for folder in finished_generations(index)]


def _records(segment: Segment, ids: NDArray[np.int64]) -> Iterator[list[DocumentRecord]]:
    """The documents that these chunks are of, some at a time."""
    is_all = len(ids) == len(segment)
    documents = sorted(
        segment.catalog.states() if is_all else segment.catalog.documents_of(ids.tolist())
    )
    for start in range(0, len(documents), _AT_ONCE):
        yield list(segment.catalog.records(documents[start : start + _AT_ONCE]))
