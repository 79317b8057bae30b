"""`python -m benchmarks.reading`: 64 real files of 17 kinds, each with what should become of it.

The files and what their manifest demands are found by the environment variable ANGLER_DATA
(default ../shared/data).
"""

import argparse
import json
import re
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import data_folder, describe_machine
from data import Document, UnreadableDocumentError
from indexing.sources import scan_sources

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "reading.md"
MUST_BE_REFUSED = {"password", "empty", "reject"}
"""What is expected of files that no text may come of; damaged ones may go either way."""
NOTHING_INSIDE = {"gbk_names.zip"}
"""Its one file is a `.doc` of no bytes: a reason that names it is all that can be had."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file."""

    name: str
    expected: str
    state: str
    """`read`, or `refused` with a reason."""
    reason: str
    pages: int
    characters: int
    seconds: float
    missing: tuple[str, ...]
    """Passages that its text should hold and does not."""

    @property
    def is_right(self) -> bool:
        """Whether it is what the manifest demands."""
        if self.expected in MUST_BE_REFUSED:
            return self.state == "refused"
        if self.state == "refused" and self.name in NOTHING_INSIDE:
            return bool(self.reason)
        return self.expected == "damaged" or (self.state == "read" and not self.missing)


def main() -> None:
    """Read all, print and write the table; exit with 1 if a file is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    folder = real_files()
    if folder is None:
        sys.exit("No files to read: set ANGLER_DATA to the folder that holds the data.")
    outcomes = list(read_all(folder))
    text = _report(outcomes)
    print(text)
    if arguments.write:
        RESULT.write_text(text, "utf-8")
    sys.exit(any(not outcome.is_right for outcome in outcomes))


def real_files() -> Path | None:
    """The folder of files and their manifest; None where it is absent."""
    folder = data_folder() / "files"
    return folder if (folder / "manifest.jsonl").is_file() else None


def read_all(folder: Path, kinds: Sequence[str] = ()) -> Iterator[Outcome]:
    """Read the files of a folder with a manifest, all or those of some expectations."""
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if not kinds or row["expect"] in kinds:
            yield _outcome(folder / "files" / row["file"], row["expect"], row["must_contain"])


def _outcome(path: Path, expected: str, passages: Sequence[str]) -> Outcome:
    started = time.monotonic()
    documents, reason = _documents(path)
    text = _bare("\n".join(document.text for document in documents))
    return Outcome(
        name=path.name,
        expected=expected,
        state="read" if documents else "refused",
        reason=reason,
        pages=sum(len(document.page_starts) for document in documents),
        characters=sum(len(document.text) for document in documents),
        seconds=time.monotonic() - started,
        missing=tuple(passage for passage in passages if _bare(passage) not in text),
    )


def _documents(path: Path) -> tuple[list[Document], str]:
    scan = scan_sources([str(path)])
    documents, reasons = [], [failure.reason for failure in scan.failures]
    for item in scan.items:
        try:
            documents.append(item.load())
        except UnreadableDocumentError as error:
            reasons.append(str(error))
    return documents, " ".join(reasons)


def _bare(text: str) -> str:
    """Text without blanks and the lines of tables; a ligature is its letters."""
    unlined = text.replace("| --- ", "").replace("\\|", "").replace("|", "")
    return unicodedata.normalize("NFKC", re.sub(r"\s+", "", unlined))


def _report(outcomes: Sequence[Outcome]) -> str:
    machine = describe_machine()
    wrong = [outcome.name for outcome in outcomes if not outcome.is_right]
    lines = [
        "# Reading",
        "",
        f"`python -m benchmarks.reading --write`, Angler {machine['angler-search']}, Python "
        f"{machine['python']}, {machine['processor']}, {machine['cores']} cores.",
        "",
        f"{len(outcomes)} files, {len(outcomes) - len(wrong)} as their manifest demands"
        + (f"; not: {', '.join(wrong)}." if wrong else "."),
        "Passages are compared without blanks and table lines. Seconds include the start of the",
        "process that parses, where a file is its first.",
        "",
        "| file | expected | state | pages | characters | seconds | remark |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        missing = "; ".join(f"lacks {passage!r}" for passage in one.missing)
        remark = (missing or one.reason).replace("|", "\\|")
        lines.append(
            f"| {one.name} | {one.expected} | {one.state} | {one.pages or ''} | "
            f"{one.characters or ''} | {one.seconds:.2f} | {remark[:160]} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
