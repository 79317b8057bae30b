import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.fusion import RRF_CONSTANT, Fusion, FusionMethod

CONVEX = Fusion(dense_share=0.4)
RRF = Fusion(method=FusionMethod.RRF, dense_share=0.5)


def falling(*ids):
    return {id_: 1.0 / rank for rank, id_ in enumerate(ids, start=1)}


# Convex


def test_scores_are_a_weighted_mean_of_stretched_scores():
    # The handbook's example.
    a, b, c, d = 1, 2, 3, 4

    got = CONVEX.fuse({a: 0.62, b: 0.58, c: 0.42}, {c: 9.0, a: 6.0, d: 3.0})

    assert [id_ for id_, _ in got] == [a, c, b, d]
    assert [score for _, score in got] == pytest.approx([0.7, 0.6, 0.32, 0.0])


def test_a_lexical_list_that_was_not_cut_is_stretched_from_zero():
    got = dict(CONVEX.fuse({1: 0.9, 2: 0.5, 3: 0.1}, {2: 8.0, 3: 2.0}))

    assert got == pytest.approx({1: 0.4, 2: 0.4 * 0.5 + 0.6, 3: 0.6 * 0.25})


def test_first_in_both_has_the_highest_score_there_is():
    assert CONVEX.fuse({7: 0.3}, {7: 12.0}) == [(7, pytest.approx(1.0))]


def test_scores_that_are_all_equal_count_fully():
    assert dict(CONVEX.fuse({1: 0.5, 2: 0.5}, {})) == pytest.approx({1: 0.4, 2: 0.4})


def test_deeper_lists_do_not_change_the_order_of_the_first():
    dense = {n: 1.0 - n / 1000 for n in range(400)}
    lexical = {n * 7 % 500: 50.0 - n / 10 for n in range(300)}

    deep = CONVEX.fuse(dense, lexical)
    usual = CONVEX.fuse(dict(list(dense.items())[:100]), dict(list(lexical.items())[:100]))

    positive = [item for item in usual if item[1] > 0]
    assert deep[: len(positive)] == positive
    assert len(deep) == len({*dense, *lexical})


# Reciprocal ranks


def test_reciprocal_ranks_look_at_places_only():
    got = dict(RRF.fuse({1: 0.9, 2: 0.89}, {2: 100.0, 3: 0.1}))

    assert got == pytest.approx({1: 0.5 / 61, 2: 0.5 / 61 + 0.5 / 62, 3: 0.5 / 62})


@given(
    st.lists(st.integers(0, 20), unique=True, max_size=12),
    st.lists(st.integers(0, 20), unique=True, max_size=12),
    st.floats(0, 1),
)
def test_reciprocal_ranks_of_any_lists_are_those_of_the_formula(dense, lexical, share):
    fusion = Fusion(method=FusionMethod.RRF, dense_share=share)

    got = fusion.fuse(falling(*dense), falling(*lexical))

    want = {
        id_: ((1 - share) / (RRF_CONSTANT + lexical.index(id_) + 1) if id_ in lexical else 0)
        + (share / (RRF_CONSTANT + dense.index(id_) + 1) if id_ in dense else 0)
        for id_ in {*dense, *lexical}
    }
    assert dict(got) == pytest.approx(want)
    assert [score for _, score in got] == sorted((score for _, score in got), reverse=True)


# Both


@pytest.mark.parametrize("method", FusionMethod)
def test_without_a_share_the_lexical_order_stands_and_dense_hits_follow_in_theirs(method):
    fusion = Fusion(method=method)

    got = fusion.fuse(falling(9, 3, 8, 1, 7), falling(5, 1, 3), unknown_share=0.25)

    assert [id_ for id_, _ in got] == [5, 1, 3, 9, 8, 7]
    assert [score for _, score in got][3:] == [0, 0, 0]


@pytest.mark.parametrize("method", FusionMethod)
def test_one_ranking_alone_keeps_its_order(method):
    fusion = Fusion(method=method)

    assert [id_ for id_, _ in fusion.fuse(falling(3, 1, 2), {})] == [3, 1, 2]
    assert [id_ for id_, _ in fusion.fuse({}, falling(3, 1, 2))] == [3, 1, 2]
    assert fusion.fuse({}, {}) == []


@pytest.mark.parametrize(
    ("unknown_share", "share"),
    [(0.0, 0.4), (0.05, 0.32), (0.125, 0.2), (0.2, 0.08), (0.25, 0.0), (0.5, 0.0), (1.0, 0.0)],
)
def test_the_dense_share_falls_to_nothing_at_a_quarter_of_unknown_tokens(unknown_share, share):
    got = dict(CONVEX.fuse({1: 1.0, 2: 0.0}, {3: 5.0, 4: 0.0}, unknown_share))

    assert got == pytest.approx({1: share, 2: 0.0, 3: 1 - share, 4: 0.0})


_LEGS = st.dictionaries(st.integers(0, 30), st.floats(-1, 60), max_size=15).map(
    lambda leg: dict(sorted(leg.items(), key=lambda item: -item[1]))
)


@given(_LEGS, _LEGS.map(lambda leg: {id_: abs(x) for id_, x in leg.items()}), st.floats(0, 1))
def test_convex_scores_stay_between_0_and_1_and_fall(dense, lexical, share):
    lexical = dict(sorted(lexical.items(), key=lambda item: -item[1]))

    got = Fusion(dense_share=share).fuse(dense, lexical)

    scores = [score for _, score in got]
    assert {id_ for id_, _ in got} == {*dense, *lexical}
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores)
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Fusion(dense_share=share)
