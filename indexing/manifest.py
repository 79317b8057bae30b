"""The manifest of a generation: what it is made of, and the size and SHA-256 of every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from encoder import EncoderSpec
from encoder.files import digest_of_file
from indexing.errors import CorruptIndexError
from indexing.splitting import SplitterConfig
from indexing.stores.index_types import DEFAULT_RECALL

FORMAT = 2
"""Version of the files on disk; raised whenever a reader of the old one would misread the new.
2: the texts of documents have a table of their own. 1 is still read, and updated segment by
segment."""
READ_FORMATS = (1, 2)
NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class FileFact:
    """What a published file must be."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that a reader must know before it trusts a generation."""

    generation: int
    encoder: EncoderSpec
    splitter: SplitterConfig
    store: str
    index_type: str
    documents: int
    chunks: int
    next_id: int
    """The next chunk id to give: ids only grow."""
    files: Mapping[str, FileFact]
    """By path in the generation's folder."""
    recall: float = DEFAULT_RECALL
    """Share of the nearest that an approximate store was to find."""
    made: Mapping[str, object] = field(default_factory=dict)
    """Of an approximate store: what it is, how thoroughly it searches, the recall measured."""
    store_options: Mapping[str, str] = field(default_factory=dict)
    """Where the rows lie, for a store outside the index's folder."""
    shard: str = ""
    """Which part of an index this is, as `1/3`; empty for a whole one."""

    def write(self, folder: Path) -> None:
        """Write the manifest with a digest of its own, so that a changed byte in it is noticed."""
        body = asdict(self) | {"format": FORMAT, "fingerprint": self.encoder.fingerprint}
        body["encoder"] = self.encoder.as_dict()
        # As versions wrote it that knew flat stores only, so that they can read it.
        if not self.made:
            del body["made"]
        if self.recall == DEFAULT_RECALL:
            del body["recall"]
        if not self.store_options:  # as versions wrote it that knew no such store, and can read it
            del body["store_options"]
        if not self.shard:
            del body["shard"]
        text = json.dumps(body | {"sha256": _digest(body)}, ensure_ascii=False, indent=1)
        (folder / NAME).write_text(text, "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a generation's manifest.

        Raises:
            CorruptIndexError: If it is missing or not what was written.
        """
        path = folder / NAME
        try:
            body = json.loads(path.read_text("utf-8"))
            expected = body.pop("sha256")
        except FileNotFoundError:
            raise CorruptIndexError(path, "is missing") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CorruptIndexError(path, "is not a manifest") from None
        if _digest(body) != expected:
            raise CorruptIndexError(path, "was changed after it was written")
        if body.pop("format") not in READ_FORMATS:
            raise CorruptIndexError(path, "was written by another version of Angler")
        return cls._from_body(path, body)

    @classmethod
    def _from_body(cls, path: Path, body: dict[str, Any]) -> "Manifest":
        del body["fingerprint"]
        body["encoder"] = EncoderSpec.from_dict(body["encoder"])
        body["splitter"] = _splitter(path, body["splitter"])
        body["files"] = {name: FileFact(**fact) for name, fact in body["files"].items()}
        try:
            return cls(**body)
        except TypeError:  # a fact that came later
            raise CorruptIndexError(path, "was written by another version of Angler") from None


def _splitter(path: Path, body: Mapping[str, Any]) -> SplitterConfig:
    try:
        return SplitterConfig(**body)
    except (TypeError, ValueError):  # a way of splitting that came later
        raise CorruptIndexError(path, "was written by another version of Angler") from None


def _digest(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_facts(folder: Path, known: Mapping[tuple[int, int], FileFact]) -> dict[str, FileFact]:
    """Size and SHA-256 of every file below a folder but the manifest.

    Args:
        folder: The generation's folder.
        known: Facts of files that are already published, by device and inode: a hard link to one
            of them is not hashed again.
    """
    facts: dict[str, FileFact] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / NAME:
            status = path.stat()
            fact = known.get((status.st_dev, status.st_ino)) or file_fact(path)
            facts[path.relative_to(folder).as_posix()] = fact
    return facts


def file_fact(path: Path) -> FileFact:
    """Size and SHA-256 of a file."""
    return FileFact(size=path.stat().st_size, sha256=digest_of_file(path))
