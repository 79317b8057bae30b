import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Chunk
from indexing.hits import Scores
from indexing.selection import Shape, diversify, limit_per_document, merge_overlapping

TEXT = "".join(chr(ord("a") + n % 26) for n in range(400))


def chunk(id_, start, end, document="a", page=1):
    return Chunk(
        id=id_,
        document=document,
        start=start,
        end=end,
        page=page,
        heading=("H", str(id_)),
        text=TEXT[start:end],
    )


def ranked(*ids):
    return [(id_, Scores(dense=1.0 - place / 10)) for place, id_ in enumerate(ids)]


def rows(*angles):
    return np.array([(np.cos(a), np.sin(a)) for a in np.radians(angles)], np.float32)


def test_without_diversity_the_order_stays():
    assert diversify([3.0, 2.0, 1.0], rows(0, 0, 90), 3, 0.0) == [0, 1, 2]


def test_a_copy_of_a_better_one_is_pushed_back_by_value():
    # relevance at 0..1: 1, 0.8, 0. After the first: 0.5·0.8 - 0.5·1 = -0.1 and 0.5·0 - 0.5·0 = 0.
    assert diversify([2.0, 1.8, 1.0], rows(0, 0, 90), 3, 0.5) == [0, 2, 1]
    # A little diversity: 0.9·0.8 - 0.1·1 = 0.62 is more than 0.
    assert diversify([2.0, 1.8, 1.0], rows(0, 0, 90), 3, 0.1) == [0, 1, 2]


def test_the_nearest_one_chosen_counts_and_not_the_mean():
    # With relevance left out: after 0° the opposite, then what is farthest from its nearest.
    assert diversify([1.0, 1.0, 1.0, 1.0], rows(0, 10, 180, 95), 4, 1.0) == [0, 2, 3, 1]


def test_equal_scores_and_no_candidates_are_no_trouble():
    assert diversify([0.5, 0.5], rows(0, 90), 5, 0.3) == [0, 1]
    assert diversify([], np.empty((0, 2), np.float32), 5, 0.3) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 359)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_every_choice_has_the_highest_marginal_relevance(items, diversity):
    scores = np.array([score for score, _ in items])
    vectors = rows(*[angle for _, angle in items])
    spread = scores.max() - scores.min()
    scaled = (scores - scores.min()) / spread if spread else scores * 0

    order = diversify(scores.tolist(), vectors, len(items), diversity)

    assert sorted(order) == list(range(len(items)))
    for place, choice in enumerate(order):
        before = order[:place]

        def marginal(n, before=before):
            near = max((float(vectors[n] @ vectors[m]) for m in before), default=0.0)
            return (1 - diversity) * scaled[n] - diversity * near

        assert marginal(choice) >= max(marginal(n) for n in order[place:]) - 1e-5


def test_each_document_has_at_most_so_many_hits():
    chunks = {n: chunk(n, n, n + 1, "ab"[n % 2]) for n in range(6)}

    assert [id_ for id_, _ in limit_per_document(ranked(1, 3, 0, 5, 2), chunks, 1)] == [1, 0]
    assert [id_ for id_, _ in limit_per_document(ranked(1, 3, 0, 5, 2), chunks, 2)] == [1, 3, 0, 2]


def merged(*places):
    """(id, start, end) in the order of rank, merged."""
    chunks = {id_: chunk(id_, start, end, *more) for id_, start, end, *more in places}
    texts = lambda document, start, end: TEXT[start:end]  # noqa: E731
    order, found = merge_overlapping(ranked(*chunks), chunks, texts)
    assert set(found) == {id_ for id_, _ in order}
    assert all(c.text == TEXT[c.start : c.end] for c in found.values())
    return [(id_, found[id_].start, found[id_].end) for id_, _ in order]


def test_overlapping_and_touching_hits_become_one_at_the_better_place():
    assert merged((7, 50, 90), (8, 200, 210), (5, 30, 60), (9, 90, 120)) == [
        (7, 30, 120),
        (8, 200, 210),
    ]


def test_hits_that_are_apart_or_of_other_documents_stay():
    places = [(1, 0, 10, "a"), (2, 11, 20, "a"), (3, 5, 15, "b")]

    assert merged(*places) == [(1, 0, 10), (2, 11, 20), (3, 5, 15)]


def test_a_hit_between_two_joins_all_three():
    assert merged((1, 0, 20), (2, 40, 60), (3, 15, 45)) == [(1, 0, 60)]


def test_a_merged_hit_begins_on_the_page_of_its_first_part():
    chunks = {1: chunk(1, 20, 40, page=2), 2: chunk(2, 0, 25, page=1)}

    _, found = merge_overlapping(ranked(1, 2), chunks, lambda _, start, end: TEXT[start:end])

    assert (found[1].page, found[1].heading) == (1, ("H", "1"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20), st.sampled_from("ab")), max_size=9)
)
def test_merged_hits_cover_the_same_places_and_do_not_meet(places):
    chunks = {n: chunk(n, start, start + size, doc) for n, (start, size, doc) in enumerate(places)}

    _, found = merge_overlapping(ranked(*chunks), chunks, lambda _, start, end: TEXT[start:end])

    def covered(some):
        return {(c.document, place) for c in some for place in range(c.start, c.end)}

    assert covered(found.values()) == covered(chunks.values())
    kept = list(found.values())
    for one in kept:
        for other in kept:
            if one is not other and one.document == other.document:
                assert one.end < other.start or other.end < one.start


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"diversity": -0.1}, "between 0 and 1, got -0.1"),
        ({"diversity": float("nan")}, "between 0 and 1, got nan"),
        ({"per_document": 0}, "at least 1, got 0"),
    ],
)
def test_wrong_shapes_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        Shape(**choices)
