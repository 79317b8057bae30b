"""Zipped XML (Office, OpenDocument, EPUB) in, its parts out, within limits."""

import io
import posixpath
import zipfile
from typing import TYPE_CHECKING

from data.loaders.base import UnreadableDocumentError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_PART_BYTES = 256 * 2**20
"""A part that unpacks to more is refused."""
_MOST_RATIO = 200
_SMALL = 10 * 2**20
"""Parts up to this size may be compressed as well as they like."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


class Package:
    """A zip file whose parts are named by paths."""

    def __init__(self, raw: bytes) -> None:
        if raw.startswith(_OLE):
            raise UnreadableDocumentError(_reason_of_ole(raw))
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(raw))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise UnreadableDocumentError(
                f"The file is cut off or not what its name says ({error})."
            ) from error
        self.names = set(self._zip.namelist())

    def read(self, name: str) -> bytes:
        """A part's bytes.

        Raises:
            UnreadableDocumentError: If it is missing, damaged, encrypted or too large.
        """
        try:
            info = self._zip.getinfo(name)
            if info.flag_bits & 1:
                raise UnreadableDocumentError(
                    "The file is encrypted with a password; save it without one."
                )
            if info.file_size > _MOST_PART_BYTES or (
                info.file_size > _SMALL and info.file_size > _MOST_RATIO * info.compress_size
            ):
                raise UnreadableDocumentError(
                    f"Its part {name} unpacks to {info.file_size / 2**20:.0f} MiB; that is refused."
                )
            return self._zip.read(info)
        except KeyError as error:
            raise UnreadableDocumentError(f"The file lacks its part {name}.") from error
        except UnreadableDocumentError:
            raise
        except Exception as error:  # what unpacks it has no common error
            raise UnreadableDocumentError(f"Its part {name} is damaged ({error}).") from error

    def xml(self, name: str) -> "Element":
        """A part's XML."""
        return parse_xml(self.read(name), name)

    def optional_xml(self, name: str) -> "Element | None":
        """A part's XML; None if there is no such part."""
        return self.xml(name) if name in self.names else None

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """What an Office part refers to: id → (last word of the type, path of the part)."""
        folder, base = posixpath.split(name)
        root = self.optional_xml(posixpath.join(folder, "_rels", f"{base}.rels"))
        if root is None:
            return {}
        return {
            relation.get("Id", ""): (
                relation.get("Type", "").rpartition("/")[2],
                posixpath.normpath(
                    posixpath.join("/", folder, relation.get("Target", "")).lstrip("/")
                ),
            )
            for relation in root
            if relation.get("TargetMode") != "External"
        }

    def title(self) -> str:
        """The title in an Office or OpenDocument file's properties."""
        for name in ("docProps/core.xml", "meta.xml"):
            root = self.optional_xml(name)
            found = root.find(".//{http://purl.org/dc/elements/1.1/}title") if root else None
            if found is not None and found.text:
                return " ".join(found.text.split())
        return ""


def parse_xml(raw: bytes, name: str = "") -> "Element":
    """Parse XML without entities of its own.

    Raises:
        UnreadableDocumentError: If it is no XML, or defines entities.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    what = f"Its part {name}" if name else "The file"
    try:
        root: Element = fromstring(raw)
    except DefusedXmlException as error:
        raise UnreadableDocumentError(f"{what} defines XML entities; that is refused.") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UnreadableDocumentError(f"{what} is not XML ({error}).") from error
    return root


def local_name(element: "Element") -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: "Element", name: str) -> str:
    """The value of an attribute in any namespace, empty where there is none."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return ""


def _reason_of_ole(raw: bytes) -> str:
    if _ENCRYPTED in raw:
        return "The file is encrypted with a password; save it without one."
    return "The file has the format of Office 97 to 2003; save it in the current one."
