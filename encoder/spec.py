"""The identity of an encoder: everything that must agree between indexing and querying."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from encoder.templates import CLEANERS, PLACE, ROLES, check_template

RECORDED_ONLY = ("name",)
"""Fields that describe the encoder to people and change no vector."""

POOLINGS = (
    "cls",
    "mean",
    "last",
    "max",
    "cls_avg",
    "cls_max",
    "mean_sqrt_len",
    "weighted_mean",
    "first_last_avg",
    "embedding_last_mean",
    "avg_top2",
    "input_last_mean",
)
REMOTE = "remote"
"""The pooling of a model behind a web service, which pools as it likes."""
LATER_FIELDS = {
    "layer": -1,
    "head": "",
    "layer_norm": False,
    "clean": "",
    "skip_instruction": False,
    "both_ways_from": -1,
    "adapter": "",
    "endpoint": "",
}
"""Fields that came after the first version; at their default they are left out of the identity, so
that an index built before keeps its fingerprint."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """What makes two encoders give the same vectors."""

    name: str
    """As the user called it."""
    weights: str
    """SHA-256 of the weights."""
    config: str
    """SHA-256 of what the architecture's configuration says."""
    tokenizer: str
    """SHA-256 of the tokenizer."""
    pooling: str
    """One of `POOLINGS`, or several joined by `+`, whose vectors stand one behind the other."""
    max_tokens: int
    """Most tokens of one text, template and special tokens included."""
    dim: int
    """Length of an embedding."""
    normalize: bool = True
    """Whether embeddings are scaled to unit length."""
    append_eos: bool = False
    """Whether the end-of-sequence token is added where the tokenizer leaves it out."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Template by role (`query`, `document`), task or `task/role`; without one, the bare text."""
    precision: str = "float"
    """`float` for float32, float16 and bfloat16, which agree; the others are their own: `int8` and
    `int4` have weights of so many bits, `int8-static` also activations, by scales fixed once."""
    layer: int = -1
    """Which layer's output is pooled: 0 is what goes into the first layer, -1 the last one."""
    head: str = ""
    """SHA-256 of the layers behind the pooling; empty where there are none."""
    layer_norm: bool = False
    """Whether the pooled vector is layer-normalised before it is cut to `dim`."""
    clean: str = ""
    """How a text is prepared before it is put into its template, one of `CLEANERS`."""
    skip_instruction: bool = False
    """Whether the pooling leaves out the tokens before the text."""
    both_ways_from: int = -1
    """A decoder's first layer whose tokens also read what comes behind them: 0 for all layers, -1
    for none."""
    adapter: str = ""
    """SHA-256 of the LoRA adapter over the weights; empty where there is none."""
    endpoint: str = ""
    """Address of the service that runs the model; empty for a model that runs here."""

    def __post_init__(self) -> None:
        for pooling in split_poolings(self.pooling) if not self.endpoint else ():
            if pooling not in POOLINGS:
                raise ValueError(f"Unknown pooling {pooling!r}. Known: {', '.join(POOLINGS)}.")
        if self.max_tokens < 1 or self.dim < 1:
            raise ValueError(
                f"max_tokens and dim must be positive, got {self.max_tokens} and {self.dim}."
            )
        if self.both_ways_from < -1:
            raise ValueError(f"both_ways_from must be -1 or a layer, got {self.both_ways_from}.")
        if self.clean not in CLEANERS:
            known = ", ".join(repr(name) for name in CLEANERS)
            raise ValueError(f"Unknown way to clean a text {self.clean!r}. Known: {known}.")
        for template in self.templates.values():
            check_template(template)

    def template(self, role: str, task: str | None = None) -> str:
        """The template of a task if one is named, else of the role (`query` or `document`)."""
        if role not in ROLES:
            raise ValueError(f"Unknown role {role!r}. Known: {', '.join(ROLES)}.")
        if task is None:
            return self.templates.get(role, PLACE)
        if task not in self.tasks:
            known = ", ".join(self.tasks) or "none"
            raise ValueError(f"{self.name} has no task {task!r}. Its tasks: {known}.")
        return self.templates.get(f"{task}/{role}", self.templates.get(task, PLACE))

    @property
    def dtype(self) -> str:
        """What `load_encoder` is to be asked for to get these vectors again."""
        return {"float": "auto", "int8-static": "int8"}.get(self.precision, self.precision)

    @property
    def tasks(self) -> list[str]:
        """What `task` may be, in order."""
        return sorted({name.partition("/")[0] for name in self.templates})

    @cached_property  # every search asks for it
    def fingerprint(self) -> str:
        """SHA-256 over all that changes a vector; equal fingerprints give equal vectors."""
        facts = _without_later_defaults(self._facts())
        canonical = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: "EncoderSpec") -> list[str]:
        """What keeps two encoders' vectors apart, one phrase each; empty if nothing does."""
        theirs = other._facts()
        return [
            f"{name} {_short(mine)} instead of {_short(theirs[name])}"
            for name, mine in self._facts().items()
            if mine != theirs[name]
        ]

    def _facts(self) -> dict[str, Any]:
        """What changes a vector of an index; a named task serves other ends and may be added."""
        roles = {role: text for role, text in self.templates.items() if role in ROLES}
        facts = asdict(self) | {"templates": roles}
        return {name: value for name, value in facts.items() if name not in RECORDED_ONLY}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        templates = dict(sorted(self.templates.items()))
        return _without_later_defaults(asdict(self) | {"templates": templates})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderSpec":
        """The inverse of `as_dict`; an unknown or missing key is a TypeError."""
        return cls(**values)


def split_poolings(pooling: str) -> list[str]:
    """The parts of joined poolings, in the order in which their vectors stand."""
    return pooling.split("+")


def _without_later_defaults(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in facts.items()
        if name not in LATER_FIELDS or value != LATER_FIELDS[name]
    }


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    is_digest = isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2
    return f"{value[:12]}…" if is_digest else text  # type: ignore[index]
