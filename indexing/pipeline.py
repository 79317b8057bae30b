"""Documents to a published index: reads what changed, encodes what is new, publishes it whole."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data import Chunk, Document, UnreadableDocumentError, supported_formats
from indexing.catalog import ChunkRecord, DocumentRecord, FileState
from indexing.config import CONFIG_NAME, BuildConfig, write_config
from indexing.errors import BuildFailedError, UsageError
from indexing.generation import CURRENT_NEXT, has_index, open_current
from indexing.publishing import (
    LOCK_NAME,
    new_generation,
    next_chunk_id,
    next_number,
    publish,
    writer_lock,
)
from indexing.sources import Failure, Item, Scan, check_sources, root_key, scan_sources
from indexing.splitting import Piece, split_document
from indexing.terms import agree
from indexing.verification import VERIFIED_NAME
from indexing.writing import GenerationWriter

if TYPE_CHECKING:
    from encoder import Encoder

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with (documents done, documents in all, the current one's source)."""
Changed = Iterator[tuple[Document, FileState]]

ENCODED_AT_ONCE = 1024
"""Chunks that are sorted by length and encoded together."""
BLIND_SHARE = 0.3
"""Share of unknown tokens from which a document counts as unreadable for the encoder."""
_BLIND_SAMPLE = 2000
_UNSETTLED_NS = 2_000_000_000
"""A file changed this recently may change again within the same time stamp."""


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
    deleted: int = 0
    failed: list[Failure]
    seconds: float = 0.0
    tokens: int = 0
    """Tokens encoded in this run."""
    tokens_per_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def build_index(
    sources: Sequence[str],
    index: str | Path,
    config: BuildConfig | None = None,
    *,
    encoder: "Encoder | None" = None,
    lines: Iterable[str] = (),
    progress: Progress | None = None,
) -> BuildReport:
    """Bring an index up to date with its sources, or make a new one.

    Args:
        sources: Files, folders, or `-` for JSON lines.
        index: The index's folder.
        config: Choices; those that an existing index fixes may be left out.
        encoder: A loaded encoder; otherwise the configured one is loaded when it is needed.
        lines: JSON lines for `-`.
        progress: Called as documents are done.

    Raises:
        UsageError: If the call is wrong; nothing was touched.
        IndexMismatchError: If the index was built with another encoder.
        IndexLockedError: If another process is writing it.
        CorruptIndexError: If the index is damaged.
        BuildFailedError: If the build stopped; the index is as it was.
    """
    started = time.monotonic()
    folder = Path(index)
    sources = [str(source) for source in sources]
    check_sources(sources)
    _check_index_folder(folder)
    with writer_lock(folder):
        build = _Build(sources, folder, config or BuildConfig(), encoder, progress)
        report = build.run(scan_sources(sources, lines))
    report.seconds = round(time.monotonic() - started, 3)
    report.tokens_per_s = round(report.tokens / report.seconds, 1) if report.seconds else 0.0
    return report


def _check_index_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for --index.")
    if folder.is_dir() and not has_index(folder):
        ours = {LOCK_NAME, CONFIG_NAME, CURRENT_NEXT, VERIFIED_NAME}
        others = [
            path.name
            for path in folder.iterdir()
            if path.name not in ours and not path.name.startswith("gen-")
        ]
        if others:
            raise UsageError(
                f"{folder} holds no index but other files ({others[0]}); "
                "give a new or empty folder for --index."
            )


class _Build:
    """One run of a build, under the writer's lock."""

    def __init__(
        self,
        sources: Sequence[str],
        index: Path,
        config: BuildConfig,
        encoder: "Encoder | None",
        progress: Progress | None,
    ) -> None:
        self._sources = sources
        self._index = index
        self._config = config
        self._encoder = encoder
        self._progress = progress
        self._old = open_current(index, with_stores=False) if has_index(index) else None
        manifest = self._old.manifest if self._old else None
        self._terms = agree(index, manifest, config, encoder.spec if encoder else None)
        self._next_id = next_chunk_id(index)
        self._states = self._old.states() if self._old else {}
        self._blind: list[str] = []
        self._report = BuildReport(
            index=str(index),
            generation=manifest.generation if manifest else 0,
            encoder=self._terms.encoder.name,
            documents=len(self._states),
            chunks=manifest.chunks if manifest else 0,
            failed=[],
        )

    def run(self, scan: Scan) -> BuildReport:
        self._report.failed += scan.failures
        doomed = self._doomed(scan)
        self._guard_against_mass_delete(scan, doomed)
        changed = self._changed(scan)
        first = next(changed, None)
        if first is not None:
            self._write(chain([first], changed), doomed)
        elif doomed:
            self._write(iter(()), doomed)
        elif self._old is None:
            raise BuildFailedError(self._nothing_found())
        self._refuse_failures()
        self._warn_of_blind_encoder()
        return self._report

    # What is to be done

    def _doomed(self, scan: Scan) -> set[str]:
        """Documents that leave the index because their source no longer offers them."""
        if self._config.update not in {"sync", "full"}:
            return set()
        seen = {item.id for item in scan.items}
        roots = {root_key(source) for source in self._sources}
        return {
            id_
            for id_, state in self._states.items()
            if id_ not in seen
            and (self._config.update == "full" or state.root in roots)
            and not _is_hidden(id_, state, scan)
        }

    def _guard_against_mass_delete(self, scan: Scan, doomed: set[str]) -> None:
        if self._config.allow_mass_delete or not doomed:
            return
        if scan.empty_roots:
            raise BuildFailedError(
                f"{scan.empty_roots[0]} holds no documents now, and {len(doomed)} of the index's "
                f"{len(self._states)} documents would be deleted. Check that it is the right "
                "folder and mounted, or pass --allow-mass-delete."
            )
        if len(doomed) * 2 > len(self._states):
            raise BuildFailedError(
                f"{len(doomed)} of the index's {len(self._states)} documents are gone from their "
                "sources and would be deleted. Check the sources, or pass --allow-mass-delete."
            )

    def _changed(self, scan: Scan) -> Changed:
        """Read the documents that are new or changed; count the others."""
        now_ns = time.time_ns()
        for done, item in enumerate(scan.items):
            if self._progress is not None:
                self._progress(done, len(scan.items), item.source)
            found = self._read(item, now_ns)
            if found is not None:
                yield found
        if self._progress is not None:
            self._progress(len(scan.items), len(scan.items), "")

    def _read(self, item: Item, now_ns: int) -> tuple[Document, FileState] | None:
        """The document if it is new or changed; None if it is as before, or cannot be read."""
        old = self._states.get(item.id)
        is_settled = 0 < item.mtime_ns < now_ns - _UNSETTLED_NS
        is_touched = old is None or (item.size, item.mtime_ns) != (old.size, old.mtime_ns)
        try:
            content = item.digest() if is_touched or not is_settled else old.content  # type: ignore[union-attr]
            if old is not None and content == old.content:
                self._report.skipped += 1
                return None
            state = FileState(
                root=item.root,
                size=item.size,
                mtime_ns=item.mtime_ns if is_settled else 0,
                content=content,
            )
            return item.load(), state
        except UnreadableDocumentError as error:
            self._fail(item, str(error))
        except OSError as error:
            self._fail(item, f"The file cannot be read: {error.strerror}.")
        return None

    def _fail(self, item: Item, reason: str) -> None:
        kept = " Its earlier version stays in the index." if item.id in self._states else ""
        self._report.failed.append(Failure(item.source, reason + kept))

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
        if failed and self._config.strict:
            raise BuildFailedError(
                f"{len(failed)} documents could not be read and --strict was given, so nothing was "
                f"published; the first, {failed[0].source}: {failed[0].reason}"
            )

    # Doing it

    def _write(self, changed: Changed, doomed: set[str]) -> None:
        number = next_number(self._index)
        try:
            with new_generation(self._index, number) as folder:
                writer = GenerationWriter(folder, self._old, self._terms)
                replaced = self._fill(writer, changed)
                self._refuse_failures()
                added = self._report.added - len(replaced)
                manifest = writer.finish(
                    number,
                    gone=replaced | doomed,
                    documents=len(self._states) + added - len(doomed),
                    next_id=self._next_id,
                )
                # Before publishing: after it, no failure could say that nothing was changed.
                write_config(self._index, self._config, self._terms)
                publish(self._index, folder)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BuildFailedError(
                f"Writing the index in {self._index} failed: {reason}. "
                "It is as it was before; nothing was lost."
            ) from error
        self._report.generation, self._report.chunks = number, manifest.chunks
        self._report.documents, self._report.deleted = manifest.documents, len(doomed)
        self._report.added, self._report.updated = added, len(replaced)

    def _fill(self, writer: GenerationWriter, changed: Changed) -> set[str]:
        """Split, encode and write documents; returns those that replace an older version."""
        replaced: set[str] = set()
        records: list[DocumentRecord] = []
        pieces: list[Piece] = []
        for document, state in changed:
            found = split_document(document, self._loaded_encoder(), self._terms.splitter)
            self._notice_if_blind(document)
            records.append(self._record(document, state, found))
            pieces += found
            self._report.added += 1
            if document.id in self._states:
                replaced.add(document.id)
            if len(pieces) >= ENCODED_AT_ONCE:
                writer.add(records, self._embeddings(records, pieces))
                records, pieces = [], []
        if records:
            writer.add(records, self._embeddings(records, pieces))
        return replaced

    def _record(
        self, document: Document, state: FileState, pieces: Sequence[Piece]
    ) -> DocumentRecord:
        chunks = []
        for piece in pieces:
            chunk = Chunk(
                id=self._next_id,
                document=document.id,
                start=piece.start,
                end=piece.end,
                page=document.page_at(piece.start),
                heading=piece.heading,
                text=piece.text,
            )
            digest = sha256(piece.embedded.encode()).digest()
            chunks.append(ChunkRecord(chunk, piece.embedded, digest))
            self._next_id += 1
        return DocumentRecord(document, state, tuple(chunks))

    def _embeddings(
        self, records: Sequence[DocumentRecord], pieces: Sequence[Piece]
    ) -> NDArray[np.float32]:
        """Embeddings of the records' chunks; a text that the index holds is not encoded again."""
        digests = [chunk.digest for record in records for chunk in record.chunks]
        rows = self._known_embeddings(digests)
        fresh = {d: p for d, p in zip(digests, pieces, strict=True) if d not in rows}
        encoded = self._loaded_encoder().encode_documents([p.embedded for p in fresh.values()])
        rows |= dict(zip(fresh, encoded, strict=True))
        self._report.tokens += sum(piece.tokens for piece in fresh.values())
        return np.stack([rows[digest] for digest in digests])

    def _known_embeddings(self, digests: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        if self._old is None:
            return {}
        ids = self._old.ids_by_digest(list(set(digests)))
        return dict(zip(ids, self._old.embeddings(list(ids.values())), strict=True))

    # The encoder

    def _loaded_encoder(self) -> "Encoder":
        if self._encoder is None:
            from encoder import load_encoder

            self._encoder = load_encoder(self._terms.encoder.name, device=self._config.device)
        return self._encoder

    def _notice_if_blind(self, document: Document) -> None:
        share = self._loaded_encoder().unknown_share(document.text[:_BLIND_SAMPLE])
        if share > BLIND_SHARE:
            self._blind.append(document.id)

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


def _is_hidden(id_: str, state: FileState, scan: Scan) -> bool:
    """Whether a document may still be there, in a folder that could not be listed."""
    root = Path(state.root)
    path = root if root.name == id_ else root.parent / id_
    return any(path.is_relative_to(place) for place in scan.hidden)
