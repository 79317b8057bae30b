"""The indexes behind the pages: opened once, encoders shared and warmed, new states followed."""

import logging
from collections import OrderedDict
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

import streamlit as st

from app.library import Listing
from encoder import MissingExtraError, ModelNotFoundError
from indexing import CorruptIndexError, IndexMismatchError, IndexNotFoundError, open_index
from indexing.errors import StoreError
from indexing.fusion import BLIND_SHARE
from indexing.generation import current_folder
from indexing.manifest import NAME
from indexing.terms import load_built

if TYPE_CHECKING:
    from encoder import Encoder, EncoderSpec

ERRORS = (
    IndexNotFoundError,
    CorruptIndexError,
    IndexMismatchError,
    ModelNotFoundError,
    MissingExtraError,
    StoreError,
)
"""What opening and asking an index may raise; each says in one sentence what to do."""

log = logging.getLogger(__name__)


class SharedEncoders:
    """Encoders that several knowledge bases were built with, each loaded once."""

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self._lock = Lock()
        self._loaded: OrderedDict[tuple[str, int], Encoder] = OrderedDict()

    def load(self, spec: "EncoderSpec") -> "Encoder":
        """The encoder of a spec; the one asked for longest ago makes room for a new one."""
        key = (spec.fingerprint, spec.dim)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load_built(spec)
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._most:
                self._loaded.popitem(last=False)
            return self._loaded[key]


class KnowledgeBase:
    """An open index that follows what builds publish."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        # Taken before the index is opened: a generation published meanwhile is then noticed.
        self.state = _state(folder)
        self.index = open_index(folder, load=_shared().load)
        self._warming = Thread(target=self._warm, daemon=True)
        self._warming.start()

    @property
    def is_warm(self) -> bool:
        """Whether the encoder is ready."""
        return not self._warming.is_alive()

    def wait_until_warm(self) -> None:
        """Return once the encoder is ready, or has failed: the first search then says why."""
        self._warming.join()

    def is_blind_to(self, query: str) -> bool:
        """Whether the encoder can make nothing of a query, so that only its words can be found."""
        return self.index.encoder.unknown_share(query) >= BLIND_SHARE

    def is_current(self) -> bool:
        """Follow the index to its newest state; False if it must be opened anew instead."""
        try:
            state = _state(self.folder)
            if state == self.state:
                return True
            moved = self.index.refresh()
        except (OSError, IndexMismatchError):
            return False
        self.state = state
        return moved

    def _warm(self) -> None:
        try:
            self.index.encoder.encode_queries([self.name])
        except (OSError, ValueError, LookupError, ImportError) as error:
            log.warning("The encoder cannot be loaded: %s", error)


def open_listing(listing: Listing) -> KnowledgeBase:
    """The open index of a knowledge base, one for all readers.

    Raises:
        IndexNotFoundError: If nothing of it was published yet.
        CorruptIndexError: If one of its files is missing or changed.
    """
    return _open(listing.index, listing.name)


@st.cache_resource(max_entries=32, show_spinner=False, validate=KnowledgeBase.is_current)
def _open(folder: Path, name: str) -> KnowledgeBase:
    return KnowledgeBase(folder, name)


@st.cache_resource(show_spinner=False)
def _shared() -> SharedEncoders:
    return SharedEncoders()


def _state(folder: Path) -> str:
    """Names the published state; another one after each build, also if the folder was replaced."""
    generation = current_folder(folder)
    manifest = (generation / NAME).stat()
    return f"{generation} {manifest.st_ino} {manifest.st_mtime_ns}"
