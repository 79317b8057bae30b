"""A page of the web in, its main text and the addresses that it links to out."""

from urllib.parse import urljoin

from data.loaders.base import Parsed
from data.loaders.html import read_html
from data.loaders.text import decode_text

_LEAST_SHARE = 0.3
"""Where the extractor keeps less of the page's text than this, it has missed the main part."""
_MOST_LINKS = 5000


def read_webpage(raw: bytes, stem: str) -> Parsed:
    """Read a page; its main text is what trafilatura finds, else all but what frames it.

    The metadata's `links` are the addresses as they stand in the page, made absolute against its
    `<base>` only.
    """
    whole = read_html(raw, stem)
    text = _main_text(raw)
    if len(text) < _LEAST_SHARE * len(whole.text):
        text = whole.text
    return Parsed(whole.title, text, (), {"links": _links(raw)})


def _main_text(raw: bytes) -> str:
    try:
        import trafilatura
    except ImportError:  # the page is read as any HTML file is
        return ""
    found = trafilatura.extract(
        raw,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        include_formatting=True,
        favor_recall=True,
        deduplicate=False,
    )
    return found or ""


def _links(raw: bytes) -> list[str]:
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(raw, is_html=True)
    soup = BeautifulSoup(decode_text(raw, declared), "html.parser")
    base = soup.find("base", href=True)
    start = str(base["href"]) if base is not None else ""
    robots = soup.find("meta", attrs={"name": "robots"})
    if robots is not None and "nofollow" in str(robots.get("content", "")).lower():
        return []
    links = (urljoin(start, str(tag["href"]).strip()) for tag in soup.find_all("a", href=True))
    return list(dict.fromkeys(links))[:_MOST_LINKS]
