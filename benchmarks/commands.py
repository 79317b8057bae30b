"""`python -m benchmarks.commands`: how long the commands take, from the shell and back."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import describe_machine

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "commands.md"


def main() -> None:
    """Time each command in turn, several rounds, so that noise meets all alike."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        index = str(Path(folder) / "kb")
        build = ["indexing.build", "docs/en", "docs/zh", "--index", index]
        first = _seconds(build)
        query = ["indexing.search", "how are documents split", "--index", index]
        commands = {
            "indexing.build --help": ["indexing.build", "--help"],
            "indexing.search --help": ["indexing.search", "--help"],
            "indexing.build, nothing changed": build,
            "indexing.search --mode lexical": [*query, "--mode", "lexical"],
            "indexing.search --mode hybrid": query,
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                taken[name].append(_seconds(command))
    text = _table(first, taken)
    print(text)
    if arguments.write:
        head = "\n".join(f"- {name}: {value}" for name, value in describe_machine().items())
        RESULT.write_text(
            f"# Start-up of the commands\n\n`python -m benchmarks.commands --write`, over the "
            f"handbook\n\n{head}\n\n{text}\n",
            "utf-8",
        )


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


def _table(first: float, taken: dict[str, list[float]]) -> str:
    lines = ["| command | median s | least | most |", "|---|---|---|---|"]
    lines.append(f"| indexing.build, first time (once) | {first:.2f} | | |")
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        lines.append(f"| {name} | {middle:.2f} | {min(seconds):.2f} | {max(seconds):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
