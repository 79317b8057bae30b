"""`python -m benchmarks.answers`: how often the quoted sentences hold the answer, and when none is.

One split's questions calibrate the index, another's are asked: as they are, and with their
documents left out. ANGLER_DATA names the sets (default ../shared/data).
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import write_result
from benchmarks.question_sets import AskedQuestion, index_set, read_questions
from data import BeirDataset, GoldenQuestion
from encoder import load_encoder
from indexing import SearchIndex
from indexing.answers import HITS_READ
from indexing.answers import answer as quote_best
from indexing.calibrating import calibrate_index
from indexing.calibration import FALSE_ANSWER_RATE
from indexing.filters import Among, Not

if TYPE_CHECKING:
    from encoder import Encoder

SETS = {
    "squad11_dev": ("train", "test"),
    "cmrc2018": ("train", "test"),
    "drcd": ("train", "test"),
    "dureader_checklist": ("dev", "test"),
    "policyqa": ("dev", "test"),
    "covidqa_long": ("dev", "dev"),
    "pubmedqa": ("test", "test"),
    "cail2019_rc": ("dev", "test"),
}
"""Which split calibrates, and which is asked; of one split, the two halves."""
WITHOUT_QUOTATIONS = {"pubmedqa"}
"""Its answers are yes, no and maybe."""
WITHIN_DOCUMENT = {"cail2019_rc"}
"""Its questions do not say which judgment they are about, so they are asked of it alone."""
_UNQUOTED = {"YES", "NO"}
"""Accepted answers that stand in no document; such questions are left out."""
_PIECE = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one question."""

    exact: float
    f1: float
    held: float
    """Whether a quotation holds an accepted answer."""
    held_first: float
    """Whether the first one does."""
    refused: float
    answered_without: float
    """Whether it was answered although its documents were left out."""


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--most", type=int, default=300, help="questions asked of each set")
    parser.add_argument("--write", action="store_true", help="write results/answers.md")
    arguments = parser.parse_args()
    encoder = load_encoder()
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    for name in arguments.sets:
        print(f"{name} ...", file=sys.stderr)
        for line in _rows(name, encoder, arguments.most):
            lines.append(line)
            print(line, file=sys.stderr)
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.answers --most {arguments.most} --write"
        title = "Answers without a language model"
        write_result("answers.md", title, command, f"{_NOTE}\n\n{text}", engine=encoder.engine)


_HEAD = (
    "| set | calibrated by | asked | exact match | F1 | contained in the quotations "
    "| in the first of them | wrongly refused | false answers | refusal F1 |"
)
_NOTE = (
    "Exact match and F1 as in SQuAD (words, in Chinese characters; Rajpurkar and others 2016, "
    "https://arxiv.org/abs/1606.05250), of the first quotation against the accepted answers: "
    "a whole sentence is seldom a short answer, so containment says more. Three sentences at most "
    f"are quoted. Refused at a stated {FALSE_ANSWER_RATE:.0%} of false answers; a refused question "
    "counts 0 everywhere. False answers: share of the questions that were answered although their "
    "documents were left out. Refusal F1: each question is asked with its documents and without, "
    "and to refuse is right only without. Questions of another split calibrate the index (golden) "
    "or its build did, from the text alone (own text); covidqa_long and pubmedqa have one split, "
    "of which each half serves one purpose. pubmedqa's answers are no quotations; cail2019_rc's "
    "questions are asked of their own document, so that nothing is refused there. policyqa's "
    "questions are answered by many documents that nobody judged, so that its false answers are "
    "mostly true ones."
)


def _rows(name: str, encoder: "Encoder", most: int) -> list[str]:
    dataset, known, asked = _parted(name, most)
    golden = [GoldenQuestion(question=item.text, document=min(item.documents)) for item in known]
    rows = []
    with TemporaryDirectory() as folder:
        index = index_set(dataset, Path(folder) / "kb", encoder)
        for source in ("own text", "golden"):
            if source == "golden":
                calibrate_index(index.folder, encoder, golden)
                index.refresh()
            outcomes = [_outcome(name, index, item) for item in asked]
            rows.append(_row(name, source, outcomes))
            if name in WITHIN_DOCUMENT:
                break
    return rows


def _parted(
    name: str, most: int
) -> tuple[BeirDataset, Sequence[AskedQuestion], Sequence[AskedQuestion]]:
    """A set, the questions that calibrate, and those that are asked, both spread over the set."""
    known_split, asked_split = SETS[name]
    dataset, questions = read_questions(name, asked_split)
    asked = [one for one in questions if one.answers and not _UNQUOTED.issuperset(one.answers)]
    if known_split == asked_split:
        return dataset, _spread(asked[::2], most), _spread(asked[1::2], most)
    _, known = read_questions(name, known_split)
    return dataset, _spread(known, most), _spread(asked, most)


def _spread(questions: Sequence[AskedQuestion], most: int) -> Sequence[AskedQuestion]:
    places = np.linspace(0, len(questions) - 1, min(most, len(questions))).astype(int)
    return [questions[place] for place in places]


def _row(name: str, source: str, outcomes: Sequence[Outcome]) -> str:
    def mean(field: str) -> float:
        return float(np.mean([getattr(one, field) for one in outcomes]))

    quality = [f"{mean(field):.3f}" for field in ("exact", "f1", "held", "held_first")]
    if name in WITHOUT_QUOTATIONS:
        quality = [""] * 4
    refused, false = mean("refused"), mean("answered_without")
    refusal = [f"{refused:.1%}", f"{false:.1%}", f"{_refusal_f1(refused, false):.3f}"]
    if name in WITHIN_DOCUMENT:
        refusal, source = [""] * 3, ""
    return f"| {' | '.join([name, source, str(len(outcomes)), *quality, *refusal])} |"


def _refusal_f1(refused: float, false: float) -> float:
    right = 1.0 - false
    return 2 * right / (2 * right + refused + false) if right else 0.0


def _outcome(name: str, index: SearchIndex, item: AskedQuestion) -> Outcome:
    own = Among("path", tuple(sorted(item.documents)))
    if name in WITHIN_DOCUMENT:
        hits = index.search(item.text, HITS_READ, filter=own)
        sentences, without = quote_best(index.sentences(item.text, hits)), False
    else:
        sentences = list(index.answer(item.text).sentences)
        without = index.answer(item.text, filter=Not(own)).is_found
    quoted = [sentence.text for sentence in sentences]
    if not quoted:
        return Outcome(exact=0, f1=0, held=0, held_first=0, refused=1, answered_without=without)
    return Outcome(
        exact=max(float(_pieces(quoted[0]) == _pieces(answer)) for answer in item.answers),
        f1=max(_f1(quoted[0], answer) for answer in item.answers),
        held=_holds(quoted, item.answers),
        held_first=_holds(quoted[:1], item.answers),
        refused=0,
        answered_without=without,
    )


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
