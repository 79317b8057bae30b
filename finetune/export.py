"""`python -m finetune.export`: a finished training to a folder that others load."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from encoder.command import Parser, print_json, run
from encoder.errors import UsageError


def _parser() -> Parser:
    parser = Parser(
        prog="python -m finetune.export",
        description="Write what a training made as a folder that Angler, sentence-transformers and "
        "transformers load, with another share of the base or as an adapter. What was written is "
        "loaded again and compared before it is handed out.",
    )
    option = parser.add_argument
    option("run", metavar="RUN", help="the folder of a finished training")
    option("--out", metavar="DIR", required=True, help="a new folder")
    option(
        "--share",
        metavar="S",
        type=float,
        help="of the tuned model in an average with its base, "
        "0 to 1 (default: the one that the training chose)",
    )
    option("--adapter", action="store_true", help="write only what LoRA adds; it needs its base")
    option("--layers", metavar="N", type=int, help="only the first N, of a training with --layers")
    option("--openvino", action="store_true", help="and the body as an OpenVINO model beside it")
    option("--onnx", action="store_true", help="and the body as an ONNX model beside it")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, export, report."""
    arguments = _parser().parse_args()
    run(lambda: _export(arguments))


def _export(arguments: Namespace) -> None:
    if arguments.share is not None and not 0 < arguments.share <= 1:
        raise UsageError(f"--share must lie above 0 and up to 1, got {arguments.share}.")
    for engine, is_wanted in (("OpenVINO", arguments.openvino), ("ONNX", arguments.onnx)):
        if is_wanted and arguments.adapter:
            raise UsageError(
                f"An {engine} model holds whole weights; give --{engine.lower()} or --adapter."
            )
    from finetune.exporting import export_run

    found: dict[str, Any] = export_run(
        Path(arguments.run),
        Path(arguments.out),
        share=arguments.share,
        adapter=arguments.adapter,
        layers=arguments.layers,
        device=arguments.device,
    )
    if arguments.openvino:
        from finetune.runtime_export import add_openvino

        found["openvino"] = str(add_openvino(Path(arguments.out)))
    if arguments.onnx:
        from finetune.runtime_export import add_onnx

        found["onnx"] = str(add_onnx(Path(arguments.out)))
    if arguments.json:
        print_json(found)
        return
    print(f"{found['model']}: {found['share']:g} of the tuned model; {found['sentence']}")
    for note in found["notes"]:
        print(f"note: {note}", file=sys.stderr)


if __name__ == "__main__":
    main()
