"""The pictures of a PDF's pages that a hit stands on, its passage marked; knows no screen."""

from pathlib import Path, PurePosixPath

from app.library import Listing
from data.page_view import PageView, view_passage
from indexing import Hit, SearchIndex


def has_pages(hit: Hit) -> bool:
    """Whether a hit comes from a PDF file of its own."""
    return hit.page is not None and PurePosixPath(hit.source).suffix.lower() == ".pdf"


def pages_of(listing: Listing, index: SearchIndex, hit: Hit) -> list[PageView]:
    """The pages of a hit.

    Raises:
        LookupError: If its document has left the index.
        OSError: If the file is not here any more.
        UnreadableDocumentError: If it is another file by now.
    """
    document = index.generation.document(hit.document)
    if document is None:
        raise LookupError(f"{hit.document} is not in the index any more; search again.")
    return view_passage(_file(listing, hit).read_bytes(), document, hit.start, hit.end)


def _file(listing: Listing, hit: Hit) -> Path:
    """Where the file lies now: a restored knowledge base has another folder than it had."""
    if not listing.is_managed:
        return Path(hit.source)
    # Only the last part counts, so that no index can name a file elsewhere.
    return listing.sources / Path(hit.source).name
