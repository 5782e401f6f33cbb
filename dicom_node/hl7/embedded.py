"""The text of documents that messages carry: PDF, CDA and plain text.

What is here interprets bytes of a peer with parsers for complicated forms, so the node runs it in a
confined process (:meth:`dicom_node.sandbox.Sandbox.document_text`). Nothing is ever fetched: XML
with a document type is refused, and PDF is read for its text only.
"""

from __future__ import annotations

import base64
import binascii
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element, ParseError

import pypdf
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pypdf.errors import PyPdfError

from dicom_node.content import Undecodable
from dicom_node.hl7.parsed import EmbeddedDocument

MAXIMUM_TEXT = 1024 * 1024
"""Characters of a document's text; a long report has some ten thousand."""

MAXIMUM_PAGES = 500
"""Pages of a PDF."""

# Its complaints quote what they are about; what becomes of a document is told by our own errors.
logging.getLogger("pypdf").addHandler(logging.NullHandler())
logging.getLogger("pypdf").propagate = False

_DEEPEST = 64  # elements within elements of a CDA
_MOST_DOCUMENTS = 2  # a CDA may hold a document of another form, which holds no third

_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r"[ \t\r\n]+")
_LINE_EDGES = re.compile(r"[ \t]*\n[ \t]*")
_MANY_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
# As in text.py: what no report text holds, and what stands for a character somebody lost.
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ud800-\udfff]")

_V3 = "{urn:hl7-org:v3}"
# Elements of the narrative block (CDA R2 section 4.3.5) that begin or end a line.
_BLOCKS = frozenset(("paragraph", "list", "item", "table", "tr", "caption", "title", "text", "br"))
_CELLS = frozenset(("td", "th"))
_SILENT = frozenset(("renderMultiMedia", "colgroup", "col"))


def document_text(document: EmbeddedDocument) -> str:
    """Return the text of a document, its pages and lines in their order.

    Raises:
        Undecodable: the form is not one of those read, the document is broken, holds no text, or
            more than :data:`MAXIMUM_TEXT`; the reason quotes nothing of it.
    """
    return _text(document, _MOST_DOCUMENTS)


def _text(document: EmbeddedDocument, remaining: int) -> str:
    read = _READERS.get(document.media_type)
    if read is None:
        raise Undecodable("documents of this form are not read")
    if not remaining:
        raise Undecodable("a document within a document holds another one")
    text = _BREAKS.sub("\n", read(document.data, remaining - 1))
    if wrong := _UNPRINTABLE.search(text):
        raise Undecodable(f"character {wrong.start()} of the document's text is not printable")
    text = _MANY_LINES.sub("\n\n", text).strip()
    if not text:
        raise Undecodable("the document holds no text")
    if len(text) > MAXIMUM_TEXT:
        raise Undecodable("the document holds far too much text")
    return text


def _plain(data: bytes, _: int) -> str:
    try:
        return data.decode("utf-8-sig", errors="strict")
    except UnicodeDecodeError:
        raise Undecodable("the plain text is not in a character set that is known") from None


def _pdf(data: bytes, _: int) -> str:
    """Return the text of each page; a page is parted from the next by an empty line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "\n\n".join(_LINE_EDGES.sub("\n", page).strip() for page in _pages(data))
    except (PyPdfError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as e:
        raise Undecodable("the PDF cannot be read") from e
    except (RecursionError, MemoryError, NotImplementedError, AssertionError, OSError) as e:
        raise Undecodable("the PDF cannot be read") from e


def _pages(data: bytes) -> Iterator[str]:
    reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted:
        raise Undecodable("the PDF is encrypted")
    if len(reader.pages) > MAXIMUM_PAGES:
        raise Undecodable("the PDF has far too many pages")
    length = 0
    for page in reader.pages:
        text = page.extract_text()
        length += len(text)
        if length > MAXIMUM_TEXT:
            raise Undecodable("the document holds far too much text")
        yield text


def _cda(data: bytes, remaining: int) -> str:
    """Return titles and narrative of the sections, or the document in the body's place."""
    try:
        root = fromstring(data, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException:
        raise Undecodable("the XML has a document type or entities") from None
    except (ParseError, ValueError, LookupError, RecursionError, MemoryError):
        raise Undecodable("the XML is not well-formed") from None
    if root.tag != f"{_V3}ClinicalDocument":
        raise Undecodable("the XML is no clinical document (CDA)")
    other = root.find(f"{_V3}component/{_V3}nonXMLBody/{_V3}text")
    if other is not None:
        return _other_body(other, remaining)
    body = root.find(f"{_V3}component/{_V3}structuredBody")
    if body is None:
        raise Undecodable("the clinical document has no body")
    return "\n\n".join(each for each in _sections(body, _DEEPEST) if each)


def _sections(parent: Element, depth: int) -> Iterator[str]:
    """Yield each section's title and text, before those of the sections within it."""
    if not depth:
        raise Undecodable("the clinical document is nested far too deeply")
    for component in parent.findall(f"{_V3}component"):
        for section in component.findall(f"{_V3}section"):
            parts = (section.find(f"{_V3}title"), section.find(f"{_V3}text"))
            yield "\n".join(_narrative(each) for each in parts if each is not None)
            yield from _sections(section, depth - 1)


def _narrative(element: Element) -> str:
    """Return a narrative block as lines."""
    pieces = "".join(_pieces(element, _DEEPEST))
    lines = (line.strip(" \t") for line in pieces.split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(element: Element, depth: int) -> Iterator[str]:
    if not depth:
        raise Undecodable("the clinical document is nested far too deeply")
    name = element.tag.removeprefix(_V3) if isinstance(element.tag, str) else ""
    if not name or name in _SILENT or element.get("revised") == "delete":
        return
    block = name in _BLOCKS
    if block:
        yield "\n"
    yield _SPACES.sub(" ", element.text or "")
    for child in element:
        yield from _pieces(child, depth - 1)
        yield _SPACES.sub(" ", child.tail or "")
    if block:
        yield "\n"
    elif name in _CELLS:
        yield "\t"


def _other_body(element: Element, remaining: int) -> str:
    """Read nonXMLBody: a document of another form, as Base64 or as text."""
    media_type = (element.get("mediaType") or "text/plain").lower()
    content = element.text or ""
    if (element.get("representation") or "TXT").upper() != "B64":
        return _text(EmbeddedDocument(media_type, content.encode("utf-8", "strict")), remaining)
    try:
        data = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Undecodable("the body of the clinical document is not Base64") from None
    return _text(EmbeddedDocument(media_type, data), remaining)


_READERS: dict[str, Callable[[bytes, int], str]] = {
    "application/pdf": _pdf,
    "text/xml": _cda,
    "text/plain": _plain,
}

MEDIA_TYPES = frozenset(_READERS)
"""Forms of documents that are read."""
