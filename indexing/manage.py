"""`python -m indexing.manage`: go back, verify, keep, back up, restore and purge an index."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.command import FAILED, Parser, ProgressBar, print_json, run
from indexing.errors import BuildFailedError

if TYPE_CHECKING:
    import argparse

_NEAR = 0.8


def _parser() -> Parser:
    parser = Parser(
        prog="python -m indexing.manage",
        description="Look after an index: its states, its copies, and what it keeps.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> "argparse.ArgumentParser":
        found = commands.add_parser(name, help=text, description=text)
        found.add_argument("--index", metavar="DIR", required=True, help="the index's folder")
        found.add_argument("--json", action="store_true", help="print one JSON object")
        return found

    command("status", "the kept generations, the last run, and how many files are in which state")
    files = command("files", "the state of every file, with the reason where it failed")
    files.add_argument("--state", metavar="S", help="only these, such as failed or duplicate")
    back = command("rollback", "return to the generation before, or to any that is kept")
    back.add_argument("--to", metavar="N", type=int, help="the generation's number")
    command("verify", "hash every file of every kept generation")
    keep = command("keep", "how many generations to keep from now on, the live one included")
    keep.add_argument("count", metavar="N", type=int, help="at least 1")
    kind = command("index-type", "make the store anew with another index type, without encoding")
    kind.add_argument("type", metavar="TYPE", help="as --index-type of indexing.build")
    kind.add_argument("--recall", metavar="R", type=float, help="as --recall of indexing.build")
    backup = command("backup", "write the live generation into one file")
    backup.add_argument("file", metavar="FILE", help="what to write, such as kb.zip")
    restore = command("restore", "publish a backup in a new index, or in an existing one")
    restore.add_argument("file", metavar="FILE", help="what backup wrote")
    command("purge", "leave nothing of what was removed: older generations, cached embeddings")
    near = command("near-duplicates", "documents that are nearly the same")
    near.add_argument(
        "--threshold", metavar="S", type=float, default=_NEAR, help=f"default: {_NEAR}"
    )
    move = command("migrate", "index the texts of a FAISS folder that LangChain saved")
    move.add_argument("folder", metavar="FOLDER", help="what FAISS.save_local wrote")
    move.add_argument("--encoder", metavar="M", help="folder or hub id")
    return parser


def main() -> None:
    """Parse and do."""
    arguments = _parser().parse_args()
    run(lambda: _dispatch(arguments), failures=(BuildFailedError,))


def _dispatch(arguments: "argparse.Namespace") -> int | None:
    from indexing import managing

    index = Path(arguments.index)
    match arguments.command:
        case "status":
            found = managing.status(index)
        case "files":
            found = managing.files(index, arguments.state)
        case "rollback":
            found = managing.roll_back(index, arguments.to)
        case "verify":
            found = managing.verify(index)
        case "keep":
            found = managing.keep(index, arguments.count)
        case "index-type":
            found = managing.index_type(index, arguments.type, arguments.recall)
        case "purge":
            found = managing.purge(index)
        case "near-duplicates":
            found = managing.near_duplicates(index, arguments.threshold)
        case _:
            found = _brought(index, arguments)
    _print(found, as_json=arguments.json)
    return FAILED if found.get("damaged") else None


def _brought(index: Path, arguments: "argparse.Namespace") -> dict[str, Any]:
    """What goes to or comes from another place, which takes long enough to watch."""
    from indexing import managing

    match arguments.command:
        case "backup":
            return managing.back_up(index, Path(arguments.file), ProgressBar("bytes"))
        case "restore":
            return managing.restore(index, Path(arguments.file), ProgressBar("bytes"))
        case _:
            bar = ProgressBar("documents")
            return managing.migrate(index, Path(arguments.folder), arguments.encoder, bar)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, list):
            print(f"{name}: {len(value)}")
            for row in value:
                print("  " + _line(row), file=sys.stdout)
        else:
            print(f"{name}: {_line(value)}")


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items() if one not in ("", None))
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
