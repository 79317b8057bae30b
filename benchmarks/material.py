"""What benchmarks of building are made of: real sentences in any number, and a stand-in encoder."""

import hashlib
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from encoder import EncoderSpec

if TYPE_CHECKING:
    from encoder import Encoder

HANDBOOK = Path(__file__).parent.parent / "docs"
_TOKEN = re.compile(r"\w+|[^\w\s]")
_CHUNK_WORDS = 110
_PER_FOLDER = 1000
_OLD = 1_000_000_000


@cache
def sentences() -> list[str]:
    """The sentences of the English handbook."""
    text = " ".join(path.read_text("utf-8") for path in sorted((HANDBOOK / "en").glob("*.md")))
    return [one for one in re.split(r"(?<=[.!?])\s+", text) if 5 <= len(one.split()) <= 40]


def write_documents(folder: Path, count: int, *, chunks_each: int) -> None:
    """Write Markdown files of real sentences in random order, each about so many chunks long."""
    chance = random.Random(5)
    for number in range(count):
        path = folder / f"{number // _PER_FOLDER:04}" / f"{number:07}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [f"# Page {number}"]
        parts += [f"## Part {part}\n\n{_paragraph(chance)}" for part in range(chunks_each)]
        path.write_text("\n\n".join(parts) + "\n", "utf-8")
        os.utime(path, (_OLD, _OLD))


def _paragraph(chance: random.Random) -> str:
    words, chosen = 0, []
    while words < _CHUNK_WORDS:
        chosen.append(chance.choice(sentences()))
        words += len(chosen[-1].split())
    return " ".join(chosen)


class StandIn:
    """Counts words as tokens, and gives each text a random direction of its own, in no time."""

    languages = ("en", "zh")
    device = "cpu"
    weighs_words = False
    counts_by_words = False

    def __init__(self, spec: EncoderSpec | None = None) -> None:
        """Pass for the encoder with this spec, or for one that there is not."""
        self.spec = spec or EncoderSpec(
            name="stand-in",
            weights="w" * 64,
            config="c" * 64,
            tokenizer="t" * 64,
            pooling="mean",
            max_tokens=256,
            dim=384,
        )
        self.dim = self.spec.dim
        self.seconds = 0.0
        """Spent in encoding so far."""

    def typed(self) -> "Encoder":
        """Itself, where an encoder is wanted."""
        return cast("Encoder", self)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Words and signs."""
        return [match.span() for match in _TOKEN.finditer(text)]

    def count_tokens(self, texts: Sequence[str], **_: object) -> list[int]:
        """Words and signs, and two more."""
        return [len(_TOKEN.findall(text)) + 2 for text in texts]

    def unknown_share(self, _: str) -> float:
        """It knows all words."""
        return 0.0

    def encode_documents(self, texts: Sequence[str], **_: object) -> NDArray[np.float32]:
        """A random direction for each text, the same each time."""
        started = time.perf_counter()
        rows = np.stack(list(self._rows(texts)))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.seconds += time.perf_counter() - started
        return rows

    encode_queries = encode_documents

    def _rows(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
            yield np.random.default_rng(seed).standard_normal(self.dim, dtype=np.float32)
