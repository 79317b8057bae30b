"""`python -m indexing.plan`: nodes, hours, GiB and money for many chunks, from a pilot."""

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.command import Parser, print_json, run

if TYPE_CHECKING:
    from indexing.planning import Plan


def _count(text: str) -> int:
    """A whole number, also as 1e9."""
    try:
        value = float(text)
    except ValueError:
        value = 0.5
    if value != int(value):
        raise ArgumentTypeError(f"{text!r} is no whole number")
    return int(value)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.plan",
        description="Say what a build of many chunks takes, from what a small one has measured on "
        "the same machines, models and documents.",
    )
    option = parser.add_argument
    option("--chunks", metavar="N", type=_count, required=True, help="how many, such as 1e9")
    option("--index", metavar="DIR", required=True, help="the pilot's merged index")
    option(
        "--build",
        metavar="F.json",
        nargs="+",
        required=True,
        help="what indexing.build --shard --json printed, of one worker each",
    )
    option("--merge", metavar="F.json", required=True, help="what indexing.merge --json printed")
    option("--nodes", metavar="N", type=int, help="machines that build")
    option("--hours", metavar="H", type=float, help="instead of --nodes: as few as this takes")
    option(
        "--workers-per-node",
        metavar="N",
        type=int,
        default=1,
        help="shards that a machine builds at a time (default: 1)",
    )
    option("--price", metavar="P", type=float, help="of one machine for one hour")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, compute, print."""
    arguments = _parser().parse_args()
    run(lambda: _plan(arguments))


def _plan(arguments: Namespace) -> None:
    from indexing.planning import plan, read_rates

    builds = [Path(path) for path in arguments.build]
    found = plan(
        read_rates(Path(arguments.index), builds, Path(arguments.merge)),
        arguments.chunks,
        nodes=arguments.nodes,
        hours=arguments.hours,
        workers_per_node=arguments.workers_per_node,
        price=arguments.price,
    )
    if arguments.json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Plan") -> None:
    rates = found.rates
    parts = ", ".join(f"{name} {size:,.0f}" for name, size in rates.bytes_per_chunk.items())
    price = "" if found.price is None else f", {found.price:,.2f} in all"
    print(
        f"Measured with {rates.chunks:,} chunks: {rates.build_per_s:,.1f} chunks/s built by a "
        f"worker, {rates.merge_per_s:,.1f} chunks/s merged; bytes of a chunk: {parts} "
        f"({rates.index_type})."
    )
    print(
        f"{found.chunks:,} chunks: {found.nodes:,} nodes, {found.workers:,} shards; "
        f"{found.build_hours:,.1f} h to build, {found.merge_hours:,.1f} h to merge; "
        f"{found.node_hours:,.1f} node hours{price}."
    )
    print(
        f"Disk: {found.shard_gib:,.1f} GiB for a shard, {found.shards_gib:,.1f} GiB for all, "
        f"{found.index_gib:,.1f} GiB for the index. Memory of a machine that merges or searches: "
        f"{found.memory_gib:,.1f} GiB for the store."
    )


if __name__ == "__main__":
    main()
