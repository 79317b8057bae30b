"""The index behind the page: which one, opened once, its encoder warmed, new states followed."""

import logging
import os
from pathlib import Path
from threading import Thread

import streamlit as st

from encoder import MissingExtraError, ModelNotFoundError
from indexing import CorruptIndexError, IndexMismatchError, IndexNotFoundError, open_index
from indexing.errors import StoreError
from indexing.fusion import BLIND_SHARE
from indexing.generation import current_folder
from indexing.manifest import NAME

VARIABLE = "ANGLER_INDEX"
DEFAULT_FOLDER = "kb"
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


class KnowledgeBase:
    """An open index that follows what builds publish."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Taken before the index is opened: a generation published meanwhile is then noticed.
        self.state = _state(folder)
        self.index = open_index(folder)
        self._warming = Thread(target=self._warm, daemon=True)
        self._warming.start()

    @property
    def name(self) -> str:
        """What to call it."""
        return self.folder.resolve().name

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


def index_folder() -> Path:
    """The folder that the environment names."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER).expanduser()


@st.cache_resource(max_entries=4, show_spinner=False, validate=KnowledgeBase.is_current)
def open_knowledge_base(folder: Path) -> KnowledgeBase:
    """The knowledge base in a folder, one for all readers.

    Raises:
        IndexNotFoundError: If there is no index in the folder.
        CorruptIndexError: If one of its files is missing or changed.
    """
    return KnowledgeBase(folder)


def _state(folder: Path) -> str:
    """Names the published state; another one after each build, also if the folder was replaced."""
    generation = current_folder(folder)
    manifest = (generation / NAME).stat()
    return f"{generation} {manifest.st_ino} {manifest.st_mtime_ns}"
