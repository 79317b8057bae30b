"""A source of pairs in, what was recognised and what is wrong with it out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.pair_reading import PairOptions, ReadingReport, read_pairs
from data.pairs import PairRecord, ScoredPair, Triplet
from encoder.templates import PLACE
from finetune.lint import Linter, PairSummary, language_findings, token_findings

if TYPE_CHECKING:
    from encoder import Encoder

SHOWN = 5
"""Examples that are rendered."""
_EVERY = 1000


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One example as the encoder will read it, instructions and all."""

    place: str
    shape: str
    texts: tuple[tuple[str, str], ...]
    """(role, text) of each text."""
    label: float | None = None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What `check_pairs` found."""

    summary: PairSummary
    examples: list[Rendered]
    encoder: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        examples = [
            {
                "place": example.place,
                "shape": example.shape,
                "label": example.label,
                "texts": [{"role": role, "text": text} for role, text in example.texts],
            }
            for example in self.examples
        ]
        return self.summary.as_dict() | {"encoder": self.encoder, "examples": examples}


def check_pairs(
    source: str | Path,
    options: PairOptions | None = None,
    *,
    encoder: "Encoder | None" = None,
    against: Sequence[str | Path] = (),
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Checked:
    """Look through training pairs; bad rows are counted, whatever the options say.

    Args:
        source: As for `data.read_pairs`.
        options: How to read it, and `against`.
        encoder: Tells which texts are cut and how the examples are rendered.
        against: Other sources, such as the test split, that should share no query with it.
        progress: Called with (records so far, None).

    Raises:
        ValueError: If a source cannot be read at all.
    """
    options = replace(options or PairOptions(), on_bad="skip")
    report = ReadingReport()
    linter = _linted(source, options, report, progress)
    summary = linter.summary(report)
    for other in against:
        rest = _linted(other, options, ReadingReport(), progress)
        summary.findings += linter.leaks(rest, str(other))
    if encoder is not None:
        counts = {
            "queries": encoder.count_tokens(
                [text for record in linter.sample for text in record.queries], role="query"
            ),
            "documents": encoder.count_tokens(
                [t for r in linter.sample for t in (*r.positives, *r.negatives)]
            ),
        }
        summary.findings += token_findings(counts, encoder.spec.max_tokens)
    reads = encoder.languages if encoder is not None else ()
    summary.findings += language_findings(summary.languages, reads)
    return Checked(
        summary=summary,
        examples=[_rendered(record, encoder) for record in linter.sample[:SHOWN]],
        encoder=encoder.spec.name if encoder is not None else None,
    )


def _linted(
    source: str | Path,
    options: PairOptions,
    report: ReadingReport,
    progress: Callable[[int, int | None], None],
) -> Linter:
    linter = Linter(str(source))
    for count, record in enumerate(read_pairs(source, options, report=report), start=1):
        linter.add(record)
        if count % _EVERY == 0:
            progress(count, None)
    return linter


def _rendered(record: PairRecord, encoder: "Encoder | None") -> Rendered:
    example = record.example()
    query_template = encoder.spec.template("query") if encoder is not None else PLACE
    document_template = encoder.spec.template("document") if encoder is not None else PLACE
    if isinstance(example, ScoredPair):
        texts = [("text 1", example.text1), ("text 2", example.text2)]
    else:
        if example.instruction is not None:
            query_template = example.instruction + PLACE
        texts = [
            ("query", query_template.replace(PLACE, example.query)),
            ("positive", document_template.replace(PLACE, example.positive)),
        ]
    if isinstance(example, Triplet):
        texts += [("negative", document_template.replace(PLACE, n)) for n in example.negatives]
    return Rendered(place=record.place, shape=record.shape, texts=tuple(texts), label=record.label)
