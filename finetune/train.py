"""`python -m finetune.train`: pairs to a better encoder, or the finding that it is none."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from encoder.command import Parser, ProgressBar, print_json, run
from encoder.files import read_object
from finetune.config import TrainConfig, known_recipes, make_config, option_help, parse_option
from finetune.errors import NotBetterError, TrainingStoppedError


def _parser() -> Parser:
    parser = Parser(
        prog="python -m finetune.train",
        description="Train an encoder on pairs and hand it out if it is better than its base. "
        + "Recipes: "
        + "; ".join(f"{name}: {about}" for name, about in known_recipes().items()),
    )
    option = parser.add_argument
    option("pairs", metavar="PAIRS", nargs="+", help="files, folders or hub ids, of any format")
    option("--out", metavar="DIR", required=True, help="a new folder; the model: DIR/model")
    option("--recipe", metavar="R", help="where the numbers come from (default: default)")
    option("--config", metavar="F.toml", help="options from a file, over the recipe's")
    option(
        "--probe",
        metavar="P",
        action="append",
        default=[],
        help="general material that must "
        "not get worse: a BEIR folder[:split], or a file of labelled pairs; repeatable",
    )
    option(
        "--keep",
        metavar="TEXTS",
        action="append",
        default=[],
        help="general texts on which the encoder shall stay what it is: JSON lines of "
        '{"text"}, a BEIR folder or an index; repeatable',
    )
    option("--resume", action="store_true", help="go on with a training that was cut off")
    option(
        "--on-bad",
        choices=("stop", "skip", "name"),
        default="stop",
        help="what to do about a line that cannot be used (default: stop)",
    )
    option("--json", action="store_true", help="print one JSON object")
    group = parser.add_argument_group("choices, over those of recipe and file")
    for name, sentence in option_help().items():
        text = sentence.replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", metavar="V", help=text)
    return parser


def main() -> None:
    """Parse, train, report."""
    arguments = _parser().parse_args()
    run(lambda: _train(arguments), failures=(TrainingStoppedError, NotBetterError))


def _train(arguments: Namespace) -> None:
    given = {
        name: parse_option(name, text)
        for name, text in vars(arguments).items()
        if name in TrainConfig.__dataclass_fields__ and text is not None
    }
    config = make_config(
        arguments.recipe, Path(arguments.config) if arguments.config else None, given
    )
    from data.pair_reading import PairOptions
    from encoder.errors import UsageError
    from finetune.corpora import texts_of
    from finetune.probes import read_probe
    from finetune.run_folder import BEGUN, is_main_process
    from finetune.training import Material, read_sets, train

    sets, reports = read_sets(arguments.pairs, config, PairOptions(on_bad=arguments.on_bad))
    for source, report in zip(sets, reports, strict=True):
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.formats.items())
        skipped = sum(report.problems.values())
        tail = f"; {skipped} lines skipped" if skipped else ""
        print(f"{source.name}: {kinds}{tail}", file=sys.stderr)
    probes = [read_probe(probe) for probe in arguments.probe]
    kept = [text for place in arguments.keep for text in texts_of(Path(place))]
    if arguments.keep and not kept:
        raise UsageError(f"There is no text in {', '.join(arguments.keep)}; leave --keep out.")
    bar = ProgressBar("steps")
    try:
        found = train(
            Material(sets=sets, probes=probes, kept=kept),
            arguments.out,
            config,
            resume=arguments.resume,
            progress=bar,
        )
    except NotBetterError:
        if arguments.json:
            print_json(read_object(Path(arguments.out) / "manifest.json"))
        raise
    except KeyboardInterrupt:
        if (Path(arguments.out) / BEGUN).is_file():
            sentence = (
                f"Stopped; what is in {arguments.out} is whole, and --resume goes on with it."
            )
            raise KeyboardInterrupt(sentence) from None
        raise
    finally:
        bar.close()
    if not is_main_process():
        return
    if arguments.json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    print(found["sentence"])
    for row in found["measured"]:
        low, high = row["interval"]
        print(
            f"  {row['name']} ({row['kind']}, {row['items']}): {row['metric']} {row['base']:.4f} → "
            f"{row['tuned']:.4f}, {row['difference']:+.4f} ({low:+.4f} .. {high:+.4f})"
        )
    for note in found["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"model: {found['model']}; {found['steps']} steps in {found['training_s']:.0f} s")


if __name__ == "__main__":
    main()
