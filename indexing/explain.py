"""`python -m indexing.explain`: why a document was found for a query, or not."""

from argparse import Namespace
from typing import TYPE_CHECKING

from encoder.command import Parser, print_json, run

if TYPE_CHECKING:
    from indexing.explaining import Explanation, Place


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.explain",
        description="Show why a document was found for a query, or not.",
    )
    option = parser.add_argument
    option("query", help="what was looked for")
    option("--document", metavar="D", required=True, help="the document's id, as hits show it")
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option("--filter", metavar="EXPR", help="the filter of the search")
    option("--rerank", metavar="M", help="the reranker of the search")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, explain, print."""
    arguments = _parser().parse_args()
    run(lambda: _explain(arguments), failures=(LookupError,))


def _explain(arguments: Namespace) -> None:
    from indexing.errors import UsageError
    from indexing.filter_parser import parse_filter
    from indexing.retriever import open_index

    if not arguments.query.strip():
        raise UsageError("The query is empty; give the one that was searched for.")
    if arguments.filter is not None:
        parse_filter(arguments.filter)
    index = open_index(arguments.index, backend="torch")
    found = index.explain(
        arguments.query, arguments.document, filter=arguments.filter, rerank=arguments.rerank
    )
    if arguments.json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Explanation") -> None:
    print(f"{found.document}: {found.chunks} chunks, the nearest is {found.chunk}")
    for part in found.dropped_by:
        print(f"  dropped by the filter: {part}")
    places = {"dense": found.dense, "lexical": found.lexical}
    if found.sparse is not None:
        places["sparse"] = found.sparse
    places["fused"] = found.fused
    if found.reranked is not None:
        places["reranked"] = found.reranked
    for name, place in places.items():
        print(f"  {name:<9}{_place_text(place)}")
    if found.dense_is_missed:
        print("  the approximate search of the store misses it; an exact index type would not")
    if found.relevance is not None and found.better_than is not None:
        print(f"  relevance {found.relevance:.3f}, above {found.better_than:.1%} of unrelated text")
    tokens = [token.text if token.is_known else f"[{token.text}?]" for token in found.query_tokens]
    print(f"  tokens   {' '.join(tokens)}")
    if found.query_is_cut:
        print("  the query is longer than the encoder reads; its end has no say")
    if found.chunk_tokens > found.most_tokens:
        print(f"  the chunk has {found.chunk_tokens} tokens, and {found.most_tokens} are read")
    for term in found.terms:
        has = "in it" if term.is_in_chunk else "not in it"
        print(f"  term     {term.term}: {has}, in {term.chunks} chunks, weight {term.weight:g}")


def _place_text(place: "Place") -> str:
    if place.rank is None:
        return "not in the list"
    return f"rank {place.rank}, score {place.score:.4f}, chunk {place.chunk}"


if __name__ == "__main__":
    main()
