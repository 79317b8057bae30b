"""What scores of an index mean: from evidence to a probability, and when to say nothing was found.

One file, `calibration.json`, stands in a generation; each part of it has its own section, and
sections that a reader does not know are kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.evidence import READ, answer_probability
from indexing.hits import Mode

NAME = "calibration.json"
SECTION = "relevance"
FALSE_ANSWER_RATE = 0.15
"""Share of the questions without an answer that are answered all the same, unless chosen: about
where false answers and wrong refusals together are fewest on the sets that chose the weights of
`evidence`."""
SHOWN_TO_JUDGE = READ
"""Hits that decide whether there is an answer."""
FEATURES = {
    Mode.DENSE: ("cosine",),
    Mode.LEXICAL: ("share",),
    Mode.HYBRID: ("trusted_cosine", "share", "trust"),
}
"""What a hit is judged by. `share`: its BM25 as a share of what no text can exceed; `trust`: how
much of the query the encoder can read, 0 to 1; `trusted_cosine`: the product of both."""
RERANKED = "reranked"
"""What stands for a mode where a reranker ordered the hits: they are judged by what it said."""
_RIDGE = 1e-2
"""Keeps the weights finite where right and wrong hits are parted without an overlap."""
_LEVELS = np.concatenate([np.linspace(0.0, 0.98, 50), [0.99, 0.995, 0.999, 1.0]])
_MOST_BEST = 1000


@dataclass(frozen=True, kw_only=True)
class ModeCalibration:
    """What the scores of one mode mean."""

    weights: tuple[float, ...]
    """Intercept, then one weight for each feature: log odds of being a right hit."""
    unrelated: tuple[float, ...]
    """Log odds of random texts at the levels 0, 0.02, … 0.98, 0.99, 0.995, 0.999, 1."""
    unanswerable: tuple[float, ...]
    """How likely an answer seemed for each question whose document was left out, ascending: by
    `answer_probability`, or where a reranker ordered the hits, by the relevance of the best."""

    def relevance(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability that a hit is right, for features of shape (n, features)."""
        return np.asarray(1.0 / (1.0 + np.exp(-self._log_odds(features))))

    def better_than(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of unrelated text that scores lower, 0 to 1."""
        return np.asarray(np.interp(self._log_odds(features), _rising(self.unrelated), _LEVELS))

    def threshold(self, false_answer_rate: float) -> float:
        """What a question must exceed to be answered.

        Of questions without an answer, at most this share is above it, if they are like those of
        the calibration: the conformal quantile.

        Raises:
            ValueError: If the rate is not between 0 and 1.

        Source: Angelopoulos & Bates 2021, section 1 (https://arxiv.org/abs/2107.07511).
        """
        if not 0.0 < false_answer_rate < 1.0:
            raise ValueError(
                f"false_answer_rate must be between 0 and 1, without both, got {false_answer_rate}."
            )
        count = len(self.unanswerable)
        place = int(np.ceil((count + 1) * (1.0 - false_answer_rate) - 1e-9)) - 1
        return self.unanswerable[place] if place < count else 1.0

    def _log_odds(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.array(self.weights)
        return np.asarray(weights[0] + features @ weights[1:])


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the scores of an index mean."""

    source: str
    """`golden` questions, or `synthetic` ones made from the chunks."""
    questions: int
    chunks: int
    """How many chunks the index held then."""
    modes: Mapping[str, ModeCalibration]
    """By mode, and `RERANKED` for what `reranker` says."""
    unrelated_cosine: float | None = None
    """The mean cosine of texts that have nothing to do with each other; None in calibrations of
    earlier versions, whose thresholds are for the relevance of the best hit."""
    reranker: str | None = None
    """The reranker whose scores have a meaning here too."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Calibration":
        """The opposite of `as_dict`."""
        modes = {
            mode: ModeCalibration(**{key: tuple(values) for key, values in facts.items()})
            for mode, facts in body["modes"].items()
        }
        return cls(**{**body, "modes": modes})


@dataclass(frozen=True)
class Evidence:
    """What was seen of one question in one mode; all that a calibration is made from."""

    features: NDArray[np.float64]
    """Of its hits, shape (hits, features)."""
    is_right: NDArray[np.bool_]
    """Which of the hits are right ones."""
    unrelated: NDArray[np.float64]
    """Features of random texts."""
    without: NDArray[np.float64]
    """Features of the first hits when the documents that answer are left out."""
    found: NDArray[np.float64] | None = None
    """What speaks for an answer, shape (evidence,); None where the best hit decides."""
    missed: NDArray[np.float64] | None = None
    """The same without the documents that answer."""


def fit(evidence: Sequence[Evidence], unrelated_cosine: float = 0.0) -> ModeCalibration:
    """Calibrate one mode. Where all hits are right ones, random texts stand for wrong ones.

    Args:
        evidence: What was seen of each question.
        unrelated_cosine: The mean cosine of texts that have nothing to do with each other.

    Raises:
        ValueError: If no question has a right hit, or there is nothing else in the index.
    """
    features = np.concatenate([item.features for item in evidence])
    labels = np.concatenate([item.is_right for item in evidence])
    if not labels.any():
        raise ValueError("No question found a right hit, so there is nothing to learn from.")
    if labels.all():
        strangers = [item.unrelated for item in evidence]
        features = np.concatenate([features, *strangers])
        labels = np.concatenate([labels, np.zeros(len(features) - len(labels), bool)])
    if labels.all():
        raise ValueError("There is no text beside the right hits, so nothing to learn from.")
    weights = _logistic(features, labels)
    raw = ModeCalibration(weights=weights, unrelated=(), unanswerable=())
    unrelated = raw._log_odds(np.concatenate([item.unrelated for item in evidence]))
    best = np.sort([_seeming(raw, item, unrelated_cosine) for item in evidence])
    if len(best) > _MOST_BEST:
        best = np.quantile(best, np.linspace(0, 1, _MOST_BEST), method="higher")
    return ModeCalibration(
        weights=weights,
        unrelated=_plain(np.quantile(unrelated, _LEVELS)),
        unanswerable=tuple(best.tolist()),
    )


def _seeming(mode: ModeCalibration, item: Evidence, unrelated_cosine: float) -> float:
    """How likely an answer seems without the documents that answer."""
    if item.missed is None:
        return float(mode.relevance(item.without).max(initial=0.0))
    return float(answer_probability(item.missed[None], unrelated_cosine)[0])


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def _rising(values: Sequence[float]) -> NDArray[np.float64]:
    """Strictly rising, so that a score above all equal ones counts as better than them."""
    return np.array([value + 1e-9 * place for place, value in enumerate(values)])


def _logistic(features: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, ...]:
    """Weights of a logistic regression with a small ridge, by Newton's method."""
    rows = np.column_stack([np.ones(len(features)), features])
    ridge = np.diag([0.0, *[_RIDGE] * features.shape[1]]) + np.eye(rows.shape[1]) * 1e-6
    weights = np.zeros(rows.shape[1])
    for _ in range(100):
        odds = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (odds - labels) + ridge @ weights
        bend = (rows * (odds * (1 - odds))[:, None]).T @ rows + ridge
        step = np.linalg.solve(bend, slope)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return _plain(weights)


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration in a generation's folder, if it has one."""
    body = read_sections(folder).get(SECTION)
    return None if body is None else Calibration.from_dict(body)


def read_sections(folder: Path) -> dict[str, Any]:
    """Every section of a generation's `calibration.json`; none if there is no such file."""
    path = folder / NAME
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def write_section(folder: Path, name: str, body: Mapping[str, Any]) -> None:
    """Put a section into the `calibration.json` of a folder that is not published yet."""
    sections = read_sections(folder) | {name: body}
    # Beside it first: the file may be a hard link into a published generation.
    new = folder / f"{NAME}.new"
    new.write_text(json.dumps(sections, ensure_ascii=False), "utf-8")
    new.replace(folder / NAME)
