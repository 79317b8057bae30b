"""`python -m indexing.search`: a query to hits."""

import textwrap
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from encoder.command import Parser, print_json, run

if TYPE_CHECKING:
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
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, search, print."""
    arguments = _parser().parse_args()
    run(lambda: _search(arguments))


def _search(arguments: Namespace) -> None:
    from indexing.errors import UsageError
    from indexing.filter_parser import parse_filter
    from indexing.retriever import open_index

    query, mode = arguments.query, arguments.mode
    if not query.strip() or arguments.k < 1:
        raise UsageError("Give a query that is not empty, and a --k of at least 1.")
    if arguments.filter is not None:
        parse_filter(arguments.filter)  # before the encoder is loaded
    index = open_index(arguments.index)
    if mode != "lexical":
        index.encoder  # noqa: B018 - loaded here, so that took_ms is the search alone
    started = time.perf_counter()
    hits = index.search(query, arguments.k, mode=mode, filter=arguments.filter)
    took_ms = round((time.perf_counter() - started) * 1000, 1)
    if arguments.json:
        found = [hit.as_dict() for hit in hits]
        print_json({"query": query, "mode": mode, "hits": found, "took_ms": took_ms})
        return
    print(f"{len(hits)} hits in {took_ms:.0f} ms" if hits else "Nothing found.")
    for hit in hits:
        _print(hit)


def _print(hit: "Hit") -> None:
    page = f", page {hit.page}" if hit.page is not None else ""
    place = " > ".join(dict.fromkeys((hit.title, *hit.heading)))
    print(f"\n{hit.rank:>2}. {place}\n    {hit.document}{page}  ({hit.score:.4f})")
    text = textwrap.shorten(hit.text, _SHOWN, placeholder=" …")
    print(textwrap.indent(textwrap.fill(text, _WIDTH - 4), "    "))


if __name__ == "__main__":
    main()
