"""`python -m benchmarks.train --peers`: STS-B by the AnglE recipe, beside its authors' trainer.

Every system trains the embedded model on STS-B's training part in the same number of steps, with
the same batch size and learning rate, on the same pairs in the same order: another order moves the
outcome by more than another loss does. Spearman's correlation is that of the test part. Nothing is
chosen by the dev part: each hands out what it has after the last step. The systems take turns seed
by seed. Seconds are the processor's, of one thread: of the others what their trainers
take, of ours the whole call, with loading, writing and checking the model. AnglE's own trainer runs
in the environment that `make parity` makes (scripts/make-peers).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import data_folder, judged_sets, write_result
from data.pair_files import LabelledPair, load_labelled_pairs
from data.pairs import PairRecord
from encoder import load_encoder
from encoder.model_folder import find_model_folder
from finetune.batches import Schedule, TrainingSet
from finetune.config import make_config
from finetune.training import Material, train
from indexing.evaluation import evaluate_pair_file

ROOT = Path(__file__).parent.parent
PEERS = {
    "ST AnglELoss": (sys.executable, "st-angle"),
    "ST CoSENTLoss": (sys.executable, "st-cosent"),
    "angle_emb": (str(ROOT / ".parity" / "bin" / "python"), "angle"),
}
BATCH, RATE = 32, 2e-5


def main() -> None:
    """Train, measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also the other systems")
    parser.add_argument("--steps", type=int, default=90, help="of 32 pairs, for every system")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer-python", help="the interpreter that has angle_emb")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a choice")
    parser.add_argument("--dev", action="store_true", help="measure on dev, to choose by")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/train.md")
    arguments = parser.parse_args()
    folder = judged_sets() / "stsb_en"
    pairs = load_labelled_pairs(folder / "train.jsonl.gz")
    measured = load_labelled_pairs(folder / ("dev.jsonl.gz" if arguments.dev else "test.jsonl.gz"))
    rows = [{"system": "base", "seed": "-", "steps": 0, "processor": 0.0}]
    rows[0]["spearman"] = _spearman(None, measured)
    import finetune.trainer  # noqa: F401 - the others' libraries are loaded when their time begins

    for seed in range(42, 42 + arguments.seeds):
        rows.append(_ours(pairs, measured, arguments.steps, seed, _given(arguments.set)))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
        for name in PEERS if arguments.peers else ():
            ordered = _in_our_order(pairs, arguments.steps, seed)
            row = _peer(name, ordered, measured, arguments.steps, seed, arguments.peer_python)
            rows.append(row)
            print(_line(row), file=sys.stderr, flush=True)
    text = "\n".join(
        ["| system | seed | steps | seconds | Spearman |", "|---" * 5 + "|", *map(_line, rows)]
    )
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.train --peers --seeds {arguments.seeds} --write"
        write_result("train.md", "STS-B by the AnglE recipe", command, text)


def _given(settings: Sequence[str]) -> dict[str, Any]:
    from finetune.config import parse_option

    parts = (setting.partition("=") for setting in settings)
    return {name: parse_option(name, value) for name, _, value in parts}


def _ours(
    pairs: Sequence[LabelledPair],
    measured: Sequence[LabelledPair],
    steps: int,
    seed: int,
    given: dict[str, Any],
) -> dict[str, Any]:
    choices = {"max_steps": steps, "seed": seed, "holdout": 0.0, "averages": (1.0,)} | given
    config = make_config("angle", None, choices)
    with tempfile.TemporaryDirectory() as place:
        used = time.process_time()
        facts = train(Material(sets=[_training_set(pairs)]), Path(place) / "run", config)
        used = time.process_time() - used
        found = _spearman(facts["model"], measured)
    return {
        "system": "Angler",
        "seed": seed,
        "steps": facts["steps"],
        "processor": used,
        "spearman": found,
    }


def _training_set(pairs: Sequence[LabelledPair]) -> TrainingSet:
    records = [
        PairRecord(queries=(pair.text1,), positives=(pair.text2,), label=pair.label)
        for pair in pairs
    ]
    return TrainingSet("stsb", records)


def _in_our_order(
    pairs: Sequence[LabelledPair], steps: int, seed: int
) -> list[tuple[str, str, float]]:
    """The pairs of each step, one step after the other, as our trainer draws them."""
    epochs = -(-steps * BATCH // len(pairs))
    schedule = Schedule(
        [_training_set(pairs)], batch_size=BATCH, epochs=epochs, negatives=0, seed=seed
    )
    found: list[tuple[str, str, float]] = []
    for step in range(steps):
        batch = schedule.batch(step)
        texts = [text for _, text, _ in batch.texts]
        places = zip(batch.queries, batch.positives, batch.labels, strict=True)
        found += [(texts[first], texts[second], label) for first, second, label in places]
    return found


def _peer(
    name: str,
    pairs: Sequence[tuple[str, str, float]],
    measured: Sequence[LabelledPair],
    steps: int,
    seed: int,
    python: str | None,
) -> dict[str, Any]:
    interpreter, kind = PEERS[name]
    if kind == "angle" and python:
        interpreter = python
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        call = {
            "model": str(find_model_folder(None)),
            "pairs": pairs,
            "steps": steps,
            "seed": seed,
            "batch": BATCH,
            "rate": RATE,
        }
        (work / "call.json").write_text(json.dumps(call), "utf-8")
        done = subprocess.run(
            [interpreter, str(ROOT / "benchmarks" / "train_peer.py"), kind, place],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason"]
            sys.exit(f"{name} failed: {reason[0]}")
        facts = json.loads((work / "facts.json").read_text("utf-8"))
        found = _spearman(str(work / "model"), measured)
    return {
        "system": f"{name} {facts['version']}",
        "seed": seed,
        "steps": facts["steps"],
        "processor": facts["processor"],
        "spearman": found,
    }


def _spearman(model: str | None, pairs: Sequence[LabelledPair]) -> float:
    encoder = load_encoder(model, device="cpu", backend="torch")
    return float(evaluate_pair_file(pairs, encoder, name=str(data_folder()))["spearman"])


def _line(row: dict[str, Any]) -> str:
    return (
        f"| {row['system']} | {row['seed']} | {row['steps']} | {row['processor']:.0f} "
        f"| {row['spearman']:.4f} |"
    )


if __name__ == "__main__":
    main()
