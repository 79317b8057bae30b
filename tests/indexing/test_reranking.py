"""How far a reranker follows the order that it is given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.reranking import Reranking, held_against


class Says:
    """A reranker that says what it was told to."""

    def __init__(self, scores, prior=0.0, unknown=0.0):
        self.said, self.prior, self._unknown = np.array(scores, np.float32), prior, unknown

    def score(self, query, documents, *, time_limit_s=None):
        return self.said[: len(documents)]

    def unknown_share(self, text):
        return self._unknown


def test_what_the_order_holds_against_a_hit_grows_with_its_distance_from_the_first():
    found = held_against(np.array([1.0, 1.0, 1.0]), [9.0, 5.0, 1.0], 4.0)

    np.testing.assert_allclose(found, [1.0, -1.0, -3.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 9))
def test_equal_scores_before_hold_nothing_against_anyone(odds, prior):
    np.testing.assert_array_equal(held_against(np.array(odds), [0.5] * len(odds), prior), odds)


def test_a_strong_prior_keeps_the_order_and_none_leaves_the_rerankers_word_untouched():
    said = [0.2, 0.9, 0.5]
    before = [3.0, 2.0, 1.0]

    plain = Reranking(model=Says(said)).scores("q", ["a", "b", "c"], before)
    strong = Reranking(model=Says(said), prior=20.0).scores("q", ["a", "b", "c"], before)

    np.testing.assert_array_equal(plain, np.array(said, np.float32))
    assert np.argsort(-strong).tolist() == [0, 1, 2]
    assert ((strong > 0) & (strong < 1)).all()


def test_the_reranker_says_its_prior_and_the_caller_may_say_another():
    asks = Says([0.4, 0.6], prior=2.0)
    odds = np.log(0.6 / 0.4)
    share = 1 / (1 + np.exp(-(odds - 2.0)))

    found = Reranking(model=asks).scores("q", ["a", "b"], [1.0, 0.0])

    np.testing.assert_allclose(found, [0.4, share], rtol=1e-5)
    again = Reranking(model=asks, prior=0.0).scores("q", ["a", "b"], [1.0, 0.0])
    np.testing.assert_array_equal(again, asks.said)


def test_a_query_that_the_reranker_cannot_read_keeps_its_order():
    blind = Says([0.0, 1.0, 0.5], prior=1.0, unknown=0.6)

    found = Reranking(model=blind).scores("q", ["a", "b", "c"], [1.0, 0.9, 0.0])

    assert np.argsort(-found).tolist() == [0, 1, 2]


def test_hits_that_were_not_read_stay_unread():
    found = Reranking(model=Says([0.5, np.nan], prior=1.0)).scores("q", ["a", "b"], [1.0, 0.0])

    assert np.isnan(found).tolist() == [False, True]


def test_a_prior_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"prior of a reranking must be 0 or more, got -1"):
        Reranking(model=Says([]), prior=-1)
