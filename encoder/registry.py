"""What is known of published encoders: one row of `models.toml` each, with its source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from encoder.templates import ROLES

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
CHECKS = ("weights", "formula", "card")
"""How a row can have been checked here; see the head of models.toml."""


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """The words that a family of models wants around a text."""

    templates: Mapping[str, str]
    """Template by role, by task, or by `task/role`."""
    clean: str = ""
    """How a text is prepared before it is put into a template; see `encoder.templates`."""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """The facts of one published encoder."""

    name: str
    architecture: str
    """The `model_type` of its config.json."""
    pooling: str
    max_tokens: int
    dim: int
    languages: tuple[str, ...]
    source: str
    """Where the facts come from: the model card."""
    checked: str
    """How they were checked here, one of `CHECKS`."""
    instructions: str = ""
    """A family of `known_instructions`; none where the model wants the bare text."""
    append_eos: bool = False
    padding: str = ""
    """The side that the authors advise, where it is not the right; the mask decides here."""
    layer_norm: bool = False
    """Whether the pooled vector is layer-normalised before a Matryoshka cut."""
    skip_instruction: bool = False
    """Whether the pooling leaves out the tokens before the text."""
    both_ways_from: int = -1
    """A decoder's first layer that reads both ways, as `EncoderSpec` counts; -1 for none."""
    matryoshka: bool = False
    """Whether it was trained so that `dim=` may cut its embeddings."""
    remote_code: bool = False
    """Whether it is wrong, or does not load, without the code that comes with it."""
    not_yet: str = ""
    """Why Angler does not run it yet; empty where it does."""
    only_on: str = ""
    """The hub that has it, where that is not Hugging Face's."""
    licence: str = ""
    """As the card names it, where known."""
    aliases: tuple[str, ...] = ()
    """Names of the same model on other hubs."""
    note: str = ""
    family: Instructions = field(default=Instructions(templates={}), compare=False)

    @property
    def templates(self) -> dict[str, str]:
        """Template by role or task, as `EncoderSpec.templates` wants them."""
        return dict(self.family.templates)


@cache
def known_instructions() -> Mapping[str, Instructions]:
    """Every family of instructions by name, such as `bge-zh`, `angle-a` or `prompteol`."""
    table = _table("instructions.toml")
    return {name: _family(facts, table["sentences"]) for name, facts in table["families"].items()}


def _family(facts: Mapping[str, Any], sentences: Mapping[str, str]) -> Instructions:
    templates = {role: facts[role] for role in ROLES if role in facts}
    for task, sentence in sentences.items() if "frame" in facts else ():
        # Texts of one kind are compared alike; documents to be found stay as they are.
        key = task if task.startswith("sts") else f"{task}/query"
        templates[key] = facts["frame"].replace("{task}", sentence)
        if key != task and "document" in facts:
            templates[f"{task}/document"] = facts["document"]
    for task, template in facts.get("tasks", {}).items():
        by_role = (
            {task: template}
            if isinstance(template, str)
            else {f"{task}/{role}": text for role, text in template.items()}
        )
        templates |= by_role
    return Instructions(templates=templates, clean=facts.get("clean", ""), source=facts["source"])


@cache
def _rows() -> Mapping[str, ModelRow]:
    return {name: _row(name, facts) for name, facts in _table("models.toml").items()}


def _row(name: str, facts: dict[str, Any]) -> ModelRow:
    lists: dict[str, Any] = {key: tuple(facts.get(key, ())) for key in ("languages", "aliases")}
    family = facts.get("instructions")
    known = {"family": known_instructions()[family]} if family else {}
    return ModelRow(name=name, **(facts | lists | known))


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files("encoder").joinpath(name).read_text("utf-8"))


@cache
def _names() -> Mapping[str, ModelRow]:
    """Rows by full name, alias, and either without its owner."""
    full = {name: row for row in _rows().values() for name in (row.name, *row.aliases)}
    return {name.rpartition("/")[2]: row for name, row in full.items()} | full


def known_models() -> list[str]:
    """Names of the encoders that Angler has facts about, in order."""
    return sorted(_rows())


def find_row(name: str) -> ModelRow | None:
    """The row of a hub id, of its alias on another hub, or of a folder called like the model."""
    return _names().get(name.removeprefix("modelscope:"))
