"""A store over any FAISS index: approximate types, tuned to a recall, with exact scores."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.stores.base import (
    EMBEDDINGS,
    IDS,
    NO_ID,
    Capabilities,
    SearchResult,
    check_rows,
    check_search,
)
from indexing.stores.exact import ExactStore
from indexing.stores.faiss import Chosen, FaissIndex, Setting, nearest_rows
from indexing.stores.index_types import AUTO, DEFAULT_RECALL, FLAT, Recipe, recipe
from indexing.stores.tuning import K, Sample, Space, tune

log = logging.getLogger(__name__)

INDEX_FILE, FACTS_FILE, _REMOVED_FILE = "store.faiss", "store.json", "store_removed.npy"
COMPARED_ROWS, COMPARED_SHARE = 20_000, 0.02
"""Of so few allowed rows, or so small a share, each is compared: exact, and sooner done."""
_REFINES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MOST_EF = 2_048
_WAIT_NS = 50.0
"""Of memory, for a row that a graph leads to."""
_SEED = 99
_KEPT_MASKS = 8
_MOST_GROWTH = 2.0
"""Times the rows that cells and codes were learned from; beyond, they are learned anew."""


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What a store's index is and how well it finds; written beside it."""

    index_type: str
    factory: str
    rows: int
    """How many there were when it was made."""
    trained: int
    """How many there were when its cells and codes were learned."""
    target: float
    recall: float
    """Measured against exact search with rows that the setting was not chosen by."""
    setting: Setting

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"setting": self.setting.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        return cls(**{**values, "setting": Setting(**values["setting"])})


class ApproximateStore:
    """Rows numbered as they came, in a FAISS index; removed ones are passed over.

    While there are too few rows to train the index, each of them is compared. What is found by
    codes is scored again by the embeddings, so scores are always exact.
    """

    capabilities = Capabilities(exact=False, delete=True, filter=True, gpu=False)

    def __init__(self, dim: int, index_type: str, *, recall: float = DEFAULT_RECALL) -> None:
        """An empty store.

        Raises:
            UsageError: If FAISS knows no such index.
        """
        FaissIndex.make(recipe(index_type, 1, dim).factory, dim)
        self._index_type, self._target = index_type, recall
        self._index: FaissIndex | None = None
        self._facts: StoreFacts | None = None
        self._recipe: Recipe | None = None
        self._take(np.empty(0, np.int64), np.empty((0, dim), np.float32))

    def _take(self, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        self._rows = rows
        self._ids = ids
        self._order = np.argsort(ids, kind="stable")
        self._without(np.zeros(len(ids), bool))

    def _without(self, removed: NDArray[np.bool_]) -> None:
        """Take over which rows are removed."""
        self._removed = removed
        self._all = Chosen(~removed) if removed.any() else None
        """What a search finds that names no ids; None for every row."""
        self._masks: dict[int, tuple[NDArray[np.int64], Chosen]] = {}

    def __len__(self) -> int:
        return len(self._ids) if self._all is None else self._all.count

    @property
    def facts(self) -> StoreFacts | None:
        """What the index is; None while every row is compared."""
        return self._facts

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows; the first that are enough of them train the index."""
        check_rows(ids, embeddings, self._rows.shape[1])
        removed = self._removed
        # An id that was removed may come again: the row of before must not answer to it.
        held = np.where(removed & np.isin(self._ids, ids), NO_ID, self._ids)
        self._take(
            np.concatenate([held, ids.astype(np.int64)]),
            np.concatenate([self._rows, embeddings.astype(np.float32)]),
        )
        self._without(np.pad(removed, (0, len(embeddings))))
        if self._index is not None:
            self._index.add(np.asarray(embeddings, np.float32))
        elif recipe(self._index_type, len(self._ids), self._rows.shape[1]).name != FLAT:
            self._make()

    def _make(self, device: str = "cpu") -> None:
        """Train, fill and tune the index over all rows, if they are enough."""
        from indexing.stores.torch_engine import engine_for  # torch costs a second to import

        found = recipe(self._index_type, len(self._rows), self._rows.shape[1])
        if len(self._rows) < found.fewest:
            return
        index = FaissIndex.make(found.factory, self._rows.shape[1])
        engine = engine_for(device)
        index.train(_sampled(self._rows, found.training or len(self._rows)), engine)
        index.add(self._rows, engine)
        self._recipe, self._index = found, index
        self._facts = self._tuned(index, found, len(self._rows))

    def _regrown_from(self, folder: Path) -> bool:
        """Make the index out of that of a smaller store, if that was learned from enough rows."""
        old = type(self).open(folder) if (folder / FACTS_FILE).is_file() else None
        if old is None or old._index is None or old._facts is None or old._recipe is None:
            return False
        is_same = (old._index_type, old._target) == (self._index_type, self._target)
        is_large = len(self._rows) > _MOST_GROWTH * old._facts.trained
        if not is_same or is_large or not old._index.has_cells or old._all is not None:
            return False
        if recipe(self._index_type, *self._rows.shape).name != old._facts.index_type:
            return False
        numbers = np.full(len(old._ids), -1, np.int64)
        stays = np.isin(old._ids, self._ids)
        numbers[stays] = self._places(old._ids[stays])
        old._index.regrow(numbers, self._rows)
        self._recipe, self._index = old._recipe, old._index
        self._facts = self._tuned(self._index, self._recipe, old._facts.trained)
        return True

    def _tuned(self, index: FaissIndex, found: Recipe, trained: int) -> StoreFacts:
        def search(
            queries: NDArray[np.float32], k: int, effort: int, refine: int
        ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            setting = _setting(index, effort, refine)
            return self._nearest(index, queries, k, setting, found.exact_scores, None)

        sample = Sample(self._rows, nearest_rows)
        tuned = tune(search, sample, _space(index, found, len(self._rows)), self._target)
        if tuned.recall < self._target - 0.02:
            log.warning(
                "The index type %s finds %.1f %% of the nearest at best, not the %.1f %% asked "
                "for. Choose another type; python -m indexing.advise compares them.",
                found.name,
                tuned.recall * 100,
                self._target * 100,
            )
        return StoreFacts(
            index_type=found.name,
            factory=found.factory,
            rows=len(self._rows),
            trained=trained,
            target=self._target,
            recall=tuned.recall,
            setting=_setting(index, tuned.effort, tuned.refine),
        )

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        removed = self._removed.copy()  # a search that is under way has that of before
        removed[self._places(ids)] = True
        self._without(removed)

    def _places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the rows with these ids stand, those that there are."""
        if not len(self._ids):
            return np.empty(0, np.int64)
        ids = np.asarray(ids, np.int64)
        found = np.searchsorted(self._ids, ids, sorter=self._order)
        places = self._order[np.minimum(found, len(self._ids) - 1)]
        found_places: NDArray[np.int64] = places[self._ids[places] == ids]
        return found_places

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The `k` best rows that are found for each query, with their exact scores."""
        check_search(queries, k, self._rows.shape[1], allowed, excluded)
        chosen = self._chosen(allowed, excluded)
        count = len(self._ids) if chosen is None else chosen.count
        few = max(COMPARED_ROWS, COMPARED_SHARE * len(self._ids)) if allowed is not None else k
        if self._index is None or self._facts is None or self._recipe is None or count <= few:
            return self._compared(queries, k, chosen)
        setting = _widened(self._facts.setting, count / len(self._ids), self._index)
        exact = self._recipe.exact_scores
        scores, places = self._nearest(self._index, queries, k, setting, exact, chosen)
        ids = self._ids[places]
        if min(places.min(initial=0), ids.min(initial=0)) < 0:
            ids = np.where(places >= 0, ids, NO_ID)
            scores = np.where(ids == NO_ID, np.float32(-np.inf), scores)
        return SearchResult(scores, ids)

    def _chosen(
        self, allowed: NDArray[np.int64] | None, excluded: NDArray[np.int64] | None
    ) -> Chosen | None:
        """Which rows may be found; None if all may."""
        given = excluded if allowed is None else allowed
        if given is None or (allowed is None and not len(given)):
            return self._all
        known = self._masks.get(id(given))
        if known is not None and known[0] is given:
            return known[1]
        mask = np.zeros(len(self._ids), bool)
        mask[self._places(given)] = True
        chosen = Chosen((mask if allowed is not None else ~mask) & ~self._removed)
        if not given.flags.writeable:
            # Whoever can no longer change the ids means the same by them next time.
            kept = list(self._masks.items())[-_KEPT_MASKS + 1 :]
            self._masks = {**dict(kept), id(given): (given, chosen)}
        return chosen

    def _compared(
        self, queries: NDArray[np.float32], k: int, chosen: Chosen | None
    ) -> SearchResult:
        """Exact search among the chosen rows."""
        if chosen is None and len(self._ids) > COMPARED_ROWS:  # too many to copy
            scores, places = nearest_rows(queries, self._rows, min(k, len(self._ids)))
            missing = ((0, 0), (0, k - places.shape[1]))
            return SearchResult(
                np.pad(scores, missing, constant_values=-np.inf),
                np.pad(self._ids[places], missing, constant_values=NO_ID),
            )
        places = np.arange(len(self._ids)) if chosen is None else np.flatnonzero(chosen.rows)
        store = ExactStore(self._rows.shape[1])
        store.add(self._ids[places], self._rows[places])
        return store.search(queries, k)

    def _nearest(
        self,
        index: FaissIndex,
        queries: NDArray[np.float32],
        k: int,
        setting: Setting,
        exact_scores: bool,
        chosen: Chosen | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Exact scores and places of the best rows, shape (m, k) each."""
        if exact_scores:
            return index.search(queries, k, setting, chosen)
        # For one result too, as many candidates as recall was measured with.
        depth = max(k, min(max(k, K) * setting.refine, len(self._rows)))
        return index.search_and_score(queries, k, depth, setting, self._rows, chosen)

    def list_sizes(self) -> NDArray[np.int64]:
        """How many rows each cell of an inverted file holds; empty where there are none."""
        return self._index.list_sizes() if self._index is not None else np.empty(0, np.int64)

    def save(self, folder: Path) -> None:
        """Write the index, the rows and their ids into an existing folder."""
        np.save(folder / f"new-{EMBEDDINGS}", self._rows)
        (folder / f"new-{EMBEDDINGS}").replace(folder / EMBEDDINGS)
        np.save(folder / IDS, self._ids)
        self._save_index(folder)

    def _save_index(self, folder: Path) -> None:
        facts: dict[str, Any] = {"index_type": self._index_type, "target": self._target}
        if self._index is not None and self._facts is not None:
            self._index.save(folder / INDEX_FILE)
            facts["made"] = self._facts.as_dict()
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1), "utf-8")
        if self._all is not None:
            np.save(folder / _REMOVED_FILE, self._removed)

    @classmethod
    def build(
        cls,
        folder: Path,
        ids: NDArray[np.int64],
        embeddings: NDArray[np.float32],
        *,
        index_type: str = AUTO,
        recall: float = DEFAULT_RECALL,
        grown_from: Path | None = None,
        device: str = "cpu",
    ) -> None:
        """Write a store of all these rows; in an index they stand in the folder already.

        Args:
            folder: Where to write.
            ids: Shape (n,).
            embeddings: Shape (n, dim); they may be mapped.
            index_type: As for the store.
            recall: As for the store.
            grown_from: The folder of a store whose rows are mostly these: its cells are kept.
            device: Where cells and codes are learned, as for `engine_for`.
        """
        store = cls(embeddings.shape[1], index_type, recall=recall)
        check_rows(ids, embeddings, embeddings.shape[1])
        store._take(ids, embeddings)
        if grown_from is None or not store._regrown_from(grown_from):
            store._make(device)
        if not (folder / EMBEDDINGS).exists():
            store.save(folder)
        else:
            store._save_index(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the index and map the rows."""
        values = json.loads((folder / FACTS_FILE).read_text("utf-8"))
        store = cls.__new__(cls)
        store._index_type, store._target = values["index_type"], values["target"]
        store._take(
            np.load(folder / IDS, allow_pickle=False),
            np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False),
        )
        if (folder / _REMOVED_FILE).is_file():
            store._without(np.load(folder / _REMOVED_FILE, allow_pickle=False))
        store._index = store._facts = store._recipe = None
        if "made" in values:
            store._facts = StoreFacts.from_dict(values["made"])
            store._index = FaissIndex.open(folder / INDEX_FILE)
            store._recipe = recipe(
                store._facts.index_type, store._facts.trained, store._rows.shape[1]
            )
        return store


def _sampled(rows: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many of the rows, drawn from all of them by a fixed seed."""
    if len(rows) <= most:
        return rows
    drawn = np.random.default_rng(_SEED).choice(len(rows), most, replace=False)
    return np.asarray(rows[np.sort(drawn)])


def _setting(index: FaissIndex, effort: int, refine: int) -> Setting:
    if index.has_cells:
        return Setting(nprobe=effort, refine=refine)
    return Setting(ef=max(effort, 2 * K) if index.has_graph else 0, refine=refine)


def _space(index: FaissIndex, found: Recipe, count: int) -> Space:
    refines: tuple[int, ...] = (1,) if found.exact_scores else _REFINES
    if index.has_cells:
        per_cell = count / index.cells
        return Space(
            most_effort=index.cells,
            effort_ns=per_cell * found.scan_ns,
            refines=refines,
            spare=found.spare,
        )
    if index.has_graph:
        # A walk keeps at least as many candidates as are fetched: more of them is more effort.
        refines = refines[:2]
        return Space(
            most_effort=_MOST_EF, effort_ns=32 * (found.scan_ns + _WAIT_NS), refines=refines
        )
    return Space(most_effort=1, effort_ns=count * found.scan_ns, refines=refines)


def _widened(setting: Setting, share: float, index: FaissIndex) -> Setting:
    """More cells, or a wider walk, where only a share of the rows may be found.

    As many rows that may be found are then looked at as without a filter.
    """
    if share >= 1.0:
        return setting
    more = replace(setting, nprobe=_ceil(setting.nprobe / share), ef=_ceil(setting.ef / share))
    return replace(more, nprobe=min(more.nprobe, index.cells)) if index.has_cells else more


def _ceil(value: float) -> int:
    return -int(-value // 1)
