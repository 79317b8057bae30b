"""`python -m benchmarks.calibration`: do stated rates of false answers hold for new questions?

Each set's questions are parted by chance into two halves: one calibrates, the other is asked with
its documents left out. ANGLER_DATA names the sets (default ../shared/data).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import write_result
from benchmarks.question_sets import AskedQuestion, index_set, read_questions
from encoder import load_encoder
from indexing.calibrating import Question, gather, synthetic_questions
from indexing.calibration import SHOWN_TO_JUDGE, Evidence, ModeCalibration, fit
from indexing.hits import Mode

if TYPE_CHECKING:
    from encoder import Encoder

SETS = {
    "squad11_dev": "train",
    "cmrc2018": "train",
    "drcd": "train",
    "policyqa": "dev",
    "pubmedqa": "test",
    "scifact": "train",
}
RATES = (0.05, 0.1, 0.2)
ROUNDS = 20
"""Random halvings; what is shown is the mean over them."""


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--most", type=int, default=1000, help="questions of each set")
    parser.add_argument("--write", action="store_true", help="write results/calibration.md")
    arguments = parser.parse_args()
    encoder = load_encoder()
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    for name in arguments.sets:
        print(f"{name} ...", file=sys.stderr)
        lines.append(_row(name, encoder, arguments.most))
        print(lines[-1], file=sys.stderr)
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        command = "python -m benchmarks.calibration --write"
        title = "Stated and observed false answers"
        write_result("calibration.md", title, command, f"{_NOTE}\n\n{text}", engine=encoder.engine)


_HEAD = (
    "| set | questions | false answers at 5 % | at 10 % | at 20 % "
    "| refusal F1 at 10 % | precision | recall | synthetic: at 10 % |"
)
_NOTE = (
    f"Hybrid search, means over {ROUNDS} random halvings of the questions. A false answer: the "
    f"question's documents were left out, and the best of the first {SHOWN_TO_JUDGE} hits was "
    "above the threshold for the stated rate. Refusal: the other half was asked once with its "
    "documents and once without; to refuse is right only without. The last column: false answers "
    "to the same questions when the index was calibrated by its build, from its own text."
)


def _row(name: str, encoder: "Encoder", most: int) -> str:
    dataset, asked = read_questions(name, SETS[name])
    with TemporaryDirectory() as folder:
        index = index_set(dataset, Path(folder) / "kb", encoder)
        questions = [_as_question(item) for item in asked[:most]]
        seen = [found[Mode.HYBRID] for found in gather(index.generation, encoder, questions)]
        made = synthetic_questions(index.generation)
        synthetic = fit([found[Mode.HYBRID] for found in gather(index.generation, encoder, made)])
    rounds = [_halved(seen, np.random.default_rng(seed)) for seed in range(ROUNDS)]
    observed, refusal = np.mean([r[0] for r in rounds], 0), np.mean([r[1] for r in rounds], 0)
    cells = [name, str(len(seen)), *(f"{value:.1%}" for value in observed)]
    cells += [f"{value:.3f}" for value in refusal]
    cells.append(f"{_false_answers(synthetic, seen, 0.1):.1%}")
    return f"| {' | '.join(cells)} |"


def _as_question(item: AskedQuestion) -> Question:
    return Question(item.text, item.documents, lambda chunk: chunk.document in item.documents)


def _halved(
    seen: Sequence[Evidence], chance: np.random.Generator
) -> tuple[list[float], tuple[float, float, float]]:
    """Observed rate of false answers for each stated one, and (F1, precision, recall)."""
    order = chance.permutation(len(seen))
    half = len(seen) // 2
    mode = fit([seen[place] for place in order[:half]])
    others = [seen[place] for place in order[half:]]
    return [_false_answers(mode, others, rate) for rate in RATES], _refusal(mode, others, 0.1)


def _false_answers(mode: ModeCalibration, seen: Sequence[Evidence], rate: float) -> float:
    threshold = mode.threshold(rate)
    return float(np.mean([_best(mode, item.without) > threshold for item in seen]))


def _refusal(
    mode: ModeCalibration, seen: Sequence[Evidence], rate: float
) -> tuple[float, float, float]:
    threshold = mode.threshold(rate)
    right = sum(_best(mode, item.without) <= threshold for item in seen)
    wrong = sum(_best(mode, item.features[:SHOWN_TO_JUDGE]) <= threshold for item in seen)
    precision, recall = right / max(1, right + wrong), right / len(seen)
    return 2 * precision * recall / max(1e-9, precision + recall), precision, recall


def _best(mode: ModeCalibration, features: "np.typing.NDArray[np.float64]") -> float:
    return float(mode.relevance(features).max(initial=0.0))


if __name__ == "__main__":
    main()
