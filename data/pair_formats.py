"""One row of a training file in, a `PairRecord` out: every format is recognised by its keys."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.loaders.text import is_visible
from data.pairs import PairRecord


class PairRowError(ValueError):
    """A row cannot be used; the message says why, without the row's place."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """What is wrong in a word or two, to count by: `empty`, `columns`, `label`, ..."""


@dataclass(frozen=True, slots=True)
class PairFormat:
    """The columns of one format of the field, by what they hold."""

    name: str
    query: str
    positive: str
    negative: str | None = None
    label: str | None = None
    """How alike query and positive are."""
    margin: str | None = None
    """A teacher's score of the positive less that of the negative."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Column that may be missing → field of `PairRecord`."""

    @property
    def required(self) -> frozenset[str]:
        """The columns that a row must have."""
        columns = (self.query, self.positive, self.negative, self.label, self.margin)
        return frozenset(column for column in columns if column)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that are read."""
        return self.required | self.extra.keys()


_PROMPTS = {"prompt": "instruction", "instruction": "instruction"}
_SCORES = {"pos_scores": "positive_scores", "neg_scores": "negative_scores"}
_FLAG = {**_SCORES, **_PROMPTS, "type": "kind"}


def _scored(name: str, first: str, second: str, *labels: str) -> list[PairFormat]:
    return [PairFormat(name, first, second, label=label) for label in labels]


FORMATS: tuple[PairFormat, ...] = (
    # AnglE: https://github.com/SeanLee97/AnglE, README, "Fine-tuning"; up to 0.5, B and C were the
    # other way round and had other keys, so that the keys still tell.
    PairFormat("AnglE A", "text1", "text2", label="label"),
    PairFormat("AnglE B", "query", "positive", extra=_PROMPTS),
    PairFormat("AnglE C", "query", "positive", "negative", extra=_PROMPTS),
    PairFormat("AnglE up to 0.5, B", "text", "positive", "negative"),
    PairFormat("AnglE up to 0.5, C", "text", "positive"),
    # https://github.com/FlagOpen/FlagEmbedding, examples/finetune/embedder
    PairFormat("FlagEmbedding", "query", "pos", "neg", extra=_FLAG),
    PairFormat("FlagEmbedding without negatives", "query", "pos", extra=_FLAG),
    # https://github.com/wangyuxinwhy/uniem, uniem/data_structures.py
    PairFormat("uniem pair", "text", "text_pos"),
    PairFormat("uniem triplet", "text", "text_pos", "text_neg"),
    PairFormat("uniem scored pair", "sentence1", "sentence2", label="label"),
    PairFormat("text and positive_text", "text", "positive_text"),
    PairFormat("text, positive_text and negative_text", "text", "positive_text", "negative_text"),
    *_scored("text and scored_text", "text", "scored_text", "score", "label"),
    *_scored("two texts with a score", "text1", "text2", "score"),
    PairFormat("GTE and CoROM", "query", "positives", "negatives", extra=_PROMPTS),
    PairFormat("GTE and CoROM without negatives", "query", "positives", extra=_PROMPTS),
    # https://github.com/texttron/tevatron, README, "Dataset"
    PairFormat("tevatron", "query", "positive_passages", "negative_passages"),
    PairFormat("tevatron without negatives", "query", "positive_passages"),
    # https://sbert.net/docs/sentence_transformer/dataset_overview.html: there the order of the
    # columns counts; these are the names that its published sets have.
    PairFormat("sentence-transformers pair", "anchor", "positive", extra=_PROMPTS),
    PairFormat("sentence-transformers triplet", "anchor", "positive", "negative", extra=_PROMPTS),
    *_scored("sentence-transformers scored pair", "sentence1", "sentence2", "score", "similarity"),
    *_scored("sentence-transformers scored pair", "sentence1", "sentence2", "similarity_score"),
    *_scored("sentence-transformers scored pair", "sentence_A", "sentence_B", "label", "score"),
    *_scored("premise and hypothesis", "premise", "hypothesis", "label"),
    PairFormat("two texts", "text1", "text2"),
    PairFormat("two texts", "sentence1", "sentence2"),
    *(
        row
        for query in ("query", "question", "anchor")
        for positive in ("positive", "answer", "passage", "document", "response", "text")
        if (query, positive) not in {("query", "positive"), ("anchor", "positive")}
        for row in (
            PairFormat(f"{query} and {positive}", query, positive, extra=_PROMPTS),
            PairFormat(
                f"{query}, {positive} and negative", query, positive, "negative", extra=_PROMPTS
            ),
        )
    ),
    *(
        row
        for query in ("query", "question", "anchor")
        for positive in ("positive", "answer", "passage", "document", "response", "text")
        for row in _scored(
            f"{query} and {positive} with a score", query, positive, "label", "score"
        )
    ),
    *(
        PairFormat("sentence-transformers margins", query, "positive", "negative", margin=margin)
        for query in ("query", "anchor")
        for margin in ("label", "score")
    ),
)
"""Every format that is recognised, the commoner first where two fit equally well."""

_NUMBERED = re.compile(r"(negative|neg)_?\d+")
_LABELS = ("label", "labels", "score", "scores")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the keys of a row say."""

    format: PairFormat
    numbered: tuple[str, ...]
    """Columns such as `negative_1`, which together are the negatives."""
    ignored: tuple[str, ...]
    """Columns that the format does not read."""


def recognise(columns: Iterable[str], *, name: str | None = None) -> Recognised:
    """Find the format that has most of these columns.

    Args:
        columns: Keys of a row that hold something.
        name: Allow only the format called so.

    Raises:
        PairRowError: If no format has its columns among them.
        ValueError: If there is no format called `name`.
    """
    given = set(columns)
    numbered = tuple(sorted((c for c in given if _NUMBERED.fullmatch(c)), key=_number))
    known = given | {"negative"} if numbered else given
    fitting = [row for row in _named(name) if row.required <= known]
    if not fitting:
        raise PairRowError("columns", _unrecognised(given, name))
    best = max(fitting, key=lambda row: len(row.columns & known))  # the first of equals
    used = best.columns | (set(numbered) if best.negative == "negative" else set())
    return Recognised(best, numbered, tuple(sorted(given - used)))


def _named(name: str | None) -> Sequence[PairFormat]:
    if name is None:
        return FORMATS
    chosen = [row for row in FORMATS if row.name.casefold() == name.casefold()]
    if not chosen:
        known = ", ".join(dict.fromkeys(row.name for row in FORMATS))
        raise ValueError(f"Unknown format of pairs {name!r}. Known: {known}.")
    return chosen


def _number(column: str) -> int:
    return int(re.sub(r"\D", "", column))


def _unrecognised(given: set[str], name: str | None) -> str:
    wanted = ""
    if name is not None:
        wanted = f" as {name!r}, which has " + ", ".join(sorted(_named(name)[0].required))
    columns = ", ".join(sorted(given)) or "none"
    return (
        f"the columns are not recognised{wanted}: {columns}; rename them to query, positive and "
        "negative, or to text1, text2 and label"
    )


class RowReader:
    """Turns rows into records; remembers which keys mean which format."""

    def __init__(
        self,
        *,
        rename: Mapping[str, str] | None = None,
        labels: Mapping[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        """Prepare for the rows of one source.

        Args:
            rename: Column in the file → column of a format.
            labels: What a label in words counts.
            name: Recognise only the format called so.
        """
        self._rename = dict(rename or {})
        self._labels = {key.strip().casefold(): value for key, value in (labels or {}).items()}
        self._name = name
        self._known: dict[tuple[str, ...], Recognised] = {}
        if name is not None:
            _named(name)

    def read(self, row: Any, place: str) -> tuple[PairRecord, Recognised]:  # noqa: ANN401
        """Read one row.

        Raises:
            PairRowError: If the row cannot be used.
        """
        given = {self._rename.get(str(key), str(key)): v for key, v in _as_mapping(row).items()}
        values = {key: value for key, value in given.items() if not _is_missing(value)}
        found = self._recognise(tuple(given))
        missing = found.format.required - values.keys()
        if missing and not (missing == {"negative"} and found.numbered):
            found = self._without_negatives(found.format, missing, tuple(values))
        return self._record(found, values, place), found

    def _recognise(self, keys: tuple[str, ...]) -> Recognised:
        if keys not in self._known:
            self._known[keys] = recognise(keys, name=self._name)
        return self._known[keys]

    def _without_negatives(
        self, wanted: PairFormat, missing: frozenset[str], keys: tuple[str, ...]
    ) -> Recognised:
        """A row may lack its negatives only: without a label it would turn into another shape."""
        needed = sorted(missing - {wanted.negative})
        if needed:
            empty = needed[0] in {wanted.query, wanted.positive}
            raise PairRowError(
                "empty" if empty else "label",
                f"{needed[0]!r} holds {'no text' if empty else 'nothing; give it a number'}",
            )
        return self._recognise(keys)

    def _record(self, found: Recognised, values: Mapping[str, Any], place: str) -> PairRecord:
        columns = found.format
        negatives, negative_places = self._negatives(found, values)
        positives, positive_places = _texts(columns.positive, values[columns.positive])
        fields: dict[str, Any] = {
            "queries": _texts(columns.query, values[columns.query])[0],
            "positives": positives,
            "negatives": negatives,
            "place": place,
        }
        if columns.label:
            fields["label"] = self._label(columns.label, values[columns.label])
        if columns.margin:
            fields |= _margins(columns.margin, values[columns.margin], len(negatives))
        for column, name in columns.extra.items():
            if column in values:
                fields[name] = _extra(column, name, values[column])
        for name, places in (
            ("positive_scores", positive_places),
            ("negative_scores", negative_places),
        ):
            if name in fields and not columns.margin:
                fields[name] = _matching(name, fields[name], places)
        return PairRecord(**fields)

    def _negatives(
        self, found: Recognised, values: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], Sequence[int]]:
        if found.format.negative is None:
            return (), ()
        if found.format.negative == "negative" and found.numbered:
            columns = [c for c in ("negative", *found.numbered) if c in values]
            texts = tuple(text for c in columns for text in _texts(c, values[c])[0])
            return texts, range(len(texts))
        return _texts(found.format.negative, values[found.format.negative], needed=False)

    def _label(self, column: str, value: Any) -> float:  # noqa: ANN401 - checked here
        if isinstance(value, str):
            named = self._labels.get(value.strip().casefold())
            if named is not None:
                return named
        elif isinstance(value, bool):
            return float(value)
        number = _as_number(value)
        if number is None:
            raise PairRowError(
                "label",
                f"{column!r} must be a finite number, got {_shown(value)}; if it is a class, say "
                f"what it counts (--label {value if isinstance(value, str) else 'NAME'}=1)",
            )
        return number


def _as_mapping(row: Any) -> Mapping[str, Any]:  # noqa: ANN401 - whatever JSON holds
    """A row with keys; arrays of two or three values are read by their order.

    Source: the rows of https://huggingface.co/datasets/sentence-transformers/embedding-training-data.
    """
    if isinstance(row, Mapping):
        if set(row) == {"set"} and isinstance(row["set"], list) and len(row["set"]) > 1:
            return {"query": row["set"][0], "positive": row["set"][1:]}
        return row
    if isinstance(row, list) and len(row) >= 2 and all(isinstance(v, str) for v in row[:2]):
        if len(row) == 2:
            return {"query": row[0], "positive": row[1]}
        if all(isinstance(value, str) for value in row):
            return {"query": row[0], "positive": row[1], "negative": row[2:]}
        if len(row) == 3:
            return {"text1": row[0], "text2": row[1], "label": row[2]}
    raise PairRowError("not an object", f"it must be a JSON object with keys, got {_shown(row)}")


def _is_missing(value: Any) -> bool:  # noqa: ANN401 - whatever a file holds
    if value is None or (isinstance(value, str | list | tuple | dict) and not value):
        return True
    return isinstance(value, float) and math.isnan(value)  # how tables spell an empty cell


def _texts(
    column: str,
    value: Any,  # noqa: ANN401 - whatever a file holds
    *,
    needed: bool = True,
) -> tuple[tuple[str, ...], Sequence[int]]:
    """The visible texts under a column, and their places in its list."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        value = _list_in_a_cell(value)
    items = value if isinstance(value, list | tuple) else [value]
    texts = [_text(column, item) for item in items]
    places = [place for place, text in enumerate(texts) if is_visible(text)]
    if needed and not places:
        raise PairRowError("empty", f"{column!r} holds no text")
    return tuple(texts[place] for place in places), places


def _list_in_a_cell(value: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """A list that a CSV cell spells as JSON; any other text that has brackets stays a text."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if found and all(isinstance(item, str) for item in found) else value


def _text(column: str, item: Any) -> str:  # noqa: ANN401 - whatever a file holds
    """A text, or a passage's title, a space and its text."""
    if isinstance(item, Mapping) and isinstance(item.get("text"), str):
        title = item.get("title")
        return f"{title} {item['text']}" if isinstance(title, str) and title else item["text"]
    if not isinstance(item, str):
        raise PairRowError("not text", f"{column!r} must hold text, got {_shown(item)}")
    return item


def _extra(column: str, name: str, value: Any) -> Any:  # noqa: ANN401 - checked here
    if name.endswith("_scores"):
        return _numbers(column, value)
    if not isinstance(value, str):
        raise PairRowError("not text", f"{column!r} must hold text, got {_shown(value)}")
    return value


def _numbers(column: str, value: Any) -> tuple[float, ...]:  # noqa: ANN401 - checked here
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    items = value if isinstance(value, list | tuple) else [value]
    numbers = [_as_number(item) for item in items]
    if None in numbers:
        raise PairRowError("scores", f"{column!r} must hold finite numbers, got {_shown(value)}")
    return tuple(number for number in numbers if number is not None)


def _matching(name: str, scores: tuple[float, ...], places: Sequence[int]) -> tuple[float, ...]:
    """The scores of the texts that are left."""
    if places and len(scores) <= max(places):
        raise PairRowError(
            "scores", f"{name} has {len(scores)} values for {max(places) + 1} texts; give one each"
        )
    return tuple(scores[place] for place in places)


def _margins(column: str, value: Any, negatives: int) -> dict[str, Any]:  # noqa: ANN401
    """A teacher's margins as scores; only differences of scores count."""
    numbers = _numbers(column, value)
    if len(numbers) == negatives + 1:
        return {"positive_scores": numbers[:1], "negative_scores": numbers[1:]}
    if len(numbers) == negatives:
        return {"positive_scores": (0.0,), "negative_scores": tuple(-n for n in numbers)}
    raise PairRowError(
        "scores",
        f"{column!r} has {len(numbers)} values for {negatives} negatives; give the teacher's "
        "margin of each, or the scores of positive and negatives",
    )


def _as_number(value: Any) -> float | None:  # noqa: ANN401 - whatever a file holds
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever a file holds
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
