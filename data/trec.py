"""Runs in files as TREC's tools read them, and values per query as CSV."""

import csv
from collections.abc import Mapping
from pathlib import Path

ScoredRun = Mapping[str, Mapping[str, float]]
"""Query → document → score, best first."""


def write_run(path: Path, run: ScoredRun, tag: str = "angler") -> None:
    """Write `query Q0 document rank score tag` lines, ranks from 1.

    Scores that do not fall are lowered a little, since other tools order a run by its scores.

    Raises:
        ValueError: If an id holds white space, which the format cannot.
    """
    lines = []
    for query, ranked in run.items():
        above = float("inf")
        for rank, (document, score) in enumerate(ranked.items(), start=1):
            for id_ in (query, document):
                if len(id_.split()) != 1:
                    raise ValueError(f"{id_!r} cannot stand in a run file: it holds white space.")
            above = score if score < above else above - max(abs(above), 1.0) * 1e-9
            lines.append(f"{query} Q0 {document} {rank} {above!r} {tag}\n")
    path.write_text("".join(lines), "utf-8")


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run file, each query's documents best first.

    Raises:
        ValueError: If a line cannot be used; names file and line.
    """
    run: dict[str, dict[str, float]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        fields = line.split()
        try:
            query, _, document, _, score, _ = fields
            value = float(score)
        except ValueError:
            raise ValueError(
                f"{path}: line {number} must be `query Q0 document rank score tag`, got {line!r}."
            ) from None
        if document in run.setdefault(query, {}):
            raise ValueError(f"{path}: line {number} names {document!r} for {query!r} again.")
        run[query][document] = value
    return {query: dict(sorted(found.items(), key=lambda i: -i[1])) for query, found in run.items()}


def write_csv(path: Path, values: Mapping[str, Mapping[str, float]]) -> None:
    """Write one row for each query and one column for each metric (name → query → value)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", *values])
        for query in next(iter(values.values()), {}):
            rows.writerow([query, *(round(of[query], 6) for of in values.values())])
