"""`python -m benchmarks.reranker`: a small reranker on the embedded encoder, and whether it helps.

Trains a LoRA adapter and a head on training splits whose licences allow it, with negatives from
both legs of our search, chooses on scifact's training queries how far the search's order is
followed, and measures on sets that took no part, behind dense and behind hybrid search.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import judged_sets, write_result
from benchmarks.search_modes import embeddings_of, some_queries
from data import load_beir
from data.pair_files import load_labelled_pairs
from data.pairs import PairRecord
from encoder import load_encoder, load_reranker
from encoder.embedding_cache import EmbeddingCache
from finetune.batches import TrainingSet
from finetune.candidates import CandidateSet, ScoreTexts, candidates_of
from finetune.config import make_config
from finetune.mining import MiningConfig, mine_negatives
from finetune.training import Material, train
from indexing.hits import Mode
from indexing.judged import DatasetRankings

if TYPE_CHECKING:
    from encoder import Encoder, Reranker

TRAINED_ON = "nqg_squad_pairs:1600,squad11_dev:500"
"""Set: how many of its training queries; CC BY-SA 4.0 both."""
CHOSEN_ON = "scifact:train"
MEASURED_ON = (
    "pubmedqa", "scifact", "nfcorpus_filtered", "policyqa", "cisi", "cacm", "npl",
)  # fmt: skip
PRIORS = (0.0, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
CHOICES = {
    "task": "reranker",
    "method": "lora",
    "lora_rank": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "dropout": 0.0,
    "loss": "listwise",
    "negatives": 4,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "warmup": 0.05,
    "weight_decay": 0.0,
    "max_pair_tokens": 96,
    "holdout": 0.0,
}
_MINED = MiningConfig(negatives=5, last_rank=30, sampling="random")


@dataclass(frozen=True)
class Row:
    """One set behind one way of searching."""

    name: str
    mode: Mode
    queries: int
    before: float
    after: float
    difference: float
    interval: tuple[float, float]
    p: float


def main() -> None:
    """Train, measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reranker", description=__doc__)
    parser.add_argument("--model", help="measure this reranker, and train none")
    parser.add_argument("--trained-on", default=TRAINED_ON, metavar="SET:N,...", help=TRAINED_ON)
    parser.add_argument("--sets", nargs="+", default=list(MEASURED_ON), help="measured on")
    parser.add_argument("--queries", type=int, default=300, help="most of a set (default: 300)")
    parser.add_argument("--out", help="keep the training in this new folder")
    parser.add_argument("--write", action="store_true", help="write results/reranker.md")
    arguments = parser.parse_args()
    cache = Path(tempfile.gettempdir()) / "angler-embeddings"
    with load_encoder() as encoder, tempfile.TemporaryDirectory() as scratch:
        minutes, model = 0.0, arguments.model
        if model is None:
            folder = Path(arguments.out or f"{scratch}/run")
            minutes = _trained(arguments.trained_on, folder, encoder)
            model = str(folder / "model")
        reranker = load_reranker(model)
        name, split = CHOSEN_ON.split(":")
        chosen = _candidates(name, split, arguments.queries // 3, encoder, cache, Mode.HYBRID)
        prior = _best_prior(chosen, reranker)
        rows = []
        for name in arguments.sets:
            print(f"{name} ...", file=sys.stderr)
            for mode in (Mode.DENSE, Mode.HYBRID):
                found = _candidates(name, "test", arguments.queries, encoder, cache, mode)
                rows.append(_measured(found, mode, reranker, prior))
    text = f"Trained in {minutes:.0f} minutes; prior {prior:g}.\n\n" + _table(rows)
    print(text)
    if arguments.write:
        command = "python -m benchmarks.reranker --write"
        write_result("reranker.md", "A small reranker", command, text)
        path = Path(__file__).parent / "results" / "reranker.json"
        path.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n", "utf-8")


def _trained(sets: str, folder: Path, encoder: "Encoder") -> float:
    """Train into a folder; gives the minutes that it took, mining included."""
    started = time.monotonic()
    found = []
    for wanted in sets.split(","):
        name, _, count = wanted.partition(":")
        print(f"mining {name} ...", file=sys.stderr)
        found.append(TrainingSet(name, _mined(name, int(count), encoder)))
    train(Material(sets=found), folder, make_config(None, None, CHOICES))
    return (time.monotonic() - started) / 60


def _mined(name: str, most: int, encoder: "Encoder") -> list[PairRecord]:
    """Some training queries of a set with hard negatives from both legs."""
    folder = judged_sets() / name
    records, corpus = _labelled(folder) if name.endswith("_pairs") else _judged(folder)
    random.Random(1).shuffle(records)
    lexical = mine_negatives(records[:most], corpus, config=_MINED)
    return mine_negatives(lexical, corpus, encoder=encoder, config=_MINED, cache=EmbeddingCache())


def _labelled(folder: Path) -> tuple[list[PairRecord], list[str]]:
    pairs = load_labelled_pairs(folder / "train.jsonl.gz")
    records = [PairRecord(queries=(p.text1,), positives=(p.text2,)) for p in pairs]
    return records, list(dict.fromkeys(pair.text2 for pair in pairs))


def _judged(folder: Path) -> tuple[list[PairRecord], list[str]]:
    dataset = load_beir(folder, "train")
    texts = {name: f"{d.title} {d.text}".strip() for name, d in dataset.corpus.items()}
    records = [
        PairRecord(
            queries=(dataset.queries[query],),
            positives=tuple(texts[name] for name, grade in grades.items() if grade > 0),
        )
        for query, grades in dataset.qrels.items()
    ]
    return [record for record in records if record.positives], list(texts.values())


def _candidates(
    name: str, split: str, most: int, encoder: "Encoder", cache: Path, mode: Mode
) -> CandidateSet:
    dataset = some_queries(load_beir(judged_sets() / name, split), most)
    rankings = DatasetRankings(dataset, encoder)
    path = cache / encoder.spec.fingerprint[:16] / f"{name}.npy"
    known = DatasetRankings(dataset, encoder, embeddings=embeddings_of(path, rankings))
    return candidates_of(known, mode)


def _log_odds(reranker: "Reranker") -> ScoreTexts:
    def score(query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        found = reranker.compute_score([(query, text) for text in texts])
        return np.array(found, np.float32)

    return score


def _best_prior(found: CandidateSet, reranker: "Reranker") -> float:
    said = found.said(_log_odds(reranker))
    return max(PRIORS, key=lambda prior: found.reordered(said, prior).figure)


def _measured(found: CandidateSet, mode: Mode, reranker: "Reranker", prior: float) -> Row:
    before = found.as_found()
    after = found.reordered(found.said(_log_odds(reranker)), prior)
    difference = found.compared(before, after)
    return Row(
        name=found.name,
        mode=mode,
        queries=len(found.queries),
        before=before.figure,
        after=after.figure,
        difference=difference.value,
        interval=difference.interval,
        p=difference.p,
    )


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| set | queries | search | nDCG@10 | reranked | difference | 95 % interval | p |",
        "|---|---:|---|---:|---:|---:|---|---:|",
    ]
    lines += [
        f"| {row.name} | {row.queries} | {row.mode} | {row.before:.4f} | {row.after:.4f} "
        f"| {row.difference:+.4f} | {row.interval[0]:+.4f} .. {row.interval[1]:+.4f} "
        f"| {row.p:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
