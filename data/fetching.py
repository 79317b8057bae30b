"""A web address in, what the server sends out: within limits, from allowed addresses only."""

import http.client
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

__all__ = [
    "AddressRule",
    "FetchError",
    "FetchLimits",
    "Fetched",
    "Validators",
    "fetch",
    "normal_url",
    "public_only",
]

AGENT = "angler-search"
"""How the crawler calls itself, also to robots.txt."""
AddressRule = Callable[[str, IPv4Address | IPv6Address], bool]
"""Host and address → whether to connect. Asked for every host, also after a redirect."""
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301, 302, 303, 307, 308}
_OK, _NOT_MODIFIED = 200, 304
_SAFE = "/%:=&?~#+!$,;'@()*[]"
_PIECE = 64 * 1024


class FetchError(OSError):
    """A page cannot be had; the message is the reason."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.strerror = reason.rstrip(".")
        self.status = status


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """What one page may cost."""

    timeout_s: float = 20.0
    """Seconds without an answer."""
    total_s: float = 60.0
    size_mib: float = 50.0
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server gave with a page, by which it can be asked later whether the page changed."""

    etag: str = ""
    modified: str = ""
    """As the server wrote it in Last-Modified."""

    @property
    def headers(self) -> dict[str, str]:
        """What asks for the page only if it changed; none if the server gave nothing."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server sent."""

    url: str
    """Where it came from in the end."""
    content_type: str
    """Media type in small letters, without parameters; empty if the server gave none."""
    body: bytes
    validators: Validators = Validators()
    is_unchanged: bool = False
    """Whether the server sent nothing, because the page is what the known validators stand for."""


def public_only(*, hosts: frozenset[str] = frozenset()) -> AddressRule:
    """A rule that allows public addresses, and any address of the named hosts."""

    def may_connect(host: str, address: IPv4Address | IPv6Address) -> bool:
        return host.lower() in hosts or all(map(_is_public, _meant(address)))

    return may_connect


_SITE_LOCAL = IPv6Network("fec0::/10")
"""Inner addresses of old (RFC 3879), which Python calls global."""


_HOLDS_IPV4 = tuple(
    map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)
"""Addresses that a gateway turns, or once turned, into the IPv4 address in their last 32 bits.

Source: RFC 6052, 8215 and 4291 §2.5.5.1, and RFC 2765 §2.1 for the translated ones.
"""


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and address not in _SITE_LOCAL


def _meant(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """An address, and every IPv4 address within it that a packet could end at."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    found: list[IPv4Address | IPv6Address] = [address]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if any(address in network for network in _HOLDS_IPV4):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def normal_url(url: str) -> str:
    """The one spelling of an address: small host, no default port, no fragment, quoted path.

    Raises:
        ValueError: If it is no http or https address.
    """
    parts = urlsplit(url.strip())
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url} is no web address; it must start with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"The address of {parts.hostname} holds a user name; give it without.")
    host = (
        parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    )
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in (None, _PORTS[scheme]) else ""
    path = quote(parts.path, safe=_SAFE) or "/"
    return urlunsplit((scheme, host.lower() + port, path, quote(parts.query, safe=_SAFE), ""))


def fetch(
    url: str,
    *,
    limits: FetchLimits | None = None,
    may_connect: AddressRule | None = None,
    known: Callable[[str], Validators] | None = None,
) -> Fetched:
    """Get a page, following redirects.

    Args:
        url: An http or https address.
        limits: Time, size and redirects.
        may_connect: Which addresses are allowed; without a rule all are, and proxies are used.
        known: The validators of the page at an address, if it need only be sent when it changed.

    Raises:
        FetchError: If it cannot be had, or is over a limit, or not allowed.
    """
    limits = limits or FetchLimits()
    deadline = time.monotonic() + limits.total_s
    for _ in range(limits.redirects + 1):
        try:
            url = normal_url(url)
        except ValueError as error:
            raise FetchError(str(error)) from error
        connection = None
        try:
            connection, target = _connection(urlsplit(url), limits.timeout_s, may_connect)
            validators = known(url) if known is not None else Validators()
            headers = {"User-Agent": AGENT, "Accept-Encoding": "gzip, identity", "Accept": "*/*"}
            connection.request("GET", target, headers=headers | validators.headers)
            answer = connection.getresponse()
            if answer.status in _REDIRECTS and (place := answer.getheader("Location")):
                url = urljoin(url, place)
                continue
            if answer.status == _NOT_MODIFIED and validators.headers:
                return Fetched(url, "", b"", validators, is_unchanged=True)
            if answer.status != _OK:
                reason = f"The server answered {answer.status} {answer.reason}."
                raise FetchError(reason, answer.status)
            kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
            given = (answer.getheader(name) or "" for name in ("ETag", "Last-Modified"))
            return Fetched(url, kind, _body(answer, limits, deadline), Validators(*given))
        except FetchError:
            raise
        except (OSError, http.client.HTTPException, zlib.error, UnicodeError) as error:
            raise FetchError(
                f"The server cannot be reached ({error or type(error).__name__})."
            ) from error
        finally:
            if connection is not None:
                connection.close()
    raise FetchError(f"The page leads on more than {limits.redirects} times.")


def _connection(
    parts: SplitResult, timeout_s: float, may_connect: AddressRule | None
) -> tuple[http.client.HTTPConnection, str]:
    """A connection, not opened yet, and what to ask it for."""
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    target = urlunsplit(("", "", parts.path, parts.query, ""))
    proxy = (
        getproxies().get(parts.scheme) if may_connect is None and not proxy_bypass(host) else None
    )
    if proxy:
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme == "http":
            plain = http.client.HTTPConnection(
                str(through.hostname), through.port or 80, timeout=timeout_s
            )
            return plain, parts.geturl()
        secure = http.client.HTTPSConnection(
            str(through.hostname),
            through.port or 80,
            timeout=timeout_s,
            context=ssl.create_default_context(),
        )
        secure.set_tunnel(host, port)
        return secure, target
    address = _allowed_address(host, port, may_connect)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    # The address that was checked, and not what the name means a moment later.
    connection._create_connection = (  # type: ignore[attr-defined]
        lambda _, *others: socket.create_connection((address, port), *others)
    )
    return connection, target


def _allowed_address(host: str, port: int, may_connect: AddressRule | None) -> str:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if may_connect is None or may_connect(host, ip_address(address.partition("%")[0])):
            return address
    raise FetchError(f"{host} is not allowed: its address {addresses[0]} is not a public one.")


def _body(answer: http.client.HTTPResponse, limits: FetchLimits, deadline: float) -> bytes:
    most = int(limits.size_mib * 2**20)
    packed = (answer.getheader("Content-Encoding") or "").lower() == "gzip"
    unpack = zlib.decompressobj(wbits=31) if packed else None
    body = bytearray()
    while piece := answer.read1(_PIECE):
        body += unpack.decompress(piece, most + 1 - len(body)) if unpack else piece
        if len(body) > most:
            raise FetchError(f"The page is larger than {limits.size_mib:g} MiB.")
        if time.monotonic() > deadline:
            raise FetchError(f"The page took longer than {limits.total_s:g} s.")
    return bytes(body)
