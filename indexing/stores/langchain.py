"""Any vector store of LangChain, holding the rows of one knowledge base."""

import importlib
import inspect
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from indexing.catalog import DocumentRecord
from indexing.errors import StoreError, UsageError
from indexing.langchain_base import Document, Embeddings, VectorStore
from indexing.stores.base import (
    NO_ID,
    Capabilities,
    SearchResult,
    are_among,
    check_rows,
    check_search,
)
from indexing.stores.langchain_options import (
    EMBEDDINGS_ARGUMENTS,
    PASSWORD,
    UPLOADING,
    BridgeOptions,
    facts_of,
    resolved,
)
from indexing.stores.milvus_rows import RowSource, plain

KEY = "chunk"
"""The field of a row's metadata that names it; the stores treat their own ids in many ways."""
_WIDENED = 4
"""Times as many hits are asked for where too many of them do not count."""
_KEY_LENGTH, _OWN = 36, 19
"""Characters of a row's key, and how many of them name the knowledge base and not the chunk."""
_NAMED = 500
"""Rows named in one request."""
_LOST = re.compile(
    "refused|unreachable|timed? ?out|connection (error|reset|closed|failed)|failed to connect|"
    "could not connect|server closed|name or service not known|no route|max retries",
    re.IGNORECASE,
)


class LookUp(Embeddings):
    """Gives the embeddings that were computed before, by the text that is handed over with them."""

    def __init__(self, dim: int) -> None:
        self._rows: dict[str, NDArray[np.float32]] = {}
        self._asked: set[str] = set()
        self._counter = itertools.count()
        self._probe = np.eye(1, dim, dtype=np.float32)[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One row for each text."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The row of a text; any row for one that classes make up to learn the width."""
        if text in self._rows:
            self._asked.add(text)
        found: list[float] = self._rows.get(text, self._probe).tolist()
        return found

    @contextmanager
    def holding(self, rows: Mapping[str, NDArray[np.float32]]) -> Iterator[None]:
        """Know these rows meanwhile.

        Raises:
            StoreError: If they were not all asked for, because the class changes the texts.
        """
        self._rows.update(rows)
        try:
            yield
            missed = [text for text in rows if text not in self._asked]
        finally:
            for text in rows:
                self._rows.pop(text, None)
            self._asked.difference_update(rows)
        if missed:
            raise StoreError(
                "The class does not ask for the embeddings of the texts that it is given, such as "
                f"{missed[0][:40]!r}, so it cannot hold embeddings that were made before."
            )

    def query_text(self) -> str:
        """A text that nobody else uses now."""
        return f"query {next(self._counter)} of {os.getpid()}"


@dataclass
class _Engine:
    """One store of LangChain, and what embeds for it."""

    store: VectorStore
    look_up: LookUp


_OPEN: "WeakValueDictionary[str, _Engine]" = WeakValueDictionary()
"""Engines that this process has open: many let a folder be opened once only."""


class LangChainStore:
    """The rows of one knowledge base, by ids that no other has; scores are our own.

    The interface can neither list rows nor filter by our rules, and each class scores in its own
    way. So more hits are asked for than are wanted, those that do not count are dropped, and what
    is left is compared exactly.
    """

    written = 0
    """LangChain knows no such time."""

    def __init__(
        self,
        options: BridgeOptions,
        knowledge_base: str,
        index: Path,
        fingerprint: str,
        dim: int,
        *,
        embeddings: Callable[[Sequence[int]], NDArray[np.float32]] | None = None,
    ) -> None:
        """Connect.

        Args:
            options: Of the class.
            knowledge_base: 16 hexadecimal digits after `kb`: half of each row's key.
            index: The index's folder.
            fingerprint: The encoder's.
            dim: The embeddings' width.
            embeddings: Gives those of chunks in order, for a store that is searched.

        Raises:
            UsageError: If the class or its configuration is wrong.
            StoreError: If the class cannot be made, as when its server does not answer.
        """
        self.options = options
        self.dim = dim
        self.capabilities = Capabilities(exact=False, delete=True, filter=True, gpu=False)
        self._base = int(knowledge_base.removeprefix("kb"), 16) << 64
        self._begin = self._key(0)[:_OWN]
        self._index = index
        self._embeddings = embeddings
        self._facts = facts_of(index, fingerprint, dim)
        self._engine = None if options.in_memory else _opened(options, self._facts, dim)

    @property
    def most_k(self) -> int:
        """The most hits of one search."""
        return self.options.most_k

    @property
    def shown(self) -> str:
        """For messages."""
        return self.options.shown

    # Writing

    def begin(self, number: int, held: NDArray[np.int64]) -> None:
        """Remove what a writer left that did not end.

        Args:
            number: The generation that is being written.
            held: The chunks of all generations that are kept.
        """
        journal = self._index / UPLOADING
        if journal.is_file():
            left = np.load(journal, allow_pickle=False)
            self.remove(np.setdiff1d(left, held))
            journal.unlink()

    def announce(self, ids: NDArray[np.int64]) -> None:
        """Note which rows are about to be written."""
        if self.options.in_memory:
            return
        beside = self._index / f"{UPLOADING}.new"
        with beside.open("wb") as file:
            np.save(file, ids)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._index / UPLOADING)

    def check(self, record: DocumentRecord) -> None:
        """Nothing is known of what the store refuses before it is asked."""

    def rows_of(self, record: DocumentRecord) -> list[RowSource]:
        """The rows of a document's chunks, in order."""
        return [self._row(record, found.chunk.id, found.chunk.text) for found in record.chunks]

    def _row(self, record: DocumentRecord, id_: int, text: str) -> RowSource:
        chunk = next(found.chunk for found in record.chunks if found.chunk.id == id_)
        fields: dict[str, Any] = {
            "document": record.document.id,
            "title": record.document.title,
            "heading": " > ".join(chunk.heading),
        }
        if chunk.page is not None:
            fields["page"] = chunk.page
        fields = {key: _clean(value) for key, value in fields.items()}
        size = len(text.encode("utf-8", "replace")) + len(json.dumps(fields))
        return RowSource(id_, {"text": _clean(text), "metadata": fields}, size)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows without texts: ids of shape (n,), embeddings of shape (n, dim)."""
        check_rows(ids, embeddings, self.dim)
        rows = [RowSource(id_, {"text": "", "metadata": {}}, 64) for id_ in ids.tolist()]
        self.write(rows, embeddings, 0)

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
            added: The generation that they belong to, which the catalogue alone knows.
            replacing: Whether rows with these ids may be there, and give way.

        Raises:
            StoreError: If the store refuses them, or cannot be reached.
        """
        if self._engine is None:  # made anew by every reader
            return
        if replacing:
            self.remove(np.array([source.id for source in sources], np.int64))
        for part in _requests(sources, embeddings, self.options):
            self._send(self._engine, [sources[place] for place in part], embeddings[part])

    def _send(
        self, engine: _Engine, rows: Sequence[RowSource], embeddings: NDArray[np.float32]
    ) -> None:
        keys = [self._key(row.id) for row in rows]
        texts = [row.fields["text"] or key for row, key in zip(rows, keys, strict=True)]
        metadata = [
            {**row.fields["metadata"], KEY: key} for row, key in zip(rows, keys, strict=True)
        ]
        by_text = dict(zip(texts, embeddings, strict=True))
        with engine.look_up.holding(by_text), self._asking("store rows"):
            engine.store.add_texts(texts, metadata, ids=keys, **self.options.add)

    def finish(self, rows: int) -> None:
        """What was sent is stored; LangChain knows no flush."""

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        if self._engine is None:
            return
        for start in range(0, len(ids), _NAMED):
            keys = [self._key(id_) for id_ in ids[start : start + _NAMED].tolist()]
            with self._asking("delete rows"):
                self._engine.store.delete(ids=keys, **self.options.delete)

    def fill(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Make a store that lives in this process, of these rows."""
        keys = [self._key(id_) for id_ in ids.tolist()]
        look_up = LookUp(self.dim)
        with (
            look_up.holding(dict(zip(keys, embeddings, strict=True))),
            self._asking("take the rows"),
        ):
            store = _made(
                replace(self.options, make=self.options.make or "from_texts"),
                self._facts,
                look_up,
                {"texts": keys, "metadatas": [{KEY: key} for key in keys]},
            )
        self._engine = _Engine(store, look_up)

    # Reading

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The `k` best rows for each query.

        Args:
            queries: Shape (m, dim).
            k: How many.
            allowed: Only these ids, ascending, if given; all of them have rows. Where the store
                does not find `k` of them, their embeddings are compared one by one.
            excluded: None of these ids, if given. Not together with `allowed`.
        """
        check_search(queries, k, self.dim, allowed, excluded)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), NO_ID, np.int64)
        for place, query in enumerate(queries):
            found = self._candidates(query, k, allowed, excluded)
            if len(found):
                best = self._compared(query, k, found)
                scores[place, : len(best[0])], ids[place, : len(best[0])] = best
        return SearchResult(scores, ids)

    def _candidates(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None,
        excluded: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Rows of which the `k` nearest that count are some."""
        wanted = k if allowed is None else min(k, len(allowed))
        depth = k
        while wanted and depth <= self.most_k:
            found, has_more = self._near(query, depth)
            kept = _kept(found, allowed, excluded)
            if len(kept) >= wanted or (allowed is None and not has_more):
                return kept
            depth *= _WIDENED
        if allowed is not None:
            return allowed
        return _kept(self.nearest(query, self.most_k), allowed, excluded)

    def nearest(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Those of about the `k` nearest rows that are of this knowledge base, as ranked."""
        return self._near(query, k)[0]

    def _near(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], bool]:
        """As `nearest`, and whether there may be more."""
        engine = self._engine
        if engine is None:
            raise RuntimeError("A store in memory must be filled before it is searched.")
        with self._asking("search"):
            found = _asked(engine, query, k, self.options.search)
        ids = [self._id(document) for document in found]
        return np.array([id_ for id_ in ids if id_ is not None], np.int64), len(found) >= k

    def _compared(
        self, query: NDArray[np.float32], k: int, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and ids of the `k` best of some rows, equal ones in the order of their ids."""
        if self._embeddings is None:
            raise RuntimeError("The store was opened for writing alone.")
        unique = sorted(set(ids.tolist()))
        scores = self._embeddings(unique) @ query
        best = np.argsort(-scores, kind="stable")[:k]
        return scores[best], np.array(unique, np.int64)[best]

    def ids(self) -> None:
        """None: LangChain's stores do not list what they hold."""

    def embeddings(self) -> None:
        """None, as `ids`."""

    def present(self, ids: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Those of some rows that are there, ascending; None where the class cannot say."""
        if self._engine is None or self.options.in_memory:
            return None
        if not _overrides(self._engine.store, "get_by_ids"):
            return None
        there: list[int | None] = []
        for start in range(0, len(ids), _NAMED):
            keys = [self._key(id_) for id_ in ids[start : start + _NAMED].tolist()]
            with self._asking("read the rows"):
                there += map(self._id, self._engine.store.get_by_ids(keys))
        return np.unique(np.array([id_ for id_ in there if id_ is not None], np.int64))

    def _key(self, id_: int) -> str:
        # As a UUID, which is the one kind of id that all of them take.
        return str(UUID(int=self._base | id_))

    def _id(self, document: Document) -> int | None:
        """The chunk of a row; None if the row is none of this knowledge base."""
        key = str(document.metadata.get(KEY))
        try:
            # As it was written, which is read sooner than any other spelling.
            if key.startswith(self._begin) and len(key) == _KEY_LENGTH:
                return int(key[_OWN:].replace("-", ""), 16)
            number = UUID(key).int
        except ValueError:
            return None
        return number - self._base if number >> 64 == self._base >> 64 else None

    def _asking(self, what: str) -> "_Telling":
        return _Telling(self.options, what)


def _kept(
    ids: NDArray[np.int64],
    allowed: NDArray[np.int64] | None,
    excluded: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    if allowed is not None:
        return ids[are_among(ids, allowed)]
    return ids if excluded is None else ids[~np.isin(ids, excluded)]


def _requests(
    sources: Sequence[RowSource], embeddings: NDArray[np.float32], options: BridgeOptions
) -> Iterator[list[int]]:
    """The places of the rows that each request carries.

    The look-up goes by text, so two rows with one text and two embeddings go in two requests.
    """
    part: list[int] = []
    size, texts = 0, dict[str, int]()
    for place, source in enumerate(sources):
        # A number is written in some 12 characters.
        bytes_ = source.size + 12 * embeddings.shape[1]
        text = source.fields["text"]
        twin = texts.get(text) if text else None
        differs = twin is not None and not np.array_equal(embeddings[twin], embeddings[place])
        is_full = len(part) == options.most_rows or (part and size + bytes_ > options.most_bytes)
        if is_full or differs:
            yield part
            part, size, texts = [], 0, {}
        part.append(place)
        size += bytes_
        texts[text] = place
    if part:
        yield part


def _asked(
    engine: _Engine, query: NDArray[np.float32], k: int, more: Mapping[str, Any]
) -> list[Document]:
    if _overrides(engine.store, "similarity_search_by_vector"):
        return engine.store.similarity_search_by_vector(query.tolist(), k=k, **more)
    text = engine.look_up.query_text()
    with engine.look_up.holding({text: query}):
        return engine.store.similarity_search(text, k=k, **more)


def _overrides(store: VectorStore, method: str) -> bool:
    """Whether a class has more than what every `VectorStore` inherits."""
    return getattr(type(store), method) is not getattr(VectorStore, method)


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Without the character 0, which PostgreSQL refuses."""
    value = plain(value)
    return value.replace("\0", "") if isinstance(value, str) else value


# Making a store


def _opened(options: BridgeOptions, facts: Mapping[str, str | int], dim: int) -> _Engine:
    arguments = resolved(options.arguments, facts)
    name = json.dumps([options.store_class, options.make, arguments], default=str, sort_keys=True)
    engine = _OPEN.get(name)
    if engine is None:
        look_up = LookUp(dim)
        with _Telling(options, "be opened"):
            engine = _Engine(_made(options, facts, look_up, {}), look_up)
        _OPEN[name] = engine
    return engine


def _made(
    options: BridgeOptions,
    facts: Mapping[str, str | int],
    look_up: LookUp,
    more: Mapping[str, Any],
) -> VectorStore:
    """Call the class, or one of its methods.

    Raises:
        UsageError: If there is no such class or method, or it does not take these arguments.
    """
    made_by = class_of(options.store_class)
    if options.make is not None:
        made_by = getattr(made_by, options.make, None)
        if made_by is None:
            raise UsageError(f"{options.store_class} has no method {options.make!r} (make).")
    parameters = inspect.signature(made_by).parameters
    name = options.embeddings or next((n for n in EMBEDDINGS_ARGUMENTS if n in parameters), None)
    if name is None:
        raise UsageError(
            f"{options.store_class} does not show which argument takes the embeddings. Name it in "
            '--store-config: embeddings = "...".'
        )
    arguments = _called(resolved(options.arguments, facts))
    given = {**more, name: look_up, **arguments}
    try:
        inspect.signature(made_by).bind(**given)
    except TypeError as error:
        raise UsageError(f"--store-config: {options.store_class}: {error}.") from error
    store: VectorStore = made_by(**given)
    return store


def class_of(name: str) -> Any:  # noqa: ANN401 - its methods differ
    """The class `module:Class`.

    Raises:
        UsageError: If there is none, it is no `VectorStore`, or its package is not installed.
    """
    found = _named(name)
    if not inspect.isclass(found) or not issubclass(found, VectorStore):
        raise UsageError(f"--store-class {name} is no VectorStore of LangChain.")
    return found


def _called(value: Any) -> Any:  # noqa: ANN401 - TOML
    """A configured value with its calls done, the innermost first."""
    if isinstance(value, list):
        return [_called(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    done = {key: _called(inner) for key, inner in value.items()}
    name = done.pop("call", None)
    return done if name is None else _named(name)(**done)


def _named(name: str) -> Any:  # noqa: ANN401 - anything can be called
    """What `module:name` names; nothing of other packages that the module happens to import."""
    module_name, _, path = name.partition(":")
    package = module_name.partition(".")[0]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = (getattr(error, "name", None) or package).partition(".")[0]
        raise UsageError(
            f"{name} needs the package {missing.replace('_', '-')}, which is not installed "
            f"({str(error).splitlines()[0]}): pip install {missing.replace('_', '-')}"
        ) from error
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        others = ", ".join(sorted(n for n in dir(module) if n[:1].isupper())[:12])
        raise UsageError(f"There is no {path} in {module_name}. It has {others}.")
    home = getattr(found, "__module__", "") or ""
    if not callable(found) or home.partition(".")[0] != package:
        raise UsageError(f"{name} is not a class or function of the package {package}.")
    return found


# Errors


class _Telling:
    """An error of whatever engine it is as one sentence."""

    def __init__(self, options: BridgeOptions, what: str) -> None:
        self._options, self._what = options, what

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, StoreError | UsageError):
            raise _told(self._options, self._what, error) from error


def _told(options: BridgeOptions, what: str, error: Exception) -> StoreError | UsageError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    missing = next((one for one in causes if isinstance(one, ImportError)), None)
    if missing is not None:
        return UsageError(
            f"{options.shown} needs a package that is not installed: {_line(missing)}"
        )
    lost = any(isinstance(one, ConnectionError | TimeoutError) for one in causes)
    if lost or _LOST.search(f"{type(error).__name__} {error}"):
        return StoreError(
            f"{options.shown} does not answer ({_line(error)[:-1]}). Check that its server runs "
            "and that the address in its configuration is right."
        )
    if isinstance(error, NotImplementedError):
        return StoreError(f"{options.shown} cannot {what}: its class has no way to.")
    return StoreError(f"{options.shown} could not {what}: {_line(error)}")


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = next((line for line in lines if line.strip()), type(error).__name__)
    text = PASSWORD.sub("://...@", text)
    return re.sub(r"\s+", " ", text).strip()[:300].rstrip(".:") + "."
