"""A web page in, the Markdown of its main text and its title out."""

import re
import warnings
from typing import TYPE_CHECKING

from data.loaders.base import Parsed, UnreadableDocumentError
from data.loaders.text import decode_text

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_NEVER_TEXT = "script, style, noscript, template, iframe, object, svg, canvas, math annotation"
_CONTROLS = "button, input, select, textarea, label, dialog"
_AROUND_TEXT = (
    "nav, aside, footer, menu, [hidden], [aria-hidden=true], "
    "[role=navigation], [role=banner], [role=contentinfo], [role=search], [role=complementary]"
)
# Their marks would stand inside words and quotes; addresses say nothing about the text.
_UNMARKED = ["a", "b", "strong", "em", "i", "u", "s", "del", "sub", "sup"]
_TABLE_PARTS = ["table", "thead", "tbody", "tfoot", "tr", "td", "th", "caption"]
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]


def read_html(raw: bytes, stem: str) -> Parsed:
    """Read a page; its title is `<title>`, the first h1, or the file's stem."""
    try:
        soup = _parse(raw)
        title = _title(soup) or stem
        return Parsed(title, _main_text(soup))
    except RecursionError as error:
        raise UnreadableDocumentError("The page's elements are nested too deeply.") from error


def _parse(raw: bytes) -> "BeautifulSoup":
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector
    from bs4.exceptions import ParserRejectedMarkup

    text = decode_text(raw, EncodingDetector.find_declared_encoding(raw, is_html=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pages that look like XML, a path or an address
        try:
            return BeautifulSoup(text, "html.parser")
        except ParserRejectedMarkup as error:
            raise UnreadableDocumentError(f"The page is not HTML: {error}.") from error


def _title(soup: "BeautifulSoup") -> str:
    """Return `<title>` or the first h1; pictures in a page have titles of their own."""
    titles = [tag for tag in soup.find_all("title") if tag.find_parent("svg") is None]
    texts = (" ".join(tag.get_text().split()) for tag in (*titles, *soup.find_all("h1")))
    return next(filter(None, texts), "")


def _main_text(soup: "BeautifulSoup") -> str:
    from bs4.element import PreformattedString
    from markdownify import MarkdownConverter

    for unseen in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        unseen.extract()  # comments and declarations
    main = _main_part(soup)
    _drop_all(main, _NEVER_TEXT)
    _drop_forms(main)
    _drop_all(main, _CONTROLS + ", " + _AROUND_TEXT)
    _drop_page_headers(main)
    _flatten_layout_tables(main)
    for picture in main.find_all("img"):
        picture.replace_with(str(picture.get("alt") or ""))
    converter = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=_UNMARKED,
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    )
    markdown: str = converter.convert_soup(main)
    return re.sub(r"[ \t]+\n", "\n", markdown).strip("\n")


def _main_part(soup: "BeautifulSoup") -> "Tag":
    """Return the one element that says it is the main text, else the body."""
    mains = soup.select("main, [role=main]")
    if len(mains) == 1 and mains[0].get_text(strip=True):
        return mains[0]
    for tag in soup.find_all("head"):
        tag.decompose()
    return soup.body or soup


def _drop_all(main: "Tag", selector: str) -> None:
    for tag in main.select(selector):
        tag.decompose()


def _drop_forms(main: "Tag") -> None:
    """Drop forms, but keep one that holds most of the text: some servers put a page into one."""
    size = len(main.get_text())
    for form in main.select("form"):
        if 2 * len(form.get_text()) < size:
            form.decompose()


def _drop_page_headers(main: "Tag") -> None:
    """Drop headers of the page, but keep those of an article: they hold its heading."""
    if main.name not in ("body", "[document]"):
        return
    for header in main.select("header"):
        if header.find_parent(["article", "main"]) is None:
            header.decompose()


def _flatten_layout_tables(main: "Tag") -> None:
    """Turn tables that only place things into plain blocks, as cells cannot hold headings."""
    for table in reversed(main.select("table")):
        if _is_layout(table):
            for tag in (table, *table.find_all(_TABLE_PARTS)):
                tag.name = "div"


def _is_layout(table: "Tag") -> bool:
    if table.find(["table", *_HEADINGS]) is not None:
        return True
    return all(len(row.find_all(["td", "th"])) < 2 for row in table.select("tr"))
