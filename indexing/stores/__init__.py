"""Objects that find the nearest embeddings; one contract, tested against exact search."""

from indexing.stores.base import Capabilities, SearchResult, Store
from indexing.stores.factory import build_store, make_store, open_store, store_kinds

__all__ = [
    "Capabilities",
    "SearchResult",
    "Store",
    "build_store",
    "make_store",
    "open_store",
    "store_kinds",
]
