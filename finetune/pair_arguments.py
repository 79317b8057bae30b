"""The options of every command that reads training pairs."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.pair_reading import PairOptions


def add_pair_arguments(parser: ArgumentParser) -> None:
    """Add the pairs and how to read them."""
    option = parser.add_argument
    option("pairs", metavar="PAIRS", help="a file, a folder, or a data set's id on the hub")
    option("--split", help="of a folder or data set (default: train)")
    option(
        "--rename", metavar="FROM=TO", action="append", default=[], help="rename a column; repeat"
    )
    option("--format", metavar="NAME", help="take only this format; default: recognise each row")
    option(
        "--label", metavar="WORD=N", action="append", default=[], help="what a label counts; repeat"
    )
    option("--encoding", default="utf-8-sig", help="of text files (default: UTF-8)")


def pair_options(arguments: Namespace, on_bad: str = "stop") -> "PairOptions":
    """What the options say.

    Raises:
        UsageError: If one of them is wrong.
    """
    from data.pair_formats import RowReader
    from data.pair_reading import PairOptions
    from encoder.errors import UsageError

    labels = {}
    for word, value in _assigned(arguments.label, "--label WORD=N").items():
        try:
            labels[word] = float(value)
        except ValueError:
            raise UsageError(f"--label {word}={value}: {value!r} is no number.") from None
    rename = _assigned(arguments.rename, "--rename FROM=TO")
    try:
        RowReader(name=arguments.format)
        return PairOptions(
            rename=rename,
            labels=labels,
            format=arguments.format,
            split=arguments.split,
            encoding=arguments.encoding,
            on_bad=on_bad,  # type: ignore[arg-type]  # checked there
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _assigned(given: list[str], form: str) -> dict[str, str]:
    from encoder.errors import UsageError

    pairs = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"{form} is the form; got {item!r}.")
        pairs[name.strip()] = value.strip()
    return pairs
