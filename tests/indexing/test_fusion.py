import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.fusion import RRF_CONSTANT, dense_weight, fuse


def test_scores_are_summed_over_both_rankings():
    # The handbook's example: A, B, C by meaning; C, A, D by words.
    a, b, c, d = 1, 2, 3, 4

    got = fuse([a, b, c], [c, a, d], 1.0)

    assert [id_ for id_, _ in got] == [a, c, b, d]
    assert [score for _, score in got] == pytest.approx(
        [1 / 61 + 1 / 62, 1 / 61 + 1 / 63, 1 / 62, 1 / 63]
    )
    assert [round(score, 5) for _, score in got] == [0.03252, 0.03227, 0.01613, 0.01587]


def test_the_weight_counts_the_dense_ranking():
    got = dict(fuse([1, 2], [2, 3], 0.5))

    assert got == pytest.approx({2: 1 / 61 + 0.5 / 62, 3: 1 / 62, 1: 0.5 / 61})


def test_first_in_both_has_the_highest_score_there_is():
    assert fuse([7], [7], 1.0) == [(7, pytest.approx(2 / 61))]


def test_equal_scores_keep_the_lexical_order_then_the_dense():
    assert [id_ for id_, _ in fuse([1, 2], [3, 4], 1.0)] == [3, 1, 4, 2]
    assert [id_ for id_, _ in fuse([2, 1], [1, 2], 1.0)] == [1, 2]


def test_without_weight_the_lexical_order_stands_and_dense_hits_follow_in_theirs():
    got = fuse([9, 3, 8, 1, 7], [5, 1, 3], 0.0)

    assert [id_ for id_, _ in got] == [5, 1, 3, 9, 8, 7]
    assert [score for _, score in got] == pytest.approx([1 / 61, 1 / 62, 1 / 63, 0, 0, 0])


def test_one_ranking_alone_keeps_its_order():
    assert [id_ for id_, _ in fuse([3, 1, 2], [], 1.0)] == [3, 1, 2]
    assert [id_ for id_, _ in fuse([], [3, 1, 2], 1.0)] == [3, 1, 2]
    assert fuse([], [], 1.0) == []


@pytest.mark.parametrize(
    ("unknown_share", "weight"),
    [(0.0, 1.0), (0.05, 0.8), (0.125, 0.5), (0.2, 0.2), (0.25, 0.0), (0.5, 0.0), (1.0, 0.0)],
)
def test_the_dense_weight_falls_to_nothing_at_a_quarter_of_unknown_tokens(unknown_share, weight):
    assert dense_weight(unknown_share) == pytest.approx(weight)


_RANKINGS = st.lists(st.integers(0, 20), unique=True, max_size=12)


@given(_RANKINGS, _RANKINGS, st.floats(0, 1))
def test_fusion_orders_all_ids_by_the_formula(dense, lexical, weight):
    got = fuse(dense, lexical, weight)

    want = {
        id_: (1 / (RRF_CONSTANT + lexical.index(id_) + 1) if id_ in lexical else 0)
        + (weight / (RRF_CONSTANT + dense.index(id_) + 1) if id_ in dense else 0)
        for id_ in {*dense, *lexical}
    }
    assert dict(got) == pytest.approx(want)
    assert [score for _, score in got] == sorted((score for _, score in got), reverse=True)
