"""Reads the next documents while the ones before are encoded."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from data.loaders.apart import stop_parsing

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, os.cpu_count() or 1)
"""Documents that are read at a time; most wait for a process that parses."""
_AHEAD = 2 * THREADS
_AHEAD_BYTES = 64 * 2**20


def read_ahead(
    items: Iterable[T], read: Callable[[T], R], size: Callable[[T], int]
) -> Generator[tuple[T, Callable[[], R]]]:
    """Read items in threads, a few of them ahead of the one that is asked for.

    Args:
        items: What to read, taken in the caller's thread.
        read: Reads one; called in other threads.
        size: Bytes of an item; large ones are not read far ahead.

    Yields:
        Each item in its order, and what gives its result or raises what reading it raised.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reading")
    ahead = 0
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            ahead += size(item)
            while len(waiting) > _AHEAD or (ahead > _AHEAD_BYTES and waiting):
                done, future = waiting.popleft()
                yield done, future.result
                ahead -= size(done)
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result
    finally:
        is_cut_short = bool(waiting)
        pool.shutdown(wait=False, cancel_futures=True)
        if is_cut_short:  # nobody waits for a long file that is not wanted any more
            stop_parsing()
