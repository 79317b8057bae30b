"""Records turned round: each document once, with all queries that it answers."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.pairs import PairRecord
from encoder.errors import UsageError
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.grouping import by_document
from finetune.objective import objective

WORDS = st.sampled_from("abcdef")
RECORDS = st.lists(
    st.builds(
        PairRecord,
        queries=st.lists(WORDS, min_size=1, max_size=2).map(
            lambda found: tuple(dict.fromkeys(found))
        ),
        positives=st.lists(WORDS.map(str.upper), min_size=1, max_size=3).map(
            lambda found: tuple(dict.fromkeys(found))
        ),
    ),
    min_size=1,
    max_size=8,
)


def answers(records):
    return {(query, text) for r in records for query in r.queries for text in r.positives}


# On a busy machine the first examples are slow to draw, which says nothing about them.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS)
def test_turned_round_the_same_queries_have_the_same_answers(records):
    found = by_document(records)

    assert answers(found) == answers(records)
    texts = [text for record in found for text in record.positives]
    assert len(texts) == len(set(texts)) == len(found)


def test_negatives_go_with_their_queries_and_instructions_stay_apart():
    records = [
        PairRecord(queries=("q",), positives=("D",), negatives=("n", "m"), instruction="i: "),
        PairRecord(queries=("r",), positives=("D",), negatives=("m", "o"), instruction="i: "),
        PairRecord(queries=("r",), positives=("D",)),
    ]

    first, second = by_document(records)

    assert (first.queries, first.negatives, first.instruction) == (
        ("q", "r"),
        ("n", "m", "o"),
        "i: ",
    )
    assert (second.queries, second.negatives, second.instruction) == (("r",), (), None)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"label": 1.0}, "a label"),
        ({"negatives": ("n",), "positive_scores": (1.0,), "negative_scores": (0.0,)}, "a teacher"),
    ],
)
def test_what_belongs_to_one_pair_is_not_turned_round(more, what):
    with pytest.raises(UsageError, match=f"{what}.* cannot be grouped by document"):
        by_document([PairRecord(queries=("q",), positives=("D",), **more)])


def plan(records, **changes):
    facts = {"batch_size": 2, "epochs": 3, "negatives": 1, "seed": 0} | changes
    return Schedule([TrainingSet("p", records)], **facts)


def test_a_step_takes_several_queries_of_a_record_and_the_next_epoch_the_others():
    records = [
        PairRecord(queries=tuple(f"{name}{i}" for i in range(6)), positives=(name.upper(),))
        for name in "ab"
    ]

    steps = [plan(records, queries=2).batch(step) for step in range(3)]

    seen = [step.texts[place][1] for step in steps for place in step.queries]
    assert len(seen) == 12
    assert set(seen) == {query for record in records for query in record.queries}
    for step in steps:
        assert sorted(text for role, text, _ in step.texts if role == "document") == ["A", "B"]


@pytest.mark.parametrize("symmetric", [False, True])
def test_with_all_positives_the_loss_is_the_mean_over_what_answers(symmetric):
    # d1 answers q1 and q2, d2 answers q1, d3 answers q3, n is nobody's.
    records = [
        PairRecord(queries=("q1",), positives=("d1", "d2")),
        PairRecord(queries=("q2",), positives=("d1",), negatives=("n",)),
        PairRecord(queries=("q3",), positives=("d3",)),
        PairRecord(queries=("q1",), positives=("d2", "d1")),
    ]
    config = TrainConfig(all_positives=True, symmetric=symmetric, temperature=0.1)
    batch = plan(records, batch_size=4).batch(0)
    rows = torch.randn(len(batch.texts), 8, dtype=torch.float64)
    place = {text: at for at, (_, text, _) in enumerate(batch.texts)}
    texts = [text for text in ("d1", "d2", "d3", "n") if text in place]
    right = {("q1", "d1"), ("q1", "d2"), ("q2", "d1"), ("q3", "d3")}

    unit = torch.nn.functional.normalize(rows, dim=1)
    scores = {
        (q, d): float(unit[place[q]] @ unit[place[d]]) / 0.1
        for q in ("q1", "q2", "q3")
        for d in texts
    }

    def cost(one, others):
        pairs = [(one, other) if one[0] == "q" else (other, one) for other in others]
        whole = torch.logsumexp(torch.tensor([scores[pair] for pair in pairs]), 0).item()
        wanted = [scores[pair] for pair in pairs if pair in right]
        return sum(whole - score for score in wanted) / len(wanted)

    want = sum(cost(q, texts) for q in ("q1", "q2", "q3")) / 3
    if symmetric:
        answered = [d for d in texts if any(pair[1] == d for pair in right)]
        back = sum(cost(d, ("q1", "q2", "q3")) for d in answered) / len(answered)
        want = (want + back) / 2
    assert objective(rows, batch, config).item() == pytest.approx(want, abs=1e-5)
