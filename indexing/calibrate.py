"""`python -m indexing.calibrate`: find out what an index's scores mean."""

from argparse import Namespace
from pathlib import Path

from encoder.command import Parser, ProgressBar, print_json, run


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.calibrate",
        description="Find out what an index's scores mean, from golden questions or its own text.",
    )
    option = parser.add_argument
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option("--golden", metavar="FILE.jsonl", help="questions with their documents, at least 20")
    option("--rerank", metavar="M", help="folder or hub id of a reranker to search it with")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, calibrate, print."""
    arguments = _parser().parse_args()
    run(lambda: _calibrate(arguments))


def _calibrate(arguments: Namespace) -> None:
    from data import load_golden
    from indexing.calibrating import calibrate_index
    from indexing.calibration import FALSE_ANSWER_RATE
    from indexing.reranking import load_reranking
    from indexing.retriever import open_index

    golden = load_golden(Path(arguments.golden)) if arguments.golden else None
    reranking = None
    if arguments.rerank:
        reranking = load_reranking(arguments.rerank, device=arguments.device)
    index = open_index(arguments.index, device=arguments.device)
    made = calibrate_index(
        Path(arguments.index),
        index.encoder,
        golden,
        reranking=reranking,
        progress=ProgressBar("questions"),
    )
    index.refresh()
    fusion = index.generation.fusion
    thresholds = {mode: found.threshold(FALSE_ANSWER_RATE) for mode, found in made.modes.items()}
    if arguments.json:
        facts = {"source": made.source, "questions": made.questions, "chunks": made.chunks}
        print_json(
            {
                "index": arguments.index,
                **facts,
                "false_answer_rate": FALSE_ANSWER_RATE,
                "thresholds": thresholds,
                "fusion": fusion.as_dict(),
            }
        )
        return
    print(f"Calibrated from {made.questions} {made.source} questions over {made.chunks} chunks.")
    print(f"  hybrid: {fusion.method}, the dense leg counts {fusion.dense_share:g} of 1")
    for mode, threshold in thresholds.items():
        print(
            f"  {mode}: a best relevance below {threshold:.3f} counts as no answer, "
            f"for {FALSE_ANSWER_RATE:.0%} false answers"
        )


if __name__ == "__main__":
    main()
