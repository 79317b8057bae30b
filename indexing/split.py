"""`python -m indexing.split`: how a file would be cut into chunks."""

import textwrap
from argparse import Namespace
from typing import TYPE_CHECKING

from encoder.command import Parser, print_json, run

if TYPE_CHECKING:
    from indexing.preview import Preview


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.split",
        description="Show the chunks that a build would make of a file.",
    )
    option = parser.add_argument
    option("file", metavar="FILE", help="a document")
    option(
        "--encoder", metavar="M", help="folder or hub id (default: the embedded all-MiniLM-L6-v2)"
    )
    option("--chunk-tokens", metavar="N", type=int, help="most tokens of a chunk")
    option("--overlap-tokens", metavar="N", type=int, help="tokens that chunks share")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, split, print."""
    arguments = _parser().parse_args()
    run(lambda: _split(arguments))


def _split(arguments: Namespace) -> None:
    from indexing.config import BuildConfig
    from indexing.preview import preview_split

    config = BuildConfig(
        encoder=arguments.encoder,
        chunk_tokens=arguments.chunk_tokens,
        overlap_tokens=arguments.overlap_tokens,
    )
    found = preview_split(arguments.file, config)
    if arguments.json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Preview") -> None:
    splitter = found.splitter
    print(
        f"{found.document.id}: {len(found.pieces)} chunks for {found.encoder}, at most "
        f"{splitter.chunk_tokens} tokens, {splitter.overlap_tokens} shared.\n"
        f"Configuration {splitter.digest}"
    )
    for number, piece in enumerate(found.pieces, start=1):
        page = found.document.page_at(piece.start)
        place = [" > ".join(piece.heading)] if piece.heading else []
        place += [f"page {page}"] if page is not None else []
        place += [f"{piece.tokens} tokens", f"{piece.start}-{piece.end}"]
        print(f"\n{number}. {', '.join(place)}")
        print(textwrap.indent(piece.text, "    "))


if __name__ == "__main__":
    main()
