"""Documents to a published index: reads what changed, encodes what is new, publishes it whole."""

import gc
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data import Document, UnreadableDocumentError, supported_formats
from data.fetching import AddressRule, public_only
from indexing import points
from indexing.calibrating import calibrate_unpublished
from indexing.catalog import FileState
from indexing.changes import Changes, Held, failure_of, find_changes, note_plan
from indexing.config import BuildConfig, write_config
from indexing.duplicates import Duplicate, read_duplicates, write_duplicates
from indexing.embedding import Embedder
from indexing.errors import BuildFailedError
from indexing.estimate import WORTH_BYTES, Estimate, check_room, estimate
from indexing.filling import Filler, Progress, Shown
from indexing.folder import check_index_folder
from indexing.foreign import ForeignSplitter
from indexing.generation import has_index, open_current
from indexing.publishing import (
    KEPT_GENERATIONS,
    new_generation,
    next_chunk_id,
    next_number,
    publish,
)
from indexing.purging import purge_index
from indexing.reading import read_ahead
from indexing.sharding import Shard, ShardFacts, part_of
from indexing.shared import remembered
from indexing.sources import (
    Failure,
    Item,
    SeenPage,
    check_sources,
    root_name,
    scan_sources,
)
from indexing.splitting import Piece, split_document
from indexing.terms import agree, load_built
from indexing.work import FileRow, State, WorkFile, after_publishing, job
from indexing.writing import GenerationWriter

if TYPE_CHECKING:
    from encoder import Encoder

log = logging.getLogger(__name__)

_SLOW_S = 0.1
"""A document that takes longer to parse is kept parsed until it is published."""


@dataclass(kw_only=True)
class BuildReport:
    """What a build did; the JSON of `indexing.build`."""

    index: str
    generation: int
    encoder: str
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
    seconds: float = 0.0
    tokens: int = 0
    """Tokens encoded in this run."""
    tokens_per_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Who looks on while a build runs."""

    progress: Progress | None = None
    """Called as documents are done."""
    estimated: Callable[[Estimate], None] | None = None
    """Called before a long build, with what it will cost."""


def build_index(
    sources: Sequence[str],
    index: str | Path,
    config: BuildConfig | None = None,
    *,
    encoder: "Encoder | None" = None,
    splitter: ForeignSplitter | None = None,
    lines: Iterable[str] = (),
    progress: Progress | None = None,
    estimated: Callable[[Estimate], None] | None = None,
) -> BuildReport:
    """Bring an index up to date with its sources, or make a new one.

    A build that was killed or stopped is continued by the same call: what it had encoded is not
    encoded again.

    Args:
        sources: Files, folders, or `-` for JSON lines.
        index: The index's folder.
        config: Choices; those that an existing index fixes may be left out.
        encoder: A loaded encoder; otherwise the configured one is loaded when it is needed.
        splitter: A LangChain text splitter to use instead of Angler's, now and at every later
            build of this index; what it changes of a text makes the call wrong.
        lines: JSON lines for `-`.
        progress: Called as documents are done.
        estimated: Called before a long build, with what it will cost.

    Raises:
        UsageError: If the call is wrong; nothing was touched.
        IndexMismatchError: If the index was built with another encoder.
        IndexLockedError: If another process is writing it.
        CorruptIndexError: If the index is damaged.
        BuildFailedError: If the build failed; the index is as it was.
        BuildStoppedError: If the build was interrupted; the index is as it was.
    """
    started = time.monotonic()
    folder = Path(index)
    sources = [str(source) for source in sources]
    check_sources(sources)
    check_index_folder(folder)
    with job(folder, f"build {' '.join(sources)}") as work:
        watcher = Watcher(progress=progress, estimated=estimated)
        build = _Build(sources, folder, config or BuildConfig(), encoder, work, watcher, splitter)
        report = build.run(lines)
        if build.config.purge:
            purged = purge_index(folder, work)
            report.generation = purged.generation
    report.seconds = round(time.monotonic() - started, 3)
    report.tokens_per_s = round(report.tokens / report.seconds, 1) if report.seconds else 0.0
    return report


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make many small things that all stay: looking for garbage among them takes half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _address_rule(config: BuildConfig) -> AddressRule | None:
    if not config.public_only:
        return None
    hosts = config.private_hosts.lower().split(",")
    return public_only(hosts=frozenset(host.strip() for host in hosts if host.strip()))


class _Wanted(NamedTuple):
    """A document to write."""

    item: Item
    state: FileState
    parsed: Document | None
    """As an earlier run parsed it."""


def _read(wanted: _Wanted) -> tuple[Document, float]:
    """The document, and the seconds that it took."""
    if wanted.parsed is not None:
        return wanted.parsed, 0.0
    started = time.monotonic()
    return wanted.item.load(), time.monotonic() - started


class _Build:
    """One run of a build, under the writer's lock."""

    def __init__(
        self,
        sources: Sequence[str],
        index: Path,
        config: BuildConfig,
        encoder: "Encoder | None",
        work: WorkFile,
        watcher: Watcher,
        splitter: ForeignSplitter | None,
    ) -> None:
        self._sources = sources
        self._index = index
        self.config = config
        self._encoder = encoder
        self._work = work
        self._watcher = watcher
        self._old = open_current(index, with_stores=False) if has_index(index) else None
        manifest = self._old.manifest if self._old else None
        spec = encoder.spec if encoder else None
        self._terms = agree(index, manifest, config, spec, splitter)
        if manifest is None and self._terms.store_options:
            options = remembered(self._terms.store_options, work)
            self._terms = replace(self._terms, store_options=options)
        self._foreign = splitter
        self._next_id = next_chunk_id(index)
        with _uncollected():
            self._held = Held(
                states=self._old.states() if self._old else {},
                duplicates=read_duplicates(self._old.folder) if self._old else {},
                seen=work.seen(),
            )
        self._shard = ShardFacts.read(index) if self._terms.shard else ShardFacts()
        self._places: dict[str, int] = {}
        self._blind: list[str] = []
        self._unread: set[str] = set()
        self._replaced: set[str] = set()
        self._report = BuildReport(
            index=str(index),
            generation=manifest.generation if manifest else 0,
            encoder=self._terms.encoder.name,
            documents=len(self._held.states),
            chunks=manifest.chunks if manifest else 0,
            failed=[],
        )

    def run(self, lines: Iterable[str]) -> BuildReport:
        with _uncollected():
            scan = scan_sources(
                self._sources,
                lines,
                depth=self.config.depth,
                pages=self._pages_held(),
                may_connect=_address_rule(self.config),
            )
            self._work.note_pages(scan.pages)
            self._whole, config = len(scan.items), self.config
            if self._terms.shard:
                scan, self._places = part_of(scan, Shard.parse(self._terms.shard))
                if not scan.empty_roots and 2 * self._whole >= self._shard.documents > 0:
                    # Half of a shard's few documents are soon gone: what counts is the whole.
                    config = replace(config, allow_mass_delete=True)
            changes = find_changes(self._sources, scan, self._held, config)
            note_plan(self._work, changes, self._held, self._old.sources if self._old else dict)
        report = self._report
        report.failed += changes.failures
        report.skipped, report.duplicates = changes.unchanged, len(changes.duplicates)
        self._estimate(changes)
        self._write(changes)
        self._note_shard(changes)
        if not report.generation:
            raise BuildFailedError(self._nothing_found())
        self._refuse_failures()
        self._warn_of_blind_encoder()
        return report

    def _pages_held(self) -> dict[str, SeenPage]:
        """The web pages whose documents are in the index as they were made of them."""
        states = self._held.states
        return {
            url: page
            for url, page in self._work.pages().items()
            if url in states and states[url].content == page.content
        }

    def _nothing_found(self) -> str:
        failed = self._report.failed
        if failed:
            return (
                f"Nothing could be read of {len(failed)} documents; "
                f"the first, {failed[0].source}: {failed[0].reason}"
            )
        return (
            f"No documents found in {', '.join(self._sources)}. "
            f"These are read: {supported_formats()}."
        )

    def _refuse_failures(self) -> None:
        failed = self._report.failed
        if failed and self.config.strict:
            raise BuildFailedError(
                f"{len(failed)} documents could not be read and --strict was given, so nothing was "
                f"published; the first, {failed[0].source}: {failed[0].reason}"
            )

    # Before a long build

    def _embedder(self) -> Embedder:
        spec = self._terms.encoder
        journal = self._work.journal(spec.fingerprint, spec.dim)
        return Embedder(
            self._loaded_encoder, journal, spec, old=self._old, weighs_words=self._weighs_words()
        )

    def _weighs_words(self) -> bool:
        """An index that began without weights of words goes on so: half a leg misleads."""
        if self._old is not None:
            return self._old.weighs_words
        return self._loaded_encoder().weighs_words

    def _estimate(self, changes: Changes) -> None:
        items = [item for item, _ in changes.fresh]
        if self._watcher.estimated is None or sum(i.size for i in items) < WORTH_BYTES:
            return
        found = estimate(items, self._index, self._embedder(), self._sampled)
        if found is not None:
            self._watcher.estimated(found)
            check_room(found, self._index)

    def _sampled(self, item: Item) -> tuple[str, list[Piece]]:
        document = item.load()
        return document.text, self._split(document)

    def _split(self, document: Document) -> list[Piece]:
        encoder, config = self._loaded_encoder(), self._terms.splitter
        return split_document(document, encoder, config, self._foreign)

    # Doing it

    def _write(self, changes: Changes) -> None:
        number = next_number(self._index)
        with closing(self._documents(changes)) as documents:  # which reads ahead in threads
            self._write_documents(changes, documents, number)

    def _write_documents(
        self, changes: Changes, documents: Iterator[tuple[Document, FileState]], number: int
    ) -> None:
        first = next(documents, None)
        changed = changes.doomed or changes.duplicates != self._held.duplicates
        # A shard that no document falls to is as much a shard as the others.
        is_empty_shard = self._terms.shard and self._old is None and self._whole
        if first is None and not changed and not is_empty_shard:
            return
        weighs_words = first is not None and self._weighs_words()
        with (
            new_generation(self._index, number) as folder,
            GenerationWriter(folder, self._old, self._terms, weighs_words=weighs_words) as writer,
        ):
            if first is not None:
                self._fill(writer, chain([first], documents), changes)
            self._drop_orphans(changes)
            self._refuse_failures()
            write_duplicates(folder, changes.duplicates.values())
            manifest = writer.finish(
                number,
                gone=self._replaced | changes.doomed,
                documents=len(self._held.states) + self._report.added - len(changes.doomed),
                next_id=self._next_id,
            )
            if not self._terms.shard:
                manifest = calibrate_unpublished(folder, manifest, self._encoder)
            # Before publishing: after it, no failure could say that nothing was changed.
            write_config(self._index, self.config, self._terms)
            publish(self._index, folder, keep=self._work.setting("keep", KEPT_GENERATIONS))
        points.passing("published")
        self._report.generation, self._report.chunks = number, manifest.chunks
        self._report.documents, self._report.deleted = manifest.documents, len(changes.doomed)
        self._note_published(changes)

    def _documents(self, changes: Changes) -> Generator[tuple[Document, FileState]]:
        """The documents to write; those that cannot be read are reported."""
        reading = read_ahead(self._to_read(changes), _read, lambda wanted: wanted.item.size)
        with closing(reading):
            for (item, state, _), result in reading:
                try:
                    document, seconds = result()
                    if seconds > _SLOW_S:
                        self._work.keep_parsed(document, state.content)
                    yield document, state
                except UnreadableDocumentError as error:
                    self._fail(item, str(error))
                except OSError as error:
                    self._fail(item, f"The file cannot be read: {error.strerror}.")
        for duplicate in changes.promoted:
            stored = self._old.document(duplicate.of) if self._old else None
            if stored is not None:
                yield replace(stored, id=duplicate.id, source=duplicate.source), duplicate.state

    def _to_read(self, changes: Changes) -> Iterator[_Wanted]:
        for item, state in changes.fresh:
            yield _Wanted(item, state, self._work.parsed(item.id, state.content))

    def _fail(self, item: Item | Duplicate, reason: str) -> None:
        failure = failure_of(item, reason, self._held)
        self._unread.add(item.id)
        self._report.failed.append(failure)
        self._work.mark([FileRow(item.id, item.source, State.FAILED, failure.reason)])

    def _fill(
        self,
        writer: GenerationWriter,
        documents: Iterable[tuple[Document, FileState]],
        changes: Changes,
    ) -> None:
        total = len(changes.fresh) + len(changes.promoted)
        shown = Shown(total, self._watcher.progress, self._work)
        embedder = self._embedder()
        with Filler(
            writer,
            embedder,
            self._work,
            encoder=self._loaded_encoder(),
            split=self._split,
            next_id=self._next_id,
            shown=shown,
        ) as filler:
            for document, state in documents:
                filler.add(document, state)
            filler.finish()
        shown.end()
        self._next_id, self._blind = filler.next_id, filler.blind
        self._replaced = self._held.states.keys() & filler.added
        self._report.tokens = embedder.tokens
        self._report.updated = len(self._replaced)
        self._report.added = len(filler.added) - len(self._replaced)

    def _drop_orphans(self, changes: Changes) -> None:
        """Let go of duplicates of documents that turned out to be unreadable."""
        for id_, duplicate in list(changes.duplicates.items()):
            if duplicate.of in self._unread:
                del changes.duplicates[id_]
                self._report.duplicates -= 1
                self._fail(duplicate, f"It repeats {duplicate.of}, which failed.")

    def _note_shard(self, changes: Changes) -> None:
        if not (self._terms.shard and self._report.generation):
            return
        kept = {*(self._held.states.keys() - changes.doomed), *changes.duplicates}
        kept.update(item.id for item, _ in changes.fresh)
        names = [root_name(source) for source in self._sources]
        with after_publishing():
            self._shard.updated(names, self._places, kept, self._whole).write(self._index)

    def _note_published(self, changes: Changes) -> None:
        gone = self._held.duplicates.keys() - changes.duplicates.keys()
        gone -= {item.id for item, _ in changes.fresh}
        with after_publishing():
            self._work.forget([*(changes.doomed - changes.duplicates.keys()), *gone])
            self._work.all_published()

    # The encoder

    def _loaded_encoder(self) -> "Encoder":
        if self._encoder is None:
            self._encoder = load_built(
                self._terms.encoder, device=self.config.device, dtype=self.config.dtype or "auto"
            )
        return self._encoder

    def _warn_of_blind_encoder(self) -> None:
        if self._blind:
            log.warning(
                "%s cannot read %d of the %d new documents (for example %s): most of their words "
                "are unknown to it, so search finds them by their words only, not by meaning. For "
                "Chinese, build with --encoder BAAI/bge-small-zh-v1.5; for Chinese and English, "
                "with --encoder BAAI/bge-m3.",
                self._terms.encoder.name,
                len(self._blind),
                self._report.added + self._report.updated,
                self._blind[0],
            )
