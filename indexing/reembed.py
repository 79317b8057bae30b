"""`python -m indexing.reembed`: another encoder for an index, without its sources."""

from argparse import Namespace
from pathlib import Path

from encoder.backends.choice import DTYPE_HELP, DTYPES
from encoder.command import Parser, ProgressBar, print_json, run
from indexing.errors import BuildFailedError


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.reembed",
        description="Encode an index's stored chunks with another encoder, and swap when done. "
        "Searches go on meanwhile; a run that was stopped goes on where it stopped.",
    )
    option = parser.add_argument
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option("--encoder", metavar="NEW", required=True, help="folder or hub id")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--dtype", choices=DTYPES, metavar="T", default="auto", help=DTYPE_HELP)
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, encode, report."""
    arguments = _parser().parse_args()
    run(
        lambda: _reembed(arguments),
        failures=(BuildFailedError,),
    )


def _reembed(arguments: Namespace) -> None:
    from encoder import load_encoder
    from indexing.generation import current_folder
    from indexing.reencoding import reembed_index

    current_folder(Path(arguments.index))  # before the model is loaded
    encoder = load_encoder(arguments.encoder, device=arguments.device, dtype=arguments.dtype)
    report = reembed_index(arguments.index, encoder, progress=ProgressBar("documents"))
    if arguments.json:
        print_json(report.as_dict())
        return
    print(
        f"{report.index}: {report.documents} documents, {report.chunks} chunks, generation "
        f"{report.generation}, now by {report.encoder}."
    )
    print(
        f"{report.split_again} documents split again; {report.tokens} tokens encoded in "
        f"{report.seconds:.1f} s. Back to {report.before}: python -m indexing.manage rollback "
        f"--index {report.index}"
    )


if __name__ == "__main__":
    main()
