"""`python -m finetune.synthesize`: an index to training pairs, where nobody has labels."""

from argparse import Namespace
from itertools import chain
from pathlib import Path

from encoder.command import Parser, ProgressBar, print_json, run


def _parser() -> Parser:
    parser = Parser(
        prog="python -m finetune.synthesize", description="Make training pairs from an index."
    )
    option = parser.add_argument
    option("--index", metavar="DIR", required=True, help="the index")
    option("--out", metavar="FILE.jsonl", required=True, help="where the pairs go")
    option("--force", action="store_true", help="write over FILE.jsonl")
    option(
        "--ways",
        metavar="A,B",
        default="heading,title,question,cloze",
        help="of heading, title, question, cloze (the default is these), keywords, phrase and "
        "asked; 'none' for the language model alone",
    )
    option("--llm", metavar="URL", help="an OpenAI-compatible service, such as http://host/v1")
    option("--model", metavar="NAME", help="of the service")
    option("--texts", metavar="N", type=int, default=1000, help="for the model (default: 1000)")
    option("--k", metavar="N", type=int, default=10, help="depth of the round trip (default: 10)")
    option(
        "--teach",
        metavar="N",
        type=int,
        default=0,
        help="put N other hits of the hybrid search beside each text, with its scores, for "
        "finetune.train --recipe hybrid",
    )
    option("--no-round-trip", action="store_true", help="keep what does not find its text again")
    option("--seed", metavar="N", type=int, default=0, help="default: 0")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, make, write."""
    arguments = _parser().parse_args()
    run(lambda: _synthesize(arguments))


def _ways(arguments: Namespace) -> list[str]:
    from encoder.errors import UsageError

    if bool(arguments.llm) != bool(arguments.model):
        raise UsageError("Give --llm and --model together.")
    if arguments.k < 1 or arguments.texts < 1:
        raise UsageError(
            f"--k and --texts must be at least 1, got {arguments.k} and {arguments.texts}."
        )
    if arguments.teach < 0:
        raise UsageError(f"--teach must be 0 or more, got {arguments.teach}.")
    if arguments.ways == "none":
        if not arguments.llm:
            raise UsageError("--ways none leaves nothing to do without --llm.")
        return []
    ways = [way.strip() for way in arguments.ways.split(",")]
    known = ("heading", "title", "question", "cloze", "keywords", "phrase", "asked")
    unknown = [way for way in ways if way not in known]
    if unknown:
        raise UsageError(f"Unknown way to pairs {unknown[0]!r}. Known: {', '.join(known)}.")
    return ways


def _synthesize(arguments: Namespace) -> None:
    from finetune.pair_writing import check_output

    ways, out = _ways(arguments), Path(arguments.out)
    check_output(out, force=arguments.force)
    import random

    from finetune.pair_writing import as_row, write_rows
    from finetune.synthesis import SynthesisReport, keep_found, make_pairs, passages_of
    from finetune.teaching import HybridTeacher
    from indexing.retriever import open_index

    index = open_index(arguments.index)
    passages = passages_of(
        ((record.document, [c.chunk for c in record.chunks]) for record in portion)
        for portion in index.generation.portions()
    )
    made = make_pairs(passages, ways=ways, seed=arguments.seed)
    if arguments.llm:
        from finetune.language_model import LanguageModel, invented

        some = random.Random(arguments.seed).sample(passages, min(arguments.texts, len(passages)))
        model = LanguageModel(arguments.llm, arguments.model)
        made = chain(made, invented(some, model, seed=arguments.seed))
    report = SynthesisReport(passages=len(passages))
    bar = ProgressBar("queries")
    kept = keep_found(
        made,
        None if arguments.no_round_trip else index,
        k=arguments.k,
        teacher=HybridTeacher(index, arguments.teach) if arguments.teach else None,
        report=report,
        progress=bar,
    )
    bar.close()
    if not kept:
        raise ValueError(f"Nothing could be made of the {len(passages)} chunks in the index.")
    write_rows(out, map(as_row, kept))
    body = {
        "out": str(out),
        "chunks": len(passages),
        "pairs": len(kept),
        "by_way": dict(report.made),
        "left_out": dict(report.left_out),
    }
    if arguments.json:
        print_json(body)
        return
    print(f"{len(kept)} pairs from {len(passages)} chunks, in {out}")
    for way, count in report.made.most_common():
        print(f"  by {way}: {count}")
    for reason, count in report.left_out.most_common():
        print(f"  left out ({reason}): {count}")


if __name__ == "__main__":
    main()
