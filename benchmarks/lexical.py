"""`python -m benchmarks.lexical`: how long words take to find among a million chunks.

The chunks are sentences of the judged sets' documents, English and Chinese, put together anew by
a fixed seed; the queries are the sets' own. ANGLER_DATA names the sets (default ../shared/data).
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.machine import judged_sets, write_result
from data import load_beir
from indexing.lexical import LexicalIndex, LexicalWriter
from indexing.sentences import split_sentences

SETS = {
    "medquad": 900,
    "scifact": 900,
    "squad11_dev": 900,
    "zh_med_dialog": 350,
    "cmrc2018": 350,
    "dureader_checklist": 350,
}
"""Characters of a chunk made of the set's sentences: about 200 tokens."""


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lexical", description=__doc__)
    parser.add_argument("--chunks", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--queries", type=int, default=200, help="of each set (default: 200)")
    parser.add_argument("--write", action="store_true", help="write results/lexical.md")
    arguments = parser.parse_args()
    sets = judged_sets()
    with TemporaryDirectory(prefix="angler-lexical-") as folder:
        place, started = Path(folder), time.perf_counter()
        writer = LexicalWriter(place)
        # The terms of each sentence are taken once, and chunks put together from those: taking them
        # from a million chunks would be most of the time, and is not what is measured.
        chunks = made_chunks(sets, arguments.chunks, lambda text: f"{writer.terms(text)} ")
        writer.add_terms(enumerate(chunks))
        writer.close()
        built_s = time.perf_counter() - started
        size = sum(path.stat().st_size for path in place.iterdir()) / 2**20
        index = LexicalIndex(place)
        times = {name: _times_ms(index, sets / name, arguments.queries) for name in SETS}
    text = _table(times) + (
        f"\n\n{arguments.chunks:,} chunks, indexed in {built_s:.0f} s on one core, {size:.0f} MiB."
    )
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.lexical --write --chunks {arguments.chunks}"
        write_result("lexical.md", "Lexical search at size", command, text)


def made_chunks(
    sets: Path, count: int, form: Callable[[str], str] = lambda text: text
) -> Iterator[str]:
    """Chunks of shuffled sentences, the sets in turn, so that words keep their frequencies.

    Args:
        sets: The folder of the sets.
        count: How many chunks.
        form: What becomes of each sentence; a chunk's length is counted before it.
    """
    draw = random.Random(0)
    pools = {
        name: [(len(sentence), form(sentence)) for sentence in _sentences(sets / name)]
        for name in SETS
    }
    for number in range(count):
        name = list(SETS)[number % len(SETS)]
        length, parts = 0, []
        while length < SETS[name]:
            more, part = draw.choice(pools[name])
            length += more
            parts.append(part)
        yield "".join(parts)
        if number % 50_000 == 0:
            print(f"{number:,} chunks", file=sys.stderr)


def _sentences(folder: Path) -> list[str]:
    texts = (document.text for document in load_beir(folder).corpus.values())
    return [text[start:end] for text in texts for start, end in split_sentences(text)]


def _times_ms(index: LexicalIndex, folder: Path, most: int) -> list[float]:
    """Milliseconds of each query at depth 100, each asked once before."""
    queries = list(load_beir(folder).queries.values())[:most]
    times = []
    for query in queries:
        index.search(query, 100)
        started = time.perf_counter()
        index.search(query, 100)
        times.append((time.perf_counter() - started) * 1000)
    return times


def _table(times: dict[str, list[float]]) -> str:
    lines = ["| queries of | queries | p50 ms | p95 ms | most ms |", "|---" * 5 + "|"]
    together = [ms for row in times.values() for ms in row]
    for name, row in {**times, "all": together}.items():
        middle, high = np.percentile(row, (50, 95))
        lines.append(f"| {name} | {len(row)} | {middle:.1f} | {high:.1f} | {max(row):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
