"""`python -m finetune.negatives`: training pairs to the same pairs with hard negatives."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.command import Parser, ProgressBar, print_json, run
from finetune.pair_arguments import add_pair_arguments, pair_options

if TYPE_CHECKING:
    from encoder import Encoder
    from finetune.mining import MiningConfig, MiningReport


def _parser() -> Parser:
    parser = Parser(prog="python -m finetune.negatives", description="Mine hard negatives.")
    add_pair_arguments(parser)
    option = parser.add_argument
    option("--out", metavar="FILE.jsonl", required=True, help="where the pairs go")
    option("--force", action="store_true", help="write over FILE.jsonl")
    option("--on-bad", choices=("stop", "skip", "name"), default="stop", help="default: stop")
    option("--corpus", metavar="FILE.jsonl", help='lines of {"text", "title"?}; default: the pairs')
    option("--index", metavar="DIR", help="an index whose chunks are the corpus")
    option("--mode", choices=("dense", "lexical"), default="dense", help="default: dense")
    option("--encoder", metavar="M", help="folder or hub id, for the dense mode")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--negatives", metavar="N", type=int, default=7, help="for each record (default: 7)")
    option("--ranks", metavar="A-B", default="1-200", help="the band looked at (default: 1-200)")
    option("--margin", metavar="X", type=float, default=0.0, help="below the positive (default: 0)")
    option(
        "--relative-margin", metavar="X", type=float, default=0.05, help="as a share (default: .05)"
    )
    option("--near-duplicate", metavar="X", type=float, default=0.8, help="share (default: 0.8)")
    option("--reranker", metavar="M", help="a cross-encoder that reads every candidate")
    option("--reranker-share", metavar="X", type=float, default=0.5, help="default: 0.5")
    option("--sampling", choices=("top", "random"), default="top", help="default: top")
    option("--seed", metavar="N", type=int, default=0, help="for --sampling random (default: 0)")
    option("--suspicious", metavar="FILE.jsonl", help="write what may be right and is not marked")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, mine, write."""
    arguments = _parser().parse_args()
    run(lambda: _mine(arguments))


def _mine(arguments: Namespace) -> None:
    from encoder.errors import UsageError
    from finetune.pair_writing import check_output

    options = pair_options(arguments, arguments.on_bad)
    out = Path(arguments.out)
    check_output(out, force=arguments.force)
    if arguments.suspicious:
        check_output(Path(arguments.suspicious), force=arguments.force)
    if arguments.corpus and arguments.index:
        raise UsageError("Give --corpus or --index, not both.")
    from data.pair_reading import load_pairs
    from encoder.embedding_cache import EmbeddingCache
    from finetune.mining import MiningReport, mine_negatives
    from finetune.pair_writing import as_row, write_rows

    config = _config(arguments)
    records = load_pairs(arguments.pairs, options)
    report = MiningReport()
    reranker = None
    if arguments.reranker:
        from encoder import load_reranker

        reranker = load_reranker(arguments.reranker, device=arguments.device)
    found = mine_negatives(
        records,
        _corpus(arguments),
        encoder=_encoder(arguments),
        config=config,
        reranker=reranker,
        cache=EmbeddingCache(),
        progress=ProgressBar("queries"),
        report=report,
    )
    write_rows(out, map(as_row, found))
    if arguments.suspicious:
        write_rows(Path(arguments.suspicious), map(asdict, report.suspicious))
    _print(arguments, report)


def _config(arguments: Namespace) -> "MiningConfig":
    from encoder.errors import UsageError
    from finetune.mining import MiningConfig

    first, dash, last = arguments.ranks.partition("-")
    if not dash or not first.strip().isdecimal() or not last.strip().isdecimal():
        raise UsageError(f"--ranks must be two numbers such as 10-200, got {arguments.ranks!r}.")
    try:
        return MiningConfig(
            negatives=arguments.negatives,
            first_rank=int(first),
            last_rank=int(last),
            margin=arguments.margin,
            relative_margin=arguments.relative_margin,
            near_duplicate=arguments.near_duplicate,
            reranker_share=arguments.reranker_share,
            sampling=arguments.sampling,
            seed=arguments.seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _encoder(arguments: Namespace) -> "Encoder | None":
    if arguments.mode == "lexical":
        return None
    from encoder import load_encoder

    return load_encoder(arguments.encoder, device=arguments.device)


def _corpus(arguments: Namespace) -> list[str] | None:
    if arguments.corpus:
        from finetune.corpora import texts_of_file

        return list(texts_of_file(Path(arguments.corpus)))
    if arguments.index:
        from finetune.corpora import texts_of_index

        return list(texts_of_index(Path(arguments.index)))
    return None


def _print(arguments: Namespace, report: "MiningReport") -> None:
    body: dict[str, Any] = {
        "out": arguments.out,
        "records": report.records,
        "documents": report.documents,
        "negatives": report.mined,
        "without": report.without,
        "left_out": dict(report.left_out),
    }
    if arguments.json:
        print_json(body)
        return
    print(
        f"{report.mined} negatives for {report.records} records from {report.documents} texts, "
        f"in {arguments.out}"
    )
    for reason, count in report.left_out.most_common():
        print(f"  left out, may be right ({reason}): {count}")
    if report.without:
        print(f"  records that found none: {report.without}")


if __name__ == "__main__":
    main()
