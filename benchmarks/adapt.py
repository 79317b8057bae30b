"""`python -m benchmarks.adapt`: the embedded model adapted to four domains, on their test splits.

Each training takes the train split and makes its choices on the dev split (scifact has none: a
fifth of its training queries stand in); the safety net watches dev splits of the other domains. The
figures are those of the whole test split, and of test queries of the other sets and of two that no
training knew. What the safety net refuses counts as the base.

`--plain` trains by a plain loop of in-batch negatives and keeps whatever comes out, for comparison.
`--made` trains without labels: an index of the documents is asked queries that finetune.synthesize
makes of them, and the encoder learns to rank as its hybrid search does. Choices are made on dev.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.machine import judged_sets, write_result
from data import BeirDataset, load_beir
from data.pair_files import load_labelled_pairs
from data.pairs import PairRecord
from encoder import load_encoder
from encoder.files import read_object
from finetune.batches import TrainingSet
from finetune.config import make_config
from finetune.errors import NotBetterError
from finetune.grouping import by_document
from finetune.measures import Measure, QueryFigures, RetrievalSet, encode_by
from finetune.probes import retrieval_set
from finetune.run_folder import MANIFEST
from finetune.synthesis import keep_found, make_pairs, passages_of
from finetune.teaching import HybridTeacher
from finetune.training import Material, train
from indexing import BuildConfig, build_index, open_index
from indexing.evaluation import Evaluation, compare, evaluate_dataset

PROBES = ("medquad", "nfcorpus_filtered", "scifact", "squad11_dev", "cisi", "cacm")
"""General material beside each domain; a domain is no probe of itself."""
WATCHED = PROBES[:4]
"""Those of them that the safety net sees, by other queries than the figures are from."""
SETTINGS: dict[str, Any] = {
    "grouped_by": "documents",
    "queries_per_record": 4,
    "max_query_tokens": 64,
    "max_document_tokens": 96,
    "averages": (1.0, 0.7, 0.5, 0.35, 0.2),
    "allowed_fall": 0.007,  # less than what the figures may fall, which are from other queries
}
"""Of all sets, over the default recipe; chosen on their dev splits."""
PLAIN: dict[str, Any] = {
    "grouped_by": "queries",
    "queries_per_record": 1,
    "all_positives": False,
    "symmetric": False,
    "averages": (1.0,),
    "patience": 0,
    "allowed_fall": 1.0,
}
KEPT = ("stsb_en", "mrpc", "pubmedqa", "policyqa", "npl")
"""General texts on which the encoder is to stay what it is; of none of these is a figure shown."""
OTHERS = {"medquad": 2660}
"""Documents of a test corpus beside those that answer its test queries, where not all are taken."""
MADE_WAYS = ("title", "phrase", "asked")
MADE_OTHERS = 2
"""Hits of the hybrid search beside a query's own text."""
MADE_DOCUMENTS, MADE_STEPS = 5200, 40
"""Most documents of the index, and steps of the training."""
MADE_OVER: dict[str, Any] = {"save_every": 20}
"""Over the recipe `hybrid` and what all sets share."""
TEXT = """nDCG@10 on all queries of the test split, among all documents of the set (of medquad: the
2,340 that answer one of them and 2,660 others). Minutes are those of the processor (one thread) for
the whole training, with all that the safety net measures. Probes: changes of nDCG@10 on at most 400
test queries of sets that the training did not know. In every step 32 general texts (of stsb_en,
mrpc, pubmedqa, policyqa and npl) are asked to stay where the base has them. Pairs `made`: no
labels; queries worded from the titles and sentences of at most 5,200 documents, and what an index's
hybrid search finds for them, with its scores."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One set, and how it is trained; chosen on its dev split."""

    name: str
    documents: int
    """Most documents of the training; what the run's time allows."""
    choices: dict[str, Any] = field(default_factory=dict)


DOMAINS = (
    Domain(name="medquad", documents=2000),
    Domain(name="nfcorpus_filtered", documents=2800),
    Domain(name="scifact", documents=4000, choices={"epochs": 3, "max_document_tokens": 128}),
    Domain(name="squad11_dev", documents=4000),
)


def main() -> None:
    """Train, measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt", description=__doc__)
    names = [domain.name for domain in DOMAINS]
    parser.add_argument("--sets", default=",".join(names), help="with commas between them")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each set")
    parser.add_argument("--first-seed", type=int, default=42)
    parser.add_argument("--dev", action="store_true", help="measure on dev, to choose by")
    parser.add_argument("--made", action="store_true", help="without labels")
    parser.add_argument("--plain", action="store_true", help="without the safety net")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a choice")
    parser.add_argument(
        "--write", action="store_true", help="keep the rows in benchmarks/results/adapt.json"
    )
    arguments = parser.parse_args()
    given = _given(arguments.set)
    rows = []
    for domain in DOMAINS:
        if domain.name not in arguments.sets.split(","):
            continue
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            how = "plain" if arguments.plain else "made" if arguments.made else "labels"
            run = _Run(domain, seed, given, on_dev=arguments.dev, how=how)
            rows.append(run.row())
            print(_line(rows[-1]), file=sys.stderr, flush=True)
            if arguments.write:
                _keep(rows[-1])
    print("\n".join(_table(rows)))


def _given(settings: Sequence[str]) -> dict[str, Any]:
    from finetune.config import parse_option

    pairs = (setting.partition("=") for setting in settings)
    return {name: parse_option(name, value) for name, _, value in pairs}


class _Run:
    """One training of one domain, and what it is worth."""

    def __init__(
        self, domain: Domain, seed: int, given: dict[str, Any], *, on_dev: bool, how: str
    ) -> None:
        self._domain, self._seed = domain, seed
        self._on_dev, self._how = on_dev, how
        self._folder = judged_sets() / domain.name
        train_set = load_beir(self._folder, "train")
        self._dev, trained = _dev(self._folder, train_set)
        choices = SETTINGS | domain.choices | {"seed": seed}
        if how == "plain":
            choices |= PLAIN
        if how == "made":
            shared = {name: SETTINGS[name] for name in ("averages", "allowed_fall")}
            choices = shared | MADE_OVER | {"seed": seed}
        self._config = make_config("hybrid" if how == "made" else None, None, choices | given)
        self._train_set, self._trained = train_set, trained
        self._records: list[PairRecord] = []

    def _take_records(self) -> None:
        if self._how == "made":
            count = MADE_STEPS * self._config.step_size
            self._records = _made_records(self._train_set, count, self._config.seed)
        else:
            most = self._domain.documents
            self._records = _records(self._train_set, self._trained, most, self._config.seed)

    def row(self) -> dict[str, Any]:
        """Train, and measure what came out."""
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "run"
            started, used = time.monotonic(), time.process_time()
            self._take_records()
            try:
                facts = train(self._material(), out, self._config)
                model: str | None = str(out / "model")
            except NotBetterError as error:
                print(error, file=sys.stderr)
                facts = read_object(out / MANIFEST)
                model = str(out / "rejected") if self._how == "plain" else None
            minutes, cpu = time.monotonic() - started, time.process_time() - used
            print(_notes(facts), file=sys.stderr)
            found = facts["measured"][0] if self._on_dev else self._tested(model)
            probes = {} if self._on_dev or model is None else _probe_changes(self._domain, model)
        return {
            "set": self._domain.name,
            "how": self._how,
            "seed": self._seed,
            "documents": len(self._records),
            "steps": facts["steps"],
            "minutes": minutes / 60,
            "cpu_minutes": cpu / 60,
            "share": facts["share"] if model else 0.0,
            "verdict": facts["verdict"],
            **{name: found[name] for name in ("base", "tuned", "difference", "interval", "p")},
            "probes": probes,
        }

    def _material(self) -> Material:
        names = sorted(self._dev.queries, key=lambda name: random.Random(f"dev/{name}").random())
        half = len(names) // 2
        choice = retrieval_set(
            _only(self._dev, names[:half]), queries=300, documents=300, distractors=100
        )
        proof = retrieval_set(
            _only(self._dev, names[half:]), queries=600, documents=600, distractors=200
        )
        watched = [name for name in WATCHED if name != self._domain.name and self._how != "plain"]
        return Material(
            sets=[TrainingSet(self._domain.name, self._records)],
            choice=[choice],
            proof=[proof],
            probes=[_watched(name) for name in watched],
            kept=_kept() if self._how != "plain" else (),
        )

    def _tested(self, model: str | None) -> dict[str, Any]:
        base, tuned = (_evaluated(self._domain.name, name) for name in (None, model))
        difference = compare(base, tuned)["ndcg@10"]
        return {
            "base": base.as_dict()["ndcg@10"],
            "tuned": tuned.as_dict()["ndcg@10"],
            "difference": difference["difference"],
            "interval": list(difference["interval"]),
            "p": difference["p"],
        }


def _notes(facts: dict[str, Any]) -> str:
    rows = (
        f"  {row['name']} ({row['kind']}, {row['items']}): {row['base']:.4f} "
        f"{row['difference']:+.4f} ({row['interval'][0]:+.4f} .. {row['interval'][1]:+.4f})"
        for row in facts["measured"]
    )
    return "\n".join([f"  scores {facts['scores']}, averages {facts['averages']}", *rows])


def _evaluated(name: str, model: str | None) -> Evaluation:
    return _base(name) if model is None else evaluate_dataset(_test(name), load_encoder(model))


@cache
def _base(name: str) -> Evaluation:
    return evaluate_dataset(_test(name), load_encoder(None))


@cache
def _test(name: str) -> BeirDataset:
    whole = load_beir(judged_sets() / name, "test")
    most = OTHERS.get(name)
    if most is None:
        return whole
    own = {text for grades in whole.qrels.values() for text in grades}
    others = sorted(whole.corpus.keys() - own)
    kept = own | set(random.Random("test").sample(others, most))
    return replace(whole, corpus={n: text for n, text in whole.corpus.items() if n in kept})


@cache
def _watched(name: str) -> Measure:
    """What the safety net measures of another domain: never its test split."""
    dev, _ = _dev(judged_sets() / name, load_beir(judged_sets() / name, "train"))
    return retrieval_set(dev, queries=600, documents=300, distractors=100)


@cache
def _probe(name: str) -> RetrievalSet:
    return retrieval_set(_test(name), queries=400, documents=400, distractors=400)


@cache
def _probe_of_base(name: str) -> QueryFigures:
    return _probe(name).measured(encode_by(load_encoder(None)))


@cache
def _kept() -> list[str]:
    texts: list[str] = []
    for name in KEPT:
        folder = judged_sets() / name
        if (folder / "corpus.jsonl.gz").is_file():
            judged = load_beir(folder)
            texts += judged.queries.values()
            texts += (f"{title} {text}".strip() for title, text in judged.corpus.values())
        else:
            pairs = load_labelled_pairs(folder / "train.jsonl.gz")
            texts += (text for pair in pairs for text in (pair.text1, pair.text2))
    return texts


def _probe_changes(domain: Domain, model: str) -> dict[str, float]:
    encode = encode_by(load_encoder(model))
    names = [name for name in PROBES if name != domain.name]
    return {
        name: _probe(name).measured(encode).figure - _probe_of_base(name).figure for name in names
    }


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
    """Some documents with all training queries that they answer."""
    found = []
    for query in queries:
        texts = tuple(
            f"{dataset.corpus[name].title} {dataset.corpus[name].text}".strip()
            for name, grade in dataset.qrels[query].items()
            if grade > 0
        )
        if texts:
            found.append(PairRecord(queries=(dataset.queries[query],), positives=texts))
    grouped = by_document(found)
    random.Random(seed).shuffle(grouped)
    return grouped[:most]


def _made_records(dataset: BeirDataset, most: int, seed: int) -> list[PairRecord]:
    """What an index of the documents teaches; nothing of the queries or the judgements is seen."""
    count = min(len(dataset.corpus), MADE_DOCUMENTS)
    names = sorted(random.Random(seed).sample(sorted(dataset.corpus), count))
    with tempfile.TemporaryDirectory() as place:
        lines = (
            json.dumps({"id": name, **dataset.corpus[name]._asdict()}, ensure_ascii=False)
            for name in names
        )
        build_index(["-"], Path(place) / "kb", BuildConfig(), lines=lines)
        index = open_index(Path(place) / "kb")
        passages = passages_of(
            ((record.document, [found.chunk for found in record.chunks]) for record in portion)
            for portion in index.generation.portions()
        )
        by_query = {one.query: one for one in make_pairs(passages, ways=MADE_WAYS, seed=seed)}
        made = list(by_query.values())
        random.Random(seed).shuffle(made)
        return keep_found(made[:most], None, teacher=HybridTeacher(index, MADE_OTHERS))


COLUMNS = (
    "set", "pairs", "seed", "documents", "steps", "minutes", "share", "base", "tuned",
    "difference", "95 % interval", "p", "probes",
)  # fmt: skip


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *map(_line, rows)]


def _line(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    changes = ", ".join(f"{name} {change:+.4f}" for name, change in row["probes"].items())
    return (
        f"| {row['set']} | {row['how']} | {row['seed']} | {row['documents']} | {row['steps']} "
        f"| {row['cpu_minutes']:.1f} | {row['share']:g} | {row['base']:.4f} | {row['tuned']:.4f} "
        f"| {row['difference']:+.4f} | {low:+.4f} .. {high:+.4f} | {row['p']:.4f} "
        f"| {changes or '-'} |"
    )


def _keep(row: dict[str, Any]) -> None:
    """Put a row into the file of all rows and write the table of them anew."""
    path = Path(__file__).parent / "results" / "adapt.json"
    rows = json.loads(path.read_text("utf-8")) if path.is_file() else []
    key = ("set", "how", "seed")
    rows = [old for old in rows if any(old[name] != row[name] for name in key)]
    rows.append(row)
    rows.sort(key=lambda kept: [kept["how"], kept["set"], kept["seed"]])
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    text = "\n".join(_table(rows))
    write_result(
        "adapt.md",
        "Adaptation to a domain",
        "python -m benchmarks.adapt --write",
        f"{TEXT}\n\n{text}",
    )


if __name__ == "__main__":
    main()
