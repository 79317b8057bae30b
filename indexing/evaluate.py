"""`python -m indexing.evaluate`: judged queries, golden questions or labelled pairs to metrics."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.backends.choice import DTYPE_HELP, DTYPES
from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import UsageError

if TYPE_CHECKING:
    from encoder import Encoder
    from indexing.evaluation import Evaluation
    from indexing.reranking import Reranking

_VARIED = ("encoder", "dtype", "mode", "rerank", "store", "index_type", "task", "index", "run")
"""What the two sides of a comparison may differ in."""


def _parser() -> Parser:
    parser = Parser(prog="python -m indexing.evaluate", description="Measure retrieval.")
    option = parser.add_argument
    option("--dataset", metavar="BEIR_DIR", help="a folder with corpus, queries and qrels")
    option("--split", default="test", help="of the dataset (default: test)")
    option("--index", metavar="DIR", help="an index, to ask golden questions")
    option("--golden", metavar="FILE.jsonl", help="the golden questions")
    option("--pairs", metavar="FILE.jsonl", help="pairs with labels: text1, text2, label")
    option("--run", metavar="FILE", help="a TREC run file to score on --dataset, by any system")
    option("--encoder", metavar="M", help="folder or hub id, for --dataset and --pairs")
    option("--task", metavar="T", help="of the encoder, for its instructions: sts, code, ...")
    option("--mode", choices=("dense", "lexical", "hybrid"), help="default: dense, golden: hybrid")
    option("--rerank", metavar="M", help="folder or hub id of a reranker for the first hits")
    option(
        "--store",
        choices=("exact", "faiss", "torch", "milvus"),
        default="exact",
        help="for --dataset; milvus is the server of ANGLER_MILVUS_URI, or else Milvus Lite",
    )
    option(
        "--index-type",
        metavar="T",
        default="flat",
        help="of the store, as for build (default: flat)",
    )
    option(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two systems that differ in NAME=VALUE[,...]: " + ", ".join(map(_option, _VARIED)),
    )
    option(
        "--ignore-identical-ids",
        action="store_true",
        help="drop the document called like the query",
    )
    option("--run-out", metavar="FILE", help="write the results as a TREC run file")
    option("--csv", metavar="FILE", help="write the metrics of each query")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--dtype", choices=DTYPES, metavar="T", default="auto", help=DTYPE_HELP)
    option("--json", action="store_true", help="print one JSON object")
    return parser


def _option(name: str) -> str:
    return name.replace("_", "-")


def main() -> None:
    """Parse, evaluate, print."""
    arguments = _parser().parse_args()
    run(lambda: _evaluate(arguments))


def _evaluate(arguments: Namespace) -> None:
    if arguments.pairs:
        _pairs(arguments)
    elif arguments.compare:
        _compare(arguments)
    else:
        found = _of(arguments)
        _write_files(arguments, found)
        if arguments.json:
            print_json(found.as_dict())
        else:
            _print(found)


def _pairs(arguments: Namespace) -> None:
    from data.pair_files import load_labelled_pairs
    from indexing.evaluation import evaluate_pair_file

    if arguments.dataset or arguments.golden or arguments.compare or arguments.run:
        raise UsageError("--pairs is a measurement of its own; leave out the other files.")
    path = Path(arguments.pairs)
    pairs = load_labelled_pairs(path)
    encoder = _encoder(arguments)
    result = evaluate_pair_file(
        pairs, encoder, name=path.name, task=arguments.task, progress=ProgressBar("texts")
    )
    if arguments.json:
        print_json(result)
        return
    print(f"{result['pairs_file']}, {result['encoder']}: {result['pairs']} pairs")
    for name in ("spearman", "pearson", "accuracy", "f1", "ap"):
        if name in result:
            print(f"{name:>10}  {result[name]:.4f}")


def _compare(arguments: Namespace) -> None:
    from indexing.evaluation import TABLE, compare

    first, second = (_of(_varied(arguments, system)) for system in arguments.compare)
    differences = compare(first, second)
    if arguments.json:
        sides = {"a": first.as_dict(), "b": second.as_dict()}
        print_json({"systems": arguments.compare, **sides, "b_less_a": differences})
        return
    print(f"{first.name} ({first.split}): {len(first.qrels)} queries")
    print(f"A: {arguments.compare[0]}\nB: {arguments.compare[1]}\n")
    print(f"{'':>10}  {'A':>7}  {'B':>7}  {'B - A':>8}  {'95 % interval':>19}  {'p':>6}")
    figures = first.as_dict(), second.as_dict()
    for name in TABLE:
        a, b, of = figures[0][name], figures[1][name], differences[name]
        low, high = of["interval"]
        print(
            f"{name:>10}  {a:7.4f}  {b:7.4f}  {of['difference']:+8.4f}  "
            f"{low:+8.4f} .. {high:+.4f}  {of['p']:6.4f}"
        )


def _varied(arguments: Namespace, system: str) -> Namespace:
    """The call with what one side of a comparison sets: `mode=hybrid,encoder=M`."""
    varied = Namespace(**vars(arguments))
    for setting in system.split(","):
        name, equals, value = setting.partition("=")
        key = name.strip().replace("-", "_")
        if not equals or key not in _VARIED:
            known = ", ".join(map(_option, _VARIED))
            raise UsageError(f"--compare takes NAME=VALUE with a name of {known}; got {setting!r}.")
        setattr(varied, key, value.strip())
    if varied.dtype not in DTYPES:
        raise UsageError(f"Unknown dtype {varied.dtype!r}. Known: {', '.join(DTYPES)}.")
    if varied.mode not in {None, "dense", "lexical", "hybrid"}:
        raise UsageError(f"Unknown mode {varied.mode!r}. Known: dense, lexical, hybrid.")
    return varied


def _of(arguments: Namespace) -> "Evaluation":
    if arguments.dataset and not (arguments.index or arguments.golden):
        return _of_run(arguments) if arguments.run else _of_dataset(arguments)
    if arguments.index and arguments.golden and not (arguments.dataset or arguments.run):
        return _of_golden(arguments)
    raise UsageError("Give either --dataset, or --index and --golden together, or --pairs.")


def _of_dataset(arguments: Namespace) -> "Evaluation":
    from data import load_beir
    from indexing.evaluation import score_rankings
    from indexing.judged import DatasetRankings

    rankings = DatasetRankings(
        load_beir(Path(arguments.dataset), arguments.split),
        _encoder(arguments),
        store=arguments.store,
        index_type=arguments.index_type,
        task=arguments.task,
        progress=ProgressBar("documents"),
    )
    return score_rankings(
        rankings,
        arguments.mode or "dense",
        reranking=_reranking(arguments),
        ignore_identical_ids=arguments.ignore_identical_ids,
    )


def _encoder(arguments: Namespace) -> "Encoder":
    from encoder import load_encoder

    return load_encoder(arguments.encoder, device=arguments.device, dtype=arguments.dtype)


def _of_run(arguments: Namespace) -> "Evaluation":
    from data import load_beir
    from data.trec import read_run
    from indexing.evaluation import score_run

    path = Path(arguments.run)
    dataset = load_beir(Path(arguments.dataset), arguments.split)
    return score_run(dataset, read_run(path), path.name)


def _of_golden(arguments: Namespace) -> "Evaluation":
    from data import load_golden
    from indexing.evaluation import evaluate_golden
    from indexing.retriever import open_index

    questions = load_golden(Path(arguments.golden))
    index = open_index(
        arguments.index,
        encoder=_encoder(arguments) if arguments.encoder else None,
        device=arguments.device,
        dtype=arguments.dtype,
    )
    return evaluate_golden(
        index,
        questions,
        name=Path(arguments.golden).name,
        mode=arguments.mode or "hybrid",
        reranking=_reranking(arguments),
        progress=ProgressBar("questions"),
    )


def _reranking(arguments: Namespace) -> "Reranking | None":
    if not arguments.rerank:
        return None
    from indexing.reranking import load_reranking

    return load_reranking(arguments.rerank, device=arguments.device)


def _write_files(arguments: Namespace, found: "Evaluation") -> None:
    from data.trec import write_csv, write_run

    if arguments.run_out:
        write_run(Path(arguments.run_out), found.run)
    if arguments.csv:
        write_csv(Path(arguments.csv), found.values)


def _print(found: "Evaluation") -> None:
    from indexing.evaluation import TABLE

    result: dict[str, Any] = found.as_dict()
    print(
        f"{result['dataset']} ({result['split']}), {result['mode']}, {result['encoder']}: "
        f"{result['queries']} queries, {result['documents']} documents"
    )
    print("  ".join(f"{name:>10}" for name in ("", *TABLE)))
    for name, scores in {"all": result, **result["by_language"]}.items():
        print("  ".join([f"{name:>10}", *(f"{scores[metric]:>10.4f}" for metric in TABLE)]))
    low, high = zip(*(result["intervals"][metric] for metric in TABLE), strict=True)
    for name, bounds in (("from", low), ("to", high)):
        print("  ".join([f"{name:>10}", *(f"{bound:>10.4f}" for bound in bounds)]))


if __name__ == "__main__":
    main()
