"""FAISS's own indexes on GPUs, where its build knows them and there are some.

The index on the CPU is the one that is kept and saved: a card trains and fills it, and copies of it
are searched. Everything else in Angler does without such a build: see `torch_engine`.
"""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder import MissingExtraError
from indexing.errors import UsageError
from indexing.stores.faiss import FaissIndex, Setting, faiss

MOST_K = 2_048
"""Results and cells of one search that FAISS allows on a GPU."""
_ADDED_AT_ONCE = 262_144


def count_gpus() -> int:
    """How many GPUs this build of FAISS can use; 0 for a build without them."""
    return int(faiss.get_num_gpus()) if _knows_gpus() else 0


def _knows_gpus() -> bool:
    return hasattr(faiss, "StandardGpuResources")


def _chosen(devices: Sequence[int] | None) -> list[int]:
    if not _knows_gpus():
        raise MissingExtraError("FAISS on a GPU", "faiss-gpu")
    count = count_gpus()
    chosen = list(range(count)) if devices is None else list(devices)
    if not chosen or not all(0 <= device < count for device in chosen):
        raise UsageError(
            f"FAISS sees {count} GPUs, got the devices {chosen}; use the CPU, or torch's."
        )
    return chosen


def filled_on_gpu(
    index: FaissIndex, sample: NDArray[np.float32], rows: NDArray[np.float32], *, device: int = 0
) -> FaissIndex:
    """Train an empty index on a GPU, fill it there, and bring it back to the CPU.

    Args:
        index: What to make, empty.
        sample: What to learn from, shape (n, dim).
        rows: What to put in, shape (m, dim); they may be mapped.
        device: The GPU's number.

    Raises:
        UsageError: If there is no such GPU, or FAISS has no such index on one.
        MissingExtraError: If FAISS was built without GPUs.
    """
    (chosen,) = _chosen([device])
    resources = faiss.StandardGpuResources()
    try:
        on_gpu = faiss.index_cpu_to_gpu(resources, chosen, index.raw)
        on_gpu.train(np.ascontiguousarray(sample, np.float32))
        for start in range(0, len(rows), _ADDED_AT_ONCE):
            block = rows[start : start + _ADDED_AT_ONCE]
            on_gpu.add(np.ascontiguousarray(block, np.float32))
        return FaissIndex(faiss.index_gpu_to_cpu(on_gpu))
    except RuntimeError as error:
        raise _refusal(error) from error


class GpuSearcher:
    """Copies of a FAISS index on GPUs; threads take turns, as FAISS demands."""

    def __init__(
        self,
        index: FaissIndex,
        *,
        devices: Sequence[int] | None = None,
        shards: bool = False,
        half: bool = False,
    ) -> None:
        """Copy an index to some GPUs.

        Args:
            index: The index on the CPU; what is added to it later is not found here.
            devices: The GPUs' numbers; all of them if None.
            shards: A part of the rows on each, for more rows than one holds; otherwise all rows on
                each, for more queries.
            half: Keep rows in half precision.

        Raises:
            UsageError: If there is no such GPU, or FAISS has no such index on one.
            MissingExtraError: If FAISS was built without GPUs.
        """
        chosen = _chosen(devices)
        options = faiss.GpuMultipleClonerOptions()
        options.shard, options.useFloat16 = shards, half
        self._resources = [faiss.StandardGpuResources() for _ in chosen]
        try:
            self._index = faiss.index_cpu_to_gpu_multiple_py(
                self._resources, index.raw, options, chosen
            )
        except RuntimeError as error:
            raise _refusal(error) from error
        self._lock = Lock()

    def search(
        self, queries: NDArray[np.float32], k: int, setting: Setting
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and numbers of the best rows, shape (m, k) each; -1 where there are fewer.

        Raises:
            UsageError: If it is more than a GPU can do in one search.
        """
        if not 1 <= k <= MOST_K or setting.nprobe > MOST_K:
            raise UsageError(
                f"FAISS gives at most {MOST_K} results of as many cells on a GPU; got {k} of "
                f"{setting.nprobe}."
            )
        with self._lock:
            set_cells(self._index, setting.nprobe)
            scores, places = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return scores, places


def set_cells(index: Any, nprobe: int) -> None:  # noqa: ANN401 - faiss is untyped
    """Have every copy or part of an index visit so many cells, where it has cells."""
    for part in _parts(index):
        if hasattr(part, "nprobe"):
            part.nprobe = max(1, nprobe)


def _parts(index: Any) -> Iterator[Any]:  # noqa: ANN401 - faiss is untyped
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexReplicas | faiss.IndexShards):
        for place in range(index.count()):
            yield from _parts(index.at(place))
    elif isinstance(index, faiss.IndexPreTransform):
        yield from _parts(index.index)
    else:
        yield index


def _refusal(error: RuntimeError) -> UsageError:
    reason = str(error).rpartition(": ")[2].strip().rstrip(".")
    return UsageError(
        f"FAISS cannot do this on a GPU: {reason}. Flat, IVF Flat, IVF SQ and IVF PQ are known "
        "there; build others on the CPU, or with torch."
    )
