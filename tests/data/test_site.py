import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data.fetching import FetchError, FetchLimits, fetch, normal_url, public_only
from data.site import SiteLimits, read_site
from tests.data.documents import pdf

ARTICLE = "This is a sentence of the article that is long enough to be its main text. " * 8


def page(title, *links, text=ARTICLE):
    anchors = "".join(f"<a href='{link}'>link</a>" for link in links)
    return (
        f"<html><head><title>{title}</title></head><body><nav>{anchors}</nav>"
        f"<article><h1>{title}</h1><p>{text}</p></article><footer>imprint</footer></body></html>"
    )


@contextmanager
def served(pages):
    """Serve {path: body or (status, headers, body)} on a free port of this machine."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, headers, body = 404, {}, b"none"
            if self.path in pages:
                found = pages[self.path]
                status, headers, body = found if isinstance(found, tuple) else (200, {}, found)
            sent = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
            if any(headers.get(name) == self.headers[asks] for name, asks in sent.items()
                   if name in headers):  # fmt: skip
                asked.append("unchanged")
                status, body = 304, b""
            body = body if isinstance(body, bytes) else body.encode()
            self.send_response(status)
            for name, value in ({"Content-Type": "text/html; charset=utf-8"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def crawl(url, depth=9, **limits):
    return list(read_site(url, limits=SiteLimits(depth=depth, wait_s=0, **limits)))


def test_a_page_is_read_without_what_frames_it():
    with served({"/a": page("Title", "/b")}) as (base, _):
        (got,) = crawl(f"{base}/a#part", depth=0)

    assert (got.url, got.document.id, got.document.source) == (f"{base}/a",) * 3
    assert got.document.title == "Title"
    assert ARTICLE.strip() in got.document.text
    assert "imprint" not in got.document.text
    assert got.document.metadata == {}


def test_a_site_is_followed_below_its_folder_to_a_depth_and_each_page_once():
    pages = {
        "/docs/": page(
            "Start", "one", "/docs/two#x", "/elsewhere", "http://example.com/", "mailto:a@b"
        ),
        "/docs/one": page("One", "/docs/", "deep/three"),
        "/docs/two": page("Two", "one"),
        "/docs/deep/three": page("Three", "four"),
        "/docs/deep/four": page("Four"),
        "/elsewhere": page("Elsewhere"),
    }
    with served(pages) as (base, asked):
        got = [found.document.title for found in crawl(f"{base}/docs/", depth=2)]

    assert got == ["Start", "One", "Two", "Three"]
    assert sorted(asked) == sorted(
        ["/robots.txt", "/docs/", "/docs/one", "/docs/two", "/docs/deep/three"]
    )


def test_robots_txt_is_obeyed_and_its_delay_kept():
    pages = {
        "/": page("Start", "/open", "/closed/a"),
        "/open": page("Open"),
        "/closed/a": page("Closed"),
        "/robots.txt": "User-agent: *\nDisallow: /closed/\nCrawl-delay: 3\n",
    }
    waits = []
    with served(pages) as (base, asked):
        found = list(read_site(f"{base}/", limits=SiteLimits(depth=1), sleep=waits.append))

    assert [one.document.title for one in found] == ["Start", "Open"]
    assert "/closed/a" not in asked
    assert set(waits) == {3.0}


def test_a_first_page_that_robots_txt_forbids_says_so():
    pages = {"/": page("Start"), "/robots.txt": "User-agent: *\nDisallow: /\n"}
    with served(pages) as (base, _):
        (got,) = crawl(f"{base}/")

    assert got.document is None
    assert "robots.txt does not allow" in got.reason


def test_where_robots_txt_fails_nothing_is_read():
    pages = {"/": page("Start"), "/robots.txt": (503, {}, "")}
    with served(pages) as (base, asked):
        (got,) = crawl(f"{base}/")

    assert got.document is None
    assert asked == ["/robots.txt"]


def test_failures_are_told_apart_from_pages_that_are_gone():
    pages = {"/": page("Start", "/gone", "/broken"), "/broken": (500, {}, "")}
    with served(pages) as (base, _):
        got = {one.url.rpartition("/")[2]: one for one in crawl(f"{base}/")}

    assert (got["gone"].is_gone, got["broken"].is_gone) == (True, False)
    assert "answered 500" in got["broken"].reason


def test_other_documents_of_a_site_are_read_and_pictures_left_out():
    pages = {
        "/": page("Start", "/paper", "/logo.png"),
        "/paper": (200, {"Content-Type": "application/pdf"}, pdf([[(72, 72, 10, "In a PDF.")]])),
        "/logo.png": (200, {"Content-Type": "image/png"}, b"\x89PNG"),
    }
    with served(pages) as (base, _):
        got = crawl(f"{base}/")

    assert [one.document.title for one in got] == ["Start", "paper"]
    assert (got[1].document.text, got[1].document.page_starts) == ("In a PDF.", (0,))


def test_redirects_are_followed_and_what_they_lead_to_is_read_once():
    pages = {
        "/": (302, {"Location": "/home"}, ""),
        "/home": page("Home", "/again", "/"),
        "/again": (301, {"Location": "/home"}, ""),
        "/loop": (302, {"Location": "/loop"}, ""),
    }
    with served(pages) as (base, _):
        assert [one.url for one in crawl(f"{base}/")] == [f"{base}/home"]
        with pytest.raises(FetchError, match="leads on more than 5 times"):
            fetch(f"{base}/loop")


def test_only_public_addresses_are_fetched_under_the_rule_and_redirects_are_checked():
    with served({"/": page("Inside")}) as (base, asked):
        with pytest.raises(FetchError, match=r"127\.0\.0\.1 is not a public one"):
            fetch(f"{base}/", may_connect=public_only())
        assert asked == []
        rule = public_only(hosts=frozenset({"127.0.0.1"}))
        assert b"Inside" in fetch(f"{base}/", may_connect=rule).body
        pages = {"/": (302, {"Location": base.replace("127.0.0.1", "localhost")}, "")}
        with (
            served(pages) as (outside, _),
            pytest.raises(FetchError, match="localhost is not allowed"),
        ):
            fetch(outside, may_connect=rule)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "0.0.0.0", "224.0.0.1"],
)
def test_private_addresses_are_no_public_ones(address):
    from ipaddress import ip_address

    assert not public_only()("host", ip_address(address))
    assert public_only()("host", ip_address("8.8.8.8"))


def test_sizes_are_limited_packed_or_not():
    bomb = gzip.compress(bytes(5 * 2**20))
    pages = {"/big": "x" * 2**21, "/bomb": (200, {"Content-Encoding": "gzip"}, bomb)}
    with served(pages) as (base, _):
        for path in pages:
            with pytest.raises(FetchError, match="larger than 1 MiB"):
                fetch(base + path, limits=FetchLimits(size_mib=1))


def test_packed_pages_are_unpacked():
    pages = {"/": (200, {"Content-Encoding": "gzip"}, gzip.compress(b"hello"))}
    with served(pages) as (base, _):
        assert fetch(f"{base}/").body == b"hello"


def test_a_server_that_is_not_there_is_one_sentence():
    with pytest.raises(FetchError, match="cannot be reached"):
        fetch("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("HTTP://Example.COM:80", "http://example.com/"),
        ("https://example.com:443/a b?q=重#x", "https://example.com/a%20b?q=%E9%87%8D"),
        ("https://例子.cn/中", "https://xn--fsqu00a.cn/%E4%B8%AD"),
        ("http://[::1]:8080/a%20b", "http://[::1]:8080/a%20b"),
    ],
)
def test_addresses_have_one_spelling(url, want):
    assert normal_url(url) == want
    assert normal_url(want) == want


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "http://", "http://u:p@host/", "x"]
)
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(ValueError, match=r"no web address|user name"):
        normal_url(url)


def known_of(pages):
    return {page.url: page.known for page in pages if page.known is not None}


@pytest.mark.parametrize(
    "header", [{"ETag": '"7"'}, {"Last-Modified": "Sat, 21 Nov 2026 10:00:00"}]
)
def test_a_page_that_the_server_calls_unchanged_is_not_sent_and_its_links_are_still_followed(
    header,
):
    pages = {"/": (200, header, page("Start", "one")), "/one": page("One", text=ARTICLE + "One.")}
    with served(pages) as (base, asked):
        first = crawl(f"{base}/")
        asked.clear()
        again = list(
            read_site(f"{base}/", limits=SiteLimits(depth=9, wait_s=0), known=known_of(first))
        )
        pages["/"] = (200, {"ETag": '"8"', "Last-Modified": "later"}, page("Changed"))
        changed = list(read_site(f"{base}/", known=known_of(again)))

    assert asked[:4] == ["/robots.txt", "/", "unchanged", "/one"]
    assert [(got.url, got.is_unchanged, got.document) for got in again] == [
        (f"{base}/", True, None),
        (f"{base}/one", True, None),  # sent, but the same to the byte: not read
    ]
    assert known_of(again) == known_of(first)
    assert changed[0].document.title == "Changed"
    assert not changed[0].is_unchanged


def test_a_server_that_calls_a_page_unchanged_without_being_asked_is_an_error():
    with served({"/": (304, {}, "")}) as (base, _), pytest.raises(FetchError, match="304"):
        fetch(f"{base}/")


def test_validators_belong_to_the_page_where_a_redirect_ends():
    pages = {"/old": (301, {"Location": "/new"}, ""), "/new": (200, {"ETag": "x"}, page("New"))}
    with served(pages) as (base, asked):
        first = crawl(f"{base}/old")
        again = list(read_site(f"{base}/old", known=known_of(first)))

    assert asked[-1] == "unchanged"
    assert [(got.url, got.is_unchanged) for got in again] == [(f"{base}/new", True)]
