"""A file in, a `Document` out: one loader per format family, chosen by the file's suffix."""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from data.loaders.base import Loader, Parsed, UnreadableDocumentError
from data.loaders.text import clean_text, decode_text, is_visible
from data.records import Document

__all__ = [
    "MOST_BYTES",
    "SUFFIXES",
    "Format",
    "Loader",
    "Parsed",
    "UnreadableDocumentError",
    "document_of",
    "load_document",
    "parse",
    "readable_name",
    "supported_formats",
]

MOST_BYTES = 512 * 2**20
"""Larger files are refused."""
_SIMPLE_BYTES = 2**20
"""Up to this size, files of simple formats are parsed without a process of their own."""
_PAGE_BREAK = "\n\n"


class Format(NamedTuple):
    """A family of files that one loader reads."""

    name: str
    loader: str
    """`module:function` in this package, imported when a file needs it."""
    suffixes: str
    is_simple: bool = False
    """Whether its parser is linear and our own, so that it needs no process of its own."""


FORMATS = (
    Format("Markdown", "markdown:read_markdown", ".md .markdown .mdx", is_simple=True),
    Format(
        "plain text",
        "text:read_text",
        ".txt .text .rst .log .org .adoc .tex .srt .vtt",
        is_simple=True,
    ),
    Format("HTML", "html:read_html", ".html .htm .xhtml"),
    Format("PDF", "pdf:read_pdf", ".pdf"),
    Format("Word", "docx:read_docx", ".docx .docm .dotx"),
    Format("PowerPoint", "pptx:read_pptx", ".pptx .pptm .ppsx"),
    Format("spreadsheets", "spreadsheet:read_spreadsheet", ".xlsx .xlsm .xlsb .xls .ods"),
    Format("delimited tables", "delimited:read_delimited", ".csv .tsv .tab"),
    Format("OpenDocument", "opendocument:read_opendocument", ".odt .odp .ott"),
    Format("EPUB", "epub:read_epub", ".epub"),
    Format("RTF", "rtf:read_rtf", ".rtf"),
    Format("mail", "mail:read_mail", ".eml .mht .mhtml"),
    Format("Outlook mail", "outlook:read_msg", ".msg"),
    Format("JSON", "structured:read_json", ".json .geojson", is_simple=True),
    Format("JSON lines", "structured:read_json_lines", ".jsonl .ndjson", is_simple=True),
    Format("notebooks", "notebook:read_notebook", ".ipynb"),
    Format("XML", "xml:read_xml", ".xml .rss .atom"),
    Format(
        "source code",
        "code:read_code",
        ".py .pyi .js .mjs .jsx .ts .tsx .java .kt .scala .groovy .c .h .cc .cpp .hpp .cs .go .rs "
        ".rb .php .swift .m .r .jl .lua .pl .sh .bash .ps1 .bat .sql .vue .css .scss .dart .ex "
        ".erl .hs .ml .clj .f90 .toml .yaml .yml .ini .cfg .conf .properties .proto .graphql .tf",
        is_simple=True,
    ),
    Format("pictures", "image:read_image", ".png .jpg .jpeg .tif .tiff .bmp .webp .gif"),
)
SUFFIXES: Mapping[str, Format] = {
    suffix: format_ for format_ in FORMATS for suffix in format_.suffixes.split()
}
_INSTEAD = {
    ".doc": ".docx",
    ".wps": ".docx",
    ".ppt": ".pptx",
    ".dps": ".pptx",
    ".et": ".xlsx",
    ".pages": ".docx",
    ".key": ".pptx",
    ".numbers": ".xlsx",
}
"""What a file of an old or closed format is saved as to be read."""


def load_document(path: Path, *, id: str, name: str | None = None) -> Document:
    """Read and parse one file; what is not simple is parsed in a process of its own.

    Args:
        path: The file; its suffix, in any case, chooses the loader.
        id: The document's id.
        name: What people call the file, where that is not its name on disk.

    Raises:
        UnreadableDocumentError: If the file cannot become text; the message is the reason.
    """
    format_ = format_of(path.name)
    source = readable_name(str(path.absolute()))
    stem = Path(name or path.name).stem
    return document_of(_read_bytes(path), format_, id=id, stem=stem, source=source)


def document_of(raw: bytes, format_: Format, *, id: str, stem: str, source: str) -> Document:
    """Make a document of a file's bytes; see `load_document`."""
    if len(raw) > MOST_BYTES:
        raise too_large(len(raw))
    parsed = _parsed(raw, format_, readable_name(stem))
    text, page_starts = _joined(parsed)
    if not is_visible(text):
        raise UnreadableDocumentError("The file holds no text.")
    title = " ".join(clean_text(parsed.title).split())
    return Document(
        id=id,
        title=title,
        text=text,
        source=source,
        metadata=parsed.metadata,
        page_starts=page_starts,
    )


def format_of(name: str) -> Format:
    """The format that a file's name says it has.

    Raises:
        UnreadableDocumentError: If none reads it.
    """
    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if suffix in _INSTEAD:
        raise UnreadableDocumentError(
            f"Files with the suffix {suffix!r} are not supported; save it as {_INSTEAD[suffix]}."
        )
    raise UnreadableDocumentError(
        f"Files with the suffix {suffix!r} are not supported; supported are {supported_formats()}."
    )


def supported_formats() -> str:
    """The families that are read, with the first suffix of each."""
    return ", ".join(f"{one.name} ({one.suffixes.split()[0]})" for one in FORMATS)


def too_large(size: int) -> UnreadableDocumentError:
    """The reason where a file is larger than can be read."""
    return UnreadableDocumentError(
        f"The file has {size / 2**20:.0f} MiB; at most {MOST_BYTES / 2**20:.0f} are read."
    )


def parse(raw: bytes, loader: str, stem: str) -> Parsed:
    """Parse bytes in this process, by the loader that a `Format` names."""
    module, _, function = loader.partition(":")
    found: Loader = getattr(import_module(f"data.loaders.{module}"), function)
    return found(raw, stem)


def _parsed(raw: bytes, format_: Format, stem: str) -> Parsed:
    if format_.is_simple and len(raw) <= _SIMPLE_BYTES:
        return parse(raw, format_.loader, stem)
    from data.loaders.apart import parse_apart

    return parse_apart(raw, format_.loader, stem)


def _joined(parsed: Parsed) -> tuple[str, tuple[int, ...]]:
    """The text and where its pages start."""
    if not parsed.pages:
        return clean_text(parsed.text), ()
    pages = [clean_text(page) for page in parsed.pages]
    starts, place = [], 0
    for page in pages:
        starts.append(place)
        place += len(page) + len(_PAGE_BREAK)
    return _PAGE_BREAK.join(pages), tuple(starts)


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise too_large(size)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableDocumentError(f"The file cannot be read: {error.strerror}.") from error


def readable_name(name: str) -> str:
    """Spell a name that is not UTF-8 on disk (GBK from an old archive) as its author read it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        try:
            return decode_text(os.fsencode(name))
        except UnreadableDocumentError:
            return clean_text(name)
    return name
