"""The manifest of a generation: what it is made of, and the size and SHA-256 of every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoder import EncoderSpec
from indexing.errors import CorruptIndexError
from indexing.splitting import SplitterConfig

FORMAT = 1
"""Version of the files on disk; raised whenever a reader of the old one would misread the new."""
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

    def write(self, folder: Path) -> None:
        """Write the manifest with a digest of its own, so that a changed byte in it is noticed."""
        body = asdict(self) | {"format": FORMAT, "fingerprint": self.encoder.fingerprint}
        body["encoder"] = self.encoder.as_dict()
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
        if body.pop("format") != FORMAT:
            raise CorruptIndexError(path, "was written by another version of Angler")
        return cls._from_body(body)

    @classmethod
    def _from_body(cls, body: dict[str, Any]) -> "Manifest":
        del body["fingerprint"]
        body["encoder"] = EncoderSpec.from_dict(body["encoder"])
        body["splitter"] = SplitterConfig(**body["splitter"])
        body["files"] = {name: FileFact(**fact) for name, fact in body["files"].items()}
        return cls(**body)


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
            fact = known.get((status.st_dev, status.st_ino)) or _fact(path)
            facts[path.relative_to(folder).as_posix()] = fact
    return facts


def _fact(path: Path) -> FileFact:
    with path.open("rb") as file:
        return FileFact(size=path.stat().st_size, sha256=_sha256(file))


def _sha256(file: Any) -> str:  # noqa: ANN401 - a binary file
    return hashlib.file_digest(file, "sha256").hexdigest()


_verified: set[tuple[str, int, int, int, int]] = set()
"""Files that this process has hashed: (path, inode, size, modified, changed)."""


def verify_files(folder: Path, manifest: Manifest, *, again: bool = False) -> None:
    """Compare a generation's files with its manifest.

    Args:
        folder: The generation's folder.
        manifest: What its files must be.
        again: Hash also the files that this process hashed before.

    Raises:
        CorruptIndexError: That names the first file which is missing or changed.
    """
    for name, fact in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptIndexError(path, "is missing")
        status = path.stat()
        if status.st_size != fact.size:
            raise CorruptIndexError(path, f"has {status.st_size} bytes instead of {fact.size}")
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key in _verified and not again:
            continue
        if _fact(path).sha256 != fact.sha256:
            raise CorruptIndexError(path, "was changed after it was written")
        _verified.add(key)
