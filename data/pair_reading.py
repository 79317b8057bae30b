"""Sources of training pairs in, records out: streamed, with a report of what was read."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from data.pair_formats import PairRowError, RowReader
from data.pair_sources import rows_of
from data.pairs import PairRecord

log = logging.getLogger(__name__)

OnBad = Literal["stop", "skip", "name"]
"""What to do about a row that cannot be used: an error, nothing, or a warning that names it."""
_KEPT = 20
"""So many problems are kept with their places; the others are only counted."""


class BadPairError(ValueError):
    """A row cannot be used; names source and place."""


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """How pairs are read; the defaults recognise everything and stop at the first bad row."""

    rename: Mapping[str, str] = field(default_factory=dict)
    """Column of the file → column that a format knows."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """What a label in words counts, such as `entailment` → 1."""
    format: str | None = None
    """Take only the format called so; None recognises each row by its keys."""
    split: str | None = None
    """Of a folder or a data set of the hub; `train` if not given."""
    encoding: str = "utf-8-sig"
    """Of text files; UTF-8, with or without a byte order mark, if not given."""
    on_bad: OnBad = "stop"

    def __post_init__(self) -> None:
        if self.on_bad not in get_args(OnBad):
            known = ", ".join(get_args(OnBad))
            raise ValueError(f"on_bad must be one of {known}; got {self.on_bad!r}.")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"Unknown encoding {self.encoding!r}.") from None


@dataclass(kw_only=True)
class ReadingReport:
    """What a reader saw; filled while it reads."""

    formats: Counter[str] = field(default_factory=Counter)
    """Rows by the format that they were recognised as."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Rows that have a column which their format does not read."""
    problems: Counter[str] = field(default_factory=Counter)
    """Bad rows by what is wrong with them, in a word or two."""
    examples: list[str] = field(default_factory=list)
    """The first bad rows, in a sentence each."""

    def add_problem(self, kind: str, sentence: str) -> None:
        """Count a bad row."""
        self.problems[kind] += 1
        if len(self.examples) < _KEPT:
            self.examples.append(sentence)


def read_pairs(
    source: str | Path,
    options: PairOptions | None = None,
    *,
    report: ReadingReport | None = None,
) -> Iterator[PairRecord]:
    """Read training pairs one after the other, without holding the file in memory.

    Args:
        source: A file, a folder or the id of a data set on the hub; see `data.pair_sources`.
        options: How to read it.
        report: Is filled with what was recognised and what was wrong.

    Raises:
        FileNotFoundError: If there is no such source or split.
        BadPairError: At the first row that cannot be used, unless `options.on_bad` says otherwise.
        ValueError: If the source as a whole cannot be read, or not one of its rows could be used.
    """
    options = options or PairOptions()
    report = report if report is not None else ReadingReport()
    reader = RowReader(rename=options.rename, labels=options.labels, name=options.format)
    good = 0
    for row in rows_of(source, split=options.split, encoding=options.encoding):
        try:
            if row.problem:
                raise PairRowError(row.problem.partition(" (")[0], row.problem)
            record, found = reader.read(row.value, row.place)
        except PairRowError as error:
            sentence = f"{source}: {row.place}: {error}."
            if options.on_bad == "stop":
                raise BadPairError(sentence) from error
            report.add_problem(error.kind, sentence)
            if options.on_bad == "name":
                log.warning("%s", sentence)
            continue
        good += 1
        report.formats[found.format.name] += 1
        report.ignored.update(found.ignored)
        yield record
    if not good:
        first = f" The first: {report.examples[0]}" if report.examples else ""
        raise ValueError(f"{source} holds no pair that can be used.{first}")


def load_pairs(
    source: str | Path,
    options: PairOptions | None = None,
    *,
    report: ReadingReport | None = None,
) -> list[PairRecord]:
    """Read all pairs into memory; raises what `read_pairs` raises."""
    return list(read_pairs(source, options, report=report))
