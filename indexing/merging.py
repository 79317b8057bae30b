"""Shards to one index: what one build of the same sources would have made, without encoding."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data import Document
from encoder.errors import ModelNotFoundError
from indexing import points
from indexing.calibrating import calibrate_unpublished, calibration_is_due
from indexing.catalog import ChunkRecord, DocumentRecord, FileState
from indexing.changes import Changes, Held, find_changes, note_plan
from indexing.config import BuildConfig, write_config
from indexing.duplicates import read_duplicates, write_duplicates
from indexing.errors import BuildFailedError, IndexNotFoundError, UsageError
from indexing.filling import Progress, Shown
from indexing.folder import check_index_folder
from indexing.generation import Generation, has_index, open_current
from indexing.manifest import Manifest
from indexing.publishing import (
    KEPT_GENERATIONS,
    new_generation,
    next_chunk_id,
    next_number,
    publish,
)
from indexing.purging import purge_index
from indexing.sharding import Shard, ShardFacts
from indexing.shared import remembered
from indexing.sources import Failure, Item, Scan
from indexing.sparse import Weights
from indexing.terms import Terms, agree, load_built
from indexing.work import State, WorkFile, after_publishing, file_states, job
from indexing.writing import GenerationWriter

if TYPE_CHECKING:
    from encoder import Encoder

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Documents of a portion."""
_MOST_NAMED = 5


@dataclass(kw_only=True)
class MergeReport:
    """What a merge did; the JSON of `indexing.merge`."""

    index: str
    generation: int
    encoder: str
    shards: int
    documents: int
    chunks: int
    added: int = 0
    updated: int = 0
    skipped: int = 0
    """Documents that did not change."""
    duplicates: int = 0
    """Files that are not stored because another document has their content."""
    deleted: int = 0
    failed: list[Failure]
    """What the shards could not read."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def merge_shards(
    shards: Sequence[str | Path],
    index: str | Path,
    config: BuildConfig | None = None,
    *,
    encoder: "Encoder | None" = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Make one index of all shards of a build, or bring one up to date with them.

    Ids, embeddings and hits are those of one build of the same sources. The shards are only read,
    and the index is published whole: a merge that was killed is begun again by the same call.

    Args:
        shards: The folders of all shards, in any order.
        index: The index's folder.
        config: Store, index type and what else concerns all shards together.
        encoder: The loaded encoder of the shards; otherwise it is loaded if the scores of the new
            index are to be given a meaning.
        progress: Called as documents are done.

    Raises:
        UsageError: If shards are missing, are there twice or do not fit each other or the index.
        IndexMismatchError: If the index was built with another encoder.
        IndexLockedError: If another process is writing it.
        CorruptIndexError: If a shard or the index is damaged.
        BuildFailedError: If the merge failed; the index is as it was.
        BuildStoppedError: If it was interrupted; the index is as it was.
    """
    started = time.monotonic()
    folder, config = Path(index), config or BuildConfig()
    if config.shard:
        raise UsageError("A merge makes a whole index; leave --shard out.")
    opened = _opened([Path(shard) for shard in shards], folder)
    check_index_folder(folder)
    with job(folder, f"merge {' '.join(map(str, shards))}") as work:
        report = _Merge(opened, folder, config, encoder, work).run(progress)
        if config.purge:
            report.generation = purge_index(folder, work).generation
    report.seconds = round(time.monotonic() - started, 3)
    return report


class _Opened(NamedTuple):
    """A shard, open for reading."""

    folder: Path
    shard: Shard
    generation: Generation
    facts: ShardFacts


def _opened(folders: Sequence[Path], index: Path) -> list[_Opened]:
    """All shards in the order of their numbers, checked against each other."""
    if not folders:
        raise UsageError("No SHARD given. Give the folders of all shards.")
    found: dict[int, _Opened] = {}
    for folder in folders:
        if folder.resolve() == index.resolve():
            raise UsageError(f"{index} is one of the shards; give the index a folder of its own.")
        one = _open(folder)
        other = found.setdefault(one.shard.number, one)
        _check_fit(next(iter(found.values())), one)
        if other is not one:
            raise UsageError(
                f"{other.folder} and {folder} are both shard {one.shard}; leave one of them out."
            )
    of = next(iter(found.values())).shard.of
    missing = [number for number in range(1, of + 1) if number not in found]
    if missing:
        named = ", ".join(map(str, missing[:_MOST_NAMED]))
        named += f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        are = f"Shards {named} of {of} are" if len(missing) > 1 else f"Shard {named} of {of} is"
        raise UsageError(
            f"{are} missing. Give the folder too, or build it: python -m indexing.build SOURCE "
            f"--shard {missing[0]}/{of} --index DIR"
        )
    return [found[number] for number in sorted(found)]


def _open(folder: Path) -> _Opened:
    try:
        generation = open_current(folder, with_stores=False)
    except IndexNotFoundError:
        raise UsageError(
            f"{folder} holds no finished shard. Build it, or go on with its build: python -m "
            f"indexing.build SOURCE --shard I/N --index {folder}"
        ) from None
    if not generation.manifest.shard:
        raise UsageError(
            f"{folder} holds an index of its own, not a shard of one. Shards are built with "
            "python -m indexing.build SOURCE --shard I/N --index DIR"
        )
    shard = Shard.parse(generation.manifest.shard)
    return _Opened(folder, shard, generation, ShardFacts.read(folder))


def _check_fit(first: _Opened, other: _Opened) -> None:
    """Raise UsageError unless two shards are parts of the same build."""
    both = f"{first.folder} and {other.folder} are no shards of one build: "
    one, two = first.generation.manifest, other.generation.manifest
    if first.shard.of != other.shard.of:
        raise UsageError(
            f"{both}they are shard {first.shard} and shard {other.shard}. Build all shards with "
            "the same n."
        )
    if differences := two.encoder.differences(one.encoder):
        raise UsageError(
            f"{both}their encoders are {one.encoder.name} and {two.encoder.name} "
            f"({'; '.join(differences)}). Build all shards with one encoder."
        )
    if one.splitter != two.splitter:
        raise UsageError(
            f"{both}their documents are split in different ways ({_way(one)}, and {_way(two)}). "
            "Build all shards with the same --chunk-tokens and --overlap-tokens."
        )
    sources = [one.facts.sources for one in (first, other)]
    if all(sources) and sources[0] != sources[1]:
        raise UsageError(
            f"{both}their sources are {' and '.join(', '.join(some) for some in sources)}. "
            "Build all shards from the same sources."
        )


def _way(manifest: Manifest) -> str:
    splitter = manifest.splitter
    foreign = f" by {splitter.foreign}" if splitter.foreign else ""
    return (
        f"{splitter.chunk_tokens} tokens with {splitter.overlap_tokens} shared{foreign}, "
        f"configuration {splitter.digest}"
    )


class _Offer(NamedTuple):
    """A document that a shard holds, or knows as a duplicate."""

    shard: _Opened
    id: str
    source: str
    state: FileState
    stored: str
    """The document of the shard that has its content."""

    @property
    def order(self) -> tuple[float, str]:
        """Where one build would come to it."""
        return self.shard.facts.places.get(self.id, float("inf")), self.id

    def load(self) -> Document:
        # A copy in a shard has the stored file's name, and so the title that a name may give.
        document = self.shard.generation.document(self.stored)
        if document is None:
            raise KeyError(self.stored)
        return replace(document, id=self.id, source=self.source)

    def item(self) -> Item:
        state = self.state
        return Item(
            id=self.id,
            root=state.root,
            source=self.source,
            size=state.size,
            mtime_ns=state.mtime_ns,
            digest=lambda: state.content,
            load=self.load,
        )


def _offers(shard: _Opened) -> Iterator[_Offer]:
    generation = shard.generation
    sources = generation.sources()
    for id_, state in generation.states().items():
        yield _Offer(shard, id_, sources[id_], state, id_)
    for one in read_duplicates(generation.folder).values():
        yield _Offer(shard, one.id, one.source, one.state, one.of)


class _Merge:
    """One run of a merge, under the writer's lock."""

    def __init__(
        self,
        shards: Sequence[_Opened],
        index: Path,
        config: BuildConfig,
        encoder: "Encoder | None",
        work: WorkFile,
    ) -> None:
        self._shards = shards
        self._index = index
        self._config = replace(config, update="full")  # what no shard has is gone
        self._encoder = encoder
        self._work = work
        self._old = open_current(index, with_stores=False) if has_index(index) else None
        self._terms = self._agreed(shards[0].generation.manifest)
        self._next_id = next_chunk_id(index)
        found = sorted((o for shard in shards for o in _offers(shard)), key=lambda one: one.order)
        self._offers = {offer.id: offer for offer in found}
        self._failed = [row for shard in shards for row in file_states(shard.folder, State.FAILED)]
        self._held = Held(
            states=self._old.states() if self._old else {},
            duplicates=read_duplicates(self._old.folder) if self._old else {},
            seen={},
        )

    def _agreed(self, shard: Manifest) -> Terms:
        built = self._old.manifest if self._old else None
        if built is not None and built.splitter != shard.splitter:
            raise UsageError(
                f"The documents of the index in {self._index} are split in another way than those "
                f"of the shards ({_way(built)}, and {_way(shard)}). Merge into a new folder."
            )
        terms = agree(self._index, built, self._config, shard.encoder)
        if built is not None:
            return terms
        options = remembered(terms.store_options, self._work)
        return replace(terms, splitter=shard.splitter, store_options=options)

    def run(self, progress: Progress | None) -> MergeReport:
        scan = Scan(
            items=[offer.item() for offer in self._offers.values()],
            # Its version of before may stay, as in a build.
            hidden=[row.source for row in self._failed],
        )
        changes = find_changes([], scan, self._held, self._config)
        changes.failures += [Failure(row.source, row.reason) for row in self._failed]
        if self._failed and self._config.strict:
            raise BuildFailedError(
                f"{len(self._failed)} documents could not be read and --strict was given, so "
                f"nothing was published; the first, {self._failed[0].source}: "
                f"{self._failed[0].reason}"
            )
        note_plan(self._work, changes, self._held, self._old.sources if self._old else dict)
        is_changed = changes.fresh or changes.doomed
        manifest = self._old.manifest if self._old else None
        if manifest is None or is_changed or changes.duplicates != self._held.duplicates:
            manifest = self._write(changes, progress)
        replaced = {item.id for item, _ in changes.fresh} & self._held.states.keys()
        return MergeReport(
            index=str(self._index),
            generation=manifest.generation,
            encoder=manifest.encoder.name,
            shards=len(self._shards),
            documents=manifest.documents,
            chunks=manifest.chunks,
            added=len(changes.fresh) - len(replaced),
            updated=len(replaced),
            skipped=changes.unchanged,
            duplicates=len(changes.duplicates),
            deleted=len(changes.doomed),
            failed=changes.failures,
        )

    def _write(self, changes: Changes, progress: Progress | None) -> Manifest:
        number, shown = next_number(self._index), Shown(len(changes.fresh), progress, self._work)
        fresh = [(self._offers[item.id], state) for item, state in changes.fresh]
        replaced = {offer.id for offer, _ in fresh} & self._held.states.keys()
        weighs_words = self._weighs_words()
        with (
            new_generation(self._index, number) as folder,
            GenerationWriter(folder, self._old, self._terms, weighs_words=weighs_words) as writer,
        ):
            for start in range(0, len(fresh), _AT_ONCE):
                shown(start, fresh[start][0].source)
                self._copy(fresh[start : start + _AT_ONCE], writer)
                points.passing("portion merged")
            shown.end()
            write_duplicates(folder, changes.duplicates.values())
            manifest = writer.finish(
                number,
                gone=replaced | changes.doomed,
                documents=len(self._held.states) + len(fresh) - len(replaced | changes.doomed),
                next_id=self._next_id,
            )
            manifest = self._calibrated(folder, manifest)
            write_config(self._index, self._config, self._terms)
            publish(self._index, folder, keep=self._work.setting("keep", KEPT_GENERATIONS))
        points.passing("published")
        gone = self._held.duplicates.keys() - changes.duplicates.keys()
        gone -= {item.id for item, _ in changes.fresh}
        with after_publishing():
            self._work.move([offer.id for offer, _ in fresh], State.ENCODED)
            self._work.forget([*(changes.doomed - changes.duplicates.keys()), *gone])
            self._work.all_published()
        return manifest

    def _weighs_words(self) -> bool:
        """Whether the shards weigh words; those that hold nothing cannot tell."""
        return any(shard.generation.weighs_words for shard in self._shards)

    def _copy(self, some: Sequence[tuple[_Offer, FileState]], writer: GenerationWriter) -> None:
        """Write documents with new ids, in this order."""
        by_shard: dict[int, list[_Offer]] = defaultdict(list)
        for offer, _ in some:
            by_shard[offer.shard.shard.number].append(offer)
        found: dict[str, _Copied] = {}
        for offers in by_shard.values():
            found |= _copied(offers)
        records, rows, weights = [], [], []
        for offer, state in some:
            one = found[offer.id]
            records.append(self._renumbered(offer, state, one.record))
            rows.append(one.rows)
            weights += one.weights
        embeddings = np.concatenate([np.empty((0, self._terms.encoder.dim), np.float32), *rows])
        writer.add(records, embeddings, weights if writer.weighs_words else None)

    def _renumbered(
        self, offer: _Offer, state: FileState, record: DocumentRecord
    ) -> DocumentRecord:
        chunks = []
        for one in record.chunks:
            chunk = replace(one.chunk, id=self._next_id, document=offer.id)
            chunks.append(ChunkRecord(chunk, one.embedded, one.digest))
            self._next_id += 1
        if offer.id == offer.stored:
            return DocumentRecord(record.document, state, tuple(chunks), record.facts)
        document = replace(record.document, id=offer.id, source=offer.source)
        return DocumentRecord(document, state, tuple(chunks))

    def _calibrated(self, folder: Path, manifest: Manifest) -> Manifest:
        if self._encoder is None and calibration_is_due(folder, manifest):
            try:
                self._encoder = load_built(manifest.encoder, device=self._config.device)
            except ModelNotFoundError as error:
                log.warning(
                    "The scores stay without a meaning, as the encoder is not here (%s). "
                    "python -m indexing.calibrate gives them one where it is.",
                    error,
                )
        return calibrate_unpublished(folder, manifest, self._encoder)


class _Copied(NamedTuple):
    """A document of a shard with the embeddings of its chunks, in order."""

    record: DocumentRecord
    rows: NDArray[np.float32]
    weights: list[Weights]


def _copied(offers: Sequence[_Offer]) -> dict[str, _Copied]:
    """Documents of one shard, by id."""
    generation = offers[0].shard.generation
    stored = list(dict.fromkeys(offer.stored for offer in offers))
    records = {record.document.id: record for record in generation.records(stored)}
    ids = [chunk.chunk.id for id_ in stored for chunk in records[id_].chunks]
    rows, weights = generation.embeddings(ids), generation.sparse_weights(ids) or []
    found: dict[str, _Copied] = {}
    start = 0
    for id_ in stored:
        end = start + len(records[id_].chunks)
        found[id_] = _Copied(records[id_], rows[start:end], weights[start:end])
        start = end
    return {offer.id: found[offer.stored] for offer in offers}
