"""`python -m benchmarks.mteb_tasks`: the mteb package's own tasks over our encoder.

Without --tasks two tasks are made from the judged sets (STS-B and CACM), run by mteb, and compared
with what our own evaluation says of the same data: the two must agree to 0.0005. With --tasks the
named tasks of MTEB or C-MTEB are run; mteb then loads their data from its hub. `make mteb` makes an
environment with mteb and runs the former.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import mteb
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

from benchmarks.machine import judged_sets
from data import load_beir
from data.pair_files import load_labelled_pairs
from encoder import load_encoder
from encoder.mteb_adapter import MtebEncoder
from indexing.evaluation import evaluate_dataset, evaluate_pair_file

_AGREEMENT = 0.0005
_PAIRS, _SET = "stsb_en/test.jsonl.gz", "cacm"


def _metadata(name: str, kind: str, main_score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        type=kind,
        main_score=main_score,
        description="A judged set on this machine.",
        dataset={"path": "local", "revision": "local"},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        category="t2t",
    )


class LocalSTS(AbsTaskSTS):
    """STS-B's test part."""

    metadata = _metadata("LocalSTS", "STS", "cosine_spearman")
    min_score, max_score = 0, 5

    def load_data(self, num_proc: int | None = None, **_: object) -> None:
        """Read the pairs."""
        with gzip.open(judged_sets() / _PAIRS, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        columns = {
            "sentence1": [row["text1"] for row in rows],
            "sentence2": [row["text2"] for row in rows],
            "score": [row["label"] for row in rows],
        }
        self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
        self.data_loaded = True


class LocalRetrieval(AbsTaskRetrieval):
    """CACM."""

    metadata = _metadata("LocalRetrieval", "Retrieval", "ndcg_at_10")

    def load_data(self, num_proc: int | None = None, **_: object) -> None:
        """Read corpus, queries and qrels."""
        judged = load_beir(judged_sets() / _SET)
        corpus = [{"id": id_, **of._asdict()} for id_, of in judged.corpus.items()]
        queries = [{"id": id_, "text": text} for id_, text in judged.queries.items()]
        split = {
            "corpus": Dataset.from_list(corpus),
            "queries": Dataset.from_list(queries),
            "relevant_docs": {query: dict(of) for query, of in judged.qrels.items()},
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def main() -> None:
    """Run, print, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mteb_tasks", description=__doc__)
    parser.add_argument("--tasks", nargs="+", help="names of MTEB or C-MTEB tasks")
    parser.add_argument("--encoder", help="default: the embedded one")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder)
    model = MtebEncoder(encoder)
    if arguments.tasks:
        for name, score in _scores(model, list(mteb.get_tasks(tasks=arguments.tasks))).items():
            print(f"{name}: {score:.4f}")
        return
    theirs = _scores(model, [LocalSTS(), LocalRetrieval()])
    pairs = load_labelled_pairs(judged_sets() / _PAIRS)
    judged = load_beir(judged_sets() / _SET)
    ours = {
        "LocalSTS": evaluate_pair_file(pairs, encoder, name=Path(_PAIRS).name)["spearman"],
        "LocalRetrieval": evaluate_dataset(judged, encoder).as_dict()["ndcg@10"],
    }
    for name, score in theirs.items():
        print(f"{name}: mteb {score:.4f}, ours {ours[name]:.4f}")
    if any(abs(theirs[name] - ours[name]) > _AGREEMENT for name in ours):
        sys.exit(f"They do not agree to {_AGREEMENT}.")


def _scores(model: MtebEncoder, tasks: list[Any]) -> dict[str, float]:
    found = mteb.evaluate(model, tasks, cache=None, show_progress_bar=False)
    return {result.task_name: float(result.get_score()) for result in found.task_results}


if __name__ == "__main__":
    main()
