"""What is known of published rerankers: one row of `rerankers.toml` each, with its source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CROSS_ENCODER = "cross-encoder"
"""The kind of a reranker that is no language model."""


@dataclass(frozen=True, kw_only=True)
class RerankerRow:
    """The facts of one published reranker."""

    name: str
    kind: str
    """`CROSS_ENCODER`, or how a language model is asked: a key of `encoder.pairs.TEMPLATES`."""
    architecture: str
    """The `model_type` of its config.json."""
    max_tokens: int
    """Most tokens of a pair."""
    languages: tuple[str, ...]
    source: str
    """Where the facts come from: the model card."""
    checked: str
    """How they were checked here: `formula` or `card`; see the head of rerankers.toml."""
    remote_code: bool = False
    """Whether it does not load without the code that comes with it."""
    not_yet: str = ""
    """Why Angler does not run it yet; empty where it does."""
    licence: str = ""


@cache
def _rows() -> Mapping[str, RerankerRow]:
    table = tomllib.loads(files("encoder").joinpath("rerankers.toml").read_text("utf-8"))
    return {
        name: RerankerRow(name=name, **(facts | {"languages": tuple(facts["languages"])}))
        for name, facts in table.items()
    }


def known_rerankers() -> list[str]:
    """Names of the rerankers that Angler has facts about, in order."""
    return sorted(_rows())


def find_reranker(name: str) -> RerankerRow | None:
    """The row of a hub id, or of a folder called like the model."""
    short = {full.rpartition("/")[2]: row for full, row in _rows().items()}
    return _rows().get(name) or short.get(name)
