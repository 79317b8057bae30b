"""The knowledge bases of this installation: where each lives, and what it is called.

`ANGLER_HOME` holds one folder for each, named by a made-up number; what people call a knowledge
base stands in its `kb.toml` and never becomes a path. `ANGLER_INDEX` adds one index that was built
by command, which can be searched here but not changed. Knows no screen.
"""

import json
import logging
import os
import re
import shutil
import time
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from indexing.generation import has_index
from indexing.ledger import write_ledger

HOME_VARIABLE, INDEX_VARIABLE = "ANGLER_HOME", "ANGLER_INDEX"
DEFAULT_HOME = "~/.angler"
DEFAULT_INDEX = "kb"
"""An index in the current folder, as the handbook's first command makes it."""
FACTS, SOURCES, INDEX = "kb.toml", "sources", "index"
LONGEST_NAME = 80
LONGEST_DESCRIPTION = 500
_REMOVED = ".removed-"
_KEPT_FORMATS = "\u200c\u200d"
"""Zero-width joiners, which Persian, Indian scripts and emoji are spelt with."""
_BLANKS = re.compile(r"\s+")

log = logging.getLogger(__name__)


class LibraryError(ValueError):
    """A name, a number or a choice that cannot be used; the sentence can be shown to a reader."""

    def __init__(self, key: str, message: str, **values: object) -> None:
        super().__init__(message)
        self.key = key
        """Names the sentence in the reader's language."""
        self.values = values


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a `kb.toml` says."""

    name: str
    description: str = ""
    encoder: str = ""
    """Folder or hub id; empty for the embedded default."""
    chunk_tokens: int = 0
    """Most tokens of a chunk; 0 for as many as suit the encoder."""
    links: int = 0
    """Links that are followed from each web address."""
    addresses: tuple[str, ...] = ()
    """Web pages that belong to it."""
    created: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A knowledge base as the library lists it."""

    id: str
    """A made-up number that links and folders carry."""
    facts: Facts
    folder: Path
    index: Path
    is_managed: bool = True
    """Whether its documents are kept and changed here."""
    sources: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", self.folder / SOURCES)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.facts.name

    @property
    def has_index(self) -> bool:
        """Whether anything of it was published yet."""
        return has_index(self.index)


class Library:
    """All knowledge bases."""

    def __init__(self, home: Path | None, single: Path | None = None) -> None:
        """Point to them; nothing is read or made yet.

        Args:
            home: The folder with a folder for each; None where none are kept here.
            single: An index that was built by command.
        """
        self.home = home
        self.single = single

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "Library":
        """The library that the environment names.

        `ANGLER_INDEX` alone means that index and nothing else; with neither variable the home is
        in the user's folder, and an index called `kb` in the current folder is listed as well.
        """
        home, index = environment.get(HOME_VARIABLE), environment.get(INDEX_VARIABLE)
        if index:
            return cls(Path(home).expanduser() if home else None, Path(index).expanduser())
        beside = Path(DEFAULT_INDEX)
        folder = Path(home or DEFAULT_HOME).expanduser()
        return cls(folder, beside if not home and has_index(beside) else None)

    def all(self) -> list[Listing]:
        """Every knowledge base, by name; one whose `kb.toml` is damaged is left out and logged."""
        found = [] if self.single is None else [self._single(self.single)]
        if self.home is not None and self.home.is_dir():
            for folder in self.home.iterdir():
                listing = self._read(folder)
                if listing is not None:
                    found.append(listing)
        return sorted(found, key=lambda one: (one.name.casefold(), one.id))

    def get(self, id_: str) -> Listing:
        """The knowledge base with a number.

        Raises:
            LibraryError: If there is none.
        """
        for listing in self.all():  # never by the path that a number would make
            if listing.id == id_:
                return listing
        raise LibraryError("no_such_base", f"There is no knowledge base {id_!r}.")

    def create(self, facts: Facts) -> Listing:
        """Make an empty knowledge base.

        Raises:
            LibraryError: If its name cannot be used.
        """
        home = self._need_home()
        facts = replace(facts, created=time.time())
        self._check(facts, None)
        listing = _listing(home / str(uuid4()), facts)
        listing.sources.mkdir(parents=True, mode=0o700)
        write_ledger(listing.sources, {})
        _write(listing.folder, facts)
        log.info("Knowledge base %s was created.", listing.id)
        return listing

    def change(self, listing: Listing, **values: Any) -> Listing:  # noqa: ANN401 - checked by Facts
        """Change what `kb.toml` says, such as `name` or `description`.

        Raises:
            LibraryError: If a value cannot be used.
        """
        facts = replace(self.get(listing.id).facts, **values)
        self._check(facts, listing.id)
        _write(listing.folder, facts)
        return _listing(listing.folder, facts)

    def delete(self, listing: Listing) -> None:
        """Delete a knowledge base with all that it keeps; the caller knows that no job runs."""
        if not listing.is_managed:
            raise LibraryError("not_managed", f"{listing.name} is not kept here.")
        doomed = listing.folder.with_name(f"{_REMOVED}{listing.folder.name}")
        listing.folder.rename(doomed)  # gone for all readers at once, also if deleting takes long
        shutil.rmtree(doomed)
        log.info("Knowledge base %s was deleted.", listing.id)

    def free_name(self, name: str) -> str:
        """A name, with a number behind it if another knowledge base is called so."""
        taken = {one.name.casefold() for one in self.all()}
        numbered = (f"{name[: LONGEST_NAME - 5]} {number}" for number in range(2, len(taken) + 3))
        return next(one for one in (name, *numbered) if one.casefold() not in taken)

    def _need_home(self) -> Path:
        if self.home is None:
            raise LibraryError(
                "no_home",
                f"This page shows one index; set {HOME_VARIABLE} to a folder to keep more.",
            )
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.home

    def _check(self, facts: Facts, id_: str | None) -> None:
        others = [one for one in self.all() if one.id != id_]
        if any(one.name.casefold() == facts.name.casefold() for one in others):
            raise LibraryError(
                "name_taken", f"Another knowledge base is called {facts.name!r}.", name=facts.name
            )
        clean_name(facts.name)

    def _read(self, folder: Path) -> Listing | None:
        if not _is_number(folder.name) or not (folder / FACTS).is_file():
            return None
        try:
            return _listing(folder, _facts(folder))
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s is damaged and left out: %s", folder / FACTS, error)
            return None

    @staticmethod
    def _single(index: Path) -> Listing:
        name = index.resolve().name
        return Listing(
            id=INDEX,
            facts=Facts(name=name or str(index)),
            folder=index.parent,
            index=index,
            is_managed=False,
        )


def clean_name(text: str, most: int = LONGEST_NAME) -> str:
    """A name of people's, in one spelling, in any script.

    Raises:
        LibraryError: If it is empty or too long.
    """
    plain = unicodedata.normalize("NFC", text)
    seen = "".join(
        " " if character.isspace() else character
        for character in plain
        if character.isspace() or character in _KEPT_FORMATS or not _is_hidden(character)
    )
    name = _BLANKS.sub(" ", seen).strip()
    if not name.strip(_KEPT_FORMATS + " "):
        raise LibraryError("name_empty", "The name is empty; give one.")
    if len(name) > most:
        raise LibraryError(
            "name_long", f"The name has {len(name)} characters; at most {most} fit.", most=most
        )
    return name


def _is_hidden(character: str) -> bool:
    """Whether a character shows nothing, or turns round what stands behind it."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _is_number(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _listing(folder: Path, facts: Facts) -> Listing:
    return Listing(id=folder.name, facts=facts, folder=folder, index=folder / INDEX)


def _facts(folder: Path) -> Facts:
    return facts_of(tomllib.loads((folder / FACTS).read_text("utf-8")))


_TYPES: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "encoder": (str,),
    "chunk_tokens": (int,),
    "links": (int,),
    "addresses": (list,),
    "created": (int, float),
}


def facts_of(values: Mapping[str, Any]) -> Facts:
    """The facts that a `kb.toml` holds, checked.

    Raises:
        ValueError: If a key is missing, or a value is of the wrong type.
    """
    found = {key: values[key] for key in _TYPES if key in values}  # others are of later versions
    for key, value in found.items():
        if type(value) not in _TYPES[key]:
            raise ValueError(f"{key} must not be {value!r}")
    addresses = found.pop("addresses", [])
    if not all(isinstance(one, str) for one in addresses):
        raise ValueError("addresses must be texts")
    if "name" not in found:
        raise ValueError("name is missing")
    found["name"] = clean_name(found["name"])
    return Facts(**found, addresses=tuple(addresses))


def facts_text(facts: Facts) -> str:
    """Facts as the text of a `kb.toml`."""
    # JSON's strings, numbers and lists are also TOML's.
    values = asdict(facts).items()
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values)


def _write(folder: Path, facts: Facts) -> None:
    beside = folder / f"{FACTS}.new"
    with beside.open("w", encoding="utf-8") as file:
        file.write(facts_text(facts))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / FACTS)
