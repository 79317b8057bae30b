import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.batching import plan_batches

LENGTHS = st.lists(st.integers(0, 60), max_size=80)


@settings(deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_every_position_comes_once(lengths, budget):
    batches = plan_batches(lengths, budget)

    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(batches)


@settings(deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_a_padded_batch_keeps_the_budget_unless_one_text_is_beyond_it(lengths, budget):
    for batch in plan_batches(lengths, budget):
        width = max(lengths[position] for position in batch)

        assert len(batch) == 1 or len(batch) * width <= budget


@settings(deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_longest_texts_come_first_and_neighbours_are_alike(lengths, budget):
    order = [lengths[p] for batch in plan_batches(lengths, budget) for p in batch]

    assert order == sorted(lengths, reverse=True)


@settings(deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_text(lengths, budget):
    batches = plan_batches(lengths, budget)

    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > budget


def test_a_worked_example():
    assert plan_batches([3, 10, 2, 4, 4], token_budget=12) == [[1], [3, 4, 0], [2]]


def test_texts_of_one_length_keep_their_order():
    assert plan_batches([5, 5, 5], token_budget=100) == [[0, 1, 2]]


def test_no_texts_make_no_batches():
    assert plan_batches([], token_budget=1) == []


@pytest.mark.parametrize("budget", [0, -4])
def test_a_budget_below_one_is_refused(budget):
    with pytest.raises(ValueError, match=f"at least 1, got {budget}"):
        plan_batches([1], budget)
