"""A folder in the BEIR layout in; its corpus, one split's queries and qrels out."""

import csv
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from data.json_lines import read_json_lines

_HEADER = ["query-id", "corpus-id", "score"]


class BeirDocument(NamedTuple):
    """One document of a corpus; the title is empty where the set has none."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BeirDataset:
    """A corpus with judged queries.

    Source: Thakur et al. 2021, BEIR (https://arxiv.org/abs/2104.08663); the layout is that of
    https://github.com/beir-cellar/beir.
    """

    name: str
    """The folder's name."""
    split: str
    corpus: Mapping[str, BeirDocument]
    """Document id → title and text."""
    queries: Mapping[str, str]
    """Query id → text, only for the queries that the split judges, in the order of the qrels."""
    qrels: Mapping[str, Mapping[str, int]]
    """Query id → document id → grade; above 0 is relevant."""


def load_beir(folder: Path, split: str = "test") -> BeirDataset:
    """Read `corpus.jsonl`, `queries.jsonl` and `qrels/{split}.tsv`, plain or gzipped (`.gz`).

    Raises:
        FileNotFoundError: If the folder, a file or the split is missing; names what is there.
        ValueError: If a line cannot be used; names file and line.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"No dataset folder {folder}; give a folder in the BEIR layout.")
    qrels = _read_qrels(_split_file(folder, split))
    return BeirDataset(
        name=folder.resolve().name,
        split=split,
        corpus=_read_corpus(_data_file(folder, "corpus.jsonl")),
        queries=_read_queries(_data_file(folder, "queries.jsonl"), qrels),
        qrels=qrels,
    )


def _data_file(folder: Path, name: str) -> Path:
    found = _plain_or_gzipped(folder / name)
    if found is None:
        raise FileNotFoundError(f"No {name} or {name}.gz in {folder}; BEIR sets have one.")
    return found


def _split_file(folder: Path, split: str) -> Path:
    found = _plain_or_gzipped(folder / "qrels" / f"{split}.tsv")
    if found is None:
        files = sorted((folder / "qrels").glob("*.tsv*"))
        splits = ", ".join(file.name.partition(".tsv")[0] for file in files) or "none"
        raise FileNotFoundError(f"No split {split!r} in {folder / 'qrels'}; it has: {splits}.")
    return found


def _plain_or_gzipped(path: Path) -> Path | None:
    candidates = (path, path.with_name(path.name + ".gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
    return path.open(encoding="utf-8-sig", newline="\n")


def _read_corpus(path: Path) -> dict[str, BeirDocument]:
    return {
        row_id: BeirDocument(title=row.get("title") or "", text=row["text"])
        for row_id, row in _read_rows(path)
    }


def _read_queries(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Return the texts of the judged queries; a judged query without a text is an error."""
    texts = {row_id: row["text"] for row_id, row in _read_rows(path) if row_id in qrels}
    missing = [query for query in qrels if query not in texts]
    if missing:
        raise ValueError(
            f"{path.name} lacks {len(missing)} of the {len(qrels)} judged queries, "
            f"the first is {missing[0]!r}; {path.parent} is incomplete."
        )
    return {query: texts[query] for query in qrels}


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield id and object of every line; ids may be numbers in the file."""
    try:
        with _open_text(path) as lines:
            for number, row in read_json_lines(lines):
                for key in ("_id", "text"):
                    if key not in row:
                        raise ValueError(f"Line {number} has no {key!r}; it needs _id and text.")
                yield str(row["_id"]), row
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with _open_text(path) as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(rows, [])
        if header != _HEADER:
            raise ValueError(f"{path}: the first line must be {_HEADER}, tab-separated: {header}.")
        for row in rows:
            if row:
                query, document, grade = _parse_judgement(path, rows.line_num, row)
                qrels.setdefault(query, {})[document] = grade
    if not qrels:
        raise ValueError(f"{path}: the split holds no judgement.")
    return qrels


def _parse_judgement(path: Path, number: int, row: list[str]) -> tuple[str, str, int]:
    """Return query, document and grade; some sets write the grade as `1.0`."""
    try:
        query, document, score = row
        grade = float(score)
        if not grade.is_integer():
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{path}: line {number} must be query-id, corpus-id and a whole number, got {row}."
        ) from None
    return query, document, int(grade)
