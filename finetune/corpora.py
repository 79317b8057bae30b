"""Where texts come from that are no pairs: JSON lines, folders in the BEIR layout, an index."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from data.json_lines import read_json_lines


def texts_of(place: Path) -> Iterator[str]:
    """The texts of a file or a BEIR folder, or those of an index.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line cannot be used; names file and line.
    """
    from indexing.generation import CURRENT

    is_index = (place / CURRENT).is_file()
    return texts_of_index(place) if is_index else texts_of_file(place)


def texts_of_file(path: Path) -> Iterator[str]:
    """The texts of JSON lines of `{"text", "title"?}`, plain or gzipped, or of a BEIR folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line cannot be used; names file and line.
    """
    if path.is_dir():
        names = (path / "corpus.jsonl", path / "corpus.jsonl.gz")
        path = next((name for name in names if name.is_file()), names[0])
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no file {path}. Give JSON lines of {{"text"}}, or a folder that holds '
            "corpus.jsonl."
        )
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="\n") as lines:
            for number, row in read_json_lines(lines):
                text = row.get("text")
                if not isinstance(text, str):
                    raise ValueError(f"Line {number} has no 'text'; give each document one.")
                title = row.get("title")
                yield f"{title} {text}" if isinstance(title, str) and title else text
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def texts_of_index(folder: Path) -> Iterator[str]:
    """The embedded texts of all chunks of an index.

    Raises:
        FileNotFoundError: If there is no index.
    """
    from indexing.retriever import open_index

    generation = open_index(folder).generation
    ids = generation.chunk_ids().tolist()
    for start in range(0, len(ids), 1024):
        yield from generation.embedded_texts(ids[start : start + 1024]).values()
