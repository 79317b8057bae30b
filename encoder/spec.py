"""The identity of an encoder: everything that must agree between indexing and querying."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from encoder.templates import PLACE, check_template

RECORDED_ONLY = ("name",)
"""Fields that describe the encoder to people and change no vector."""

ROLES = ("query", "document")
POOLINGS = ("cls", "mean", "last")


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
    """`cls`, `mean` or `last`."""
    max_tokens: int
    """Most tokens of one text, template and special tokens included."""
    dim: int
    """Length of an embedding."""
    normalize: bool = True
    """Whether embeddings are scaled to unit length."""
    append_eos: bool = False
    """Whether the end-of-sequence token is added where the tokenizer leaves it out."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Template by role (`query`, `document`) or task; a missing one is the bare text."""
    precision: str = "float"
    """`float` for float32, float16 and bfloat16, which agree; `int8` is a precision of its own."""

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"Unknown pooling {self.pooling!r}. Known: {', '.join(POOLINGS)}.")
        if self.max_tokens < 1 or self.dim < 1:
            raise ValueError(
                f"max_tokens and dim must be positive, got {self.max_tokens} and {self.dim}."
            )
        for template in self.templates.values():
            check_template(template)

    def template(self, role: str, task: str | None = None) -> str:
        """The template of a task if one is named, else of the role."""
        if task is None:
            return self.templates.get(role, PLACE)
        if task not in self.templates:
            known = ", ".join(sorted(self.templates)) or "none"
            raise ValueError(f"{self.name} has no task {task!r}. Its tasks: {known}.")
        return self.templates[task]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that changes a vector; equal fingerprints give equal vectors."""
        canonical = json.dumps(self._facts(), sort_keys=True, ensure_ascii=False)
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
        facts = self.as_dict() | {"templates": roles}
        return {name: value for name, value in facts.items() if name not in RECORDED_ONLY}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"templates": dict(sorted(self.templates.items()))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderSpec":
        """The inverse of `as_dict`; an unknown or missing key is a TypeError."""
        return cls(**values)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    is_digest = isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2
    return f"{value[:12]}…" if is_digest else text  # type: ignore[index]
