"""A guide takes out of a step's negatives what it finds as good as the positive, and no more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pairs import PairRecord
from encoder import load_encoder
from encoder.embedding_cache import EmbeddingCache
from encoder.errors import ModelNotFoundError, UsageError
from finetune import losses
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.guide import GuidedSchedule
from finetune.objective import objective
from finetune.training import Material, train

FRUIT = [
    PairRecord(
        queries=("which fruit is red",),
        positives=("an apple is red",),
        negatives=("a plum is blue",),
    ),
    # In truth an answer to the first query too.
    PairRecord(
        queries=("what grows on trees",),
        positives=("a red fruit is an apple",),
        negatives=("ships sail the sea",),
    ),
    PairRecord(
        queries=("how do ships move",), positives=("ships sail",), negatives=("apples fall",)
    ),
]


class Told:
    """A guide whose embeddings are given by text."""

    def __init__(self, rows):
        self.rows, self.dim, self.asked = rows, len(next(iter(rows.values()))), []
        self.spec = load_encoder().spec

    def _encode(self, texts):
        self.asked += texts
        return np.array([self.rows[text] for text in texts], np.float32)

    encode_queries = encode_documents = _encode


def schedule(records, **facts):
    facts = {"batch_size": 8, "epochs": 2, "negatives": 1, "seed": 3} | facts
    return Schedule([TrainingSet("fruit", records)], **facts)


def text_at(batch, place):
    return batch.texts[place][1]


def told_out(batch, before):
    """(query, text) that the guide took out."""
    new = list(batch.excluded)[len(before.excluded) :]
    return {(text_at(batch, batch.queries[row]), text_at(batch, place)) for row, place in new}


def test_what_the_guide_finds_nearer_than_the_positive_is_no_negative():
    at = {
        "which fruit is red": (1.0, 0.0),
        "an apple is red": (0.8, 0.6),
        "a red fruit is an apple": (1.0, 0.1),
        "a plum is blue": (0.0, 1.0),
        "what grows on trees": (0.9, 0.1),
        "ships sail the sea": (-1.0, 0.0),
        "how do ships move": (-0.7, 0.7),
        "ships sail": (-0.7, 0.6),
        "apples fall": (0.5, -0.5),
    }
    plain = schedule(FRUIT)

    batch = GuidedSchedule(plain, Told(at)).batch(0)

    assert told_out(batch, plain.batch(0)) == {("which fruit is red", "a red fruit is an apple")}
    wide = GuidedSchedule(plain, Told(at), margin=2.5).batch(0)
    assert len(told_out(wide, plain.batch(0))) == 3 * 5  # every text but its own positive


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), margin=st.sampled_from([0.0, 0.05, 0.5]))
def test_the_loss_is_that_of_in_batch_negatives_without_them(seed, margin):
    draw = np.random.default_rng(seed)
    records = [
        PairRecord(queries=(f"q{i}",), positives=(f"d{i}",), negatives=(f"n{i}",)) for i in range(5)
    ]
    texts = [f"{kind}{i}" for kind in "qdn" for i in range(5)]
    guide = Told({text: draw.normal(size=4) for text in texts})
    batch = GuidedSchedule(schedule(records), guide, margin=margin).batch(1)
    rows = torch.from_numpy(draw.normal(size=(len(batch.texts), 6)))

    found = objective(rows, batch, TrainConfig())

    queries = rows[list(batch.queries)]
    places = [*batch.positives, *(place for some in batch.negatives for place in some)]
    theirs = np.array([guide.rows[text_at(batch, place)] for place in places])
    mine = np.array([guide.rows[text_at(batch, place)] for place in batch.queries])
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    cosines = unit(mine) @ unit(theirs).T
    scores = (unit(queries.numpy()) @ unit(rows[places].numpy()).T) / 0.05
    total = 0.0
    for row in range(len(queries)):
        kept = (cosines[row] <= cosines[row, row] - margin) | (np.arange(len(places)) == row)
        total += np.log(np.exp(scores[row, kept]).sum()) - scores[row, row]
    assert float(found) == pytest.approx(total / len(queries), rel=1e-5)


def test_scored_pairs_stay_as_they_are():
    pairs = [PairRecord(queries=(f"a{i}",), positives=(f"b{i}",), label=i / 4) for i in range(4)]
    guide = Told({"": (1.0,)})

    batch = GuidedSchedule(schedule(pairs, negatives=0), guide).batch(0)

    assert batch == schedule(pairs, negatives=0).batch(0)
    assert guide.asked == []


def test_a_later_epoch_encodes_nothing(tmp_path):
    guide = Told(
        {t: (1.0, float(len(t))) for r in FRUIT for t in (*r.queries, *r.positives, *r.negatives)}
    )
    plan = GuidedSchedule(schedule(FRUIT), guide, cache=EmbeddingCache(tmp_path / "cache.sqlite"))
    first = plan.batch(0)
    asked = len(guide.asked)

    again = plan.batch(1)

    assert len(plan) == 2
    assert asked == len(guide.asked) == len(first.texts) == len(again.texts)


def test_a_training_with_a_guide_differs_and_says_so(word_model, records, tmp_path):
    runs = {}
    for name, guide in (("plain", None), ("guided", word_model)):
        config = TrainConfig(
            model=word_model,
            max_steps=3,
            batch_size=8,
            holdout=0.0,
            device="cpu",
            precision="float32",
            dropout=0.0,
            guide=guide,
            guide_margin=0.3 if guide else 0.0,
        )
        runs[name] = train(Material(sets=[TrainingSet("p", records)]), tmp_path / name, config)

    losses_of = {name: [loss for _, loss in run["losses"]] for name, run in runs.items()}
    # Fewer negatives: the positive is found more easily.
    assert losses_of["guided"][0] < losses_of["plain"][0]
    assert runs["guided"]["config"]["guide"] == word_model


def test_an_unknown_guide_leaves_no_folder_behind(word_model, records, tmp_path):
    config = TrainConfig(model=word_model, guide=str(tmp_path / "nobody"))

    with pytest.raises((ModelNotFoundError, UsageError, ValueError), match="nobody"):
        train(Material(sets=[TrainingSet("p", records)]), tmp_path / "run", config)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "choices",
    [{"loss": "cosent"}, {"loss": "triplet"}, {"task": "reranker"}, {"all_positives": True}],
)
def test_a_guide_where_there_are_no_in_batch_negatives_is_refused(choices):
    with pytest.raises(UsageError, match=r"^A guide takes texts out of the in-batch negatives"):
        TrainConfig(guide="x", **choices)
    with pytest.raises(UsageError, match=r"guide-margin must be 0 or more, got -1"):
        TrainConfig(guide="x", guide_margin=-1.0)


def test_a_guide_of_scored_pairs_alone_is_refused(word_model, scored_records, tmp_path):
    config = TrainConfig(model=word_model, guide=word_model, holdout=0.0, device="cpu")

    with pytest.raises(UsageError, match=r"scored pairs have none; leave guide out"):
        train(Material(sets=[TrainingSet("s", scored_records)]), tmp_path / "run", config)


def test_the_mask_is_that_of_the_pure_function():
    assert losses.false_negatives(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    ).tolist() == [[False, True]]
