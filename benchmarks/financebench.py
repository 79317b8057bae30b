"""`python -m benchmarks.financebench`: questions about company filings, judged by their pages.

13 filings as PDF and 24 questions with the pages that answer them, of the open part of FinanceBench
(https://github.com/patronus-ai/financebench), found by the environment variable ANGLER_DATA
(default ../shared/data). All filings lie in one index.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine, judged_sets
from indexing import build_index, open_index
from indexing.config import BuildConfig
from indexing.hits import Hit
from indexing.retriever import SearchIndex

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "financebench.md"
MODES = ("dense", "lexical", "hybrid")
CUTS = (1, 5, 10)
DEPTH = 50
"""Hits that are looked at to say where the page came."""


@dataclass(frozen=True)
class Question:
    """A question and where its answer stands."""

    id: str
    text: str
    document: str
    pages: frozenset[int]
    """1-based."""


def main() -> None:
    """Build once, ask every question in every mode, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.financebench", description=__doc__)
    parser.add_argument("--chunk-tokens", type=int, help="most tokens of a chunk")
    parser.add_argument("--fresh", action="store_true", help="read the filings again")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    folder = judged_sets() / "financebench_pdf"
    if not folder.is_dir():
        sys.exit(f"No filings in {folder}: set ANGLER_DATA to the folder that holds the data.")
    index = _index(folder / "pdfs", arguments.chunk_tokens, fresh=arguments.fresh)
    questions = _questions(folder / "questions.jsonl")
    text = _report(index, questions)
    print(text)
    if arguments.write:
        RESULT.write_text(text, "utf-8")


def _index(pdfs: Path, chunk_tokens: int | None, *, fresh: bool) -> SearchIndex:
    """The index in the system's folder for temporary files, brought up to date."""
    folder = Path(tempfile.gettempdir()) / f"angler-financebench-{chunk_tokens or 'default'}"
    if fresh and folder.is_dir():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    build_index([str(pdfs)], folder, BuildConfig(chunk_tokens=chunk_tokens))
    return open_index(folder)


def _questions(path: Path) -> list[Question]:
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return [
        Question(
            row["_id"],
            row["question"],
            row["doc"],
            frozenset(evidence["page_index"] + 1 for evidence in row["evidence"]),
        )
        for row in rows
    ]


def first_rank(question: Question, hits: list[Hit], index: SearchIndex) -> int | None:
    """The rank of the first hit that touches a page with evidence."""
    for hit in hits:
        if hit.document.rpartition("/")[2] == question.document:
            document = index.generation.documents([hit.document])[hit.document]
            pages = {document.page_at(hit.start), document.page_at(hit.end - 1)}
            if pages & question.pages:
                return hit.rank
    return None


def _report(index: SearchIndex, questions: list[Question]) -> str:
    ranks = {
        mode: [first_rank(q, index.search(q.text, k=DEPTH, mode=mode), index) for q in questions]
        for mode in MODES
    }
    machine = describe_machine()
    lines = [
        "# FinanceBench: the page that answers",
        "",
        f"`python -m benchmarks.financebench --write`, Angler {machine['angler-search']}, "
        f"{index.encoder.spec.name}, {len(index)} chunks of 13 filings in one index, "
        f"{len(questions)} questions. A hit counts if its chunk touches a page with evidence.",
        "",
        "| mode | " + " | ".join(f"hit@{cut}" for cut in CUTS) + " |",
        "| --- |" + " --- |" * len(CUTS),
    ]
    for mode, found in ranks.items():
        shares = [sum(rank is not None and rank <= cut for rank in found) for cut in CUTS]
        cells = (f"{share / len(found):.3f} ({share})" for share in shares)
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    lines += ["", "Rank of the first such hit by question (- beyond 50):", ""]
    lines += ["| question | filing | " + " | ".join(MODES) + " |", "| --- | --- |" + " --- |" * 3]
    for number, question in enumerate(questions):
        cells = (str(ranks[mode][number] or "-") for mode in MODES)
        name = question.id.rpartition("_")[2]
        lines.append(f"| {name} | {question.document} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
