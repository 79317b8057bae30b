"""A build on a Ray cluster: the shards go to workers, and what they made is merged.

The one place that imports Ray. Knows neither documents nor stores: a worker does what
`indexing.build --shard` does, and the end is `indexing.merge`.
"""

import logging
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from encoder import Encoder, MissingExtraError, load_encoder
from encoder.errors import ModelNotFoundError
from indexing.config import BuildConfig
from indexing.errors import BuildFailedError, UsageError
from indexing.filling import Progress
from indexing.merging import MergeReport, merge_shards
from indexing.pipeline import BuildReport, build_index
from indexing.sharding import OF_THE_MERGE
from indexing.sources import PIPE, check_sources, is_url

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told what is built here
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise MissingExtraError("The engine ray", "ray") from error

log = logging.getLogger(__name__)

SHARDS_PER_WORKER = 4
"""So that none waits long for the slowest, and a lost worker costs a part of a part."""
MOST_CPUS = 4
"""Cores of a worker without a GPU; more of them encode no quicker than more workers."""
MOST_LOSSES = 3
"""Workers that one shard may lose before it is taken for the reason."""
_FOLDER = re.compile(r"\d+-of-(\d+)", re.ASCII)
_HOST = re.compile(r"([^/:]+):(\d+)", re.ASCII)
_ANSWERS_WITHIN_S = 10.0
_LOOKED_EVERY_S = 5.0
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class RayFacts:
    """How a cluster built the shards."""

    folder: str
    """Where the shards lie; they stay for the next update."""
    shards: int
    workers: int
    retries: int
    """Shards that were begun again after their worker was lost."""
    build_s: float
    """Until the last shard was built."""
    work_s: float
    """What building the shards took their workers, together; without what was lost."""
    overhead: float
    """Share of the workers' time that built nothing: starting, loading, waiting, lost work."""
    merge_s: float


@dataclass(kw_only=True)
class RayReport(MergeReport):
    """What a build on a cluster did; the JSON of `indexing.build --engine ray`."""

    tokens: int
    """Tokens encoded in this run."""
    ray: RayFacts


def build_with_ray(
    sources: Sequence[str],
    index: str | Path,
    config: BuildConfig | None = None,
    *,
    shards: int | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> RayReport:
    """Build an index on a Ray cluster, or bring one up to date.

    Every node must see the sources and the index's folder under the same paths. The shards lie
    beside the index, in a folder of its name with `.shards` behind it; the same call goes on with
    them after a crash, and updates them later.

    Args:
        sources: Files, folders or web addresses.
        index: The index's folder.
        config: As for `build_index`.
        shards: How many; by default those that are there, or four for each worker.
        address: The cluster's; by default the one of this machine, or else a new one on it.
        progress: Called with shards done, shards in all, and the last one's folder.

    Raises:
        UsageError: If the call is wrong, or there is no cluster at the address.
        BuildFailedError: If a shard cannot be built, or loses one worker after the other.
    """
    started = time.monotonic()
    config = config or BuildConfig()
    if config.shard:
        raise UsageError("--engine ray makes shards itself; leave --shard out.")
    if PIPE in sources:
        raise UsageError("--engine ray cannot read standard input: give files that all nodes see.")
    check_sources(sources)
    index = Path(index).absolute()
    folder = index.with_name(f"{index.name}.shards")
    _connect(address)
    places = _Places.found()
    count = shards or _count_of(folder) or SHARDS_PER_WORKER * places.workers
    _check_count(folder, count)
    of_the_merge: dict[str, Any] = dict.fromkeys(OF_THE_MERGE)
    job = _Job(
        sources=[one if is_url(one) else str(Path(one).absolute()) for one in sources],
        config=replace(config, **of_the_merge),
        folders={n: str(folder / f"{n}-of-{count}") for n in range(1, count + 1)},
    )
    pool = _Pool(job, places, progress)
    try:
        reports = pool.run()
    finally:
        pool.close()
    build_s = time.monotonic() - started
    merged = merge_shards(list(job.folders.values()), index, config)
    work_s = sum(report.seconds for report in reports)
    facts = RayFacts(
        folder=str(folder),
        shards=count,
        workers=pool.size,
        retries=pool.retries,
        build_s=round(build_s, 3),
        work_s=round(work_s, 3),
        overhead=round(1 - work_s / (pool.size * build_s), 4),
        merge_s=merged.seconds,
    )
    whole = {one.name: getattr(merged, one.name) for one in fields(merged)}
    whole["seconds"] = round(time.monotonic() - started, 3)
    return RayReport(**whole, tokens=sum(report.tokens for report in reports), ray=facts)


def _connect(address: str | None) -> None:
    if ray.is_initialized():
        return
    try:
        if address and (place := _HOST.fullmatch(address)):  # else Ray would try for minutes
            socket.create_connection((place[1], int(place[2])), timeout=_ANSWERS_WITHIN_S).close()
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"at {address}" if address else "here"
        raise UsageError(
            f"No Ray cluster answers {where} ({str(error).splitlines()[0]}). Start one: "
            "ray start --head"
        ) from error


def _count_of(folder: Path) -> int | None:
    """How many shards an earlier build made; None if there was none."""
    names = (_FOLDER.fullmatch(path.name) for path in folder.glob("*-of-*"))
    return max((int(name[1]) for name in names if name), default=None)


def _check_count(folder: Path, count: int) -> None:
    before = _count_of(folder)
    if count < 1:
        raise UsageError(f"--shards must be at least 1, got {count}.")
    if before is not None and before != count:
        raise UsageError(
            f"{folder} holds {before} shards, got --shards {count}. Leave --shards out to go on "
            "with them, or delete the folder to begin anew."
        )


@dataclass(frozen=True, kw_only=True)
class _Places:
    """What the cluster has room for."""

    workers: int
    gpus: int
    """Of each worker."""
    cpus: int

    @classmethod
    def found(cls) -> "_Places":
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        if gpus:
            return cls(workers=gpus, gpus=1, cpus=1)
        cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
        if not cores:
            raise UsageError("The Ray cluster has neither GPUs nor cores. Add a node: ray start")
        cpus = min(MOST_CPUS, *cores)
        return cls(workers=sum(count // cpus for count in cores), gpus=0, cpus=cpus)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What the workers are told."""

    sources: list[str]
    config: BuildConfig
    folders: dict[int, str]
    """Of each shard."""

    def config_of(self, number: int) -> BuildConfig:
        return replace(self.config, shard=f"{number}/{len(self.folders)}")


class _Worker:
    """Builds one shard after the other, with one loaded encoder, on a node of the cluster."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None

    def ready(self) -> None:
        """Answer, once the node has room for it."""

    def build(self, job: _Job, number: int) -> BuildReport:
        """What `indexing.build --shard` does."""
        config = job.config_of(number)
        if self._encoder is None:
            self._encoder = load_encoder(
                config.encoder, device=config.device, dtype=config.dtype or "auto"
            )
        return build_index(job.sources, job.folders[number], config, encoder=self._encoder)


@dataclass
class _Pool:
    """Hands shards to workers until all are built; a lost worker's shard goes to another one."""

    job: _Job
    places: _Places
    progress: Progress | None
    retries: int = 0
    _handles: dict[Any, Any] = field(default_factory=dict)
    """What is awaited → its worker."""
    _numbers: dict[Any, int] = field(default_factory=dict)
    """What is awaited → the shard that it builds, if any."""

    @property
    def size(self) -> int:
        """How many workers there are at most."""
        return min(self.places.workers, len(self.job.folders))

    def run(self) -> list[BuildReport]:
        waiting, losses = deque(self.job.folders), Counter[int | None]()
        done: list[BuildReport] = []
        for _ in range(self.size):
            self._start()
        heard = time.monotonic()
        while len(done) < len(self.job.folders):
            self._show(len(done))
            answers, _ = ray.wait(list(self._handles), timeout=_LOOKED_EVERY_S)
            if not answers:
                heard = self._ask_for_patience(heard)
                continue
            heard = time.monotonic()
            worker, number = self._handles.pop(answers[0]), self._numbers.pop(answers[0], None)
            try:
                report = ray.get(answers[0])
            except RayTaskError as error:
                raise _failure(number, error) from error
            except RayError as error:
                ray.kill(worker)  # it may only be out of reach
                self._lose(number, losses, error)
                if number is not None:
                    waiting.appendleft(number)
                self._start()
                continue
            if report is not None:
                done.append(report)
            if waiting:
                self._give(worker, waiting.popleft())
            else:
                ray.kill(worker)
        self._show(len(done))
        return done

    def _start(self) -> None:
        """Ask for one more worker; it is given nothing before it answers."""
        places = self.places
        made = ray.remote(num_cpus=places.cpus, num_gpus=places.gpus, max_restarts=0)(_Worker)
        worker = made.remote()
        self._handles[worker.ready.remote()] = worker

    def _give(self, worker: Any, number: int) -> None:  # noqa: ANN401 - Ray makes the class
        awaited = worker.build.remote(self.job, number)
        self._handles[awaited], self._numbers[awaited] = worker, number

    def _lose(self, number: int | None, losses: Counter[int | None], error: Exception) -> None:
        """Count a lost worker, of a shard or of none yet; raises where it was one too many."""
        losses[number] += 1
        if losses[number] > MOST_LOSSES * (1 if number else self.size):
            what = f"Shard {number} lost {losses[number]} workers" if number else "No worker starts"
            raise BuildFailedError(
                f"{what}; the last reason: {str(error).splitlines()[0].rstrip('.')}. What is built "
                "is kept; the same call goes on."
            ) from error
        if number is not None:
            self.retries += 1
            log.warning("Shard %d lost its worker and is given to another one.", number)

    def _ask_for_patience(self, heard: float) -> float:
        if self._numbers or time.monotonic() - heard < _PATIENCE_S:
            return heard
        log.warning(
            "No worker has room on the cluster; waiting for %d cores%s.",
            self.places.cpus,
            " and a GPU" if self.places.gpus else "",
        )
        return time.monotonic()

    def _show(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, len(self.job.folders), "")

    def close(self) -> None:
        """Stop the workers; what they have encoded is kept."""
        for worker in self._handles.values():
            ray.kill(worker)


def _failure(number: int | None, error: RayTaskError) -> Exception:
    cause = error.cause
    if isinstance(cause, UsageError | ModelNotFoundError):
        return UsageError(f"Shard {number}: {cause}")
    return BuildFailedError(
        f"Shard {number} failed: {str(cause).rstrip('.')}. What is built is kept; the same call "
        "goes on."
    )
