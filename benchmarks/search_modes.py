"""`python -m benchmarks.search_modes`: dense, lexical and hybrid on every judged set, nDCG@10.

ANGLER_DATA names the folder of the sets (default ../shared/data). Documents' embeddings are kept
in `--cache`, so that a second run takes seconds. No set was used to choose a weight on the split
that is shown here.
"""

import argparse
import csv
import json
import random
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import judged_sets, write_result
from data import BeirDataset, load_beir
from encoder import load_encoder
from indexing.evaluation import Evaluation, compare, score_rankings
from indexing.fusion import Fusion, FusionMethod
from indexing.fusion_choice import choose_fusion
from indexing.hits import Mode
from indexing.judged import DatasetRankings
from indexing.reranking import Reranking, load_reranking

if TYPE_CHECKING:
    from encoder import Encoder

METRIC = "ndcg@10"
SETS = (
    "scifact", "nfcorpus_filtered", "cisi", "cacm", "npl", "squad11_dev", "pubmedqa",
    "covidqa_long", "policyqa", "medquad", "cmrc2018", "drcd", "dureader_checklist", "csl_title",
    "cmedir", "zh_med_dialog", "tldr_zh2en",
)  # fmt: skip
ONLY_DEV = {"covidqa_long"}
"""Has no test split; its development split was seen when the share was chosen."""
MOST_QUESTIONS = 500
"""Of another split, that may choose a set's fusion."""
COMPARABLE = 0.6
"""From this share of the better leg on, hybrid should beat both."""


@dataclass(frozen=True)
class Row:
    """One set's results."""

    dense: Evaluation
    lexical: Evaluation
    hybrid: Evaluation
    rrf: Evaluation
    """Hybrid by reciprocal ranks."""
    calibrated: Evaluation | None
    """Hybrid with what the set's development or training queries choose, if it has such."""
    fusion: Fusion | None
    reranked: tuple[Evaluation, Evaluation] | None = None
    """Hybrid of some queries, and with its first documents put in order by a reranker, if one was
    named."""


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_modes", description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="default: all")
    parser.add_argument("--rerank", metavar="M", help="a reranker, for one more column")
    parser.add_argument("--rerank-queries", type=int, default=100, help="most of a set (100)")
    parser.add_argument("--cache", default=f"{gettempdir()}/angler-embeddings", help="a folder")
    parser.add_argument("--write", action="store_true", help="write results/search-modes.*")
    arguments = parser.parse_args()
    folder = judged_sets()
    encoder = load_encoder()
    reranking = load_reranking(arguments.rerank) if arguments.rerank else None
    rows = []
    for name in arguments.sets:
        print(f"{name} ...", file=sys.stderr)
        row = _measure(folder / name, encoder, Path(arguments.cache))
        if reranking is not None:
            row = replace(row, reranked=_reranked(folder / name, encoder, arguments, reranking))
        rows.append(row)
    text = _table(rows, folder) + "\n\n" + _summary(rows)
    if reranking is not None:
        text += (
            f"\n\nThe last column is of {arguments.rerank_queries} queries of each set, drawn by "
            f"chance: with the first {reranking.depth} hits of hybrid put in order by "
            f"{Path(reranking.name).name}, and before."
        )
    print(text)
    if arguments.write:
        named = f" --rerank {Path(arguments.rerank).name}" if arguments.rerank else ""
        command = f"python -m benchmarks.search_modes{named} --write"
        write_result(
            "search-modes.md", "Ways of searching", command, text, encoder_runs_on=encoder.engine
        )
        path = Path(__file__).parent / "results" / "search-modes.json"
        measured = [[of.as_dict() for of in (row.dense, row.lexical, row.hybrid)] for row in rows]
        path.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _measured_split(folder: Path) -> BeirDataset:
    return load_beir(folder, "dev" if folder.name in ONLY_DEV else "test")


def _kept(folder: Path, encoder: "Encoder", cache: Path) -> NDArray[np.float32]:
    path = cache / encoder.spec.fingerprint[:16] / f"{folder.name}.npy"
    return embeddings_of(path, DatasetRankings(_measured_split(folder), encoder))


def _measure(folder: Path, encoder: "Encoder", cache: Path) -> Row:
    dataset, embeddings = _measured_split(folder), _kept(folder, encoder, cache)
    rankings = DatasetRankings(dataset, encoder, embeddings=embeddings)
    ranks = Fusion(method=FusionMethod.RRF, dense_share=0.5)
    by_ranks = DatasetRankings(dataset, encoder, embeddings=embeddings, fusion=ranks)
    fusion, calibrated = _chosen(folder, encoder, embeddings), None
    if fusion is not None:
        own = DatasetRankings(dataset, encoder, embeddings=embeddings, fusion=fusion)
        calibrated = score_rankings(own, Mode.HYBRID)
    return Row(
        dense=score_rankings(rankings, Mode.DENSE),
        lexical=score_rankings(rankings, Mode.LEXICAL),
        hybrid=score_rankings(rankings, Mode.HYBRID),
        rrf=score_rankings(by_ranks, Mode.HYBRID),
        calibrated=calibrated,
        fusion=fusion,
    )


def _reranked(
    folder: Path, encoder: "Encoder", arguments: argparse.Namespace, reranking: Reranking
) -> tuple[Evaluation, Evaluation]:
    """Hybrid of some queries, and the same with its first hits put in order."""
    some = some_queries(_measured_split(folder), arguments.rerank_queries)
    embeddings = _kept(folder, encoder, Path(arguments.cache))
    rankings = DatasetRankings(some, encoder, embeddings=embeddings)
    after = score_rankings(rankings, Mode.HYBRID, reranking=reranking)
    return score_rankings(rankings, Mode.HYBRID), after


def some_queries(dataset: BeirDataset, most: int) -> BeirDataset:
    """A set with so many of its queries, drawn by chance."""
    names = list(dataset.queries)
    random.Random(0).shuffle(names)
    queries = {name: dataset.queries[name] for name in sorted(islice(names, most))}
    return replace(dataset, queries=queries, qrels={name: dataset.qrels[name] for name in queries})


def _chosen(folder: Path, encoder: "Encoder", embeddings: NDArray[np.float32]) -> Fusion | None:
    """What the first questions of another split choose."""
    splits = [split for split in ("dev", "train") if (folder / "qrels" / f"{split}.tsv").is_file()]
    if folder.name in ONLY_DEV or not splits:
        return None
    full = load_beir(folder, splits[0])
    queries = dict(islice(full.queries.items(), MOST_QUESTIONS))
    some = replace(full, queries=queries, qrels={query: full.qrels[query] for query in queries})
    return choose_fusion(DatasetRankings(some, encoder, embeddings=embeddings).judged())


def embeddings_of(path: Path, rankings: DatasetRankings) -> NDArray[np.float32]:
    """The documents' embeddings, from a file or, the first time, from the encoder into it."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rankings.encoder.encode_documents(rankings.texts))
    return np.asarray(np.load(path, allow_pickle=False))


def _table(rows: list[Row], folder: Path) -> str:
    minilm, bm25 = _references(folder)
    lines = [
        "| set | documents | queries | dense | reference | lexical | reference | hybrid | "
        "hybrid − better leg | p | calibrated | by ranks | hybrid + rerank |",
        "|---|" + "---:|" * 12,
    ]
    for row in rows:
        name = row.dense.name if row.dense.split == "test" else f"{row.dense.name} (dev)"
        key = (row.dense.name, row.dense.split)
        found = compare(_better(row), row.hybrid)[METRIC]
        lines.append(
            f"| {name} | {row.dense.documents} | {len(row.dense.qrels)} | {_figure(row.dense)} "
            f"| {minilm.get(key, '')} | {_figure(row.lexical)} | {bm25.get(key, '')} "
            f"| {_figure(row.hybrid)} | {found['difference']:+.3f} | {found['p']:.3f} "
            f"| {_calibrated(row)} | {_mean(row.rrf):.3f} "
            f"| {_before_and_after(row)} |"
        )
    return "\n".join(lines)


def _calibrated(row: Row) -> str:
    if row.calibrated is None or row.fusion is None:
        return ""
    return f"{_mean(row.calibrated):.3f} ({row.fusion.method} {row.fusion.dense_share:g})"


def _before_and_after(row: Row) -> str:
    if row.reranked is None:
        return "no reranker named"
    before, after = row.reranked
    found = compare(before, after)[METRIC]
    return f"{_mean(after):.3f} (before {_mean(before):.3f}, p {found['p']:.3f})"


def _mean(evaluation: Evaluation) -> float:
    return float(evaluation.as_dict()[METRIC])


def _figure(evaluation: Evaluation) -> str:
    """The mean with its 95 % bootstrap interval."""
    found = evaluation.as_dict()
    low, high = found["intervals"][METRIC]
    return f"{found[METRIC]:.3f} ({low:.3f}–{high:.3f})"


def _better(row: Row) -> Evaluation:
    return max(row.dense, row.lexical, key=_mean)


def _summary(rows: list[Row]) -> str:
    near: list[float] = []
    far: list[float] = []
    for row in rows:
        low, high = sorted((_mean(row.dense), _mean(row.lexical)))
        (near if low >= COMPARABLE * high else far).append(_mean(row.hybrid) - high)
    above = sum(difference > 0 for difference in near)
    lines = [
        f"Where the weaker leg has at least {COMPARABLE:.0%} of the better one, hybrid is above "
        f"both on {above} of {len(near)} sets."
    ]
    if far:
        lines.append(f"Elsewhere the worst difference to the better leg is {min(far):+.4f}.")
    return " ".join(lines)


def _references(
    folder: Path,
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """nDCG@10 by set and split, of the same model elsewhere and of a plain BM25."""
    minilm = {}
    for row in _rows(folder / "reference_minilm.tsv"):
        name, _, split = row[0].partition(" ")
        if row[1] == "nDCG@10":
            minilm[name, split] = row[2]
    return minilm, {(row[0], row[1]): row[4] for row in _rows(folder / "reference_bm25.tsv")}


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))[1:]


if __name__ == "__main__":
    main()
