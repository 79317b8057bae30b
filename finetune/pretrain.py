"""`python -m finetune.pretrain`: texts of a domain to an encoder that has read them (RetroMAE)."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from encoder.command import Parser, ProgressBar, print_json, run
from finetune.errors import TrainingStoppedError


def _parser() -> Parser:
    parser = Parser(
        prog="python -m finetune.pretrain",
        description="Let an encoder read texts of a domain, without any labels, before it is "
        "trained on pairs: RetroMAE. What comes out is a base for finetune.train --model.",
    )
    option = parser.add_argument
    option("texts", metavar="TEXTS", nargs="*", help='files of {"text", "title"?}, or BEIR folders')
    option("--index", metavar="DIR", help="an index whose chunks are read")
    option("--out", metavar="DIR", required=True, help="a new folder; the model: DIR/model")
    option("--model", metavar="M", help="folder or hub id (default: the embedded encoder)")
    option(
        "--mask-share", metavar="X", type=float, default=0.3, help="tokens guessed (default: 0.3)"
    )
    option(
        "--hidden-share",
        metavar="X",
        type=float,
        default=0.5,
        help="tokens that the decoder does not see (default: 0.5)",
    )
    option("--epochs", metavar="N", type=int, default=1, help="default: 1")
    option("--batch-size", metavar="N", type=int, default=32, help="in memory (default: 32)")
    option("--effective-batch", metavar="N", type=int, help="of one step (default: batch-size)")
    option("--learning-rate", metavar="X", type=float, default=2e-5, help="default: 2e-5")
    option("--max-tokens", metavar="N", type=int, help="of a text (default: what it reads)")
    option("--max-steps", metavar="N", type=int, help="stop after so many")
    option("--save-every", metavar="N", type=int, help="steps (default: five times in all)")
    option("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--seed", metavar="N", type=int, default=42, help="default: 42")
    option("--resume", action="store_true", help="go on with a training that was cut off")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, train, report."""
    arguments = _parser().parse_args()
    run(lambda: _pretrain(arguments), failures=(TrainingStoppedError,))


def _pretrain(arguments: Namespace) -> None:
    from encoder.errors import UsageError

    if not arguments.texts and not arguments.index:
        raise UsageError("There is nothing to read: give TEXTS or --index.")
    from finetune.pretraining import PretrainConfig, pretrain
    from finetune.run_folder import is_main_process

    names = PretrainConfig.__dataclass_fields__
    config = PretrainConfig(**{k: v for k, v in vars(arguments).items() if k in names})
    bar = ProgressBar("steps")
    try:
        found: dict[str, Any] = pretrain(
            _texts(arguments), arguments.out, config, resume=arguments.resume, progress=bar
        )
    finally:
        bar.close()
    if not is_main_process():
        return
    if arguments.json:
        print_json(found)
        return
    print(
        f"loss on {found['held_out']} texts held out: {found['loss_before']:.3f} → "
        f"{found['loss_after']:.3f}"
    )
    print(f"model: {found['model']}; {found['steps']} steps in {found['seconds']:.0f} s")


def _texts(arguments: Namespace) -> list[str]:
    from finetune.corpora import texts_of_file, texts_of_index

    found = [text for place in arguments.texts for text in texts_of_file(Path(place))]
    if arguments.index:
        found += texts_of_index(Path(arguments.index))
    return found


if __name__ == "__main__":
    main()
