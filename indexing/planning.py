"""What a build of many chunks takes, from the rates and sizes that a pilot build measured."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.errors import UsageError
from indexing.generation import LEXICAL, current_folder
from indexing.manifest import Manifest
from indexing.stores.base import EMBEDDINGS, IDS

_GIB = 2**30
_STORE = "store"
"""How the names of a store's files begin."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a pilot measured."""

    chunks: int
    """Of the pilot's index."""
    build_per_s: float
    """Chunks that one worker reads, splits and encodes in a second."""
    merge_per_s: float
    """Chunks that one machine merges in a second, the making of the store included."""
    bytes_per_chunk: Mapping[str, float]
    """On the disk, by part: embeddings, texts, words, store."""
    index_type: str

    @property
    def shard_bytes(self) -> float:
        """Of a chunk in a shard, which has no store."""
        return sum(size for part, size in self.bytes_per_chunk.items() if part != _STORE)

    @property
    def index_bytes(self) -> float:
        """Of a chunk in the merged index."""
        return sum(self.bytes_per_chunk.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Nodes, hours, GiB and money; the JSON of `indexing.plan`."""

    chunks: int
    nodes: int
    workers: int
    """One for each shard."""
    build_hours: float
    merge_hours: float
    hours: float
    node_hours: float
    shard_gib: float
    """On the disk, of one shard."""
    shards_gib: float
    index_gib: float
    """On the disk of the machine that merges, beside the shards."""
    memory_gib: float
    """Of the store, for the machine that merges and those that search."""
    price: float | None
    """Of all node hours; None where the price of one was not given."""
    rates: Rates

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def read_rates(index: Path, builds: Sequence[Path], merge: Path) -> Rates:
    """What a pilot measured.

    Args:
        index: The pilot's merged index.
        builds: What `indexing.build --shard --json` printed, of one worker each.
        merge: What `indexing.merge --json` printed.

    Raises:
        UsageError: If a file is no such report, or one of an update.
        IndexNotFoundError: If the folder holds no index.
    """
    built = [_report(path) for path in builds]
    merged = _report(merge)
    folder = current_folder(index)
    return Rates(
        chunks=merged["chunks"],
        build_per_s=sum(one["chunks"] for one in built) / sum(one["seconds"] for one in built),
        merge_per_s=merged["chunks"] / merged["seconds"],
        bytes_per_chunk={
            part: round(size / merged["chunks"], 2) for part, size in sizes_of(folder).items()
        },
        index_type=Manifest.read(folder).index_type,
    )


def _report(path: Path) -> dict[str, Any]:
    """A report of a first build or merge."""
    try:
        found = json.loads(path.read_text("utf-8"))
        numbers = [found[name] for name in ("chunks", "seconds", "skipped", "updated", "deleted")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not what indexing.build --json or indexing.merge --json prints ({error})."
        ) from error
    if any(numbers[2:]):
        raise UsageError(
            f"{path} reports an update; rates are measured by a first build, into a new folder."
        )
    if not (numbers[0] > 0 and numbers[1] > 0):
        raise UsageError(f"{path} reports no chunks; build the pilot from more documents.")
    return dict(found)


def sizes_of(generation: Path) -> dict[str, int]:
    """Bytes of a merged generation by part."""
    sizes = dict.fromkeys(("embeddings", "texts", "words", _STORE), 0)
    for path in generation.rglob("*"):
        if not path.is_file():
            continue
        if path.name.startswith(_STORE):
            part = _STORE
        elif path.name in {EMBEDDINGS, IDS}:
            part = "embeddings"
        else:
            part = "words" if LEXICAL in path.relative_to(generation).parts else "texts"
        sizes[part] += path.stat().st_size
    return sizes


def plan(
    rates: Rates,
    chunks: int,
    *,
    nodes: int | None = None,
    hours: float | None = None,
    workers_per_node: int = 1,
    price: float | None = None,
) -> Plan:
    """Scale a pilot up: as many nodes as given, or as few as are done within the hours.

    Building is shared by all workers; the merge runs on one machine, after it.

    Args:
        rates: What the pilot measured.
        chunks: How many there will be.
        nodes: How many machines build.
        hours: How long building and merging may take together.
        workers_per_node: Shards that a machine builds at a time, such as one for each GPU.
        price: Of one machine for one hour.

    Raises:
        UsageError: If a number makes no sense, or the merge alone takes longer.
    """
    _check(chunks, nodes, hours, workers_per_node)
    worker_hours = chunks / rates.build_per_s / 3600
    merge_hours = chunks / rates.merge_per_s / 3600
    if nodes is None:
        left = (hours or 0) - merge_hours
        if left <= 0:
            raise UsageError(
                f"The merge alone takes {merge_hours:.1f} h, which is not within {hours:g} h. Give "
                "more hours, or measure a merge on a quicker machine."
            )
        nodes = math.ceil(worker_hours / workers_per_node / left)
    workers = nodes * workers_per_node
    build_hours = worker_hours / workers
    node_hours = nodes * build_hours + merge_hours
    return Plan(
        chunks=chunks,
        nodes=nodes,
        workers=workers,
        build_hours=round(build_hours, 2),
        merge_hours=round(merge_hours, 2),
        hours=round(build_hours + merge_hours, 2),
        node_hours=round(node_hours, 2),
        shard_gib=round(chunks * rates.shard_bytes / workers / _GIB, 1),
        shards_gib=round(chunks * rates.shard_bytes / _GIB, 1),
        index_gib=round(chunks * rates.index_bytes / _GIB, 1),
        memory_gib=round(chunks * rates.bytes_per_chunk[_STORE] / _GIB, 1),
        price=None if price is None else round(price * node_hours, 2),
        rates=rates,
    )


def _check(chunks: int, nodes: int | None, hours: float | None, workers_per_node: int) -> None:
    if (nodes is None) == (hours is None):
        raise UsageError("Give either --nodes or --hours: the other one is what is planned.")
    numbers = {"--chunks": chunks, "--nodes": nodes, "--hours": hours}
    for option, value in (numbers | {"--workers-per-node": workers_per_node}).items():
        if value is not None and not value > 0:
            raise UsageError(f"{option} must be more than 0, got {value:g}.")
