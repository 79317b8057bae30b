"""Where a Milvus store lies: a server's address or a local path, checked; no engine is imported."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from indexing.errors import UsageError

LITE_NAME = "milvus.db"
"""Milvus Lite's folder in an index's own, where no address is given."""
LITE_SUFFIX = ".db"
"""By it pymilvus tells a local path from an address."""
CONSISTENCIES = ("session", "strong", "bounded", "eventually")
_SCHEMES = ("http", "https", "tcp", "unix")
_URI, _TOKEN = "ANGLER_MILVUS_URI", "ANGLER_MILVUS_TOKEN"
_TLS = {
    "ca_pem_path": "ANGLER_MILVUS_CA",
    "client_pem_path": "ANGLER_MILVUS_CERTIFICATE",
    "client_key_path": "ANGLER_MILVUS_KEY",
    "server_name": "ANGLER_MILVUS_SERVER_NAME",
}
"""Secrets, and what differs from machine to machine, stand in the environment, not in an index."""
Connection = dict[str, str | bool | dict[str, int]]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}
"""The client pings an idle server every ten seconds. Milvus Lite is a thread of this very process,
and hangs up on whoever pings it for some minutes ("too many pings"): the next request was lost."""


@dataclass(frozen=True, kw_only=True)
class MilvusPlace:
    """One knowledge base in one collection of one server."""

    uri: str
    """An address, or the absolute path of Milvus Lite's folder."""
    collection: str
    knowledge_base: str
    consistency: str = "session"
    """How fresh the view of a search must be: by default it holds all that was written up to the
    generation that is read."""
    written: int = 0
    """The server's time of the last write that a search must see, 0 if there is none."""

    def __post_init__(self) -> None:
        if self.consistency not in CONSISTENCIES:
            raise UsageError(
                f"Unknown consistency {self.consistency!r}. Known: {', '.join(CONSISTENCIES)}."
            )
        for name in (self.collection, self.knowledge_base):
            if not _NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} is no name for Milvus: use 1 to 64 of letters, digits, _ and -."
                )

    @property
    def is_lite(self) -> bool:
        """Whether it is a folder of this machine rather than a server."""
        return is_lite(self.uri)

    @property
    def shown(self) -> str:
        """For messages."""
        return f"Milvus Lite in {self.uri}" if self.is_lite else f"the Milvus server at {self.uri}"

    def connection(self) -> Connection:
        """What the client needs to connect: address, token and certificates."""
        found: Connection = {"uri": self.uri, "token": os.environ.get(_TOKEN, "")}
        if self.is_lite:
            found["grpc_options"] = _NO_PINGS
        if self.uri.startswith("https:"):
            found["secure"] = True
            found |= {key: os.environ[name] for key, name in _TLS.items() if os.environ.get(name)}
        return found


def is_lite(uri: str) -> bool:
    """Whether an address is a local path."""
    return uri.endswith(LITE_SUFFIX)


def stored_uri(uri: str | None, index: Path) -> str:
    """The address as an index keeps it: a path in the index's own folder is kept relative to it.

    Raises:
        UsageError: If it is no address, or holds a password.
    """
    if uri is None:
        return LITE_NAME
    check_uri(uri)
    if not is_lite(uri):
        return uri
    path = Path(uri).absolute()
    home = index.absolute()
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)


def opened_uri(stored: str, index: Path) -> str:
    """The address to open: the one that an index keeps, or this machine's own for all indexes."""
    uri = os.environ.get(_URI) or stored
    check_uri(uri)
    return str(index.absolute() / uri) if is_lite(uri) else uri


def check_uri(uri: str) -> None:
    """Raise UsageError unless it is a server's address or a path of Milvus Lite."""
    if is_lite(uri) and "://" not in uri:
        return
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "unix"):
        raise UsageError(
            "--uri must be an address such as http://127.0.0.1:19530, or a path that ends in "
            f"{LITE_SUFFIX} for Milvus Lite; got {uri!r}."
        )
    if "@" in parts.netloc:
        raise UsageError(
            f"--uri must not hold a password; leave out what stands before the @ and give it in "
            f"the environment: {_TOKEN}=user:password."
        )


def place_of(options: Mapping[str, str], fingerprint: str, index: Path) -> MilvusPlace:
    """Where the rows of an index lie: one collection for each encoder fingerprint.

    Args:
        options: What the manifest keeps: `uri`, `knowledge_base`, `consistency` and `written`.
        fingerprint: The encoder's.
        index: The index's folder.
    """
    return MilvusPlace(
        uri=opened_uri(options["uri"], index),
        collection=f"angler_{fingerprint[:32]}",
        knowledge_base=options["knowledge_base"],
        consistency=options.get("consistency", CONSISTENCIES[0]),
        written=int(options.get("written", 0)),
    )
