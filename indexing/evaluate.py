"""`python -m indexing.evaluate`: judged queries to metrics."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import UsageError

_SHOWN = ("ndcg@10", "mrr@10", "hit@1", "hit@3", "hit@5", "hit@10", "recall@100")


def _parser() -> Parser:
    parser = Parser(prog="python -m indexing.evaluate", description="Measure retrieval.")
    option = parser.add_argument
    option("--dataset", metavar="BEIR_DIR", help="a folder with corpus, queries and qrels")
    option("--split", default="test", help="of the dataset (default: test)")
    option("--index", metavar="DIR", help="an index, to ask golden questions")
    option("--golden", metavar="FILE.jsonl", help="the golden questions")
    option("--encoder", metavar="M", help="folder or hub id, for --dataset")
    option("--mode", choices=("dense", "lexical", "hybrid"), help="default: dense, golden: hybrid")
    option("--store", choices=("exact", "faiss"), default="exact", help="for --dataset")
    option(
        "--ignore-identical-ids",
        action="store_true",
        help="drop the document called like the query",
    )
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, evaluate, print."""
    arguments = _parser().parse_args()
    run(lambda: _evaluate(arguments))


def _evaluate(arguments: Namespace) -> None:
    if arguments.dataset and not (arguments.index or arguments.golden):
        result = _of_dataset(arguments)
    elif arguments.index and arguments.golden and not arguments.dataset:
        result = _of_golden(arguments)
    else:
        raise UsageError("Give either --dataset, or --index and --golden together.")
    if arguments.json:
        print_json(result)
    else:
        _print(result)


def _of_dataset(arguments: Namespace) -> dict[str, Any]:
    from data import load_beir
    from encoder import load_encoder
    from indexing.evaluation import evaluate_dataset

    dataset = load_beir(Path(arguments.dataset), arguments.split)
    return evaluate_dataset(
        dataset,
        load_encoder(arguments.encoder, device=arguments.device),
        mode=arguments.mode or "dense",
        store=arguments.store,
        ignore_identical_ids=arguments.ignore_identical_ids,
        progress=ProgressBar("documents"),
    )


def _of_golden(arguments: Namespace) -> dict[str, Any]:
    from data import load_golden
    from encoder import load_encoder
    from indexing.evaluation import evaluate_golden
    from indexing.retriever import open_index

    questions = load_golden(Path(arguments.golden))
    encoder = (
        load_encoder(arguments.encoder, device=arguments.device) if arguments.encoder else None
    )
    index = open_index(arguments.index, encoder=encoder, device=arguments.device)
    return evaluate_golden(
        index,
        questions,
        name=Path(arguments.golden).name,
        mode=arguments.mode or "hybrid",
        progress=ProgressBar("questions"),
    )


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['dataset']} ({result['split']}), {result['mode']}, {result['encoder']}: "
        f"{result['queries']} queries, {result['documents']} documents"
    )
    print("  ".join(f"{name:>10}" for name in ("", *_SHOWN)))
    for name, scores in {"all": result, **result["by_language"]}.items():
        print("  ".join([f"{name:>10}", *(f"{scores[metric]:>10.4f}" for metric in _SHOWN)]))


if __name__ == "__main__":
    main()
