"""`python -m indexing.build`: documents to an index."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.backends.choice import DTYPE_HELP, DTYPES
from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import BuildFailedError, UsageError

if TYPE_CHECKING:
    from indexing.config import BuildConfig
    from indexing.pipeline import BuildReport
    from indexing.ray_driver import RayReport


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
    option(
        "--shard",
        metavar="I/N",
        help="build one of N parts, with the same sources as the others and a folder of its own;"
        " python -m indexing.merge makes one index of them",
    )
    option(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: build shards on the nodes of a Ray cluster and merge them (default: local)",
    )
    option("--shards", metavar="N", type=int, help="with --engine ray: how many (default: enough)")
    option("--address", metavar="A", help="with --engine ray: the cluster's (default: this one's)")
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
    arguments = _parser().parse_args()
    run(lambda: _run(vars(arguments)), failures=(BuildFailedError,))


def _run(arguments: dict[str, Any]) -> None:
    from indexing.config import BuildConfig, read_config

    as_json, config_file = arguments.pop("json"), arguments.pop("config")
    sources, index = arguments.pop("sources"), arguments.pop("index")
    engine, cluster = arguments.pop("engine"), {n: arguments.pop(n) for n in ("shards", "address")}
    choices = read_config(Path(config_file)) if config_file else {}
    choices |= {key: value for key, value in arguments.items() if value is not None}
    report: BuildReport | RayReport
    if engine == "ray":
        report = _build_with_ray(sources, index, BuildConfig(**choices), cluster)
    else:
        for name, value in cluster.items():
            if value is not None:
                raise UsageError(f"--{name} is for --engine ray; give that too, or leave it out.")
        report = _build(sources, index, BuildConfig(**choices))
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)


def _build_with_ray(
    sources: list[str], index: str, config: "BuildConfig", cluster: dict[str, Any]
) -> "RayReport":
    from indexing.ray_driver import build_with_ray

    return build_with_ray(sources, index, config, progress=ProgressBar("shards"), **cluster)


def _build(sources: list[str], index: str, config: "BuildConfig") -> "BuildReport":
    from indexing.pipeline import build_index

    return build_index(
        sources,
        index,
        config,
        lines=_stdin() if "-" in sources else (),
        progress=ProgressBar("documents"),
        estimated=lambda found: print(found, file=sys.stderr),
    )


def _stdin() -> io.TextIOWrapper:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("SOURCE - wants JSON lines on standard input, but nothing is piped in.")
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")


def _print(report: "BuildReport | RayReport") -> None:
    print(
        f"{report.index}: {report.documents} documents, {report.chunks} chunks, "
        f"generation {report.generation}."
    )
    print(
        f"{report.added} added, {report.updated} updated, {report.deleted} deleted, "
        f"{report.skipped} unchanged, {report.duplicates} duplicates, {len(report.failed)} failed; "
        f"{report.tokens} tokens encoded in {report.seconds:.1f} s."
    )
    if ray := getattr(report, "ray", None):
        print(
            f"{ray.workers} workers built {ray.shards} shards in {ray.build_s:.1f} s, "
            f"{ray.overhead:.0%} of it overhead, {ray.retries} begun again; merged in "
            f"{ray.merge_s:.1f} s. The shards stay in {ray.folder}."
        )
    for failure in report.failed:
        print(f"failed: {failure.source}: {failure.reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
