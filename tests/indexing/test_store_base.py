"""What all stores share."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexing.stores.base import are_among

_IDS = st.lists(st.integers(-5, 40), max_size=30)


@given(ids=_IDS, held=_IDS)
def test_are_among_says_what_isin_says(ids, held):
    ids, held = np.array(ids, np.int64).reshape(1, -1), np.unique(np.array(held, np.int64))

    np.testing.assert_array_equal(are_among(ids, held), np.isin(ids, held))


@given(ids=_IDS, first=st.integers(-3, 30), count=st.integers(0, 30))
def test_are_among_of_ids_without_a_gap_says_so_too(ids, first, count):
    ids, held = np.array(ids, np.int64), np.arange(first, first + count)

    np.testing.assert_array_equal(are_among(ids, held), np.isin(ids, held))
