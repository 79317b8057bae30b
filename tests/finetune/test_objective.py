"""Each loss that a training can ask for is the one of that name, on the right texts of a batch."""

import pytest
import torch

from data.pairs import PairRecord
from encoder.errors import UsageError
from finetune import losses
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig, read_config
from finetune.objective import objective

TAUGHT = [
    PairRecord(
        queries=(f"q{i}",),
        positives=(f"d{i}",),
        negatives=(f"n{i}", f"m{i}"),
        positive_scores=(3.0,),
        negative_scores=(1.0, float(i)),
    )
    for i in range(4)
]
PLAIN = [PairRecord(queries=r.queries, positives=r.positives) for r in TAUGHT]


def step_of(records, negatives):
    plan = Schedule(
        [TrainingSet("p", records)], batch_size=4, epochs=1, negatives=negatives, seed=1
    )
    batch = plan.batch(0)
    rows = torch.randn(len(batch.texts), 16, dtype=torch.float64)
    queries, positives = rows[list(batch.queries)], rows[list(batch.positives)]
    hard = [place for places in batch.negatives for place in places]
    return batch, rows, queries, positives, rows[hard]


def grouped(batch, rows):
    return torch.stack(
        [
            rows[[positive, *others]]
            for positive, others in zip(batch.positives, batch.negatives, strict=True)
        ]
    )


def test_group_looks_at_each_querys_own_texts_alone():
    batch, rows, queries, _, _ = step_of(TAUGHT, 2)

    found = objective(rows, batch, TrainConfig(loss="group", temperature=0.1))

    wanted = []
    for query, texts in zip(queries, grouped(batch, rows), strict=True):
        cosines = torch.nn.functional.cosine_similarity(query[None], texts) / 0.1
        wanted.append(-torch.log_softmax(cosines, 0)[0])
    torch.testing.assert_close(found, torch.stack(wanted).mean())


def test_m3_distillation_follows_the_teacher():
    batch, rows, queries, _, _ = step_of(TAUGHT, 2)

    found = objective(rows, batch, TrainConfig(loss="m3_distillation", temperature=0.1))

    teacher = torch.tensor(batch.teacher)
    wanted = losses.m3_distillation(queries, grouped(batch, rows), teacher, temperature=0.1)
    torch.testing.assert_close(found, wanted)


def test_in_batch_distillation_wants_the_teachers_shares_and_nothing_else_of_the_batch():
    # The text n0 stands beside two queries, and is in the batch once.
    shared = PairRecord(
        queries=("q9",),
        positives=("d9",),
        negatives=("n0", "n1"),
        positive_scores=(2.0,),
        negative_scores=(2.0, 1.0),
    )
    batch, rows, queries, _, _ = step_of([*TAUGHT[:2], shared], 2)

    found = objective(rows, batch, TrainConfig(loss="in_batch_distillation", temperature=0.1))

    documents = sorted(set(batch.positives) | {p for n in batch.negatives for p in n})
    assert len(documents) == 7
    wanted = []
    own = zip(queries, batch.positives, batch.negatives, batch.teacher, strict=True)
    for query, positive, others, scores in own:
        cosines = torch.nn.functional.cosine_similarity(query[None], rows[documents]) / 0.1
        logs = dict(zip(documents, torch.log_softmax(cosines, 0), strict=True))
        shares = torch.softmax(torch.tensor(scores, dtype=torch.float64), 0)
        places = zip([positive, *others], shares, strict=True)
        wanted.append(sum(share * (share.log() - logs[place]) for place, share in places))
    torch.testing.assert_close(found, torch.stack(wanted).mean())


def test_in_batch_distillation_refuses_scores_of_other_texts():
    rows, places = torch.randn(4, 8), torch.tensor([[0, 1], [2, 3]])

    with pytest.raises(ValueError, match=r"must have shape \(2, size\), got \(2, 2\) and \(2, 3\)"):
        losses.in_batch_distillation(rows[:2], rows, places, torch.zeros(2, 3))


@pytest.mark.parametrize("swap", [False, True])
def test_uniems_losses_are_those_of_pairs_and_of_triplets(swap):
    batch, rows, queries, positives, hard = step_of(TAUGHT, 1)
    both = {"temperature": 0.1, "symmetric": swap}

    found = objective(rows, batch, TrainConfig(loss="sigmoid", **both))
    wanted = losses.triplet_sigmoid(queries, positives, hard, temperature=0.1, swap=swap)
    torch.testing.assert_close(found, wanted)
    found = objective(rows, batch, TrainConfig(loss="triplet", **both))
    wanted = losses.triplet_softmax(queries, positives, hard, temperature=0.1, swap=swap)
    torch.testing.assert_close(found, wanted)
    batch, rows, queries, positives, _ = step_of(PLAIN, 1)
    found = objective(rows, batch, TrainConfig(loss="sigmoid", temperature=0.1))
    torch.testing.assert_close(found, losses.pair_sigmoid(queries, positives, temperature=0.1))


def test_angles_mix_of_triplets_has_all_its_weights():
    batch, rows, queries, positives, hard = step_of(TAUGHT, 1)
    weights = {"cosine_weight": 0.7, "in_batch_weight": 2.0, "angle_weight": 0.3}
    config = TrainConfig(loss="angle_mix", hard_negatives_weight=0.4, **weights)

    found = objective(rows, batch, config)

    wanted = losses.angle_triplets(
        queries,
        positives,
        hard,
        weights=losses.MixWeights(cosine=0.7, in_batch=2.0, angle=0.3),
        hard_negatives_weight=0.4,
        temperature=0.05,
    )
    torch.testing.assert_close(found, wanted)


def test_angles_mix_of_pairs_honours_its_weight_and_refuses_to_learn_nothing():
    batch, rows, queries, positives, _ = step_of(PLAIN, 1)

    found = objective(rows, batch, TrainConfig(loss="angle_mix", in_batch_weight=30.0))

    torch.testing.assert_close(found, 30 * losses.in_batch_negatives(queries, positives))
    with pytest.raises(ValueError, match=r"in-batch-weight 0 leaves nothing to learn"):
        objective(rows, batch, TrainConfig(loss="angle_mix", in_batch_weight=0.0))


@pytest.mark.parametrize(
    ("loss", "negatives", "sentence"),
    [
        ("triplet", 0, "tells a positive from hard negatives, and this step has none"),
        ("group", 0, "as many negatives for each query, and one at least"),
        ("angle_mix", 2, "takes one hard negative for each query; this step has 8 for 4"),
        ("angle", 1, "needs scored pairs; these have no score"),
        ("m3_distillation", 0, "needs a teacher's scores"),
    ],
)
def test_a_loss_says_what_the_pairs_lack(loss, negatives, sentence):
    batch, rows, *_ = step_of(TAUGHT if negatives else PLAIN, negatives)

    with pytest.raises(ValueError, match=sentence):
        objective(rows, batch, TrainConfig(loss=loss))


def test_a_configuration_may_speak_of_losses_as_angle_does(tmp_path):
    path = tmp_path / "angle.toml"
    path.write_text("w1 = 1.0\nw2 = 0.5\nangle_tau = 20.0\nepochs = 2\n")
    assert read_config(path) == {
        "loss": "angle_mix",
        "cosine_weight": 1.0,
        "in_batch_weight": 0.5,
        "angle_weight": 1.0,
        "temperature": 0.05,
        "epochs": 2,
    }
    path.write_text("cosine_w = 0\nibn_w = 10\nangle_w = 1\ncln_w = 2.0\n")
    found = read_config(path)
    assert (found["cosine_weight"], found["in_batch_weight"]) == (0.0, 10.0)
    assert (found["angle_weight"], found["hard_negatives_weight"]) == (1.0, 2.0)
    path.write_text("w1 = 1.0\nibn_w = 10\n")
    with pytest.raises(UsageError, match=r"angle.toml: Give w1, w2 and w3, or cosine_w"):
        read_config(path)
