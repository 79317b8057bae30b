"""`python -m benchmarks.reproduce`: run the command of each figure in reproduce.toml and check it.

Exit 1 if a figure is not within its tolerance. ANGLER_DATA names the sets.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import judged_sets, write_result

ROOT = Path(__file__).parent.parent
FIGURES = Path(__file__).parent / "reproduce.toml"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that somebody published, or that we did."""

    name: str
    command: str
    """A module and its arguments; `{data}` is the folder of the judged sets."""
    metric: str
    """Its name in the command's JSON."""
    expected: float
    tolerance: float
    source: str


def main() -> None:
    """Run, check, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduce", description=__doc__)
    parser.add_argument("--only", default="", help="figures with these words in their name")
    parser.add_argument("--write", action="store_true", help="write results/reproduce.md")
    arguments = parser.parse_args()
    figures = [figure for figure in read_figures(FIGURES) if arguments.only in figure.name]
    if not figures:
        parser.error(f"no figure of {FIGURES.name} has {arguments.only!r} in its name")
    lines = ["| figure | metric | expected | measured | | source |", "|---" * 6 + "|"]
    print("\n".join(lines), flush=True)
    failed = 0
    for figure in figures:
        measured = _measure(figure, judged_sets())
        is_right = abs(measured - figure.expected) <= figure.tolerance
        failed += not is_right
        lines.append(
            f"| {figure.name} | {figure.metric} | {figure.expected:.4f} ± {figure.tolerance:g} "
            f"| {measured:.4f} | {'yes' if is_right else 'NO'} | {figure.source} |"
        )
        print(lines[-1], flush=True)
    if arguments.write:
        command = "python -m benchmarks.reproduce --write"
        write_result("reproduce.md", "Published figures", command, "\n".join(lines))
    if failed:
        sys.exit(f"{failed} of {len(figures)} figures are not within their tolerance.")


def read_figures(path: Path) -> list[Figure]:
    """The figures of a file.

    Raises:
        TypeError: If one lacks a key or has an unknown one.
    """
    rows = tomllib.loads(path.read_text("utf-8"))["figure"]
    return [Figure(**row) for row in rows]


def _measure(figure: Figure, data: Path) -> float:
    words = [word.replace("{data}", str(data)) for word in shlex.split(figure.command)]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)[figure.metric])


if __name__ == "__main__":
    main()
