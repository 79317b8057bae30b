"""The facts of a model, each with where it came from; reads files, loads no model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from encoder.errors import ModelNotFoundError
from encoder.folder_facts import REGISTRY
from encoder.model_folder import ModelDescription, describe_encoder
from encoder.registry import DEFAULT_MODEL, ModelRow, find_row
from encoder.templates import PLACE, ROLES

DEFAULT = "default"
"""The source of a fact that nothing states and that is the usual one."""


@dataclass(frozen=True)
class Fact:
    """One fact of a model."""

    name: str
    value: Any
    source: str
    """A file of the folder, `registry`, `guess`, `default` or `files` (computed from them)."""


@dataclass(frozen=True)
class Shown:
    """All that is known of a model without loading it."""

    model: str
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    """Guesses and disagreements, one sentence each."""


def show(model: str | None = None) -> Shown:
    """The facts of the default, of a folder, or of a hub model, without asking the hub.

    Raises:
        ModelNotFoundError: If the model is neither here nor in the registry.
        ValueError: If its folder is no model that Angler can run.
    """
    row = find_row(model or DEFAULT_MODEL)
    if row is not None and row.not_yet:
        return Shown(
            row.name, tuple(_of_row(row)), (f"Angler does not run it yet: {row.not_yet}.",)
        )
    try:
        found = describe_encoder(model, local_files_only=True)
    except ModelNotFoundError:
        if row is None:
            raise
        note = "The model is not on this machine; these are the registry's facts."
        return Shown(row.name, tuple(_of_row(row)), (note,))
    warnings = (*found.guesses, *found.disagreements)
    return Shown(found.spec.name, tuple(_of_folder(found)), warnings)


def _of_folder(found: ModelDescription) -> Iterator[Fact]:
    spec, row = found.spec, found.row
    if spec.endpoint:
        yield Fact("endpoint", spec.endpoint, "name")
    else:
        yield Fact("folder", str(found.folder), "files")
    if found.base is not None:
        yield Fact("base", str(found.base), "adapter_config.json")
    for name in ("pooling", "max_tokens", "dim"):
        yield Fact(name, getattr(spec, name), found.sources.get(name, DEFAULT))
    for name in sorted({*ROLES, *spec.templates}):
        source = found.sources.get(f"templates.{name}", DEFAULT)
        yield Fact(f"templates.{name}", spec.templates.get(name, PLACE), source)
    for name in ("append_eos", "layer_norm", "clean"):
        value = getattr(spec, name)
        yield Fact(name, value, REGISTRY if value else DEFAULT)
    for name in ("skip_instruction", "both_ways_from"):
        yield Fact(name, getattr(spec, name), found.sources.get(name, DEFAULT))
    yield Fact("normalize", spec.normalize, DEFAULT)
    yield Fact("head", spec.head, "modules.json" if spec.head else DEFAULT)
    if spec.adapter:
        yield Fact("adapter", spec.adapter, "files")
    for name in ("weights", "tokenizer", "config", "fingerprint"):
        yield Fact(name, getattr(spec, name), "files")
    yield from _of_people(row) if row else ()


def _of_row(row: ModelRow) -> Iterator[Fact]:
    for name in ("pooling", "max_tokens", "dim"):
        yield Fact(name, getattr(row, name), REGISTRY)
    for name, template in sorted(row.templates.items()):
        yield Fact(f"templates.{name}", template, REGISTRY)
    for name in ("append_eos", "layer_norm", "skip_instruction", "both_ways_from"):
        yield Fact(name, getattr(row, name), REGISTRY)
    yield Fact("clean", row.family.clean, REGISTRY)
    yield from _of_people(row)


def _of_people(row: ModelRow) -> Iterator[Fact]:
    yield Fact("languages", list(row.languages), REGISTRY)
    names = ("architecture", "padding", "matryoshka", "remote_code", "only_on", "licence", "note")
    for name in names:
        if value := getattr(row, name):
            yield Fact(name, value, REGISTRY)
    yield Fact("checked", row.checked, REGISTRY)
    yield Fact("source", row.source, REGISTRY)
