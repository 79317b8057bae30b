"""A ZIP or TAR archive in, the files in it out, within limits; nothing is written to disk."""

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import IO, Protocol, cast

from data.loaders.base import UnreadableDocumentError
from data.loaders.text import clean_text, decode_text

__all__ = [
    "ARCHIVE_SUFFIXES",
    "ArchiveLimits",
    "Member",
    "is_archive",
    "list_members",
    "read_member",
]

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    LookupError,
    StopIteration,
)
_DAMAGE_OF_FORMATS = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error)
_DRIVE = re.compile(r"[A-Za-z]:")
_UTF8_NAME = 0x800
"""A flag of a ZIP member. Source: APPNOTE.TXT 4.4.4."""
_SMALL = 10 * 2**20
"""Members up to this size may be compressed as well as they like."""


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What an archive may hold; what is over a limit is not unpacked."""

    members: int = 10_000
    """Files in all, with those of archives within."""
    member_bytes: int = 256 * 2**20
    total_bytes: int = 2 * 2**30
    ratio: int = 200
    """Unpacked bytes for one packed byte, for files over 10 MiB."""
    depth: int = 2
    """Archives within archives."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, not read yet."""

    path: str
    """Relative POSIX path, through archives within archives as through folders."""
    size: int
    chain: tuple[str, ...]
    """The names, as stored, of the archives within that lead to it, and its own."""
    problem: str = ""
    """Why it is not read; empty if it is."""


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def list_members(path: Path, limits: ArchiveLimits | None = None) -> list[Member]:
    """The files of an archive, without those that are hidden, in their order.

    Raises:
        UnreadableDocumentError: If it cannot be opened; the message is the reason.
    """
    with _LOCK:
        return list(_Listing(path, limits or ArchiveLimits()).members(()))


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of a file in an archive.

    Raises:
        UnreadableDocumentError: If it is damaged, encrypted or over a limit.
    """
    if member.problem:
        raise UnreadableDocumentError(member.problem)
    *archives, name = member.chain
    with _LOCK:
        return _opened(path, tuple(archives)).read(name)


class _Listing:
    """Walks an archive and those in it, and counts."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self._path, self._limits = path, limits
        self._count = self._bytes = 0
        self._seen: set[str] = set()

    def members(self, archives: tuple[str, ...], prefix: str = "") -> Iterator[Member]:
        archive = _opened(self._path, archives)
        for entry in archive.entries():
            inner = entry.shown.replace("\\", "/")
            shown = prefix + inner
            if _is_hidden(inner):
                continue
            problem = entry.problem or self._problem(inner, shown, entry)
            chain = (*archives, entry.name)
            if problem:
                yield Member(shown, entry.size, chain, problem)
                if self._is_full():
                    return
            elif is_archive(inner):
                yield from self._inner(chain, shown, entry.size)
            else:
                yield Member(shown, entry.size, chain)

    def _inner(self, chain: tuple[str, ...], shown: str, size: int) -> Iterator[Member]:
        if len(chain) > self._limits.depth:
            problem = f"It is an archive within {self._limits.depth} others; that is refused."
            yield Member(shown, size, chain, problem)
            return
        try:
            yield from self.members(chain, f"{shown}/")
        except UnreadableDocumentError as error:
            yield Member(shown, size, chain, str(error))

    def _is_full(self) -> bool:
        return self._count > self._limits.members or self._bytes > self._limits.total_bytes

    def _problem(self, inner: str, shown: str, entry: "_Entry") -> str:
        self._count += 1
        self._bytes += entry.size
        if over := self._over_limits(entry):
            return over
        if _is_trick(inner):
            return "Its path leads out of the archive; that is refused."
        if shown in self._seen:
            return "The archive holds another file of this name before it."
        self._seen.add(shown)
        return ""

    def _over_limits(self, entry: "_Entry") -> str:
        limits = self._limits
        if self._count > limits.members:
            return f"The archive holds more than {limits.members} files; the rest is left out."
        if self._bytes > limits.total_bytes:
            most = limits.total_bytes / 2**20
            return f"The archive unpacks to more than {most:.0f} MiB; the rest is left out."
        if entry.size > limits.member_bytes:
            return f"It unpacks to {entry.size / 2**20:.0f} MiB; that is refused."
        if entry.packed and entry.size > max(_SMALL, limits.ratio * entry.packed):
            return f"It unpacks to {entry.size // entry.packed} times its size; that is refused."
        return ""


def _is_hidden(path: str) -> bool:
    parts = path.split("/")
    return parts[0] == "__MACOSX" or any(
        part.startswith(".") and part not in {".", ".."} for part in parts
    )


def _is_trick(path: str) -> bool:
    parts = path.split("/")
    return bool(
        path.startswith("/") or ".." in parts or _DRIVE.match(path) or "\0" in path or "" in parts
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file as an archive lists it."""

    name: str
    """As the archive stores it."""
    shown: str
    """As its author read it."""
    size: int
    packed: int = 0
    problem: str = ""


class _Archive(Protocol):
    source: IO[bytes]

    def entries(self) -> Iterator[_Entry]: ...
    def read(self, name: str) -> bytes: ...


_LOCK = RLock()
_OPEN: dict[tuple[Path, int, tuple[str, ...]], _Archive] = {}
"""The archives used last, which stay open, as their files are asked for in a row."""
_MOST_OPEN = 6


def _opened(path: Path, archives: tuple[str, ...]) -> _Archive:
    try:
        key = (path, path.stat().st_mtime_ns, archives)
        found = _OPEN.pop(key, None) or _open(path, archives)
    except OSError as error:
        raise UnreadableDocumentError(f"The file cannot be read: {error.strerror}.") from error
    _OPEN[key] = found
    while len(_OPEN) > _MOST_OPEN:
        _OPEN.pop(next(iter(_OPEN))).source.close()
    return found


def _open(path: Path, archives: tuple[str, ...]) -> _Archive:
    if archives:
        *outer, name = archives
        source: IO[bytes] = io.BytesIO(_opened(path, tuple(outer)).read(name))
    else:
        name = path.name
        source = path.open("rb")
    try:
        return _Zip(source) if name.lower().endswith(".zip") else _Tar(source)
    except (*_DAMAGE, *_DAMAGE_OF_FORMATS) as error:
        source.close()
        raise _damaged(error) from error


def _damaged(error: Exception) -> UnreadableDocumentError:
    return UnreadableDocumentError(f"The archive is damaged ({error}).")


class _Zip:
    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self._zip = zipfile.ZipFile(source)
        self._last = ("", b"")

    def entries(self) -> Iterator[_Entry]:
        for info in self._zip.infolist():
            if info.is_dir():
                continue
            problem = ""
            if info.flag_bits & 1:
                problem = "It is encrypted with a password; unpack it first."
            elif stat.S_ISLNK(info.external_attr >> 16):
                problem = "It is a link, not a file; that is refused."
            yield _Entry(
                info.filename, _zip_name(info), info.file_size, max(info.compress_size, 1), problem
            )

    def read(self, name: str) -> bytes:
        if self._last[0] != name:
            try:
                info = self._zip.getinfo(name)
                with self._zip.open(info) as file:
                    # One more than was said, so that its checksum is looked at; never all there is.
                    self._last = (name, file.read(info.file_size + 1))
            except (*_DAMAGE, *_DAMAGE_OF_FORMATS) as error:
                raise UnreadableDocumentError(f"It is damaged in the archive ({error}).") from error
        return self._last[1]


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A name in another encoding than the standard allows, as Chinese Windows writes it."""
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    if info.flag_bits & _UTF8_NAME or name.isascii():
        return name
    try:
        return clean_text(decode_text(name.encode("cp437")))
    except (UnicodeEncodeError, UnreadableDocumentError):
        return name


class _Tar:
    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        bounded = cast("IO[bytes]", _Bounded(_unpacked(source)))
        self._tar = tarfile.TarFile(fileobj=bounded)
        self._infos: dict[str, tarfile.TarInfo] = {}
        self._last = ("", b"")

    def entries(self) -> Iterator[_Entry]:
        try:
            for info in self._tar:  # from the start again, whatever was read before
                if info.isdir():
                    continue
                self._infos.setdefault(info.name, info)
                problem = "" if info.isreg() else "It is a link or a device; that is refused."
                yield _Entry(info.name, _tar_name(info.name), info.size, problem=problem)
        except (*_DAMAGE, *_DAMAGE_OF_FORMATS) as error:
            raise _damaged(error) from error

    def read(self, name: str) -> bytes:
        if self._last[0] != name:
            try:
                found = self._infos.get(name) or next(i for i in self._tar if i.name == name)
                file = self._tar.extractfile(found)
                self._last = (name, file.read() if file is not None else b"")
            except (*_DAMAGE, *_DAMAGE_OF_FORMATS) as error:
                raise UnreadableDocumentError(f"It is damaged in the archive ({error}).") from error
        return self._last[1]


def _tar_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        try:
            return clean_text(decode_text(name.encode("utf-8", "surrogateescape")))
        except UnreadableDocumentError:
            return clean_text(name)
    return name


def _unpacked(source: IO[bytes]) -> IO[bytes]:
    magic = source.read(6)
    source.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=source))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(source)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(source)
    return source


class _Bounded:
    """A file that gives no more at once than a member may hold: headers may ask for gigabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size > ArchiveLimits.member_bytes:
            raise ValueError(f"one part has {size} bytes")
        return self._file.read(size)
