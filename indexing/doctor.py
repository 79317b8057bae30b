"""`python -m indexing.doctor`: whether the parts of an index agree, and mending them."""

from pathlib import Path
from typing import TYPE_CHECKING

from encoder.command import DONE, FAILED, Parser, print_json, run
from indexing.errors import BuildFailedError

if TYPE_CHECKING:
    from encoder import Encoder


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.doctor",
        description="Check that sources, catalogue, embeddings, store and word index agree. "
        "Exit 0 if the index is sound, 1 if it is not.",
    )
    option = parser.add_argument
    option("--index", metavar="DIR", required=True, help="the index's folder")
    option("--fix", action="store_true", help="mend what can be mended")
    option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> None:
    """Parse, examine, report."""
    arguments = _parser().parse_args()
    index, device = Path(arguments.index), arguments.device
    run(
        lambda: _examine(index, device, fix=arguments.fix, as_json=arguments.json),
        failures=(BuildFailedError,),
    )


def _examine(index: Path, device: str, *, fix: bool, as_json: bool) -> int:
    from indexing.errors import IndexNotFoundError
    from indexing.examining import Level, examine
    from indexing.generation import has_index
    from indexing.mending import mend
    from indexing.work import job

    if not has_index(index):
        raise IndexNotFoundError(index)
    if fix:
        with job(index, "doctor --fix") as work:
            findings = mend(index, work, lambda: _encoder(index, device))
    else:
        findings = examine(index)
    is_sound = not any(finding.level in {Level.PROBLEM, Level.BEYOND} for finding in findings)
    if as_json:
        rows = [finding.as_dict() for finding in findings]
        print_json({"index": str(index), "sound": is_sound, "findings": rows})
    else:
        for finding in findings:
            detail = f": {finding.detail}" if finding.detail else ""
            print(f"{finding.level:>8}  {finding.check}{detail}")
        mendable = "" if is_sound or fix else " --fix mends what can be mended."
        print(f"{index} is {'sound' if is_sound else 'not sound'}.{mendable}")
    return DONE if is_sound else FAILED


def _encoder(index: Path, device: str) -> "Encoder":
    from indexing.generation import current_folder
    from indexing.manifest import Manifest
    from indexing.terms import check_same_encoder, load_built

    built = Manifest.read(current_folder(index)).encoder
    encoder = load_built(built, device=device)
    check_same_encoder(index, built, encoder.spec)
    return encoder


if __name__ == "__main__":
    main()
