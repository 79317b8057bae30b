"""`python -m benchmarks.answers`: how often the quoted sentences hold the answer, and when none is.

Half of a set's questions calibrate the index, the other half is asked: as they are, and with their
documents left out. ANGLER_DATA names the sets (default ../shared/data).
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.machine import write_result
from benchmarks.question_sets import AskedQuestion, index_set, read_questions
from data import GoldenQuestion
from encoder import load_encoder
from indexing import SearchIndex
from indexing.calibrating import calibrate_index
from indexing.filters import Among, Not

if TYPE_CHECKING:
    from encoder import Encoder

SETS = ("squad11_dev", "cmrc2018", "drcd", "policyqa", "dureader_checklist")
_PIECE = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
_ARTICLES = {"a", "an", "the"}


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--split", default="dev", help="the questions (default: dev)")
    parser.add_argument("--most", type=int, default=300, help="questions of each set, both halves")
    parser.add_argument("--write", action="store_true", help="write results/answers.md")
    arguments = parser.parse_args()
    encoder = load_encoder()
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    for name in arguments.sets:
        print(f"{name} ...", file=sys.stderr)
        lines.append(_row(name, arguments.split, encoder, arguments.most))
        print(lines[-1], file=sys.stderr)
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.answers --split {arguments.split} --write"
        title = "Answers without a language model"
        write_result("answers.md", title, command, f"{_NOTE}\n\n{text}", engine=encoder.engine)


_HEAD = (
    "| set | asked | exact match | F1 | contained in the quotation | in its first sentence "
    "| wrongly refused | false answers |"
)
_NOTE = (
    "Exact match and F1 as in SQuAD (words, in Chinese characters; Rajpurkar and others 2016, "
    "https://arxiv.org/abs/1606.05250), of the best quoted sentence against the accepted answers: "
    "a whole sentence is seldom a short answer, so containment says more. Refused at a stated 10 % "
    "of false answers; a refused question counts 0 everywhere. False answers: share of the "
    "questions that were answered although their documents were left out."
)


def _row(name: str, split: str, encoder: "Encoder", most: int) -> str:
    dataset, questions = read_questions(name, split)
    # Every second of the questions, spread over the set.
    questions = questions[:: max(1, len(questions) // most)][:most]
    known, asked = questions[::2], questions[1::2]
    golden = [GoldenQuestion(question=item.text, document=min(item.documents)) for item in known]
    with TemporaryDirectory() as folder:
        index = index_set(dataset, Path(folder) / "kb", encoder)
        calibrate_index(index.folder, encoder, golden)
        index.refresh()
        scores = [_scored(index, item) for item in asked]
        false = [_is_answered_without(index, item) for item in asked]
    columns = list(zip(*scores, strict=True))
    means = [sum(column) / len(asked) for column in columns]
    cells = [name, str(len(asked)), *(f"{value:.3f}" for value in means[:-1])]
    cells += [f"{means[-1]:.1%}", f"{sum(false) / len(asked):.1%}"]
    return f"| {' | '.join(cells)} |"


def _scored(index: SearchIndex, item: AskedQuestion) -> tuple[float, float, float, float, float]:
    """(exact match, F1, containment, containment in the first sentence, refused) of a question."""
    found = index.answer(item.text)
    if not found.is_found:
        return 0.0, 0.0, 0.0, 0.0, 1.0
    quoted = [sentence.text for sentence in found.sentences]
    exact = max(float(_pieces(quoted[0]) == _pieces(answer)) for answer in item.answers)
    f1 = max(_f1(quoted[0], answer) for answer in item.answers)
    return exact, f1, _holds(quoted, item.answers), _holds(quoted[:1], item.answers), 0.0


def _is_answered_without(index: SearchIndex, item: AskedQuestion) -> bool:
    others = Not(Among("path", tuple(sorted(item.documents))))
    return index.answer(item.text, filter=others).is_found


def _holds(quoted: Sequence[str], answers: Sequence[str]) -> float:
    texts = [" ".join(_pieces(text)) for text in quoted]
    wanted = [" ".join(_pieces(answer)) for answer in answers]
    return float(any(f" {answer} " in f" {text} " for answer in wanted for text in texts))


def _pieces(text: str) -> list[str]:
    return [piece for piece in _PIECE.findall(text.casefold()) if piece not in _ARTICLES]


def _f1(given: str, wanted: str) -> float:
    left, right = Counter(_pieces(given)), Counter(_pieces(wanted))
    shared = sum((left & right).values())
    if not shared:
        return 0.0
    precision, recall = shared / sum(left.values()), shared / sum(right.values())
    return 2 * precision * recall / (precision + recall)


if __name__ == "__main__":
    main()
