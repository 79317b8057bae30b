"""`python -m benchmarks.precision`: what 16 and 8 bits cost the search, on judged sets.

nDCG@10 of the embedded default encoder, dense, in each precision on the CPU. The judged sets are
found by the environment variable ANGLER_DATA (default ../shared/data).
"""

import argparse
import sys

from benchmarks.machine import judged_sets, write_result
from data import load_beir
from encoder import load_encoder
from indexing.evaluation import score_rankings
from indexing.judged import DatasetRankings

RESULT = "precision.md"
SETS = (("scifact", "test"), ("squad11_dev", "test"))
DTYPES = ("float32", "auto", "int8")


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT}")
    arguments = parser.parse_args()
    folder = judged_sets()
    heads = ["engine", *(name for name, _ in SETS)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    exact: dict[str, float] = {}
    for dtype in DTYPES:
        encoder = load_encoder(device="cpu", backend="openvino", dtype=dtype)
        cells = [encoder.engine]
        for name, split in SETS:
            print(f"{encoder.engine}: {name} ...", file=sys.stderr)
            rankings = DatasetRankings(load_beir(folder / name, split), encoder)
            score = score_rankings(rankings, "dense").as_dict()["ndcg@10"]
            change = score / exact.setdefault(name, score) - 1
            cells.append(f"{score:.4f} ({100 * change:+.2f} %)")
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        head = "nDCG@10 of the embedded default encoder, dense, on the CPU."
        command = "python -m benchmarks.precision --write"
        write_result(RESULT, "What fewer bits cost the search", command, f"{head}\n\n{text}")


if __name__ == "__main__":
    main()
