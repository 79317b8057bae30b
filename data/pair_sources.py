"""A file, folder or hub id in, its rows out one at a time; knows no format of pairs.

Reads JSON, JSON lines, CSV and TSV (plain or gzipped), Parquet, Arrow, folders of such files,
folders that `datasets` saved, folders in the BEIR layout, and data sets of a hub.
"""

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from data.beir import load_beir
from data.json_lines import parse_json

_TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_TABLE_SUFFIXES = (".parquet", ".arrow")
_ROWS_AT_ONCE = 1024
_LONGEST_FIELD = 2**24
_DELIMITERS = ",\t;|"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TRAIN = "train"
_UNDECODED = re.compile("[\udc80-\udcff]")
"""Bytes that were no text in the file's encoding."""


class Row(NamedTuple):
    """One row, or why there is none."""

    place: str
    """Where it stands, such as `line 17`."""
    value: Any
    problem: str | None = None
    """What is wrong with the row; it then has no value."""


def rows_of(
    source: str | Path, *, split: str | None = None, encoding: str = "utf-8-sig"
) -> Iterator[Row]:
    """Read rows one after the other.

    Args:
        source: A file, a folder or the id of a data set on the hub (`id:subset` for one of its
            subsets).
        split: Of a folder or data set; `train` if not given.
        encoding: Of text files.

    Raises:
        FileNotFoundError: If there is nothing of that name, or no such split; says what there is.
        ValueError: If the file as a whole cannot be read.
        MissingPackageError: If a package is missing that the format needs.
    """
    path = Path(source)
    if path.is_dir():
        return _folder_rows(path, split, encoding)
    if path.is_file():
        return _file_rows(path, encoding)
    if _looks_like_hub_id(str(source)):
        return _hub_rows(str(source), split)
    raise FileNotFoundError(
        f"No file or folder {source}; give one, or the id of a data set on the hub."
    )


class MissingPackageError(ImportError):
    """A kind of file needs a package that is not installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(
            f"{what} needs the package {package}: pip install -e '.[finetune]', or give "
            "the pairs as JSON lines."
        )


# Files


def _file_rows(path: Path, encoding: str) -> Iterator[Row]:
    suffix = _suffix(path)
    if suffix in _TABLE_SUFFIXES:
        return _table_rows(path, suffix)
    if suffix in {".csv", ".tsv"}:
        return _delimited_rows(path, suffix, encoding)
    if suffix in _TEXT_SUFFIXES:
        return _json_rows(path, encoding)
    known = ", ".join((*_TEXT_SUFFIXES, *_TABLE_SUFFIXES))
    raise ValueError(f"{path}: no kind of file that holds pairs; known: {known}, plain or .gz.")


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, plain or gzipped; a damaged archive is a ValueError that names it."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile reads bytes too
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); what follows was not read.") from error


def _json_rows(path: Path, encoding: str) -> Iterator[Row]:
    """JSON lines, or one JSON array of rows, or one object of columns, whatever the name says."""
    with _opened(path) as file:
        lines = iter(_lines(file, encoding))
        first = next((line for line in lines if line.strip()), b"")
        second = next((line for line in lines if line.strip()), b"")
        # One of two may be a bad line; of an array over several lines neither is JSON.
        in_lines = bool(second) and (_is_json(first, encoding) or _is_json(second, encoding))
        array = _suffix(path) == ".json" or first.lstrip().startswith(b"[")
    if (array and not in_lines) or (not second and _is_container(first, encoding)):
        yield from _whole_json_rows(path, encoding)
        return
    with _opened(path) as file:
        for number, line in enumerate(_lines(file, encoding), start=1):
            if line.strip():
                yield _json_row(f"line {number}", line, encoding)


def _is_json(line: bytes, encoding: str) -> bool:
    return _json_row("", line, encoding).problem is None


def _is_container(line: bytes, encoding: str) -> bool:
    """Whether a single line holds many rows."""
    value = _json_row("", line, encoding).value
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict | list)
    return _columns_of(value) is not None


def _json_row(place: str, line: bytes, encoding: str) -> Row:
    try:
        return Row(place, parse_json(line.decode(encoding)))
    except UnicodeDecodeError as error:
        return Row(place, None, f"not {_plain(encoding)} ({error.reason})")
    except ValueError as error:
        return Row(place, None, f"not JSON ({error})")


def _plain(encoding: str) -> str:
    return "UTF-8" if encoding == "utf-8-sig" else encoding


def _whole_json_rows(path: Path, encoding: str) -> Iterator[Row]:
    with _opened(path) as file:
        read = _json_row("the file", file.read(), encoding)
    if read.problem:
        raise ValueError(f"{path} is {read.problem}; give JSON, or one object a line.")
    value = read.value
    columns = _columns_of(value)
    if columns is not None:
        value = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    elif isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"{path} must hold an array of objects, got {type(value).__name__}.")
    for number, row in enumerate(value, start=1):
        yield Row(f"record {number}", row)


def _columns_of(value: Any) -> Mapping[str, list[Any]] | None:  # noqa: ANN401 - whatever JSON holds
    """The columns of a table that was written as one object of equally long lists."""
    if not isinstance(value, dict) or len(value) < 2:
        return None
    if not all(isinstance(column, list) for column in value.values()):
        return None
    return value if len({len(column) for column in value.values()}) == 1 else None


def _delimited_rows(path: Path, suffix: str, encoding: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    with _opened(path) as file:
        # Bytes that are no text become lone surrogates, so that only their row is lost.
        lines = (line.decode(encoding, "surrogateescape") for line in _lines(file, encoding))
        head = list(_taken(lines, 50))
        if not head:
            return
        delimiter = "\t" if suffix == ".tsv" else _delimiter(head[0])
        reader = csv.reader(
            chain(head, lines),
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if _is_unquoted(head, delimiter) else csv.QUOTE_MINIMAL,
        )
        yield from _numbered_rows(reader, encoding)


def _lines(file: BinaryIO, encoding: str) -> Iterable[bytes]:
    """Lines of a file; in an encoding of two bytes a character they are cut after decoding."""
    if not encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        return file
    return (line.encode(encoding) for line in file.read().decode(encoding).splitlines(True))


def _taken(lines: Iterator[str], count: int) -> Iterator[str]:
    for _, line in zip(range(count), lines, strict=False):
        yield line


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _is_unquoted(lines: Sequence[str], delimiter: str) -> bool:
    """Whether quotation marks are part of the texts, as in many tab-separated files.

    They are where reading them as quotation gives more rows that do not fit the header.
    """
    if delimiter != "\t":
        return False

    def unfit(quoting: Literal[0, 1, 2, 3]) -> int:
        rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
        return sum(bool(row) and len(row) != len(rows[0]) for row in rows)

    return unfit(csv.QUOTE_NONE) < unfit(csv.QUOTE_MINIMAL)


def _numbered_rows(reader: Any, encoding: str) -> Iterator[Row]:  # noqa: ANN401 - csv's own type
    header = [name.strip().removeprefix("\ufeff") for name in next(reader, [])]
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(f"line {number}", None, f"no row of the table ({error})")
            continue
        if not values:
            continue
        if any(map(_UNDECODED.search, values)):
            yield Row(f"line {number}", None, f"not {_plain(encoding)}")
        elif len(values) != len(header):
            fields = f"{len(values)} fields where the first line has {len(header)}"
            yield Row(f"line {number}", None, fields)
        else:
            yield Row(f"line {number}", dict(zip(header, values, strict=True)))


def _table_rows(path: Path, suffix: str) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPackageError(f"Reading {path.name}", "pyarrow") from error

    try:
        if suffix == ".parquet":
            yield from _batches(pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE))
        else:
            with pa.memory_map(str(path)) as file:
                yield from _batches(pa.ipc.open_stream(file))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as {suffix[1:]}: {error}.") from error


def _batches(batches: Iterable[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield Row(f"row {number}", values)


# Folders


def _folder_rows(folder: Path, split: str | None, encoding: str) -> Iterator[Row]:
    if (folder / "qrels").is_dir():
        return _beir_rows(folder, split or _TRAIN)
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
        return _folder_rows(folder / _chosen(folder, split, splits), None, encoding)
    if (folder / "state.json").is_file():
        state = json.loads((folder / "state.json").read_text("utf-8"))
        return _joined([folder / part["filename"] for part in state["_data_files"]], encoding)
    files = sorted(
        p for p in folder.rglob("*") if _suffix(p) in (*_TEXT_SUFFIXES, *_TABLE_SUFFIXES)
    )
    if not files:
        raise FileNotFoundError(f"{folder} holds no file with pairs.")
    by_split = _by_split(files)
    chosen = _chosen(folder, split, by_split) if split or _TRAIN in by_split else None
    return _joined(by_split[chosen] if chosen else files, encoding)


def _by_split(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by the split that their name starts with, as in `train-00000-of-00002.parquet`."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(re.split(r"[-_.]", path.name)[0], []).append(path)
    return found


def _chosen(folder: Path, split: str | None, splits: Iterable[str]) -> str:
    wanted = split or _TRAIN
    if wanted not in splits:
        there = ", ".join(sorted(splits))
        raise FileNotFoundError(f"No split {wanted!r} in {folder}; it has: {there}.")
    return wanted


def _joined(files: Iterable[Path], encoding: str) -> Iterator[Row]:
    for path in files:
        for row in _file_rows(path, encoding):
            yield row._replace(place=f"{path.name}, {row.place}")


def _beir_rows(folder: Path, split: str) -> Iterator[Row]:
    """A row for each judged query: all its relevant documents, and those judged irrelevant."""
    dataset = load_beir(folder, split)
    for query, grades in dataset.qrels.items():
        there = {id_: dataset.corpus[id_] for id_ in grades if id_ in dataset.corpus}
        texts = {id_: f"{d.title} {d.text}" if d.title else d.text for id_, d in there.items()}
        yield Row(
            f"query {query}",
            {
                "query": dataset.queries[query],
                "positives": [text for id_, text in texts.items() if grades[id_] > 0],
                "negatives": [text for id_, text in texts.items() if grades[id_] <= 0],
            },
        )


# The hub


def _looks_like_hub_id(source: str) -> bool:
    name = source.partition(":")[0]
    return bool(_HUB_ID.fullmatch(name)) and Path(name).suffix not in (
        *_TEXT_SUFFIXES,
        *_TABLE_SUFFIXES,
        ".gz",
    )


def _hub_rows(source: str, split: str | None) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(f"The data set {source} of the hub", "datasets") from error

    name, _, subset = source.partition(":")
    try:
        rows = datasets.load_dataset(name, subset or None, split=split or _TRAIN, streaming=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"No file or folder {source}, and no data set of that name could be had from the hub: "
            f"{reason}"
        ) from error
    for number, values in enumerate(rows, start=1):
        yield Row(f"row {number}", values)
