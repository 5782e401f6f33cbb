"""ED: a document inside OBX-5, taken out as bytes. What it says is read elsewhere, confined."""

from __future__ import annotations

import base64
import binascii
import re

from dicom_node.hl7.parsed import EmbeddedDocument
from dicom_node.hl7.segments import Reading
from dicom_node.hl7.text import ContentFault, decode

# Table 0291, and what systems write in its place; the type (table 0191) helps where it is silent.
_SUBTYPES = {
    "PDF": "application/pdf",
    "RTF": "application/rtf",
    "XML": "text/xml",
    "HTML": "text/html",
    "PLAIN": "text/plain",
    "TXT": "text/plain",
    "X-HL7-CDA-LEVEL-ONE": "text/xml",
    "X-HL7-CDA-LEVEL-TWO": "text/xml",
    "X-HL7-CDA-LEVEL-THREE": "text/xml",
}
_TYPES = {"TEXT": "text/plain", "TX": "text/plain", "FT": "text/plain"}
_ALIASES = {
    "application/xml": "text/xml",
    "application/hl7-cda+xml": "text/xml",
    "application/x-pdf": "application/pdf",
    "text/rtf": "application/rtf",
}
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}")
_XML_DECLARATION = re.compile(r"\s*<\?xml\s[^>]{0,200}\?>")
_ENCODED = ("BASE64", "HEX")


def read_document(reading: Reading, field: str) -> EmbeddedDocument | None:
    """Read an ED (HL7 2.5.1 section 2.A.24): type, subtype, encoding (table 0299) and data.

    Text that is not encoded becomes UTF-8 whatever the message was in; an XML declaration goes
    away with it, since it spoke of other bytes. None where there is no data.

    Raises:
        ContentFault: the data are not in the encoding that the field names.
    """
    marks = reading.delimiters
    head = field.split(marks.component, 4)
    if len(head) < 5 or not head[4]:
        if not field.strip(marks.component + " "):
            return None
        raise ContentFault("OBX", 5, 102, "the field does not have the form of ED")
    kind, subtype, encoding = (reading.value(each) for each in head[1:4])
    media_type = _media_type(kind, subtype)
    if encoding.upper() in _ENCODED:
        data = _decoded(reading, head[4], encoding.upper())
        return EmbeddedDocument(media_type, _as_utf8(reading, media_type, data))
    text = reading.plain(head[4])
    if media_type == "text/xml":
        text = _XML_DECLARATION.sub("", text, count=1)
    return EmbeddedDocument(media_type, text.encode("utf-8", "strict"))


def _media_type(kind: str, subtype: str) -> str:
    found = subtype.lower() if "/" in subtype else ""
    found = found or _SUBTYPES.get(subtype.upper(), "")
    found = found or (_TYPES.get(kind.upper(), "") if not subtype else "")
    found = found or f"{kind.lower()}/{subtype.lower()}"
    found = _ALIASES.get(found, found)
    return found if _MEDIA_TYPE.fullmatch(found) else "application/octet-stream"


def _as_utf8(reading: Reading, media_type: str, data: bytes) -> bytes:
    """Return plain text as UTF-8: nothing in it says its set, so it is that of the message."""
    if media_type != "text/plain":
        return data
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return decode(data, reading.codec).encode("utf-8", "strict")
    return data


def _decoded(reading: Reading, data: str, encoding: str) -> bytes:
    """Undo Base64 or hexadecimal; line ends in it do not count, nor does a missing padding."""
    packed = "".join(reading.plain(data).split())
    try:
        if encoding == "HEX":
            return bytes.fromhex(packed)
        packed += "=" * (-len(packed) % 4)
        return base64.b64decode(packed.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContentFault(
            "OBX", 5, 102, f"the embedded document is not {encoding.title()}"
        ) from error
