import numpy as np
import pytest

import indexing.scanning
from indexing.scanning import scan_embeddings
from tests.indexing.test_stores import by_hand, check, unit_rows


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_the_nearest_are_found_whatever_the_blocks(monkeypatch, block, k):
    monkeypatch.setattr(indexing.scanning, "_BLOCK", block)
    ids, rows, queries = (
        np.arange(20, dtype=np.int64)[::-1] * 3,
        unit_rows(20),
        unit_rows(4, seed=1),
    )

    check(scan_embeddings(queries, k, ids, rows), by_hand(ids.tolist(), rows, queries, k))


def test_what_is_excluded_is_not_found():
    ids, rows, queries = np.arange(20, dtype=np.int64), unit_rows(20), unit_rows(2, seed=1)
    excluded = np.array([0, 3, 4, 99], np.int64)

    got = scan_embeddings(queries, 20, ids, rows, excluded=excluded)

    want = by_hand(ids.tolist(), rows, queries, 20, kept=lambda id_: id_ not in excluded)
    check(got, want)


def test_of_nothing_nothing_is_found():
    rows = unit_rows(0)

    check(
        scan_embeddings(unit_rows(2), 2, np.empty(0, np.int64), rows),
        (np.full((2, 2), -np.inf), np.full((2, 2), -1)),
    )
