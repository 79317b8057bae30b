"""`python -m indexing.search`: a query to hits."""

import textwrap
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from encoder.command import Parser, print_json, run

if TYPE_CHECKING:
    from indexing.answers import Answer
    from indexing.hits import Hit

_WIDTH = 100
_SHOWN = 300


def _parser() -> Parser:
    parser = Parser(prog="python -m indexing.search", description="Search an index.")
    option = parser.add_argument
    option("query", help="what to look for")
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option("--k", metavar="N", type=int, default=10, help="how many hits (default: 10)")
    option(
        "--mode", choices=("dense", "lexical", "hybrid"), default="hybrid", help="default: hybrid"
    )
    option("--filter", metavar="EXPR", help='for example: lang == "zh" and year >= 2020')
    option("--rerank", metavar="M", help="folder or hub id of a reranker for the first hits")
    option("--diversity", metavar="D", type=float, default=0.0, help="0 to 1: hits that differ")
    option("--per-document", metavar="N", type=int, help="at most so many hits of a document")
    option("--merge", action="store_true", help="join hits that overlap")
    option(
        "--context", metavar="N", type=int, default=0, help="so many chunks before and after each"
    )
    option("--answer", action="store_true", help="quote the sentences that answer, before the hits")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, search, print."""
    arguments = _parser().parse_args()
    run(lambda: _search(arguments))


def _check(arguments: Namespace) -> None:
    """Refuse a wrong call before the encoder is loaded."""
    from indexing.errors import UsageError
    from indexing.filter_parser import parse_filter

    if not arguments.query.strip() or arguments.k < 1:
        raise UsageError("Give a query that is not empty, and a --k of at least 1.")
    if not 0 <= arguments.diversity <= 1:
        raise UsageError(f"--diversity must be between 0 and 1, got {arguments.diversity}.")
    if arguments.per_document is not None and arguments.per_document < 1:
        raise UsageError(f"--per-document must be at least 1, got {arguments.per_document}.")
    if arguments.context < 0:
        raise UsageError(f"--context must be 0 or more, got {arguments.context}.")
    if arguments.filter is not None:
        parse_filter(arguments.filter)


def _search(arguments: Namespace) -> None:
    from indexing.retriever import open_index

    query, mode = arguments.query, arguments.mode
    _check(arguments)
    index = open_index(arguments.index)
    if mode != "lexical":
        index.encoder  # noqa: B018 - loaded here, so that took_ms is the search alone
    started = time.perf_counter()
    hits = index.search(
        query,
        arguments.k,
        mode=mode,
        filter=arguments.filter,
        rerank=arguments.rerank,
        diversity=arguments.diversity,
        per_document=arguments.per_document,
        merge=arguments.merge,
    )
    if arguments.context:
        hits = [index.window(hit, arguments.context, arguments.context) for hit in hits]
    took_ms = round((time.perf_counter() - started) * 1000, 1)
    answer = None
    if arguments.answer:
        answer = index.answer(query, mode=mode, filter=arguments.filter, rerank=arguments.rerank)
    if arguments.json:
        found = [hit.as_dict() for hit in hits]
        body = {"query": query, "mode": mode, "hits": found, "took_ms": took_ms}
        print_json(body if answer is None else body | {"answer": answer.as_dict()})
        return
    if answer is not None:
        _print_answer(answer)
    print(f"{len(hits)} hits in {took_ms:.0f} ms" if hits else "Nothing found.")
    for hit in hits:
        _print(hit)


def _print_answer(answer: "Answer") -> None:
    if not answer.is_found:
        print("Not in these documents, as far as can be said.\n")
    for sentence in answer.sentences:
        page = f", page {sentence.page}" if sentence.page is not None else ""
        quoted = textwrap.fill(f"“{' '.join(sentence.text.split())}”", _WIDTH)
        print(f"{quoted}\n  {sentence.document}{page}, {sentence.start}-{sentence.end}\n")


def _print(hit: "Hit") -> None:
    page = f", page {hit.page}" if hit.page is not None else ""
    place = " > ".join(dict.fromkeys((hit.title, *hit.heading)))
    print(f"\n{hit.rank:>2}. {place}\n    {hit.document}{page}  ({hit.score:.4f})")
    text = textwrap.shorten(hit.text, _SHOWN, placeholder=" …")
    print(textwrap.indent(textwrap.fill(text, _WIDTH - 4), "    "))


if __name__ == "__main__":
    main()
