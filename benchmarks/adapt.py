"""`python -m benchmarks.adapt`: the embedded model adapted to four domains, on their test splits.

Each training takes the train split and makes its choices on the dev split (scifact has none: a
fifth of its training queries stand in). The figures are those of the whole test split, and of
probes that no training saw. What the safety net refuses counts as the base. `--plain` trains by a
plain loop of in-batch negatives and keeps whatever comes out, for comparison.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import judged_sets, write_result
from data import BeirDataset, load_beir
from data.pairs import PairRecord
from encoder import load_encoder
from finetune.batches import TrainingSet
from finetune.config import make_config
from finetune.errors import NotBetterError
from finetune.measures import Measure, encode_by
from finetune.probes import read_probe, retrieval_set
from finetune.training import Material, train
from indexing.evaluation import Evaluation, compare, evaluate_dataset

PROBES = ("scifact", "cisi", "cacm", "squad11_dev", "medquad")
SETTINGS: dict[str, Any] = {
    "dropout": 0.0,
    "batch_size": 64,
    "max_query_tokens": 64,
    "max_document_tokens": 128,
    "learning_rate": 5e-5,
    "averages": (1.0, 0.7, 0.4),
}


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One set, and how it is trained; chosen on its dev split."""

    name: str
    pairs: int
    """Most pairs of the training."""
    choices: dict[str, Any] = field(default_factory=dict)


DOMAINS = (
    Domain(name="medquad", pairs=4000),
    Domain(name="nfcorpus_filtered", pairs=4000, choices={"epochs": 3, "max_document_tokens": 96}),
    Domain(name="scifact", pairs=4000, choices={"epochs": 4, "max_document_tokens": 160}),
    Domain(name="squad11_dev", pairs=4000),
)


def main() -> None:
    """Train, measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt", description=__doc__)
    names = [domain.name for domain in DOMAINS]
    parser.add_argument("--sets", default=",".join(names), help="with commas between them")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each set")
    parser.add_argument("--dev", action="store_true", help="measure on dev, to choose by")
    parser.add_argument("--plain", action="store_true", help="without the safety net")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a choice")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/adapt.md")
    arguments = parser.parse_args()
    given = _given(arguments.set)
    rows = []
    for domain in DOMAINS:
        if domain.name not in arguments.sets.split(","):
            continue
        for seed in range(42, 42 + arguments.seeds):
            row = _adapted(domain, seed, given, on_dev=arguments.dev, plain=arguments.plain)
            rows.append(row)
            print("\n".join(_table([row])[2:]), file=sys.stderr, flush=True)
    text = "\n".join(_table(rows))
    print(text)
    if arguments.write:
        write_result(
            "adapt.md", "Adaptation to a domain", "python -m benchmarks.adapt --write", text
        )


def _given(settings: Sequence[str]) -> dict[str, Any]:
    from finetune.config import parse_option

    pairs = (setting.partition("=") for setting in settings)
    return {name: parse_option(name, value) for name, _, value in pairs}


def _adapted(
    domain: Domain, seed: int, given: dict[str, Any], *, on_dev: bool, plain: bool
) -> dict[str, Any]:
    folder = judged_sets() / domain.name
    train_set = load_beir(folder, "train")
    dev, trained = _dev(folder, train_set)
    records = _records(train_set, trained, domain.pairs, seed)
    half = len(dev.queries) // 2
    names = sorted(dev.queries, key=lambda name: random.Random(f"dev/{name}").random())
    choice = retrieval_set(_only(dev, names[:half]), queries=200, distractors=300)
    proof = retrieval_set(_only(dev, names[half:]), queries=400, distractors=500)
    probes = [read_probe(str(judged_sets() / name)) for name in PROBES if name != domain.name]
    choices = SETTINGS | domain.choices | given | {"seed": seed}
    if plain:
        choices |= {"averages": (1.0,), "patience": 0, "allowed_fall": 1.0}
    config = make_config(None, None, choices)
    material = Material(
        sets=[TrainingSet(domain.name, records)],
        choice=[choice],
        proof=[proof],
        probes=[] if on_dev else probes,
    )
    test = dev if on_dev else load_beir(folder, "test")
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        out = Path(place) / "run"
        try:
            facts = train(material, out, config)
            model: str | None = str(out / "model")
        except NotBetterError as error:
            print(error, file=sys.stderr)
            facts, model = _manifest(out), str(out / "rejected") if plain or on_dev else None
        minutes = (time.monotonic() - started) / 60
        base, tuned = (_evaluated(test, name) for name in (None, model))
        falls = _probe_falls(probes, model) if model and not on_dev else {}
    difference = compare(base, tuned)["ndcg@10"]
    return {
        "set": domain.name,
        "seed": seed,
        "pairs": len(records),
        "steps": facts["steps"],
        "minutes": minutes,
        "share": facts["share"] if model else 0.0,
        "verdict": facts["verdict"],
        "base": base.as_dict()["ndcg@10"],
        "tuned": tuned.as_dict()["ndcg@10"],
        "difference": difference["difference"],
        "interval": difference["interval"],
        "p": difference["p"],
        "falls": falls,
    }


def _manifest(out: Path) -> dict[str, Any]:
    from encoder.files import read_object

    return read_object(out / "manifest.json")


def _evaluated(dataset: BeirDataset, model: str | None) -> Evaluation:
    return evaluate_dataset(dataset, load_encoder(model))


def _probe_falls(probes: Sequence[Measure], model: str) -> dict[str, float]:
    found = []
    for name in (None, model):
        encode = encode_by(load_encoder(name))
        found.append([probe.measured(encode).figure for probe in probes])
    return {probe.name: after - before for probe, before, after in zip(probes, *found, strict=True)}


def _dev(folder: Path, train_set: BeirDataset) -> tuple[BeirDataset, list[str]]:
    """What choices are made on, and the queries that are left to train on."""
    if (folder / "qrels" / "dev.tsv").is_file():
        return load_beir(folder, "dev"), list(train_set.queries)
    names = list(train_set.queries)
    random.Random("dev").shuffle(names)
    count = len(names) // 5
    return _only(train_set, names[:count]), sorted(names[count:])


def _only(dataset: BeirDataset, names: Sequence[str]) -> BeirDataset:
    return BeirDataset(
        name=dataset.name,
        split=dataset.split,
        corpus=dataset.corpus,
        queries={name: dataset.queries[name] for name in names},
        qrels={name: dataset.qrels[name] for name in names},
    )


def _records(
    dataset: BeirDataset, queries: Sequence[str], most: int, seed: int
) -> list[PairRecord]:
    """One record for a query, with all its positives of the best grade first."""
    found = []
    for query in queries:
        grades = dataset.qrels[query]
        best = sorted((name for name in grades if grades[name] > 0), key=lambda n: -grades[n])
        texts = tuple(
            f"{dataset.corpus[name].title} {dataset.corpus[name].text}".strip() for name in best
        )
        if texts:
            found.append(PairRecord(queries=(dataset.queries[query],), positives=texts))
    random.Random(seed).shuffle(found)
    return found[:most]


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = (
        "set", "seed", "pairs", "steps", "minutes", "share", "base", "tuned", "difference",
        "95 % interval", "p", "probes",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        low, high = row["interval"]
        falls = ", ".join(f"{name} {fall:+.4f}" for name, fall in row["falls"].items())
        lines.append(
            f"| {row['set']} | {row['seed']} | {row['pairs']} | {row['steps']} "
            f"| {row['minutes']:.1f} | {row['share']:g} | {row['base']:.4f} | {row['tuned']:.4f} "
            f"| {row['difference']:+.4f} | {low:+.4f} .. {high:+.4f} | {row['p']:.4f} "
            f"| {falls or '-'} |"
        )
    return lines


if __name__ == "__main__":
    main()
