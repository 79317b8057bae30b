"""Which knowledge bases can be searched, and opening them; what cannot be opened is told."""

from collections.abc import Sequence

from app.components import notices
from app.knowledge_base import ERRORS, open_listing
from app.language import Say
from app.library import Listing
from app.searching import Opened
from indexing import IndexNotFoundError


def searchable(listings: Sequence[Listing]) -> list[Listing]:
    """Those with an index, and the one that the command line named, which ought to have one."""
    return [one for one in listings if one.has_index or not one.is_managed]


def open_all(listings: Sequence[Listing], say: Say) -> list[Opened]:
    """Open those that can be opened, and say what is wrong with the others."""
    opened = []
    for listing in listings:
        try:
            opened.append(Opened(listing=listing, base=open_listing(listing)))
        except IndexNotFoundError:
            notices.no_index(listing.index, say)
        except ERRORS as error:
            notices.trouble(error, say("trouble_title"))
    return opened
