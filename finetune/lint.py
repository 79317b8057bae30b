"""Training pairs in, what is wrong with them out; reads a stream and keeps hashes, not texts."""

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from data.pair_reading import ReadingReport
from data.pairs import PairRecord
from indexing.language import language_of

Severity = Literal["error", "warning", "note"]
SAMPLE = 2000
"""Records that are looked at closely: their lengths and languages."""
SKEWED = 0.9
"""A label that more than this share has leaves little to learn from the others."""
_TOLD = 3
"""Places that a finding names."""
_FEW = 200
_MOJIBAKE = re.compile("\ufffd|Ã[\u0080-\u00bf]|â€[\u0080-\u00bf™œ˜]|锟斤拷|烫烫烫|屯屯屯")
"""What is left of text that was decoded wrongly."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about the pairs that a person should know."""

    name: str
    severity: Severity
    """An `error` makes training on them useless."""
    count: int
    """Records, or queries, that it is about."""
    message: str
    places: tuple[str, ...] = ()
    """The first ones."""


@dataclass(kw_only=True)
class PairSummary:
    """What a data set holds and what is wrong with it."""

    source: str
    records: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    formats: Mapping[str, int] = field(default_factory=dict)
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    labels: dict[str, float] = field(default_factory=dict)
    """Least, greatest and mean label, and how many there are."""
    languages: dict[str, dict[str, float]] = field(default_factory=dict)
    """Share of each language among queries and documents of the sample."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        """Whether training on these pairs makes no sense."""
        return any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"shapes": dict(self.shapes)}


class Linter:
    """Looks at records one after the other; `summary` says what it saw."""

    def __init__(self, source: str, *, seed: int = 0) -> None:
        self._summary = PairSummary(source=source)
        self._places: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._pairs: set[bytes] = set()
        self._queries: Counter[bytes] = Counter()
        self._positives: dict[bytes, set[bytes]] = {}
        self._labels: Counter[float] = Counter()
        self._documents: set[bytes] = set()
        self._random = random.Random(seed)
        self.sample: list[PairRecord] = []
        """Some records, drawn evenly from all."""

    def add(self, record: PairRecord) -> None:
        """Look at one record."""
        summary = self._summary
        summary.records += 1
        summary.shapes[record.shape] += 1
        self._draw(record)
        queries, positives, negatives = map(
            _digests, (record.queries, record.positives, record.negatives)
        )
        self._queries[queries[0]] += 1
        self._documents.update(positives)
        if record.label is not None:
            self._labels[record.label] += 1
        alike = set(queries) & set(positives)
        # Of two texts that are the same a scored pair may well say so.
        if alike and record.label is None:
            self._count("query equals positive", record)
        if set(positives) & set(negatives):
            self._count("positive equals negative", record)
        if set(queries) & set(negatives):
            self._count("query equals negative", record)
        label = b"" if record.label is None else repr(record.label).encode()
        whole = _digest("\n".join([*record.queries, "", *record.positives, "", *record.negatives]))
        if whole + label in self._pairs:
            self._count("duplicate", record)
        self._pairs.add(whole + label)
        if any(_MOJIBAKE.search(text) for text in record.texts()):
            self._count("damaged text", record)

    def summary(self, report: ReadingReport | None = None) -> PairSummary:
        """What was seen so far.

        Args:
            report: What the reader saw; adds formats, ignored columns and bad rows.
        """
        summary = self._summary
        summary.findings = [*_of_reading(report)] if report else []
        if report:
            summary.formats = dict(report.formats)
            summary.ignored_columns = dict(report.ignored)
        summary.findings += self._counted()
        summary.findings += self._of_size()
        summary.findings += self._of_labels()
        summary.languages = {
            "queries": _languages(text for r in self.sample for text in r.queries),
            "documents": _languages(text for r in self.sample for text in r.positives),
        }
        return summary

    def leaks(self, other: "Linter", name: str) -> list[Finding]:
        """What this data set shares with another, such as the one that it will be measured on."""
        shared = self._queries.keys() & other._queries.keys()
        documents = self._documents & other._documents
        found = []
        if shared:
            found.append(
                _finding(
                    "leak of queries",
                    "warning",
                    len(shared),
                    f"{len(shared)} queries stand also in {name}: figures on it would be too good; "
                    "take them out of one of the two",
                )
            )
        if documents:
            share = len(documents) / max(1, len(other._documents))
            found.append(
                _finding(
                    "shared documents",
                    "note",
                    len(documents),
                    f"{len(documents)} positives stand also in {name} ({share:.0%} of its own)",
                )
            )
        return found

    def _count(self, name: str, record: PairRecord) -> None:
        self._counts[name] += 1
        places = self._places.setdefault(name, [])
        if len(places) < _TOLD:
            places.append(record.place)

    def _draw(self, record: PairRecord) -> None:
        """Reservoir sampling (Vitter 1985): every record is in the sample with equal chance."""
        if len(self.sample) < SAMPLE:
            self.sample.append(record)
            return
        place = self._random.randrange(self._summary.records)
        if place < SAMPLE:
            self.sample[place] = record

    def _counted(self) -> Iterable[Finding]:
        messages: dict[str, tuple[Severity, str]] = {
            "query equals positive": ("warning", "have a positive that is the query itself"),
            "positive equals negative": ("warning", "have one text as positive and as negative"),
            "query equals negative": ("warning", "have the query itself as a negative"),
            "duplicate": ("warning", "stand there more than once"),
            "damaged text": ("warning", "have text that was decoded wrongly"),
        }
        for name, (severity, message) in messages.items():
            if count := self._counts[name]:
                sentence = f"{_records(count)} {message}"
                yield _finding(name, severity, count, sentence, self._places[name])
        repeated = sum(1 for count in self._queries.values() if count > 1)
        if repeated and self._summary.shapes["scored pair"] < self._summary.records:
            message = (
                f"{repeated} queries come in several records; in one batch the positives of one "
                "are no negatives of the other, so let the training mask duplicates"
            )
            yield _finding("repeated query", "note", repeated, message)

    def _of_size(self) -> Iterable[Finding]:
        count = self._summary.records
        if count == 1:
            yield _finding(
                "single pair", "error", 1, "there is one pair; it has no other to be told from"
            )
        elif count < _FEW:
            message = f"{count} records are few; some hundreds are wanted, thousands are better"
            yield _finding("few pairs", "note", count, message)

    def _of_labels(self) -> Iterable[Finding]:
        if not self._labels:
            return
        total = self._labels.total()
        low, high = min(self._labels), max(self._labels)
        mean = math.fsum(label * count for label, count in self._labels.items()) / total
        self._summary.labels = {
            "min": low,
            "max": high,
            "mean": mean,
            "distinct": len(self._labels),
        }
        if len(self._labels) == 1:
            message = f"all labels are {low:g}; an order cannot be learnt from them"
            yield _finding("constant labels", "error", total, message)
            return
        if low < 0 or high > 1:
            message = f"labels go from {low:g} to {high:g}; angle_mix needs them from 0 to 1"
            yield _finding("label range", "note", total, message)
        label, count = self._labels.most_common(1)[0]
        if count / total > SKEWED:
            message = f"{count / total:.0%} of the labels are {label:g}"
            yield _finding("label skew", "warning", count, message)


def token_findings(texts: Mapping[str, Sequence[int]], limit: int) -> list[Finding]:
    """What is cut off: tokens by role (`queries`, `documents`) beside the encoder's limit."""
    found = []
    for role, counts in texts.items():
        cut = sum(count > limit for count in counts)
        if cut:
            longest = max(counts)
            message = (
                f"{cut / len(counts):.0%} of the {role} looked at are longer than {limit} tokens "
                f"(the longest has {longest}); what is beyond is cut off"
            )
            severity: Severity = "warning" if cut / len(counts) > 0.1 else "note"
            found.append(_finding("truncation", severity, cut, message))
        empty = sum(count == 0 for count in counts)
        if empty:
            message = f"{empty} {role} have no token for this encoder"
            found.append(_finding("no tokens", "warning", empty, message))
    return found


def language_findings(
    languages: Mapping[str, Mapping[str, float]], reads: Sequence[str]
) -> list[Finding]:
    """Whether languages are mixed, and whether the encoder reads them."""
    found = []
    for role, shares in languages.items():
        unread = {name: share for name, share in shares.items() if name not in reads}
        if reads and sum(unread.values()) > 0.1:
            shown = ", ".join(f"{name} {share:.0%}" for name, share in unread.items())
            message = f"the encoder was not made for some of the {role}: {shown}"
            found.append(_finding("unread language", "warning", len(unread), message))
        if len([share for share in shares.values() if share > 0.05]) > 1:
            shown = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            message = f"the {role} are in several languages: {shown}"
            found.append(_finding("mixed languages", "note", len(shares), message))
    return found


def _of_reading(report: ReadingReport) -> Iterable[Finding]:
    for kind, count in report.problems.items():
        places = [text for text in report.examples if kind in text or len(report.problems) == 1]
        message = f"{count} rows cannot be used ({kind})"
        yield _finding("bad rows", "warning", count, message, places or report.examples)
    for column in report.ignored:
        if column.lower() in {"label", "labels", "score", "scores"}:
            message = f"the column {column!r} is not read; rename it if it counts"
            yield _finding("ignored label", "warning", report.ignored[column], message)


def _finding(
    name: str, severity: Severity, count: int, message: str, places: Sequence[str] = ()
) -> Finding:
    return Finding(
        name=name, severity=severity, count=count, message=message, places=tuple(places[:_TOLD])
    )


def _records(count: int) -> str:
    return f"{count} record{'s' if count > 1 else ''}"


def _languages(texts: Iterable[str]) -> dict[str, float]:
    counts = Counter(language_of(text) or "unknown" for text in texts)
    return {name: count / counts.total() for name, count in counts.most_common()}


def _digests(texts: Sequence[str]) -> list[bytes]:
    return [_digest(text) for text in texts]


def _digest(text: str) -> bytes:
    """Equal for texts that differ in case and spaces only."""
    folded = " ".join(text.casefold().split())
    return hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=16).digest()
