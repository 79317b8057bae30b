"""A web address in, the documents of the page or the whole site out; robots.txt is obeyed."""

import hashlib
import posixpath
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from data.fetching import (
    AGENT,
    AddressRule,
    Fetched,
    FetchError,
    FetchLimits,
    Validators,
    fetch,
    normal_url,
)
from data.loaders import SUFFIXES, Format, document_of
from data.loaders.base import UnreadableDocumentError
from data.records import Document

__all__ = ["KnownPage", "Page", "SiteLimits", "read_site"]

_WEBPAGE = Format("web page", "webpage:read_webpage", "")
_PAGE_TYPES = {"text/html", "application/xhtml+xml"}
_SUFFIX_OF = {
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/rss+xml": ".rss",
    "application/atom+xml": ".atom",
    "application/epub+zip": ".epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
_CLIENT_ERRORS = range(400, 500)


@dataclass(frozen=True, kw_only=True)
class SiteLimits:
    """How far a crawl goes."""

    depth: int = 0
    """Links followed from the first page: 0 is that page alone."""
    pages: int = 1000
    wait_s: float = 0.2
    """Seconds between two requests; robots.txt may ask for more."""
    most_wait_s: float = 10.0
    """More than this is not waited, whatever robots.txt asks for."""


@dataclass(frozen=True, slots=True)
class KnownPage:
    """What is kept of a page that was read, so that it is not read again while it is the same."""

    validators: Validators
    digest: str
    """SHA-256 of what the server sent."""
    links: tuple[str, ...]
    """The addresses that it leads to."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was read, or that is as it was, or why it was not read."""

    url: str
    document: Document | None
    reason: str = ""
    is_gone: bool = False
    """Whether the server says that there is no such page."""
    known: KnownPage | None = None
    """What to give to `read_site` the next time."""
    is_unchanged: bool = False
    """Whether it is as it was when what is known of it was found out; then it is not read."""


def read_site(
    url: str,
    *,
    limits: SiteLimits | None = None,
    fetch_limits: FetchLimits | None = None,
    may_connect: AddressRule | None = None,
    known: Mapping[str, KnownPage] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Page]:
    """Yield the page at `url`, and those below its folder that it leads to, nearest first.

    Args:
        url: Where to begin.
        limits: How far to go.
        fetch_limits: What one page may cost.
        may_connect: Which addresses are allowed; see `fetch`.
        known: What is known of pages by their address. The server is asked whether they changed;
            where they did not, they are neither sent nor read.
        sleep: Waits between two pages.

    Raises:
        ValueError: If it is no web address.
    """
    start = normal_url(url)
    crawl = _Crawl(
        limits or SiteLimits(), fetch_limits or FetchLimits(), may_connect, known or {}, sleep
    )
    yield from crawl.pages(start)


class _Crawl:
    def __init__(
        self,
        limits: SiteLimits,
        fetch_limits: FetchLimits,
        may_connect: AddressRule | None,
        known: Mapping[str, KnownPage],
        sleep: Callable[[float], None],
    ) -> None:
        self._limits, self._fetch_limits = limits, fetch_limits
        self._may_connect, self._sleep = may_connect, sleep
        self._known = known
        self._wait_s = limits.wait_s

    def pages(self, start: str) -> Iterator[Page]:
        robots = self._robots(start)
        delay = robots.crawl_delay(AGENT)
        self._wait_s = max(self._wait_s, min(float(delay or 0), self._limits.most_wait_s))
        waiting, seen, count = deque([(start, 0)]), {start}, 0
        while waiting and count < self._limits.pages:
            url, depth = waiting.popleft()
            if count:
                self._sleep(self._wait_s)
            if not robots.can_fetch(AGENT, url):
                if url == start:
                    yield Page(url, None, "The site's robots.txt does not allow it to be read.")
                continue
            count += 1
            page = self._page(url, seen)
            if page is None:
                continue
            yield page
            if depth < self._limits.depth and page.known is not None:
                for link in page.known.links:
                    if link not in seen and _is_below(link, start):
                        seen.add(link)
                        waiting.append((link, depth + 1))

    def _page(self, url: str, seen: set[str]) -> Page | None:
        """A page; None where it leads to one that was seen, or to no document."""
        try:
            found = fetch(
                url,
                limits=self._fetch_limits,
                may_connect=self._may_connect,
                known=self._validators,
            )
        except FetchError as error:
            return Page(url, None, str(error), is_gone=error.status in {404, 410})
        if found.url != url and found.url in seen:
            return None
        seen.add(found.url)
        return self._as_it_was(found) or self._read(found, is_first=len(seen) == 1)

    def _as_it_was(self, found: Fetched) -> Page | None:
        before = self._known.get(found.url)
        if before is None:
            return None
        if not found.is_unchanged:
            if hashlib.sha256(found.body).hexdigest() != before.digest:
                return None
            before = replace(before, validators=found.validators)
        return Page(found.url, None, known=before, is_unchanged=True)

    def _read(self, found: Fetched, *, is_first: bool) -> Page | None:
        format_ = _format(found)
        if format_ is None and not is_first:
            return None  # a picture, a film, a program: nobody asked for it
        try:
            document = _document(found, format_)
        except UnreadableDocumentError as error:
            return Page(found.url, None, str(error))
        links = _absolute(found.url, document.metadata.get("links", ()))
        metadata = {key: value for key, value in document.metadata.items() if key != "links"}
        digest = hashlib.sha256(found.body).hexdigest()
        known = KnownPage(found.validators, digest, tuple(links))
        return Page(found.url, replace(document, metadata=metadata), known=known)

    def _validators(self, url: str) -> Validators:
        known = self._known.get(url)
        return known.validators if known is not None else Validators()

    def _robots(self, start: str) -> RobotFileParser:
        """The site's rules: none where there is no such file, nothing allowed where it fails.

        Source: RFC 9309, 2.3.1.
        """
        robots = RobotFileParser()
        try:
            found = fetch(
                urljoin(start, "/robots.txt"),
                limits=self._fetch_limits,
                may_connect=self._may_connect,
            )
            robots.parse(found.body.decode("utf-8", "replace").splitlines())
        except FetchError as error:
            if error.status is None or error.status in _CLIENT_ERRORS:
                robots.parse(["User-agent: *", "Allow: /"])
            else:
                robots.parse(["User-agent: *", "Disallow: /"])
        return robots


def _format(found: Fetched) -> Format | None:
    path = unquote(urlsplit(found.url).path)
    suffix = _SUFFIX_OF.get(found.content_type) or posixpath.splitext(path)[1].lower()
    is_page = found.content_type in _PAGE_TYPES or (not found.content_type and not suffix)
    found_by_name = SUFFIXES.get(suffix)
    is_picture = found_by_name is not None and found_by_name.name == "pictures"
    return _WEBPAGE if is_page else None if is_picture else found_by_name


def _document(found: Fetched, format_: Format | None) -> Document:
    if format_ is None:
        raise UnreadableDocumentError(f"Content of the type {found.content_type!r} is not read.")
    path = unquote(urlsplit(found.url).path)
    stem = posixpath.splitext(posixpath.basename(path.rstrip("/")))[0]
    stem = stem or str(urlsplit(found.url).hostname)
    return document_of(found.body, format_, id=found.url, stem=stem, source=found.url)


def _absolute(url: str, links: list[str]) -> list[str]:
    found = []
    for link in links:
        try:
            found.append(normal_url(urljoin(url, link)))
        except ValueError:  # mail addresses, scripts, and what no address is
            continue
    return list(dict.fromkeys(found))


def _is_below(url: str, start: str) -> bool:
    """Whether a page lies on the same site, in the first page's folder or below."""
    here, there = urlsplit(url), urlsplit(start)
    folder = there.path.rpartition("/")[0] + "/"
    return (here.scheme, here.netloc) == (there.scheme, there.netloc) and here.path.startswith(
        folder
    )
