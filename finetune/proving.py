"""Base and tuned encoder on the same material in, rows of figures and a verdict out."""

from collections.abc import Callable, Sequence
from typing import Any

from encoder.encoder import load_encoder
from finetune.holdout import measure_of
from finetune.measures import Encode, Measure, encode_by

HOLDOUT, PROBE = "hold-out", "probe"
BETTER, NOT_BETTER, ELSEWHERE, UNPROVEN = "better", "not better", "worse elsewhere", "unproven"


def prove(
    base: str | None,
    tuned: str,
    proof: Sequence[Measure],
    probes: Sequence[Measure],
    *,
    allowed_fall: float = 0.01,
    device: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure two models and judge.

    Args:
        base: Folder or hub id; None for the embedded default.
        tuned: The same of what was made from it.
        proof: Material of the domain that the training has not seen.
        probes: General material.
        allowed_fall: How far a probe may fall.
        device: Where the models run.
        progress: Told what is done now.

    Returns:
        `base`, `tuned`, `verdict`, `sentence`, and `measured`: a row for each material.
    """
    measures = [*proof, *probes]
    found: list[list[Any]] = []
    names = []
    for model in (base, tuned):
        with load_encoder(model, device=device) as encoder:
            names.append(encoder.spec.name)
            found.append([])
            for measure in measures:
                progress(f"{measure.name} with {encoder.spec.name}")
                found[-1].append(measure.measured(encode_by(encoder)))
    rows = [
        row_of(measure, HOLDOUT if number < len(proof) else PROBE, *both)
        for number, (measure, *both) in enumerate(zip(measures, *found, strict=True))
    ]
    sentence, verdict = judge(rows, allowed_fall=allowed_fall)
    return {
        "base": names[0],
        "tuned": names[1],
        "verdict": verdict,
        "sentence": sentence,
        "measured": rows,
    }


def compare(
    measures: Sequence[Measure], before: Sequence[Any], encode: Encode, proofs: int
) -> list[dict[str, Any]]:
    """Rows of an encoder against what another reached before; the first `proofs` are hold-outs."""
    return [
        row_of(measure, HOLDOUT if number < proofs else PROBE, first, measure.measured(encode))
        for number, (measure, first) in enumerate(zip(measures, before, strict=True))
    ]


def row_of(measure: Measure, kind: str, base: Any, tuned: Any) -> dict[str, Any]:  # noqa: ANN401
    """The figures of both, as JSON."""
    difference = measure.compared(base, tuned)
    return {
        "name": measure.name,
        "kind": kind,
        "items": measure.items,
        "metric": measure.metric,
        "base": round(base.figure, 5),
        "base_interval": [round(bound, 5) for bound in base.interval],
        "tuned": round(tuned.figure, 5),
        "tuned_interval": [round(bound, 5) for bound in tuned.interval],
        "difference": round(difference.value, 5),
        "interval": [round(bound, 5) for bound in difference.interval],
        "p": round(difference.p, 5),
    }


def judge(rows: Sequence[dict[str, Any]], *, allowed_fall: float) -> tuple[str, str]:
    """What the figures say of a tuned model, in a sentence and in a word.

    It is better only where every interval of the difference on a hold-out lies above 0 and no
    probe falls by more than `allowed_fall`.
    """
    proof = [row for row in rows if row["kind"] == HOLDOUT]
    if not proof:
        return "Nothing was held out, so nothing says whether the tuned model is better.", UNPROVEN
    figures = "; ".join(
        f"{row['metric']} on {row['name']} {row['base']:.4f} → {row['tuned']:.4f} "
        f"({row['interval'][0]:+.4f} to {row['interval'][1]:+.4f})"
        for row in proof
    )
    if any(row["difference"] <= 0 for row in proof):
        return f"The tuned model is not better than its base: {figures}. Keep the base.", NOT_BETTER
    if any(row["interval"][0] <= 0 for row in proof):
        return (
            f"That the tuned model is better may be chance: {figures}. Keep the base, or measure "
            "on more.",
            NOT_BETTER,
        )
    for row in rows:
        if row["kind"] == PROBE and row["difference"] < -allowed_fall:
            return (
                f"The tuned model is better on its own data, but falls on {row['name']} from "
                f"{row['base']:.4f} to {row['tuned']:.4f}, more than {allowed_fall:g}. Keep the "
                "base, train less, or allow more with allowed-fall.",
                ELSEWHERE,
            )
    return f"The tuned model is better: {figures}.", BETTER


def measure_of_pairs(place: str) -> Measure:
    """What pairs of any format measure: a query finds its positive among all that are in them."""
    from pathlib import Path

    from data.pair_reading import load_pairs

    return measure_of(load_pairs(place), [], Path(place).name.partition(".")[0], 0)
