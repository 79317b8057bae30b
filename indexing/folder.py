"""Whether a folder may become an index."""

from pathlib import Path

from indexing.config import CONFIG_NAME
from indexing.errors import UsageError
from indexing.generation import CURRENT_NEXT, has_index
from indexing.publishing import LOCK_NAME
from indexing.stores.langchain_options import BESIDE, UPLOADING
from indexing.stores.milvus_options import LITE_NAME
from indexing.verification import VERIFIED_NAME
from indexing.work import WORK_FOLDER, WORK_NAME

_OURS = (
    LITE_NAME,
    LOCK_NAME,
    CONFIG_NAME,
    BESIDE,
    UPLOADING,
    CURRENT_NEXT,
    VERIFIED_NAME,
    WORK_NAME,
    WORK_FOLDER,
    "gen-",
)
"""How the names begin of what a first build that did not end may have left."""


def check_index_folder(folder: Path) -> None:
    """Raise UsageError if the folder is a file, or holds what is not ours."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for --index.")
    if folder.is_dir() and not has_index(folder):
        others = [path.name for path in folder.iterdir() if not path.name.startswith(_OURS)]
        if others:
            raise UsageError(
                f"{folder} holds no index but other files ({others[0]}); "
                "give a new or empty folder for --index."
            )
