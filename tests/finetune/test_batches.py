"""Batches: every record once an epoch, the same for the same seed, known answers left out."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.pairs import PairRecord
from finetune.batches import Schedule, TrainingSet


def record(query, positive, *negatives, label=None):
    return PairRecord(queries=(query,), positives=(positive,), negatives=negatives, label=label)


def pairs(count, name="q"):
    return [record(f"{name}{i}", f"answer of {name}{i}") for i in range(count)]


def schedule(*sets, **changes):
    facts = {"batch_size": 4, "epochs": 1, "negatives": 1, "seed": 3} | changes
    return Schedule(sets, **facts)


def queries(batch):
    return [batch.texts[place][1] for place in batch.queries]


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 5))
def test_an_epoch_goes_through_every_record_once(count, batch_size, seed):
    plan = schedule(TrainingSet("a", pairs(count)), batch_size=batch_size, seed=seed)

    seen = [query for step in range(len(plan)) for query in queries(plan.batch(step))]

    assert sorted(seen) == sorted(f"q{i}" for i in range(count))


def test_any_step_is_known_without_the_steps_before_it():
    one, other = (schedule(TrainingSet("a", pairs(10)), epochs=3) for _ in range(2))

    in_order = [one.batch(step) for step in range(len(one))]

    assert [other.batch(step) for step in reversed(range(len(other)))] == in_order[::-1]
    assert len(one) == 9
    assert queries(in_order[0]) != queries(in_order[3])


def test_a_step_holds_texts_of_one_set_and_weights_say_how_often_a_set_comes():
    plan = schedule(
        TrainingSet("a", pairs(8, "a"), 2.0), TrainingSet("b", pairs(8, "b"), 0.5), epochs=2
    )

    steps = [queries(plan.batch(step)) for step in range(len(plan))]
    seen = Counter(query[0] for step in steps for query in step)

    assert all(len({query[0] for query in step}) == 1 for step in steps)
    assert seen == {"a": 32, "b": 8}


def test_sets_mix_in_a_step_where_that_is_asked_for():
    plan = schedule(
        TrainingSet("a", pairs(20, "a")), TrainingSet("b", pairs(20, "b")), same_set=False
    )

    steps = [{query[0] for query in queries(plan.batch(step))} for step in range(len(plan))]

    assert {"a", "b"} in steps


def test_what_is_known_to_answer_a_query_is_no_negative_of_it():
    records = [
        record("q", "first answer"),
        record("q", "second answer"),
        record("other", "third", "first answer"),
    ]
    batch = schedule(TrainingSet("a", records)).batch(0)

    left_out = {
        (batch.texts[batch.queries[i]][1], batch.texts[place][1]) for i, place in batch.excluded
    }

    assert left_out == {("q", "first answer"), ("q", "second answer"), ("other", "third")}


def test_equal_texts_stand_in_a_batch_once_but_not_across_roles():
    records = [record("same", "answer"), record("b", "same"), record("c", "answer")]
    batch = schedule(TrainingSet("a", records)).batch(0)

    assert sorted(text[:2] for text in batch.texts) == [
        ("document", "answer"),
        ("document", "same"),
        ("query", "b"),
        ("query", "c"),
        ("query", "same"),
    ]


def test_hard_negatives_take_turns_from_epoch_to_epoch():
    records = [record("q", "a", "n1", "n2", "n3"), record("r", "b", "m1")]
    plan = schedule(TrainingSet("a", records), epochs=3, batch_size=2)

    drawn = set()
    for step in range(3):
        batch = plan.batch(step)
        drawn |= {batch.texts[place][1] for places in batch.negatives for place in places}

    assert drawn == {"n1", "n2", "n3", "m1"}


def test_scored_pairs_have_labels_and_texts_alike():
    batch = schedule(
        TrainingSet("a", [record("x", "y", label=0.5), record("z", "x", label=1.0)])
    ).batch(0)

    assert sorted(batch.labels) == [0.5, 1.0]
    assert {role for role, _, _ in batch.texts} == {"alike"}
    assert len(batch.texts) == 3


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="nothing to train on: a is empty"):
        schedule(TrainingSet("a", []))


def test_a_set_of_two_kinds_is_refused():
    mixed = TrainingSet("a", [record("x", "y"), record("x", "y", label=1.0)])

    with pytest.raises(ValueError, match="a mixes 1 scored pairs with 1 pairs"):
        _ = mixed.is_scored
