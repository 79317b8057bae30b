"""`python -m benchmarks.quality`: retrieval beside published figures, and the golden questions.

The judged sets are found by the environment variable ANGLER_DATA (default ../shared/data).
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe_machine, judged_sets, write_result
from data import load_beir, load_golden
from encoder import load_encoder
from indexing import build_index, open_index
from indexing.evaluation import evaluate_golden, score_rankings
from indexing.judged import DatasetRankings

if TYPE_CHECKING:
    from encoder import Encoder

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MODES = ("dense", "lexical", "hybrid")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A published nDCG@10 of the embedded default encoder, dense."""

    dataset: str
    split: str = "test"
    expected: float | None = None
    tolerance: float = 0.005
    source: str = ""


FIGURES = (
    Figure(
        dataset="scifact",
        expected=0.6451,
        tolerance=0.003,
        source="MTEB results of all-MiniLM-L6-v2",
    ),
    Figure(dataset="cisi", expected=0.4207, source="the same model in sentence-transformers"),
    Figure(dataset="cacm", expected=0.4173, source="the same model in sentence-transformers"),
    Figure(dataset="cmrc2018", split="dev"),
)


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/quality.*")
    parser.add_argument(
        "--golden-only",
        action="store_true",
        help="only the golden questions; what is written keeps the judged sets' figures",
    )
    arguments = parser.parse_args()
    encoder = load_encoder()
    sets = _measured_before() if arguments.golden_only else _sets(encoder)
    golden = _golden(encoder)
    text = _table(sets, golden)
    print(text)
    if arguments.write:
        if arguments.golden_only:
            text = f"The judged sets' figures are of an earlier run.\n\n{text}"
        _write(text, sets, golden, encoder.engine, golden_only=arguments.golden_only)


def _measured_before() -> list[dict[str, Any]]:
    kept = json.loads((RESULTS / "quality.json").read_text("utf-8"))
    return list(kept["sets"])


def _sets(encoder: "Encoder") -> list[dict[str, Any]]:
    folder = judged_sets()
    rows = []
    for figure in FIGURES:
        dataset = load_beir(folder / figure.dataset, figure.split)
        rankings = DatasetRankings(dataset, encoder)
        for mode in MODES:
            print(f"{figure.dataset} {mode} ...", file=sys.stderr)
            result = score_rankings(rankings, mode).as_dict()
            is_checked = mode == "dense" and figure.expected is not None
            rows.append(result | {"expected": figure.expected if is_checked else None})
            if is_checked:
                _check(figure, result["ndcg@10"])
    return rows


def _check(figure: Figure, measured: float) -> None:
    if abs(measured - (figure.expected or 0.0)) > figure.tolerance:
        sys.exit(
            f"{figure.dataset}: nDCG@10 {measured:.4f} is not within {figure.tolerance} of "
            f"{figure.expected} ({figure.source})."
        )


def _golden(encoder: "Encoder") -> list[dict[str, Any]]:
    questions = load_golden(ROOT / "data" / "samples" / "golden.jsonl")
    with TemporaryDirectory() as folder:
        sources = [str(ROOT / "docs" / language) for language in ("en", "zh")]
        build_index(sources, folder, encoder=encoder)
        index = open_index(folder, encoder=encoder)
        return [
            evaluate_golden(index, questions, name="handbook", mode=mode).as_dict()
            for mode in MODES
        ]


def _table(sets: list[dict[str, Any]], golden: list[dict[str, Any]]) -> str:
    lines = []
    if sets:
        lines += [
            "| set | split | mode | nDCG@10 | published | MRR@10 | recall@100 |",
            "|---" * 7 + "|",
        ]
        for row in sets:
            published = f"{row['expected']:.4f}" if row["expected"] else ""
            lines.append(
                f"| {row['dataset']} | {row['split']} | {row['mode']} | {row['ndcg@10']:.4f} "
                f"| {published} | {row['mrr@10']:.4f} | {row['recall@100']:.4f} |"
            )
        lines.append("")
    lines += ["| handbook questions | mode | hit@1 | hit@5 | MRR@10 |", "|---" * 5 + "|"]
    for row in golden:
        for language, scores in sorted(row["by_language"].items()):
            lines.append(
                f"| {language} ({scores['queries']}) | {row['mode']} | {scores['hit@1']:.3f} "
                f"| {scores['hit@5']:.3f} | {scores['mrr@10']:.3f} |"
            )
    return "\n".join(lines)


def _write(
    text: str,
    sets: list[dict[str, Any]],
    golden: list[dict[str, Any]],
    engine: str,
    *,
    golden_only: bool,
) -> None:
    command = f"python -m benchmarks.quality {'--golden-only ' if golden_only else ''}--write"
    write_result("quality.md", "Retrieval quality", command, text, encoder_runs_on=engine)
    measured = {
        "machine": describe_machine() | {"encoder runs on": engine},
        "sets": sets,
        "golden": golden,
    }
    (RESULTS / "quality.json").write_text(json.dumps(measured, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
