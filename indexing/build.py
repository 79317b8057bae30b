"""`python -m indexing.build`: documents to an index."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.backends.choice import DTYPE_HELP, DTYPES
from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import BuildFailedError, UsageError

if TYPE_CHECKING:
    from indexing.pipeline import BuildReport


def _parser() -> Parser:
    parser = Parser(prog="python -m indexing.build", description="Build or update an index.")
    option = parser.add_argument
    option(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="a file, a folder, an archive, a web address, or - for JSON lines",
    )
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option(
        "--encoder", metavar="M", help="folder or hub id (default: the embedded all-MiniLM-L6-v2)"
    )
    option(
        "--store", choices=("faiss", "exact", "torch", "milvus", "langchain"), help="default: faiss"
    )
    option(
        "--index-type",
        metavar="T",
        help="auto, flat, fp16, sq8, ivf_flat, ivf_sq8, ivf_pq, hnsw, lsh, scann, rabitq, or a"
        " FAISS factory string (default: auto); of milvus, see its page",
    )
    option(
        "--recall",
        metavar="R",
        type=float,
        help="share of the nearest that an approximate index type must find (default: 0.95)",
    )
    option(
        "--uri",
        metavar="U",
        help="with --store milvus: a server's address, or a path that ends in .db for Milvus Lite "
        "(default: one in the index's folder)",
    )
    option(
        "--consistency",
        choices=("session", "strong", "bounded", "eventually"),
        help="with --store milvus: how fresh the view of a search must be (default: session)",
    )
    option(
        "--store-class",
        metavar="M:C",
        help="with --store langchain: the module and class of a LangChain vector store",
    )
    option(
        "--store-config",
        metavar="F.toml",
        help="with --store langchain: how the class is made (see docs/en/other-stores.md)",
    )
    option(
        "--update",
        choices=("sync", "incremental", "full", "scoped_full"),
        help="what to do with documents that are gone: delete those of the given sources (sync, the"
        " default), delete all that this run did not see (full), or keep them",
    )
    option("--chunk-tokens", metavar="N", type=int, help="most tokens of a chunk")
    option("--overlap-tokens", metavar="N", type=int, help="tokens that chunks share")
    option("--depth", metavar="N", type=int, help="links followed from a web address (default: 0)")
    option(
        "--public-only",
        action="store_true",
        default=None,
        help="read web pages from public addresses only",
    )
    option("--private-hosts", metavar="H,H", help="hosts that are read all the same")
    option("--device", choices=("auto", "cpu", "cuda"), help="default: auto")
    option("--dtype", choices=DTYPES, metavar="T", help=DTYPE_HELP)
    option("--config", metavar="F.toml", help="options from a file; those given here come first")
    option("--strict", action="store_true", default=None, help="publish nothing if a file fails")
    option("--allow-mass-delete", action="store_true", default=None, help="delete even over half")
    option(
        "--purge",
        action="store_true",
        default=None,
        help="leave nothing of removed documents in older generations and caches",
    )
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, build, report."""
    arguments = vars(_parser().parse_args())
    as_json, config_file = arguments.pop("json"), arguments.pop("config")
    sources, index = arguments.pop("sources"), arguments.pop("index")
    run(
        lambda: _build(sources, index, config_file, arguments, as_json=as_json),
        failures=(BuildFailedError,),
    )


def _build(
    sources: list[str], index: str, config_file: str | None, given: dict[str, Any], *, as_json: bool
) -> None:
    from indexing.config import BuildConfig, read_config
    from indexing.pipeline import build_index

    choices = read_config(Path(config_file)) if config_file else {}
    choices |= {key: value for key, value in given.items() if value is not None}
    lines = _stdin() if "-" in sources else ()
    bar = ProgressBar("documents")
    report = build_index(
        sources,
        index,
        BuildConfig(**choices),
        lines=lines,
        progress=bar,
        estimated=lambda found: print(found, file=sys.stderr),
    )
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)


def _stdin() -> io.TextIOWrapper:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("SOURCE - wants JSON lines on standard input, but nothing is piped in.")
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")


def _print(report: "BuildReport") -> None:
    print(
        f"{report.index}: {report.documents} documents, {report.chunks} chunks, "
        f"generation {report.generation}."
    )
    print(
        f"{report.added} added, {report.updated} updated, {report.deleted} deleted, "
        f"{report.skipped} unchanged, {report.duplicates} duplicates, {len(report.failed)} failed; "
        f"{report.tokens} tokens encoded in {report.seconds:.1f} s."
    )
    for failure in report.failed:
        print(f"failed: {failure.source}: {failure.reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
