"""What is known of published encoders: one row of `models.toml` each, with its source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """The facts of one published encoder."""

    name: str
    pooling: str
    max_tokens: int
    languages: tuple[str, ...]
    source: str
    """Where the facts come from: the model card."""
    query: str | None = None
    document: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    append_eos: bool = False
    layer_norm: bool = False
    """Whether the pooled vector is layer-normalised before a Matryoshka cut."""
    aliases: tuple[str, ...] = ()
    """Names of the same model on other hubs."""

    @property
    def templates(self) -> dict[str, str]:
        """Template by role or task, as `EncoderSpec.templates` wants them."""
        roles = {"query": self.query, "document": self.document}
        return {role: text for role, text in roles.items() if text} | dict(self.tasks)


@cache
def _rows() -> Mapping[str, ModelRow]:
    table = tomllib.loads(files("encoder").joinpath("models.toml").read_text("utf-8"))
    return {name: _row(name, facts) for name, facts in table.items()}


def _row(name: str, facts: dict[str, Any]) -> ModelRow:
    lists: dict[str, Any] = {key: tuple(facts.get(key, ())) for key in ("languages", "aliases")}
    return ModelRow(name=name, **(facts | lists))


def known_models() -> list[str]:
    """Names of the encoders that Angler has facts about, in order."""
    return sorted(_rows())


def find_row(name: str) -> ModelRow | None:
    """The row of a hub id, of its alias on another hub, or of a folder called like the model."""
    for row in _rows().values():
        names = (row.name, *row.aliases)
        if name in names or name in {known.rpartition("/")[2] for known in names}:
            return row
    return None
