"""`python -m benchmarks.calibration_texts`: the handbook's passages that int8 is calibrated with.

They are written to encoder/calibration.jsonl, of all lengths and in both languages. A new file is
another precision: `PRECISION` in encoder/backends/int8.py goes up with it.
"""

import json
import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
TEXTS = ROOT / "encoder" / "calibration.jsonl"
COUNT = 300
SHORTEST = 40
"""Characters of the shortest passage: below it stand headings and lines of tables."""
JOINED = 4
"""Paragraphs that make a long passage."""


def main() -> None:
    """Write the passages, the same ones for the same handbook."""
    passages: list[str] = []
    for page in sorted((ROOT / "docs").glob("??/*.md")):
        blocks = re.split(r"\n\s*\n", page.read_text("utf-8"))
        paragraphs = [block.strip() for block in blocks if len(block.strip()) > SHORTEST]
        starts = range(0, len(paragraphs), JOINED)
        passages += paragraphs
        passages += ["\n\n".join(paragraphs[start : start + JOINED]) for start in starts]
    chosen = np.random.default_rng(7).permutation(len(passages))[:COUNT]
    lines = [json.dumps(passages[i], ensure_ascii=False) for i in sorted(chosen)]
    TEXTS.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(lines)} of {len(passages)} passages: {TEXTS}")


if __name__ == "__main__":
    main()
