"""Do the losses of other libraries give the values and gradients that Angler's give?

`python -m benchmarks.parity_losses record FILE` runs in an environment with the other libraries and
writes what their own code gives for random rows; tests/finetune/test_loss_parity.py compares.
`make parity` records it anew.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

BATCH, SIZE, DIM = 5, 3, 8
SEEDS = (0, 1, 2)
LABELS = {
    "soft": (0.1, 0.85, 0.3, 0.99, 0.0),
    "ties": (0.0, 1.0, 0.0, 1.0, 1.0),
    "soft with ties": (0.2, 0.2, 0.9, 0.5, 0.9),
    "constant": (1.0,) * BATCH,
}
BINARY = ("ties", "constant")
Call = Callable[..., Tensor]


def rows(seed: int) -> list[Tensor]:
    """Queries, documents near them with one twice, hard negatives, teacher scores; float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    queries = draw(BATCH, DIM)
    documents = queries + draw(BATCH, DIM)
    documents[-1] = documents[0]
    negatives = draw(BATCH, DIM)
    negatives[1] = documents[2]
    return [queries, documents, negatives, draw(BATCH, SIZE)]


def groups(documents: Tensor, negatives: Tensor) -> Tensor:
    """The document of each query, its negative and the next one's, shape (BATCH, SIZE, DIM)."""
    return torch.stack([documents, negatives, negatives.roll(1, dims=0)], dim=1)


def _zigzag(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1).reshape(-1, DIM)


def _angle_calls() -> Iterator[tuple[str, str, Call]]:
    """Name of the loss, labels it takes (`all`, `binary` or none) and AnglE's own function."""
    from angle_emb import loss
    from angle_emb.angle import AngleLoss

    def paired(call: Call) -> Call:
        return lambda q, d, n, t, labels: call(labels.repeat_interleave(2)[:, None], _zigzag(q, d))

    def mixed(weights: dict[str, float], form: str) -> Call:
        mix = AngleLoss(**weights, dataset_format=form)
        if form == "A":
            return paired(mix)
        return lambda q, d, n, t, labels: mix(
            labels, _zigzag(q, d) if form == "B" else _zigzag(q, d, n)
        )

    yield "cosent", "all", paired(lambda y, x: loss.cosine_loss(y, x, 20.0))
    yield "angle", "all", paired(lambda y, x: loss.angle_loss(y, x, 20.0))
    yield (
        "in-batch both ways",
        "binary",
        paired(lambda y, x: loss.in_batch_negative_loss(y, x, 20.0)),
    )
    yield (
        "in-batch both ways, soft labels",
        "all",
        paired(lambda y, x: loss.in_batch_negative_loss(y, x, 20.0)),
    )
    contrastive = loss.contrastive_with_negative_loss
    yield "hard negatives", "", lambda q, d, n, t, labels: contrastive(q, d, n)
    yield "pairs", "", lambda q, d, n, t, labels: contrastive(q, d)
    yield "pairs, weight 30", "", mixed({"ibn_w": 30.0}, "B")
    weights = {"cosine_w": 0.5, "ibn_w": 3.0, "angle_w": 0.1}
    yield "mix without in-batch", "all", mixed(weights | {"ibn_w": 0.0}, "A")
    yield "triplets", "", mixed({}, "C")
    yield "triplets, weighted", "", mixed(weights | {"cln_w": 0.5}, "C")


def _uniem_calls() -> Iterator[tuple[str, str, Call]]:
    from uniem import criteria

    for name in ("Softmax", "CoSent", "Sigmoid"):
        end = f"{name}Loss" if name == "CoSent" else f"{name}ContrastLoss"
        pair = getattr(criteria, f"PairInBatchNeg{end}")()
        triplet = getattr(criteria, f"TripletInBatchNeg{end}")
        yield f"pair {name}", "", lambda q, d, n, t, labels, pair=pair: pair(q, d)
        for swap in (False, True):
            made = triplet(add_swap_loss=swap)
            shown = f"triplet {name}{', swapped' if swap else ''}"
            yield shown, "", lambda q, d, n, t, labels, made=made: made(q, d, n)
    scored = criteria.CoSentLoss()
    yield (
        "cosent",
        "all",
        lambda q, d, n, t, labels: scored(torch.cosine_similarity(q, d, dim=-1), labels),
    )


def _flag_calls() -> Iterator[tuple[str, str, Call]]:
    from FlagEmbedding.finetune.embedder.encoder_only.base.modeling import (
        BiEncoderOnlyEmbedderModel as Model,
    )

    # Their methods on a model without weights: only the temperature and the loss are looked at.
    model = SimpleNamespace(temperature=0.02, cross_entropy=torch.nn.CrossEntropyLoss())
    for name in (
        "compute_score", "_compute_similarity", "compute_loss", "get_local_score",
        "compute_local_score",
    ):  # fmt: skip
        setattr(model, name, getattr(Model, name).__get__(model))
    model.distill_loss = Model.distill_loss

    def run(method: str, kind: str = "") -> Call:
        def call(q: Tensor, d: Tensor, n: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            model.kd_loss_type = kind
            unit = torch.nn.functional.normalize
            teacher = torch.softmax(t, dim=-1) if kind else None
            passages = unit(groups(d, n).reshape(-1, DIM), dim=-1)
            found: Tensor = getattr(Model, method)(model, unit(q, dim=-1), passages, teacher)[1]
            return found

        return call

    yield "group softmax", "", run("_compute_in_batch_neg_loss")
    yield "group softmax, own group only", "", run("_compute_no_in_batch_neg_loss")
    yield "distillation", "", run("_compute_no_in_batch_neg_loss", "kl_div")
    yield "distillation in batch", "", run("_compute_in_batch_neg_loss", "kl_div")
    yield "m3 distillation", "", run("_compute_in_batch_neg_loss", "m3_kd_loss")


def record() -> dict[str, Any]:
    """Values and gradients (by queries, documents, negatives) of every loss of every library."""
    peers = {"angle-emb": _angle_calls, "uniem": _uniem_calls, "FlagEmbedding": _flag_calls}
    found = []
    for peer, calls in peers.items():
        for name, takes, call in calls():
            kinds: Sequence[str] = {"all": tuple(LABELS), "binary": BINARY}.get(takes, ("soft",))
            for seed in SEEDS:
                for kind in kinds:
                    found.append({"peer": peer, "loss": name, "seed": seed, "labels": kind})
                    found[-1] |= _measured(call, seed, kind)
    names = ("torch", *peers)
    inputs = [[column.tolist() for column in rows(seed)] for seed in SEEDS]
    return {
        "versions": {name: version(name) for name in names}, "rows": inputs, "records": found
    }  # fmt: skip


def _measured(call: Call, seed: int, kind: str) -> dict[str, Any]:
    *columns, teacher = rows(seed)
    for column in columns:
        column.requires_grad_()
    value = call(*columns, teacher, torch.tensor(LABELS[kind], dtype=torch.float64))
    gradients = torch.autograd.grad(value, columns, allow_unused=True)
    return {
        "value": value.item(),
        "gradients": [None if g is None else _rounded(g) for g in gradients],
    }


def _rounded(gradient: Tensor) -> list[list[float]]:
    return [[round(value, 9) for value in row] for row in gradient.tolist()]


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity_losses", description=__doc__)
    parser.add_argument("task", choices=("record",))
    parser.add_argument("file", type=Path)
    chosen = parser.parse_args()
    chosen.file.write_text(json.dumps(record(), separators=(",", ":")) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
