"""`python -m finetune.check`: training pairs to what they are and what is wrong with them."""

import textwrap
from argparse import Namespace
from typing import TYPE_CHECKING

from encoder.command import FAILED, Parser, ProgressBar, print_json, run
from finetune.pair_arguments import add_pair_arguments, pair_options

if TYPE_CHECKING:
    from finetune.checking import Checked

_WIDTH = 100
_SHOWN = 200


def _parser() -> Parser:
    parser = Parser(prog="python -m finetune.check", description="Look through training pairs.")
    add_pair_arguments(parser)
    option = parser.add_argument
    option(
        "--against",
        metavar="PAIRS",
        action="append",
        default=[],
        help="pairs that should share no query with these, such as the test split; repeat",
    )
    option("--encoder", metavar="M", help="folder or hub id (default: the embedded one)")
    option("--no-encoder", action="store_true", help="do not look at tokens and instructions")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, check, print."""
    arguments = _parser().parse_args()
    run(lambda: _check(arguments))


def _check(arguments: Namespace) -> int | None:
    from encoder.errors import UsageError

    options = pair_options(arguments)
    if arguments.encoder and arguments.no_encoder:
        raise UsageError("Give --encoder or --no-encoder, not both.")
    from finetune.checking import check_pairs

    encoder = None
    if not arguments.no_encoder:
        from encoder import load_encoder

        encoder = load_encoder(arguments.encoder, device="cpu")
    bar = ProgressBar("records")
    checked = check_pairs(
        arguments.pairs, options, encoder=encoder, against=arguments.against, progress=bar
    )
    bar.close()
    if arguments.json:
        print_json(checked.as_dict())
    else:
        _print(checked)
    return FAILED if checked.summary.has_errors else None


def _print(checked: "Checked") -> None:
    summary = checked.summary
    shapes = ", ".join(f"{count} {shape}s" for shape, count in summary.shapes.most_common())
    print(f"{summary.source}: {summary.records} records ({shapes})")
    for name, count in summary.formats.items():
        print(f"  recognised as {name}: {count}")
    if summary.ignored_columns:
        print(f"  columns not read: {', '.join(summary.ignored_columns)}")
    if summary.labels:
        labels = summary.labels
        print(
            f"  labels from {labels['min']:g} to {labels['max']:g}, mean {labels['mean']:.3g}, "
            f"{labels['distinct']:.0f} different"
        )
    for role, shares in summary.languages.items():
        print(f"  {role}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    print()
    for finding in summary.findings:
        print(f"{finding.severity}: {finding.message}.")
        for place in finding.places:
            print(f"    {place}")
    if not summary.findings:
        print("Nothing is wrong with them.")
    for example in checked.examples:
        label = "" if example.label is None else f", label {example.label:g}"
        print(f"\n{example.place} ({example.shape}{label})")
        for role, text in example.texts:
            shown = textwrap.shorten(text, _SHOWN, placeholder=" …")
            print(textwrap.fill(f"{role:>9}  {shown}", _WIDTH, subsequent_indent=" " * 11))


if __name__ == "__main__":
    main()
