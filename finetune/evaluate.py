"""`python -m finetune.evaluate`: a tuned encoder against its base, on what you name."""

import sys
from argparse import Namespace
from typing import Any

from encoder.command import Parser, print_json, run
from encoder.errors import UsageError
from finetune.errors import NotBetterError


def _parser() -> Parser:
    parser = Parser(
        prog="python -m finetune.evaluate",
        description="Measure a tuned encoder against its base. Exit 0 only if it is better on "
        "every --dataset and --pairs by more than chance, and falls on no --probe.",
    )
    option = parser.add_argument
    option("tuned", metavar="MODEL", help="folder or hub id of the tuned encoder")
    option("--base", metavar="MODEL", help="what it was made from (default: the embedded default)")
    option(
        "--dataset",
        metavar="BEIR_DIR[:SPLIT]",
        action="append",
        default=[],
        help="queries that the training has not seen (split: test); repeatable",
    )
    option(
        "--pairs",
        metavar="FILE",
        action="append",
        default=[],
        help="training pairs of any format, or labelled pairs, that it has not seen; repeatable",
    )
    option(
        "--probe",
        metavar="P",
        action="append",
        default=[],
        help="general material: a BEIR folder[:split] or a file of labelled pairs; repeatable",
    )
    option(
        "--allowed-fall", metavar="F", type=float, default=0.01, help="of a probe (default: 0.01)"
    )
    option("--whole", action="store_true", help="all queries and documents, not a part of them")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, measure, judge."""
    arguments = _parser().parse_args()
    run(lambda: _evaluate(arguments), failures=(NotBetterError,))


def _evaluate(arguments: Namespace) -> None:
    if not arguments.dataset and not arguments.pairs:
        raise UsageError("There is nothing to measure on: give --dataset or --pairs.")
    from finetune.probes import read_probe
    from finetune.proving import measure_of_pairs, prove

    proof = [read_probe(place, whole=arguments.whole) for place in arguments.dataset]
    proof += [measure_of_pairs(place) for place in arguments.pairs]
    probes = [read_probe(place, whole=arguments.whole) for place in arguments.probe]
    found: dict[str, Any] = prove(
        arguments.base,
        arguments.tuned,
        proof,
        probes,
        allowed_fall=arguments.allowed_fall,
        device=arguments.device,
        progress=lambda what: print(what, file=sys.stderr) if sys.stderr.isatty() else None,
    )
    if arguments.json:
        print_json(found)
    else:
        _print(found)
    if found["verdict"] != "better":
        raise NotBetterError(found["sentence"])


def _print(found: dict[str, Any]) -> None:
    print(f"{'':>24}  {'base':>7}  {'tuned':>7}  {'gain':>8}  {'95 % interval':>19}  {'p':>6}")
    for row in found["measured"]:
        low, high = row["interval"]
        print(
            f"{row['name'][:24]:>24}  {row['base']:7.4f}  {row['tuned']:7.4f}  "
            f"{row['difference']:+8.4f}  {low:+8.4f} .. {high:+.4f}  {row['p']:6.4f}  "
            f"{row['metric']}, {row['items']}, {row['kind']}"
        )
    if found["verdict"] == "better":
        print(found["sentence"])


if __name__ == "__main__":
    main()
