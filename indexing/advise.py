"""`python -m indexing.advise`: which index type fits an index on this machine, measured."""

from pathlib import Path
from typing import TYPE_CHECKING

from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import UsageError

if TYPE_CHECKING:
    from indexing.advising import Advice


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.advise",
        description="Build every index type over the index's embeddings, aside, and print memory, "
        "build time, latency and measured recall of each, with a recommendation. The index is "
        "only read.",
    )
    option = parser.add_argument
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option(
        "--types",
        metavar="T",
        nargs="+",
        help="only these, as --index-type of indexing.build (flat is always measured)",
    )
    option(
        "--recall",
        metavar="R",
        type=float,
        help="share of the ten nearest to find (default: what the index asks, 0.95)",
    )
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, measure, print."""
    arguments = _parser().parse_args()
    run(
        lambda: _advise(
            Path(arguments.index), arguments.types, arguments.recall, as_json=arguments.json
        )
    )


def _advise(index: Path, types: list[str] | None, recall: float | None, *, as_json: bool) -> None:
    from indexing.advising import advise

    if recall is not None and not 0 < recall < 1:
        raise UsageError(f"--recall must lie between 0 and 1, got {recall}.")
    found = advise(index, types=types, recall=recall, progress=ProgressBar("types"))
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Advice") -> None:
    print(
        f"{found.index}: {found.chunks:,} chunks of {found.dim} dimensions, index type {found.now}."
    )
    print(
        f"{'type':>12}  {'memory MiB':>10}  {'build s':>8}  {'p50 ms':>8}  {'p95 ms':>8}  "
        f"{'per s':>8}  {'batched':>8}  {'recall':>7}  setting"
    )
    for one in found.types:
        setting = ", ".join(f"{name} {value}" for name, value in one.setting.items())
        print(
            f"{one.index_type:>12}  {one.memory_mib:>10.1f}  {one.build_s:>8.1f}  "
            f"{one.p50_ms:>8.2f}  {one.p95_ms:>8.2f}  {one.queries_per_s:>8.0f}  "
            f"{one.batched_per_s:>8.0f}  {one.recall:>7.3f}  {setting}"
        )
    for name, reason in found.left_out.items():
        print(f"{name:>12}  {reason}")
    print(found.recommendation)


if __name__ == "__main__":
    main()
