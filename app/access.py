"""Who reads, and what they may: asked by retrieval itself, so that no page can forget it.

There is no sign-in yet, and everybody may see and change everything. A later sign-in fills a
`Reader`, and nothing else has to change. Also says whether the page may be served at all.
"""

import os
from dataclasses import dataclass
from ipaddress import ip_address

from app.library import Library, LibraryError, Listing
from indexing.filters import Filter

PROXY_VARIABLE = "ANGLER_BEHIND_PROXY"
"""Set to 1 by whoever puts a proxy in front that asks for a password."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Whoever looks at a page."""

    name: str | None = None

    def may_see(self, listing: Listing) -> bool:
        """Whether a knowledge base exists for this reader."""
        return True

    def may_change(self, listing: Listing) -> bool:
        """Whether its documents may be changed."""
        return listing.is_managed

    def filter_for(self, listing: Listing) -> Filter | None:
        """What this reader may find in a knowledge base; None for all of it."""
        return None


EVERYBODY = Reader()


def visible(library: Library, reader: Reader) -> list[Listing]:
    """The knowledge bases that exist for a reader, by name."""
    return [listing for listing in library.all() if reader.may_see(listing)]


def chosen(library: Library, reader: Reader, id_: str) -> Listing:
    """The knowledge base with a number, if it exists for a reader.

    Raises:
        LibraryError: If not; it says the same for one that there is and one that there is not.
    """
    for listing in visible(library, reader):
        if listing.id == id_:
            return listing
    raise LibraryError("no_such_base", "There is no such knowledge base.")


def is_guarded(address: str | None) -> bool:
    """Whether a server bound to an address is out of strangers' reach, or has a guard.

    Args:
        address: What the server was told to bind to; None means every address of the machine.
    """
    if os.environ.get(PROXY_VARIABLE) == "1":
        return True
    if address is None:
        return False
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False
