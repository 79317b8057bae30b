"""A part of a build: which documents a shard takes, and where they stand in the whole."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from indexing.errors import UsageError

if TYPE_CHECKING:
    from indexing.config import BuildConfig
    from indexing.sources import Scan

NAME = "shard.json"
"""In a shard's folder, beside its generations: written by every run, needed by a merge alone."""
_MOST = 100_000
_WRITTEN = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
OF_THE_MERGE = (
    "store",
    "index_type",
    "recall",
    "uri",
    "consistency",
    "store_class",
    "store_config",
)
"""Choices that concern all shards together."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several parts of a build; written `1/3`."""

    number: int
    """From 1 on."""
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `i/n`.

        Raises:
            UsageError: If it is no such thing.
        """
        found = _WRITTEN.fullmatch(text)
        number, of = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= of <= _MOST:
            raise UsageError(
                f"--shard must be i/n with i from 1 to n, such as 1/3, and n at most {_MOST:,}; "
                f"got {text!r}."
            )
        return cls(number=number, of=of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, document: str) -> bool:
        """Whether the document with this id is of this shard; the same on every machine."""
        digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.of == self.number - 1


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """What a merge must know of a shard beside its documents."""

    sources: list[str] = field(default_factory=list)
    """The names of the sources that it was built from, sorted."""
    places: Mapping[str, int] = field(default_factory=dict)
    """Where each document and duplicate stands among those of all shards."""
    documents: int = 0
    """How many documents the sources of the last run held, for all shards together."""

    def write(self, folder: Path) -> None:
        """Write them into the shard's folder, whole or not at all."""
        unfinished = folder / f"{NAME}.new"
        unfinished.write_text(json.dumps(asdict(self), ensure_ascii=False), "utf-8")
        unfinished.replace(folder / NAME)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Those of a shard; none where they were lost, which changes the order of ids only."""
        try:
            return cls(**json.loads((folder / NAME).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def updated(
        self,
        sources: Sequence[str],
        places: Mapping[str, int],
        kept: Collection[str],
        documents: int,
    ) -> Self:
        """Those after a run.

        Args:
            sources: The names of the run's sources.
            places: Of the documents that the run saw.
            kept: The documents and duplicates that the shard holds now.
            documents: How many the run's sources hold, for all shards together.
        """
        together = {**self.places, **places}
        return replace(
            self,
            sources=sorted({*self.sources, *sources}),
            places={id_: together[id_] for id_ in sorted(kept) if id_ in together},
            documents=documents,
        )


def part_of(scan: "Scan", shard: Shard) -> tuple["Scan", dict[str, int]]:
    """What a shard has to do with of all that the sources hold.

    Returns:
        Its documents and failures, and the place of each document among all.
    """
    places = {item.id: place for place, item in enumerate(scan.items) if shard.holds(item.id)}
    return replace(
        scan,
        items=[item for item in scan.items if item.id in places],
        failures=[failure for failure in scan.failures if shard.holds(failure.source)],
    ), places


def check_shard_choices(config: "BuildConfig") -> None:
    """Raise UsageError if the build of a shard is told what only the merge decides."""
    for name in OF_THE_MERGE:
        if getattr(config, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} is for python -m indexing.merge, which makes one index of all shards; "
                "leave it out of the build of a shard."
            )


def check_same_shard(index: Path, built: str, wanted: str | None) -> None:
    """Raise UsageError unless a build of an existing index is for the shard that it is.

    Args:
        index: The index's folder, for the message.
        built: The shard that the index is, as `1/3`; empty if it is none.
        wanted: What the caller chose.
    """
    if (wanted or "") == built:
        return
    if not built:
        raise UsageError(
            f"{index} holds an index of its own, not shard {wanted} of one. Give each shard a "
            "folder of its own."
        )
    raise UsageError(
        f"{index} holds shard {built}, got {f'--shard {wanted}' if wanted else 'no --shard'}. "
        f"Give --shard {built}, or another folder."
    )
