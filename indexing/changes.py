"""What a run has to do: what the sources offer now, against what the index holds."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data import UnreadableDocumentError
from indexing.catalog import FileState
from indexing.config import BuildConfig
from indexing.duplicates import Duplicate
from indexing.errors import BuildFailedError
from indexing.sources import PIPE, Failure, Item, Scan, root_key
from indexing.work import FileRow, State, WorkFile

_UNSETTLED_NS = 2_000_000_000
"""A file changed this recently may change again within the same time stamp."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the index holds before the run."""

    states: Mapping[str, FileState]
    """By document."""
    duplicates: Mapping[str, Duplicate]
    seen: Mapping[str, tuple[int, int, str]]
    """Size, time and content of files that were last found unchanged, by document."""


@dataclass(kw_only=True)
class Changes:
    """The plan of a run."""

    fresh: list[tuple[Item, FileState]] = field(default_factory=list)
    """Documents to read: new ones, and changed ones."""
    promoted: list[Duplicate] = field(default_factory=list)
    """Duplicates that no source of this run offers, whose stored document goes."""
    unchanged: int = 0
    duplicates: dict[str, Duplicate] = field(default_factory=dict)
    """All that the new state has."""
    doomed: set[str] = field(default_factory=set)
    """Documents that leave the index."""
    failures: list[Failure] = field(default_factory=list)
    seen: list[tuple[str, int, int, str]] = field(default_factory=list)
    """Files that had to be read only to find them unchanged."""


def find_changes(sources: Sequence[str], scan: Scan, held: Held, config: BuildConfig) -> Changes:
    """Compare by size and time, and by content where these do not tell.

    Raises:
        BuildFailedError: If the run would delete so much that it looks like a mistake.
    """
    changes = Changes(failures=list(scan.failures))
    gone = _gone(sources, scan, held, config)
    changes.doomed = {id_ for id_ in gone if id_ in held.states}
    _guard_against_mass_delete(scan, held, changes.doomed, config)
    now = _read_states(scan.items, held, changes)
    stored = _Stored(with_names=config.shard is not None)
    stored.put_unchanged(now, held, changes.doomed)
    for item in scan.items:
        if item.id in now:
            _sort_in(item, now[item.id], held, stored, changes)
    _keep_others(now, gone, held, stored, changes)
    return changes


def _gone(sources: Sequence[str], scan: Scan, held: Held, config: BuildConfig) -> set[str]:
    """Documents and duplicates that their source no longer offers."""
    if config.update not in {"sync", "full"}:
        return set()
    seen = {item.id for item in scan.items}
    roots = {root_key(source) for source in sources}
    known = {id_: duplicate.state for id_, duplicate in held.duplicates.items()}
    return {
        id_
        for id_, state in (known | dict(held.states)).items()
        if id_ not in seen
        and (config.update == "full" or state.root in roots)
        and not _is_hidden(id_, state, scan)
    }


def _is_hidden(id_: str, state: FileState, scan: Scan) -> bool:
    """Whether a document may still be there, in a folder or site that could not be listed."""
    if state.root in scan.hidden:
        return True
    root = Path(state.root)
    path = root if root.name == id_ else root.parent / id_
    return any(path.is_relative_to(place) for place in scan.hidden)


def _guard_against_mass_delete(
    scan: Scan, held: Held, doomed: set[str], config: BuildConfig
) -> None:
    if config.allow_mass_delete or not doomed:
        return
    if scan.empty_roots:
        raise BuildFailedError(
            f"{scan.empty_roots[0]} holds no documents now, and {len(doomed)} of the index's "
            f"{len(held.states)} documents would be deleted. Check that it is the right "
            "folder and mounted, or pass --allow-mass-delete."
        )
    if len(doomed) * 2 > len(held.states):
        raise BuildFailedError(
            f"{len(doomed)} of the index's {len(held.states)} documents are gone from their "
            "sources and would be deleted. Check the sources, or pass --allow-mass-delete."
        )


def _read_states(items: Iterable[Item], held: Held, changes: Changes) -> dict[str, FileState]:
    """The state of every item that can be read; reads a file only where size and time may lie."""
    now_ns = time.time_ns()
    found: dict[str, FileState] = {}
    for item in items:
        old = held.states.get(item.id)
        if old is None and item.id in held.duplicates:
            old = held.duplicates[item.id].state
        is_settled = 0 < item.mtime_ns < now_ns - _UNSETTLED_NS
        try:
            content = _known_content(item, old, held) if is_settled else None
            if content is None:
                content = item.digest()
                if is_settled and old is not None and content == old.content:
                    changes.seen.append((item.id, item.size, item.mtime_ns, content))
        except UnreadableDocumentError as error:
            changes.failures.append(failure_of(item, str(error), held))
            continue
        except OSError as error:
            reason = f"The file cannot be read: {error.strerror}."
            changes.failures.append(failure_of(item, reason, held))
            continue
        found[item.id] = FileState(
            root=item.root,
            size=item.size,
            mtime_ns=item.mtime_ns if is_settled else 0,
            content=content,
        )
    return found


def _known_content(item: Item, old: FileState | None, held: Held) -> str | None:
    if old is not None and (item.size, item.mtime_ns) == (old.size, old.mtime_ns):
        return old.content
    size, mtime_ns, content = held.seen.get(item.id, (-1, -1, ""))
    return content if (item.size, item.mtime_ns) == (size, mtime_ns) else None


def failure_of(item: Item | Duplicate, reason: str, held: Held) -> Failure:
    """A failure, with what becomes of an earlier version."""
    kept = " Its earlier version stays in the index." if item.id in held.states else ""
    return Failure(item.source, reason + kept)


class _Stored:
    """Which document has a content."""

    def __init__(self, *, with_names: bool) -> None:
        """Of none yet.

        Args:
            with_names: Whether files of different names are different, as in a shard: the merge
                may store either of two files, and a text without a heading is called by its file.
        """
        self._with_names = with_names
        self._by_key: dict[tuple[str, str], str] = {}

    def of(self, id_: str, state: FileState) -> str:
        """The document that has the content of this one, which it becomes itself if none has."""
        return self._by_key.setdefault(self._key(id_, state), id_)

    def _key(self, id_: str, state: FileState) -> tuple[str, str]:
        name = os.path.basename(id_)  # noqa: PTH119 - quicker, of many files
        if not self._with_names:
            # The same bytes are another text where they are read as another format.
            name = os.path.splitext(name)[1].lower()  # noqa: PTH122 - as above
        return state.content, name

    def put_unchanged(self, now: Mapping[str, FileState], held: Held, doomed: set[str]) -> None:
        """Put in the documents that stay as they are."""
        for id_, state in held.states.items():
            stays = id_ not in now or now[id_].content == state.content
            if stays and id_ not in doomed and state.root != PIPE:
                self.of(id_, state)


def _sort_in(item: Item, state: FileState, held: Held, stored: _Stored, changes: Changes) -> None:
    old = held.states.get(item.id)
    if old is not None and old.content == state.content:
        changes.unchanged += 1
        return
    # Piped records keep the ids that their sender gave them.
    of = stored.of(item.id, state) if item.root != PIPE else item.id
    if of == item.id:
        changes.fresh.append((item, state))
        return
    changes.duplicates[item.id] = Duplicate(id=item.id, source=item.source, state=state, of=of)
    if old is not None:
        changes.doomed.add(item.id)


def _keep_others(
    now: Mapping[str, FileState],
    gone: set[str],
    held: Held,
    stored: _Stored,
    changes: Changes,
) -> None:
    """Duplicates from sources that this run did not look at."""
    for id_, duplicate in held.duplicates.items():
        if id_ in now or id_ in gone:
            continue
        of = stored.of(id_, duplicate.state)
        if of == id_:
            changes.promoted.append(duplicate)
        else:
            changes.duplicates[id_] = replace(duplicate, of=of)


def note_plan(
    work: WorkFile, changes: Changes, held: Held, sources: Callable[[], Mapping[str, str]]
) -> None:
    """Put into the work file what a run is going to do.

    Args:
        work: The index's work file.
        changes: The plan.
        held: What the index holds.
        sources: Gives the source of each document that it holds; called only if need be.
    """
    work.reconcile(held.states.keys() | held.duplicates.keys(), sources)
    queued = [(item.id, item.source, State.QUEUED, "") for item, _ in changes.fresh]
    repeated = [
        (one.id, one.source, State.DUPLICATE, f"The same as {one.of}.")
        for one in changes.duplicates.values()
    ]
    failed = [(one.source, one.source, State.FAILED, one.reason) for one in changes.failures]
    work.mark([FileRow(*row) for row in queued + repeated + failed])
    work.note_seen(changes.seen)
