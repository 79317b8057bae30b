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
from numpy.typing import NDArray

from benchmarks.machine import write_result
from benchmarks.question_sets import AskedQuestion, index_set, read_questions
from encoder import load_encoder
from indexing.calibrating import gather, unrelated_cosine
from indexing.calibration import FALSE_ANSWER_RATE, Evidence, fit
from indexing.evidence import answer_probability
from indexing.hits import Mode
from indexing.questions import Question

if TYPE_CHECKING:
    from encoder import Encoder

Floats = NDArray[np.float64]

SETS = (
    "squad11_dev",
    "cmrc2018",
    "drcd",
    "dureader_checklist",
    "policyqa",
    "pubmedqa",
    "scifact",
)
"""Their test splits: what weighs the evidence was chosen on the others."""
RATES = (0.05, 0.1, 0.15, 0.2)
OWN_RATES = (0.1, 0.15)
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
    "| set | questions | false answers at 5 % | at 10 % | at 15 % | at 20 % "
    f"| refusal F1 at {FALSE_ANSWER_RATE:.0%} | precision | recall "
    "| own text: at 10 % | at 15 % |"
)
_NOTE = (
    f"Hybrid search, means over {ROUNDS} random halvings of the questions. A false answer: the "
    "question's documents were left out, and what the first hits gave for an answer was above the "
    "threshold for the stated rate. Refusal: the other half was asked once with its documents and "
    "once without; to refuse is right only without. The last columns: false answers to the same "
    "questions when the index was calibrated by its build, from its own text. The way in which "
    "that makes its questions was chosen on training and development splits."
)


def _row(name: str, encoder: "Encoder", most: int) -> str:
    dataset, asked = read_questions(name, "test")
    with TemporaryDirectory() as folder:
        index = index_set(dataset, Path(folder) / "kb", encoder)
        questions = [_as_question(item) for item in asked[:most]]
        evidence = list(gather(index.generation, encoder, questions))
        own = index.generation.calibration
    seen = [found[Mode.HYBRID] for found in evidence]
    unrelated = unrelated_cosine([found[Mode.DENSE] for found in evidence])
    rounds = [_halved(seen, unrelated, np.random.default_rng(seed)) for seed in range(ROUNDS)]
    observed, refusal = np.mean([r[0] for r in rounds], 0), np.mean([r[1] for r in rounds], 0)
    cells = [name, str(len(seen)), *(f"{value:.1%}" for value in observed)]
    cells += [f"{value:.3f}" for value in refusal]
    if own is None or own.unrelated_cosine is None:
        cells += ["", ""]
    else:
        mode = own.modes[Mode.HYBRID]
        without = _seeming(seen, own.unrelated_cosine, is_without=True)
        cells += [f"{np.mean(without > mode.threshold(rate)):.1%}" for rate in OWN_RATES]
    return f"| {' | '.join(cells)} |"


def _as_question(item: AskedQuestion) -> Question:
    return Question(item.text, item.documents, lambda chunk: chunk.document in item.documents)


def _halved(
    seen: Sequence[Evidence], unrelated: float, chance: np.random.Generator
) -> tuple[list[float], tuple[float, float, float]]:
    """Observed rate of false answers for each stated one, and (F1, precision, recall)."""
    order = chance.permutation(len(seen))
    half = len(seen) // 2
    mode = fit([seen[place] for place in order[:half]], unrelated)
    others = [seen[place] for place in order[half:]]
    found = _seeming(others, unrelated, is_without=False)
    missed = _seeming(others, unrelated, is_without=True)
    false = [float(np.mean(missed > mode.threshold(rate))) for rate in RATES]
    return false, _refusal(found, missed, mode.threshold(FALSE_ANSWER_RATE))


def _seeming(seen: Sequence[Evidence], unrelated: float, *, is_without: bool) -> Floats:
    """How likely an answer seems to each question, with its documents or without."""
    rows = [item.missed if is_without else item.found for item in seen]
    return answer_probability(np.array(rows, np.float64), unrelated)


def _refusal(found: Floats, missed: Floats, threshold: float) -> tuple[float, float, float]:
    right, wrong = int((missed <= threshold).sum()), int((found <= threshold).sum())
    precision, recall = right / max(1, right + wrong), right / len(missed)
    return 2 * precision * recall / max(1e-9, precision + recall), precision, recall


if __name__ == "__main__":
    main()
