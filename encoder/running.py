"""Runs an engine over many texts: batches of like lengths; a full memory or NaN costs a retry."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from encoder.batching import plan_batches
from encoder.report import EncodeReport, Positions
from encoder.tokenizer import Tokens

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]
Arrays = Rows | list[Rows]
T = TypeVar("T")

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""The words of CUDA's and MPS's allocators, of torch's on the CPU, and of that on Windows."""

_LAST_ROUNDS = 4
"""Into how many batches for each worker the last ones are cut."""
_LEAST_WORTH_A_BATCH = 256
"""Tokens below which a batch costs more than it saves by running beside another."""


class Backend(Protocol):
    """An engine that runs a model."""

    device: str
    engine: str
    token_budget: int
    """Most tokens of a batch; halved for good where the memory does not hold it."""

    def embed(self, ids: Sequence[Sequence[int]], starts: Sequence[int] = ()) -> Rows:
        """Token ids of a batch to embeddings, shape (batch, dim), finite or not.

        `starts` says how many tokens at the beginning of each text stay out of the pooling.
        """
        ...


@runtime_checkable
class TokenBackend(Protocol):
    """An engine that also hands out the vectors of single tokens."""

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> list[Rows]:
        """Token ids of a batch to an array (tokens, width) for each text."""
        ...


@runtime_checkable
class PaddedBackend(Protocol):
    """An engine that can be told where the padding stands."""

    is_unpadded: bool

    def embed_between(self, ids: Sequence[Sequence[int]], before: int, after: int) -> Rows:
        """As `Backend.embed`, each text alone between so many tokens that it must not read."""
        ...


@runtime_checkable
class ParallelBackend(Protocol):
    """An engine that runs several batches at a time."""

    workers: int


@runtime_checkable
class Closable(Protocol):
    """An engine that holds something besides memory."""

    def close(self) -> None:
        """Let it go."""
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """One text on its way through the engine."""

    positions: list[int]
    """Where it stands among the caller's texts; equal texts go through once."""
    tokens: Tokens


class Runner:
    """Embeds batches with one engine; several encoders and threads may share it."""

    def __init__(self, backend: Backend, precise: Callable[[], Backend] | None = None) -> None:
        """Take an engine.

        Args:
            backend: The engine.
            precise: Loads the same model in float32, for values that are not finite; None where
                nothing more precise is to be had.
        """
        self.backend = backend
        self._precise = precise

    def embed(
        self, parts: Iterable[list[Item]], report: EncodeReport
    ) -> Iterator[tuple[list[Item], Rows]]:
        """Embed items that come in parts; batches come out as they are done.

        Args:
            parts: Items, the longest ones first as far as is known.
            report: Where items that had to be run again are counted.

        Yields:
            The items of a batch, and their embeddings, shape (batch, dim).

        Raises:
            MemoryError: If a single text does not fit into the memory.
            ArithmeticError: If values are not finite in float32 either.
        """
        batches = self._batches(parts)
        again = Positions()
        try:
            for batch, rows in at_a_time(self._workers, self._embed, batches):
                bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
                if bad:
                    rows[bad] = self._embed_again([batch[i] for i in bad])
                    again.add(p for i in bad for p in batch[i].positions)
                yield batch, rows
        finally:
            self._tell(again, report)

    def embed_tokens(
        self, parts: Iterable[list[Item]], report: EncodeReport
    ) -> Iterator[tuple[list[Item], list[Rows]]]:
        """As `embed`, with an array (tokens, width) for each item instead of a row.

        Raises:
            TypeError: If the engine has no token vectors.
        """
        run = _run_tokens(self.backend)
        again = Positions()
        try:
            for batch in self._batches(parts):
                arrays = list(self._within_memory(run, batch))
                for i, array in enumerate(arrays):
                    if not np.isfinite(array).all():
                        arrays[i] = self._tokens_again(batch[i])
                        again.add(batch[i].positions)
                yield batch, arrays
        finally:
            self._tell(again, report)

    @property
    def _workers(self) -> int:
        return workers_of(self.backend)

    def _batches(self, parts: Iterable[list[Item]]) -> Iterator[list[Item]]:
        waiting: list[Item] = []
        for part in parts:
            waiting += part
            planned = plan_batches(_lengths(waiting), self.backend.token_budget)
            # The last batch may have room for what the next part brings; where several run at a
            # time, the last ones are cut anew at the end.
            held = max(0, len(planned) - (1 if self._workers == 1 else 2 * self._workers))
            yield from ([waiting[i] for i in batch] for batch in planned[:held])
            waiting = [waiting[i] for batch in planned[held:] for i in batch]
        lengths = _lengths(waiting)
        budget = last_budget(self.backend.token_budget, self._workers, lengths)
        for batch in plan_batches(lengths, budget):
            yield [waiting[i] for i in batch]

    def _embed(self, batch: list[Item]) -> Rows:
        return np.asarray(self._within_memory(_run(self.backend), batch))

    def _within_memory(self, run: Callable[[list[Item]], Arrays], batch: list[Item]) -> Arrays:
        rows = self._attempt(run, batch)
        if rows is not None:
            return rows
        if len(batch) == 1:
            raise MemoryError(
                f"texts[{batch[0].positions[0]}] with its {len(batch[0].tokens.ids)} tokens does "
                f"not fit into the free memory of {self.backend.device}; free some, shorten the "
                "text, or load the encoder with fewer max_tokens or on another device."
            )
        self._halve_budget(batch)
        found: dict[int, Rows] = {}
        for part in plan_batches(_lengths(batch), self.backend.token_budget):
            arrays = self._within_memory(run, [batch[i] for i in part])
            found |= dict(zip(part, arrays, strict=True))
        return [found[i] for i in range(len(batch))]

    def _attempt(self, run: Callable[[list[Item]], Arrays], batch: list[Item]) -> Arrays | None:
        # What failed is let go of before anything smaller is tried: its traceback holds tensors.
        try:
            return run(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve_budget(self, batch: list[Item]) -> None:
        padded = len(batch) * max(_lengths(batch))
        halved = max(1, min(self.backend.token_budget, padded) // 2)
        self.backend.token_budget = halved
        log.warning(
            "%s ran out of memory with %d tokens at a time; from now on at most %d.",
            self.backend.device,
            padded,
            halved,
        )

    def _embed_again(self, batch: list[Item]) -> Rows:
        rows = np.asarray(self._within_memory(_run(self._more_precise(batch)), batch))
        for item, row in zip(batch, rows, strict=True):
            if not np.isfinite(row).all():
                raise _not_finite(item, "in float32 too")
        return rows

    def _tokens_again(self, item: Item) -> Rows:
        (array,) = self._within_memory(_run_tokens(self._more_precise([item])), [item])
        if not np.isfinite(array).all():
            raise _not_finite(item, "in float32 too")
        return array

    def _more_precise(self, batch: list[Item]) -> Backend:
        if self._precise is None:
            raise _not_finite(batch[0], f"in {self.backend.engine}")
        return self._precise()

    def _tell(self, again: Positions, report: EncodeReport) -> None:
        if not again.count:
            return
        report.retried.merge(again)
        log.warning(
            "%d texts gave values that are not finite in %s and were encoded again in float32: %s.",
            again.count,
            self.backend.engine,
            again,
        )


def _run(backend: Backend) -> Callable[[list[Item]], Arrays]:
    def run(batch: list[Item]) -> Arrays:
        ids = [item.tokens.ids for item in batch]
        starts = [item.tokens.start for item in batch]
        return backend.embed(ids, starts) if any(starts) else backend.embed(ids)

    return run


def _run_tokens(backend: Backend) -> Callable[[list[Item]], Arrays]:
    if not isinstance(backend, TokenBackend):
        raise TypeError("This engine has no token vectors; load with backend='torch'.")
    return lambda batch: backend.embed_tokens([item.tokens.ids for item in batch])


def _lengths(items: Sequence[Item]) -> list[int]:
    return [len(item.tokens.ids) for item in items]


def _not_finite(item: Item, where: str) -> ArithmeticError:
    return ArithmeticError(
        f"texts[{item.positions[0]}] gives values that are not finite {where}; look at the text, "
        "and run `python -m encoder selftest` on the model."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine complains of its memory; torch's allocators differ in their words only."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(part in words for part in _OUT_OF_MEMORY)


def workers_of(engine: object) -> int:
    """How many batches an engine runs at a time."""
    return engine.workers if isinstance(engine, ParallelBackend) else 1


def last_budget(token_budget: int, workers: int, lengths: Sequence[int]) -> int:
    """Most tokens of a batch among the last ones: small, so that the workers end together."""
    if workers == 1:
        return token_budget
    share = -(-sum(lengths) // (_LAST_ROUNDS * workers))
    return min(token_budget, max(share, _LEAST_WORTH_A_BATCH))


def at_a_time(
    workers: int, run: Callable[[T], Rows], batches: Iterator[T]
) -> Iterator[tuple[T, Rows]]:
    """Each batch and what `run` makes of it, in order; `workers` of them run at a time."""
    first = list(islice(batches, 2))
    if workers == 1 or len(first) < 2:  # a single query is not handed to another thread
        yield from ((batch, run(batch)) for batch in chain(first, batches))
        return
    waiting: deque[tuple[T, Future[Rows]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
        try:
            for batch in chain(first, batches):
                waiting.append((batch, pool.submit(run, batch)))
                if len(waiting) > 2 * workers:  # enough that no worker waits for another
                    done, rows = waiting.popleft()
                    yield done, rows.result()
            while waiting:
                done, rows = waiting.popleft()
                yield done, rows.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def prepared_ahead(parts: Iterator[T]) -> Iterator[T]:
    """The same parts, while a thread makes the next one."""
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as thread:
        upcoming = thread.submit(next, parts, None)
        while (part := upcoming.result()) is not None:
            upcoming = thread.submit(next, parts, None)
            yield part
