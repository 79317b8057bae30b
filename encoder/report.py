"""What happened to the texts of a call: how many were cut, equal, or encoded again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

NAMED = 10
"""How many positions are kept of each kind; all of them are counted."""


@dataclass
class Positions:
    """Counts positions in the caller's texts, and remembers the first few."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    """At most `NAMED` of them, ascending."""

    def add(self, positions: Iterable[int]) -> None:
        """Count more positions, in any order."""
        found = list(positions)
        self.count += len(found)
        self.first = sorted([*self.first, *found])[:NAMED]

    def merge(self, other: "Positions") -> None:
        """Count another call's positions too."""
        self.count += other.count
        self.first = sorted([*self.first, *other.first])[:NAMED]

    def named(self, name: Callable[[int], str]) -> str:
        """The first few by their names, and a sign if there are more."""
        named = ", ".join(map(name, self.first))
        return named + (", …" if self.count > len(self.first) else "")

    def __str__(self) -> str:
        return self.named("texts[{}]".format)


@dataclass
class EncodeReport:
    """Give an empty one to a call to have it filled; several calls with one add up."""

    texts: int = 0
    tokens: int = 0
    """What the model read: equal texts of a call once, instructions and marks included."""
    duplicates: int = 0
    """Texts that equal an earlier one and were not encoded again."""
    resumed: int = 0
    """Texts before these that an earlier call had encoded; they are not among `texts`."""
    truncated: Positions = field(default_factory=Positions)
    """Texts that were longer than the encoder reads."""
    retried: Positions = field(default_factory=Positions)
    """Texts whose values were not finite and were encoded again in float32."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "texts": self.texts + self.resumed,
            "resumed": self.resumed,
            "tokens": self.tokens,
            "duplicates": self.duplicates,
            "truncated": {"texts": self.truncated.count, "first": self.truncated.first},
            "retried": {"texts": self.retried.count, "first": self.retried.first},
        }
