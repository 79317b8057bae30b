"""Milvus in all its forms, Lite in a folder, a server or a cluster: one knowledge base's rows."""

import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder import MissingExtraError
from indexing.catalog import DocumentRecord
from indexing.errors import RowsMissingError, StoreError, UsageError
from indexing.stores.base import NO_ID, Capabilities, SearchResult, check_rows, check_search
from indexing.stores.milvus_options import LITE_NAME, MilvusPlace, opened_uri
from indexing.stores.milvus_rows import (
    MOST_TEXT_BYTES,
    TEXTS,
    RowSource,
    as_sent,
    bare_rows,
    check_fits,
    portions,
    primary_key,
    rows_of,
)
from indexing.stores.milvus_types import MilvusType

try:
    import grpc
    from pymilvus import (
        AsyncMilvusClient,
        DataType,
        MilvusClient,
        MilvusException,
    )
    from pymilvus.client.ts_utils import get_collection_ts
except ImportError as error:
    raise MissingExtraError("The Milvus store", "milvus") from error

# Each of its errors reaches the user as a sentence of ours; it would print a traceback before.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)

CONNECT_S = 10.0
REQUEST_S = 60.0
"""So long a request is repeated while a server does not answer: it may be starting again."""
MOST_K = 16_384
"""Hits of one search. Source: https://milvus.io/docs/limitations.md."""
_SCHEMA_VERSION = 1
_VECTOR = "embedding"
_QUERIES = 256
"""Of one request."""
_RESULTS = 200_000
"""Of one request, of all its queries."""
_KEYS = 5_000
"""Rows named in one request."""
_READ = 4_096
"""Rows read in one request."""
_LOADING = re.compile(
    "not (fully )?loaded|not available|no available|shard leader|servi?ce?able|not ready|unhealthy",
    re.IGNORECASE,
)
"""What a server says that is not ready for searches yet."""
_LOST = re.compile(
    "unavailable|fail connecting|failed to connect|retry timeout|deadline", re.IGNORECASE
)
"""What the client says of a server that does not answer."""
_REFUSED = re.compile("unauthenticated|authenticat|authoriz|credential|permission", re.IGNORECASE)
_PAUSE_S = 0.5
_FLUSHED = 10_000
"""So many rows at once are brought into finished segments; fewer wait in the server's log."""
_PARTITIONS = 16
_MOST_KEY = 128
_LEVELS = {"strong": "Strong", "bounded": "Bounded", "eventually": "Eventually"}
NEWEST = 2**62
"""A generation after all others."""


class MilvusStore:
    """The rows of one knowledge base, as they were up to one generation.

    Every row carries the generation that added it, and a search passes over later ones. Requests
    name the collection by its alias, so that another collection can take its place at once.
    """

    def __init__(
        self,
        place: MilvusPlace,
        dim: int,
        *,
        index_type: str = "auto",
        generation: int = NEWEST,
        create: bool = False,
    ) -> None:
        """Connect.

        Args:
            place: Which rows of which server.
            dim: The embeddings' width.
            index_type: With its parameters, as `MilvusType.parse` reads it.
            generation: The last one that is read, and the one that `add` writes.
            create: Make the collection if it is not there.

        Raises:
            UsageError: If there is no such index type.
            StoreError: If it cannot be reached, or what is there does not fit.
            RowsMissingError: If there is no collection, and none is to be made.
        """
        self.place = place
        self.dim = dim
        self.type = MilvusType.parse(index_type, dim=dim, is_lite=place.is_lite)
        self.capabilities = Capabilities(
            exact=self.type.exact, delete=True, filter=True, gpu=self.type.gpu
        )
        self._generation = generation
        self._written = place.written
        self._has_removed = False
        self._client = _connected(place)
        with self._asking("open the collection"):
            found = self._client.has_collection(place.collection, timeout=REQUEST_S)
            if not found and create:
                self._create()
        if not found and not create:
            raise RowsMissingError(
                f"{_capital(place.shown)} has no collection {place.collection}, which this index "
                "is in. Give the address where it was built (ANGLER_MILVUS_URI), or bring the rows "
                "back: python -m indexing.doctor --fix."
            )
        if found:
            self._check_collection(is_written=create)

    def __len__(self) -> int:
        with self._asking("count the rows"):
            found = _when_ready(
                lambda: self._client.query(
                    self.place.collection,
                    filter=self._mine,
                    output_fields=["count(*)"],
                    consistency_level="Strong",
                    timeout=REQUEST_S,
                )
            )
        return int(found[0]["count(*)"])

    @property
    def written(self) -> int:
        """The server's time of the last write, for readers that must see it."""
        return self._written

    @property
    def most_k(self) -> int:
        """The most hits of one search."""
        return min(MOST_K, self.type.most_k)

    @property
    def _mine(self) -> str:
        """The rows that are read."""
        return f'knowledge_base == "{self.place.knowledge_base}" and added <= {self._generation}'

    @property
    def shown(self) -> str:
        """For messages."""
        return self.place.shown

    # Writing

    def begin(self, number: int, held: NDArray[np.int64]) -> None:
        """Remove what a writer of this generation left that did not end."""
        self.remove_since(number)

    def announce(self, ids: NDArray[np.int64]) -> None:
        """Nothing: every row says which generation added it."""

    def check(self, record: DocumentRecord) -> None:
        """Raise StoreError if one of a document's texts is longer than Milvus keeps."""
        check_fits(record)

    def rows_of(self, record: DocumentRecord) -> list[RowSource]:
        """The rows of a document's chunks, in order."""
        return rows_of(record)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows without texts: ids of shape (n,), embeddings of shape (n, dim)."""
        check_rows(ids, embeddings, self.dim)
        self.write(bare_rows(ids.tolist()), embeddings, self._generation)

    def write(
        self,
        sources: Sequence[RowSource],
        embeddings: NDArray[np.float32],
        added: int,
        *,
        replacing: bool = False,
    ) -> None:
        """Write rows.

        Args:
            sources: The rows; their ids are not there yet.
            embeddings: Shape (n, dim).
            added: The generation that they belong to.
            replacing: Whether rows with these ids may be there, and give way.

        Raises:
            StoreError: If the server refuses them, or cannot be reached.
        """
        if replacing:
            # Not by `upsert`: server 2.3 puts the new row into another partition than the one
            # which its knowledge base is looked for in.
            self.remove(np.array([source.id for source in sources], np.int64))
        for part in portions(sources, self.dim):
            rows = [
                as_sent(source, embedding, self.place.knowledge_base, added)
                for source, embedding in zip(sources[part], embeddings[part], strict=True)
            ]
            with self._asking("store rows"):
                self._client.insert(self.place.collection, rows, timeout=REQUEST_S)
                self._note_written()

    def finish(self, rows: int) -> None:
        """Bring what was written to the disk, where so many rows are worth it."""
        if rows >= _FLUSHED or self.place.is_lite:
            with self._asking("flush the rows"):
                self._client.flush(self.place.collection, timeout=REQUEST_S)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        for start in range(0, len(ids), _KEYS):
            keys = [
                primary_key(self.place.knowledge_base, id_)
                for id_ in ids[start : start + _KEYS].tolist()
            ]
            with self._asking("delete rows"):
                self._client.delete(self.place.collection, ids=keys, timeout=REQUEST_S)
            self._has_removed = True

    def remove_since(self, generation: int) -> None:
        """Remove the rows of this generation and all later ones: a build that did not end."""
        rows = f'knowledge_base == "{self.place.knowledge_base}" and added >= {generation}'
        with self._asking("delete rows"):
            self._client.delete(self.place.collection, filter=rows, timeout=REQUEST_S)
        self._has_removed = True

    def _note_written(self) -> None:
        # Milvus Lite keeps no time, and needs none: what is written is seen.
        endpoint = self._client._get_connection().server_address
        self._written = max(
            self._written, get_collection_ts(self.place.collection, endpoint, "") or 0
        )

    # Reading

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
        where: str | None = None,
    ) -> SearchResult:
        """The `k` best rows for each query.

        Args:
            queries: Shape (m, dim).
            k: How many, at most 16,384.
            allowed: Only these ids, if given.
            excluded: None of these ids, if given. Not together with `allowed`.
            where: Only rows that this expression of `milvus_filter` lets through, if given.
        """
        check_search(queries, k, self.dim, allowed, excluded)
        found = _Found(len(queries), k)
        if allowed is not None and not len(allowed):
            return found.result
        for part in self._parts(len(queries), k):
            request = self._request(queries[part], k, self._condition(allowed, excluded, where))
            with self._asking("search"):
                answers = _when_ready(partial(self._client.search, **request))
                found.put(part.start, answers)
        return found.result

    async def search_async(
        self, queries: NDArray[np.float32], k: int, *, where: str | None = None
    ) -> SearchResult:
        """As `search`, without a thread that waits."""
        check_search(queries, k, self.dim, None, None)
        found = _Found(len(queries), k)
        connection = self.place.connection()
        if self.place.is_lite:  # of this process already
            connection["uri"] = f"http://{self._client._get_connection().server_address}"
        client = AsyncMilvusClient(**connection, timeout=CONNECT_S)
        try:
            for part in self._parts(len(queries), k):
                request = self._request(queries[part], k, self._condition(None, None, where))
                with self._asking("search"):
                    found.put(part.start, await client.search(**request))
        finally:
            await client.close()
        return found.result

    def ids(self) -> NDArray[np.int64]:
        """All ids that are read, ascending."""
        parts = [[row["chunk"] for row in rows] for rows in self._rows("chunk")]
        return np.sort(np.array([id_ for part in parts for id_ in part], np.int64))

    def embeddings(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """All ids that are read with their embeddings, some at a time."""
        for rows in self._rows("chunk", _VECTOR):
            yield (
                np.array([row["chunk"] for row in rows], np.int64),
                np.array([row[_VECTOR] for row in rows], np.float32).reshape(len(rows), self.dim),
            )

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The embeddings of some rows, in order; NaN where there is no row."""
        rows = np.full((len(ids), self.dim), np.nan, np.float32)
        place = {id_: position for position, id_ in enumerate(ids)}
        for start in range(0, len(ids), _READ):
            keys = [
                primary_key(self.place.knowledge_base, id_) for id_ in ids[start : start + _READ]
            ]
            with self._asking("read the rows"):
                found = self._client.get(
                    self.place.collection,
                    ids=keys,
                    output_fields=["chunk", _VECTOR],
                    consistency_level="Strong",
                    timeout=REQUEST_S,
                )
            for row in found:
                rows[place[row["chunk"]]] = row[_VECTOR]
        return rows

    def _rows(self, *fields: str) -> Iterator[list[dict[str, Any]]]:
        if not len(self):  # waits, besides, until the rows can be read
            return
        with self._asking("read the rows"):
            iterator = self._client.query_iterator(
                self.place.collection,
                batch_size=_READ,
                filter=self._mine,
                output_fields=list(fields),
                consistency_level="Strong",
                timeout=REQUEST_S,
            )
            try:
                while rows := iterator.next():
                    yield rows
            finally:
                iterator.close()

    def _parts(self, queries: int, k: int) -> Iterator[slice]:
        if k > self.most_k:
            raise ValueError(f"Milvus finds at most {self.most_k} hits of a search, got k={k}.")
        step = max(1, min(_QUERIES, _RESULTS // k))
        for start in range(0, queries, step):
            yield slice(start, start + step)

    def _condition(
        self,
        allowed: NDArray[np.int64] | None,
        excluded: NDArray[np.int64] | None,
        where: str | None,
    ) -> str:
        parts = [self._mine]
        if allowed is not None:
            parts.append(f"chunk in {allowed.tolist()}")
        if excluded is not None and len(excluded):
            parts.append(f"chunk not in {excluded.tolist()}")
        if where is not None:
            parts.append(where)
        return " and ".join(parts)

    def _request(self, queries: NDArray[np.float32], k: int, condition: str) -> dict[str, Any]:
        return {
            "collection_name": self.place.collection,
            "data": list(np.ascontiguousarray(queries, np.float32)),
            "anns_field": _VECTOR,
            "limit": k,
            "filter": condition,
            "search_params": {"metric_type": "IP", "params": self.type.search(k)},
            "output_fields": ["chunk"],
            "timeout": REQUEST_S,
            **self._consistency(),
        }

    def _consistency(self) -> dict[str, Any]:
        level = _LEVELS.get(self.place.consistency)
        if level is None and self._has_removed:
            # The time that the server gives for a deletion comes before the deletion is seen.
            level = "Strong"
        if level is not None:
            return {"consistency_level": level}
        # The view of the last write that counts: it never waits for time to pass, as Strong does.
        return {
            "consistency_level": "Customized",
            "guarantee_timestamp": self._written or 1,
        }

    # As a store in a folder: the rows stay where they are

    def save(self, folder: Path) -> None:
        """Bring what was written to the disk; a folder needs nothing of it."""
        self.finish(_FLUSHED)

    def view(self, generation: int) -> "MilvusStore":
        """The same rows as they were up to another generation."""
        return MilvusStore(
            replace(self.place, written=self._written),
            self.dim,
            index_type=str(self.type),
            generation=generation,
        )

    def drop(self) -> None:
        """Remove all rows of the knowledge base."""
        self.remove_since(0)

    def destroy(self) -> None:
        """Remove the collection with the rows of all its knowledge bases."""
        with self._asking("drop the collection"):
            found = self._client.describe_collection(self.place.collection, timeout=REQUEST_S)
            self._client.drop_alias(self.place.collection, timeout=REQUEST_S)
            self._client.drop_collection(found["collection_name"], timeout=REQUEST_S)

    # The collection

    def _create(self) -> None:
        """Make the collection under a name of its own, and its alias.

        Another process may do the same just now, or may have been killed while doing it.
        """
        name, alias = f"{self.place.collection}_1", self.place.collection
        index = self._client.prepare_index_params()
        index.add_index(
            _VECTOR,
            index_type=self.type.milvus_name,
            metric_type="IP",
            params=self.type.build,
        )
        is_new = not self._client.has_collection(name, timeout=REQUEST_S)
        if is_new:
            self._client.create_collection(
                name,
                schema=self._schema(),
                num_partitions=_PARTITIONS,
                # Iterators take no other level than the collection's; searches name their own.
                consistency_level="Strong",
                timeout=REQUEST_S,
            )
        try:
            self._client.create_index(name, index, timeout=REQUEST_S)
            self._client.load_collection(name, timeout=REQUEST_S)
        except MilvusException:
            if is_new:
                self._client.drop_collection(name, timeout=REQUEST_S)
            raise
        try:
            self._client.create_alias(name, alias, timeout=REQUEST_S)
        except MilvusException:
            if not self._client.has_collection(alias, timeout=REQUEST_S):
                raise

    def _schema(self) -> Any:  # noqa: ANN401 - pymilvus is untyped
        schema = self._client.create_schema(
            auto_id=False, enable_dynamic_field=False, description=f"angler {_SCHEMA_VERSION}"
        )
        text = {"datatype": DataType.VARCHAR, "max_length": MOST_TEXT_BYTES}
        schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=_MOST_KEY)
        schema.add_field(
            "knowledge_base", DataType.VARCHAR, max_length=_MOST_KEY, is_partition_key=True
        )
        for name in ("chunk", "added", "page"):
            schema.add_field(name, DataType.INT64)
        for name in TEXTS:
            schema.add_field(name, **text)
        for name in ("metadata", "facts"):
            schema.add_field(name, DataType.JSON)
        schema.add_field("whole", DataType.BOOL)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=self.dim)
        return schema

    def _check_collection(self, *, is_written: bool) -> None:
        """Raise StoreError or UsageError unless the collection is ours and fits."""
        with self._asking("open the collection"):
            found = self._client.describe_collection(self.place.collection, timeout=REQUEST_S)
            index = self._client.describe_index(
                found["collection_name"], _VECTOR, timeout=REQUEST_S
            )
            self._client.load_collection(self.place.collection, timeout=REQUEST_S)
        fields = {field["name"]: field for field in found["fields"]}
        lacking = {field.name for field in self._schema().fields} - fields.keys()
        if lacking:
            raise StoreError(
                f"The collection {self.place.collection} on {self.place.shown} was not made by "
                f"this version of Angler: it lacks {', '.join(sorted(lacking))}. "
                "Use another database or server."
            )
        dim = int(fields[_VECTOR]["params"]["dim"])
        if dim != self.dim:
            raise StoreError(
                f"The collection {self.place.collection} on {self.place.shown} holds embeddings of "
                f"{dim} values, and this encoder gives {self.dim}. Use another database or server."
            )
        made_with = (index or {}).get("index_type", self.type.milvus_name)
        if is_written and self.type.name != "auto" and made_with != self.type.milvus_name:
            raise UsageError(
                f"The collection {self.place.collection} on {self.place.shown} has the index type "
                f"{made_with.lower()}, which its knowledge bases share; got {self.type.name}. "
                "Leave --index-type out, or use another database or server."
            )

    # Errors

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            raise _told(self.place, what, error) from error


@contextmanager
def scratch_store(dim: int, *, index_type: str = "flat") -> Iterator[MilvusStore]:
    """A collection of its own for measuring, gone afterwards.

    It is made on the server that ANGLER_MILVUS_URI names, or else in Milvus Lite.

    Raises:
        UsageError: If a choice is wrong.
        StoreError: If it cannot be reached.
    """
    with TemporaryDirectory() as folder:
        place = MilvusPlace(
            uri=opened_uri(LITE_NAME, Path(folder)),
            collection=f"angler_scratch_{token_hex(8)}",
            knowledge_base="scratch",
        )
        store = MilvusStore(place, dim, index_type=index_type, create=True)
        try:
            yield store
        finally:
            store.destroy()
            if place.is_lite:
                release_lite(Path(place.uri))


class _Found:
    """The results of several requests, padded where there are fewer."""

    def __init__(self, queries: int, k: int) -> None:
        self.result = SearchResult(
            np.full((queries, k), -np.inf, np.float32), np.full((queries, k), NO_ID, np.int64)
        )

    def put(self, start: int, answers: Sequence[Sequence[Any]]) -> None:
        """Fill in the answers to some queries; equal scores in the order of their ids."""
        scores, ids = self.result
        for row, hits in enumerate(answers, start):
            pairs = sorted((-hit["distance"], hit["entity"]["chunk"]) for hit in hits)
            scores[row, : len(pairs)] = [-score for score, _ in pairs]
            ids[row, : len(pairs)] = [id_ for _, id_ in pairs]


def _when_ready(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the client answers
    """The answer of a server, which may be starting anew, or be loading its rows still.

    Only for questions, which may be asked twice. The client itself gives up after `CONNECT_S`,
    sooner than a server is back from a restart.
    """
    deadline = time.monotonic() + REQUEST_S
    while True:
        try:
            return ask()
        except (MilvusException, grpc.RpcError) as error:
            waits = _LOADING.search(str(error)) or _is_lost(error)
            if not waits or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)


def release_lite(path: Path) -> None:
    """Close the folder of Milvus Lite that this process has open, so that another may open it."""
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(path))


def _connected(place: MilvusPlace) -> MilvusClient:
    if place.is_lite:
        path = Path(place.uri)
        if path.is_file():
            raise StoreError(
                f"{path} is a file of Milvus Lite 2, which version 3 does not read. "
                "Give another path; the rows are made anew from the documents."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its server has no AllocTimestamp, which the client asks for and can do without.
        logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    try:
        return MilvusClient(**place.connection(), timeout=CONNECT_S)
    except (MilvusException, grpc.RpcError) as error:
        if place.is_lite:
            raise _lite_closed(Path(place.uri), error) from error
        raise _told(place, "connect", error) from error


def _lite_closed(path: Path, error: Exception) -> StoreError:
    """Why a folder of Milvus Lite cannot be opened: mostly, another process has it."""
    holder = _holder(path / "LOCK")
    if holder is None:
        return StoreError(f"Milvus Lite cannot open {path}: {_first_line(error)}")
    return StoreError(
        f"Milvus Lite in {path} is open in {holder}, and one process at a time can have it. End "
        f"that one; or let both use a server: milvus-lite server --data-dir {path}, then "
        "ANGLER_MILVUS_URI=http://127.0.0.1:19530 for both."
    )


def _holder(lock: Path) -> str | None:
    """The process that holds a lock, None if nobody does."""
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named_holder(lock)
    except OSError:
        return None
    return None


def _named_holder(lock: Path) -> str:
    """By the kernel's table of locks: the file itself does not say."""
    inode = str(lock.stat().st_ino)
    try:
        lines = Path("/proc/locks").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:  # 1: FLOCK ADVISORY WRITE 4711 fd:01:1234 0 EOF
        parts = line.split()
        if "FLOCK" in parts and len(parts) > 5 and parts[5].rpartition(":")[2] == inode:
            return "this process" if parts[4] == str(os.getpid()) else f"process {parts[4]}"
    return "another process"


def _told(place: MilvusPlace, what: str, error: Exception) -> StoreError:
    """An error of Milvus as one sentence."""
    if _is_refused(error):
        return StoreError(
            f"{_capital(place.shown)} does not accept the token. Give a valid one as "
            "ANGLER_MILVUS_TOKEN=user:password."
        )
    if _is_lost(error):
        return StoreError(
            f"{_capital(place.shown)} does not answer. Check that it runs and that the address is "
            "right."
        )
    return StoreError(f"{_capital(place.shown)} could not {what}: {_first_line(error)}")


def _is_refused(error: Exception) -> bool:
    return bool(_REFUSED.search(_words(error)))


def _is_lost(error: Exception) -> bool:
    # The client tells of a refused token and of a silent server in the same words.
    return bool(_LOST.search(_words(error))) and not _is_refused(error)


def _words(error: Exception) -> str:
    return f"{getattr(error, 'message', '')} {error} {error.__cause__ or ''}"


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip() or type(error).__name__
    return re.sub(r"\s+", " ", text.splitlines()[0])[:300].rstrip(".") + "."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
