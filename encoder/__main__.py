"""`python -m encoder`: lists, shows, runs and tests encoders."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from encoder.backends.choice import DTYPE_HELP
from encoder.command import DONE, FAILED, Parser, ProgressBar, print_json, run
from encoder.errors import UsageError
from encoder.text_file import count_lines, read_lines

if TYPE_CHECKING:
    from encoder.encoder import Encoder
    from encoder.registry import ModelRow
    from encoder.report import EncodeReport
    from encoder.rerankers import RerankerRow

PROG = "python -m encoder"
DEFAULT = "default: the embedded all-MiniLM-L6-v2"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description="List, show, run and test encoders.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the models that Angler has facts about")
    listing.set_defaults(run=_list)
    showing = commands.add_parser("show", help="every fact of a model and where it came from")
    showing.add_argument("model", metavar="MODEL", help="folder or hub id")
    showing.set_defaults(run=_show)
    encoding = commands.add_parser("encode", help="a file, one text per line, to a .npy array")
    encoding.add_argument("file", metavar="FILE", help="UTF-8 text, or - for stdin")
    encoding.add_argument("--out", metavar="X.npy", required=True, help="float32, one row a line")
    encoding.add_argument("--model", metavar="MODEL", help=f"folder or hub id ({DEFAULT})")
    encoding.add_argument("--role", choices=("document", "query"), default="document")
    encoding.add_argument("--task", metavar="T", help="one of the model's tasks")
    encoding.add_argument(
        "--resume", action="store_true", help="keep unfinished work, and go on where it was cut off"
    )
    encoding.set_defaults(run=_encode)
    testing = commands.add_parser("selftest", help="prove that a model is run as it should be")
    testing.add_argument("model", metavar="MODEL", nargs="?", help=f"folder or hub id ({DEFAULT})")
    testing.set_defaults(run=_selftest)
    caching = commands.add_parser("cache", help="what is kept of models, so that they load sooner")
    caching.add_argument("--clear", action="store_true", help="delete it; it can be made again")
    caching.set_defaults(run=_cache)

    for command in (encoding, testing):
        _add_loading(command)
    for command in (listing, showing, encoding, testing, caching):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_loading(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", metavar="D", default="auto", help="auto, cpu, cuda, cuda:1, …")
    command.add_argument("--backend", metavar="B", default="auto", help="engine: auto, torch, …")
    command.add_argument("--dtype", metavar="T", default="auto", help=DTYPE_HELP)
    command.add_argument("--dim", metavar="N", type=int, help="keep the first N values only")
    command.add_argument("--revision", metavar="R", help="branch, tag or commit on the hub")
    command.add_argument("--local-files-only", action="store_true", help="do not ask the hub")
    command.add_argument("--trust-remote-code", action="store_true", help="run the model's code")


def main() -> NoReturn:
    """Parse, and do what was asked for."""
    arguments = _parser().parse_args()
    run(lambda: arguments.run(arguments))


def _list(arguments: argparse.Namespace) -> int:
    from encoder.registry import find_row, known_models
    from encoder.rerankers import find_reranker, known_rerankers

    rows = [row for name in known_models() if (row := find_row(name))]
    rerankers = [found for name in known_rerankers() if (found := find_reranker(name))]
    if arguments.json:
        models = [_without_family(row) for row in rows]
        print_json({"models": models, "rerankers": [vars(row) for row in rerankers]})
        return DONE
    for row in rows:
        sizes = f"{row.dim:>5} {row.max_tokens:>6} {row.pooling:<8} {'+'.join(row.languages):<19}"
        print(f"{row.name:<58} {sizes} {_state(row)}")
    for scorer in rerankers:
        sizes = f"{scorer.max_tokens:>12} {'reranker':<8} {'+'.join(scorer.languages):<19}"
        print(f"{scorer.name:<58} {sizes} {_state(scorer)}")
    return DONE


def _state(row: "ModelRow | RerankerRow") -> str:
    if row.not_yet:
        return f"not yet: {row.not_yet}"
    return "with --trust-remote-code" if row.remote_code else row.checked


def _without_family(row: "ModelRow") -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "family"}


def _show(arguments: argparse.Namespace) -> int:
    from encoder.show import show

    shown = show(arguments.model)
    if arguments.json:
        facts = {fact.name: {"value": fact.value, "from": fact.source} for fact in shown.facts}
        print_json({"model": shown.model, "facts": facts, "warnings": shown.warnings})
        return DONE
    print(shown.model)
    for fact in shown.facts:
        print(f"  {fact.name:<22} {json.dumps(fact.value, ensure_ascii=False)}  [{fact.source}]")
    for warning in shown.warnings:
        print(f"  {warning}")
    return DONE


def _encode(arguments: argparse.Namespace) -> int:
    import time

    out = _checked_out(arguments)
    file, total = _opened(arguments.file)
    with file:
        encoder = _loaded(arguments)
        bar = ProgressBar("texts")
        start = time.perf_counter()
        report = encoder.encode_to_file(
            read_lines(file, arguments.file),
            out,
            role=arguments.role,
            task=arguments.task,
            progress=lambda done, _: bar(done, total),
            resume=arguments.resume,
        )
        bar.close()
    seconds = time.perf_counter() - start
    if arguments.json:
        facts = {"file": arguments.file, "out": arguments.out, "dim": encoder.dim}
        facts |= {"encoder": encoder.spec.name, "fingerprint": encoder.spec.fingerprint}
        facts |= {"engine": encoder.engine, "seconds": round(seconds, 3)}
        print_json(facts | report.as_dict() | {"tokens_per_s": round(report.tokens / seconds)})
    else:
        print("\n".join(_told(report, encoder, seconds, arguments.out)))
    return DONE


def _told(report: "EncodeReport", encoder: "Encoder", seconds: float, out: str) -> Iterator[str]:
    speed = f"{report.tokens / seconds:.0f} tokens/s by {encoder.engine}"
    before = f"{report.resumed} from before and " if report.resumed else ""
    texts = f"{before}{report.texts} texts, {encoder.dim} dimensions"
    yield f"{texts}, {seconds:.1f} s, {speed}: {out}"
    if report.duplicates:
        yield f"{report.duplicates} equal another text and were encoded once."
    if report.truncated.count:
        most = encoder.spec.max_tokens
        lines = report.truncated.named(lambda position: f"line {position + 1}")
        yield f"{report.truncated.count} are longer than {most} tokens and were cut: {lines}."


def _checked_out(arguments: argparse.Namespace) -> Path:
    out = Path(arguments.out)
    if not out.parent.is_dir():
        raise UsageError(f"There is no folder {out.parent} to write {out.name} to.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file to write.")
    file = Path(arguments.file)
    if arguments.file != "-" and file.exists() and out.exists() and out.samefile(file):
        raise UsageError(f"{out} is the file of the texts; give another name to --out.")
    return out


def _opened(file: str) -> tuple[BinaryIO, int | None]:
    """The texts' file, and its lines where they can be counted before."""
    if file == "-":
        return sys.stdin.buffer, None
    if not Path(file).is_file():
        raise UsageError(f"There is no file {file}.")
    return Path(file).open("rb"), count_lines(Path(file))


def _selftest(arguments: argparse.Namespace) -> int:
    from encoder.selftest import selftest

    encoder = _loaded(arguments)
    checks = selftest(encoder)
    passed = all(check.passed for check in checks)
    if arguments.json:
        print_json(
            {"model": encoder.spec.name, "passed": passed, "checks": [vars(c) for c in checks]}
        )
    else:
        print(encoder.spec.name)
        for check in checks:
            print(f"  {'passed' if check.passed else 'FAILED'}  {check.name:<17} {check.detail}")
    return DONE if passed else FAILED


def _cache(arguments: argparse.Namespace) -> int:
    from encoder.model_cache import clear_cache, models_folder, used_bytes

    freed = clear_cache() if arguments.clear else 0
    folder, used = models_folder(), used_bytes()
    if arguments.json:
        print_json({"folder": str(folder), "bytes": used, "freed_bytes": freed})
        return DONE
    print(f"{folder}: {used / 2**20:.1f} MiB of converted models")
    if arguments.clear:
        print(f"{freed / 2**20:.1f} MiB were deleted.")
    return DONE


def _loaded(arguments: argparse.Namespace) -> "Encoder":
    from encoder.encoder import load_encoder

    return load_encoder(
        arguments.model,
        device=arguments.device,
        backend=arguments.backend,
        dtype=arguments.dtype,
        dim=arguments.dim,
        revision=arguments.revision,
        local_files_only=arguments.local_files_only,
        trust_remote_code=arguments.trust_remote_code,
    )


if __name__ == "__main__":
    main()
