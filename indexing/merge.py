"""`python -m indexing.merge`: the shards of a build to one index."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import BuildFailedError

if TYPE_CHECKING:
    from indexing.merging import MergeReport

_CHOICES = (
    "store",
    "index_type",
    "recall",
    "uri",
    "consistency",
    "store_class",
    "store_config",
    "device",
    "strict",
    "allow_mass_delete",
    "purge",
)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.merge",
        description="Make one index of the shards that indexing.build --shard I/N has built, or "
        "bring one up to date with them. Nothing is encoded, and the shards are only read.",
    )
    option = parser.add_argument
    option("shards", metavar="SHARD", nargs="+", help="the folders of all shards, in any order")
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option(
        "--store", choices=("faiss", "exact", "torch", "milvus", "langchain"), help="default: faiss"
    )
    option("--index-type", metavar="T", help="as that of indexing.build (default: auto)")
    option("--recall", metavar="R", type=float, help="as that of indexing.build (default: 0.95)")
    option("--uri", metavar="U", help="with --store milvus: where it is")
    option(
        "--consistency",
        choices=("session", "strong", "bounded", "eventually"),
        help="with --store milvus: how fresh the view of a search must be (default: session)",
    )
    option("--store-class", metavar="M:C", help="with --store langchain: its module and class")
    option("--store-config", metavar="F.toml", help="with --store langchain: how it is made")
    option("--device", choices=("auto", "cpu", "cuda"), help="where cells are learned")
    option("--config", metavar="F.toml", help="options from a file; those given here come first")
    option("--strict", action="store_true", default=None, help="publish nothing if a file failed")
    option("--allow-mass-delete", action="store_true", default=None, help="delete even over half")
    option(
        "--purge",
        action="store_true",
        default=None,
        help="leave nothing of removed documents in the index's older generations",
    )
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, merge, report."""
    arguments = _parser().parse_args()
    run(lambda: _merge(arguments), failures=(BuildFailedError,))


def _merge(arguments: Namespace) -> None:
    from indexing.config import BuildConfig, read_config
    from indexing.merging import merge_shards

    choices = read_config(Path(arguments.config)) if arguments.config else {}
    given = {name: getattr(arguments, name) for name in _CHOICES}
    choices |= {name: value for name, value in given.items() if value is not None}
    report = merge_shards(
        arguments.shards, arguments.index, BuildConfig(**choices), progress=ProgressBar("documents")
    )
    if arguments.json:
        print_json(report.as_dict())
    else:
        _print(report)


def _print(report: "MergeReport") -> None:
    print(
        f"{report.index}: {report.documents} documents, {report.chunks} chunks of {report.shards} "
        f"shards, generation {report.generation}."
    )
    print(
        f"{report.added} added, {report.updated} updated, {report.deleted} deleted, "
        f"{report.skipped} unchanged, {report.duplicates} duplicates, {len(report.failed)} failed; "
        f"{report.seconds:.1f} s."
    )
    for failure in report.failed:
        print(f"failed: {failure.source}: {failure.reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
