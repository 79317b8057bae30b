"""What a store of rows that other programs share offers to the writer of an index."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.stores.base import Capabilities, SearchResult

if TYPE_CHECKING:
    from indexing.catalog import DocumentRecord
    from indexing.stores.milvus_rows import RowSource

Rows = Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]


class SharedStore(Protocol):
    """The rows of one index, written before its catalogue is published."""

    capabilities: Capabilities

    @property
    def shown(self) -> str:
        """What and where it is, for messages."""
        ...

    @property
    def written(self) -> int:
        """The store's time of the last write, for readers that must see it; 0 if it has none."""
        ...

    def begin(self, number: int, held: NDArray[np.int64]) -> None:
        """Remove what a writer left that did not end.

        Args:
            number: The generation that is being written.
            held: The chunks of all generations that are kept.
        """
        ...

    def announce(self, ids: NDArray[np.int64]) -> None:
        """Take note of which rows are about to be written."""
        ...

    def check(self, record: "DocumentRecord") -> None:
        """Raise StoreError if it is known that the rows of a document do not fit."""
        ...

    def rows_of(self, record: "DocumentRecord") -> "list[RowSource]":
        """The rows of a document's chunks, in order."""
        ...

    def write(
        self,
        sources: "Sequence[RowSource]",
        embeddings: NDArray[np.float32],
        added: int,
        *,
        replacing: bool = False,
    ) -> None:
        """Write rows of one generation; with `replacing`, in place of those with their ids."""
        ...

    def finish(self, rows: int) -> None:
        """Bring what was written to the disk, where so many rows are worth it."""
        ...

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        ...

    def search(self, queries: NDArray[np.float32], k: int) -> SearchResult:
        """The `k` best rows for each query of shape (m, dim)."""
        ...

    def ids(self) -> NDArray[np.int64] | None:
        """All ids that are read, ascending; None where rows cannot be listed."""
        ...

    def embeddings(self) -> Rows | None:
        """All ids that are read with their embeddings; None where rows cannot be listed."""
        ...
