import threading
import time
from contextlib import closing

import pytest

import indexing.reading
from indexing.reading import read_ahead


def small(_):
    return 1


def test_everything_comes_in_its_order_whatever_takes_longest():
    def slow_first(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return -number

    got = [(item, result()) for item, result in read_ahead(range(40), slow_first, small)]

    assert got == [(number, -number) for number in range(40)]


def test_an_error_comes_with_its_item_and_the_rest_is_read():
    def read(number):
        if number == 2:
            raise ValueError(f"bad {number}")
        return number

    got = []
    for item, result in read_ahead(range(5), read, small):
        if item == 2:
            with pytest.raises(ValueError, match="bad 2"):
                result()
        else:
            got.append(result())
    assert got == [0, 1, 3, 4]


def test_the_next_are_read_while_the_first_is_used_and_large_ones_wait(monkeypatch):
    read, taken = [], []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    with closing(read_ahead(items(), read.append, small)) as found:
        next(found)
        end = time.monotonic() + 5
        while len(read) < 2 and time.monotonic() < end:
            time.sleep(0.01)
    assert 2 <= len(read) <= len(taken) <= 2 * indexing.reading.THREADS + 1

    taken.clear()
    with closing(read_ahead(items(), read.append, lambda _: 10**9)) as found:
        next(found)
        assert taken == [0]


def test_what_is_not_wanted_any_more_is_not_read():
    gate, read = threading.Event(), []

    def waits(number):
        gate.wait(5)
        read.append(number)

    found = read_ahead(range(100), waits, small)
    threading.Timer(0.1, gate.set).start()
    next(found)
    found.close()

    assert len(read) <= 2 * indexing.reading.THREADS + 1
