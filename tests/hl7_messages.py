"""HL7 messages of every kind, and the documents that they carry, for tests of the reader."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.hl7.reader import read_message

SENDER = "RIS|HOSPITAL"
PID = "PID|1||P1^^^HOSP^MR||DOE^JANE||19700101|F"


def message(
    kind: str,
    *segments: str,
    encoding: str = "utf-8",
    charset: str = "",
    version: str = "2.5.1",
    sender: str = SENDER,
    processing: str = "P",
    time: str = "20260301120000",
    encoding_characters: str = "^~\\&",
) -> bytes:
    """Build a message of a type such as ``ORU^R01`` from its segments after MSH."""
    header = (
        f"MSH|{encoding_characters}|{sender}|RADLOOP|LAB|{time}||{kind}|M1|{processing}|{version}"
        f"||||||{charset}"
    )
    return "\r".join([header, *segments, ""]).encode(encoding)


def obr(
    number: int = 1,
    *,
    placer: str = "O1",
    filler: str = "F1",
    accession: str = "A1",
    status: str = "F",
    modality: str = "MR",
    changed: str = "20260301115900",
    parent_result: str = "",
    parent: str = "",
    interpreter: str = "",
) -> str:
    """Build an OBR."""
    fields = {
        1: str(number),
        2: placer,
        3: filler,
        4: "MRSPINE^MR lumbar spine^L",
        7: "20260228101500",
        18: accession,
        22: changed,
        24: modality,
        25: status,
        26: parent_result,
        29: parent,
        32: interpreter,
    }
    return segment("OBR", fields)


def obx(
    value: str,
    *,
    kind: str = "TX",
    identifier: str = "&GDT",
    status: str = "F",
    sub_id: str = "",
) -> str:
    """Build an OBX."""
    return segment("OBX", {2: kind, 3: identifier, 4: sub_id, 5: value, 11: status})


def txa(**changes: str) -> str:
    """Build a TXA; ``t12="D1"`` sets TXA-12."""
    fields = {2: "CN^Consultation", 6: "20260301110000", 12: "D1", 15: "A1", 17: "AU", 19: "AV"}
    return segment("TXA", fields | {int(name[1:]): value for name, value in changes.items()})


def segment(name: str, fields: dict[int, str]) -> str:
    """Build a segment from its fields by number."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def profile(**values: object) -> FeedProfile:
    """A profile for the sender of these messages."""
    return FeedProfile.model_validate({"sender": SENDER, "charset": "utf-8", **values})


def read(content: bytes, **values: object) -> ParsedMessage:
    """Read a message under a profile with the given values."""
    found = profile(**values)
    return read_message(content, lambda _: found)


def reading_with(**values: object) -> Callable[[str], FeedProfile]:
    """Return what gives every sender the same profile."""
    found = profile(**values)
    return lambda _: found


def ed(data: bytes, kind: str = "Application", subtype: str = "PDF") -> str:
    """Build an ED value in Base64."""
    return f"^{kind}^{subtype}^Base64^{base64.b64encode(data).decode()}"


def pdf(pages: Sequence[Sequence[str]]) -> bytes:
    """Build a PDF with lines of text on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    font = 3 + 2 * len(pages)
    kids = []
    for lines in pages:
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        shown = " T* ".join(f"({_pdf_text(line)}) Tj" for line in lines)
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET".encode("latin-1")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R "
            f"/Resources << /Font << /F1 {font} 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    objects.append(
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    )
    return _pdf_file(objects)


def _pdf_text(line: str) -> str:
    for mark in "\\()":
        line = line.replace(mark, f"\\{mark}")
    return line


def _pdf_file(objects: Sequence[bytes]) -> bytes:
    made = bytearray(b"%PDF-1.4\n")
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        made += b"%010d 00000 n \n" % place
    made += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    return bytes(made)


def cda(body: str, *, declaration: str = "", doctype: str = "") -> str:
    """Build a CDA around the content of its component."""
    return (
        f'{declaration}{doctype}<ClinicalDocument xmlns="urn:hl7-org:v3">'
        f"<component>{body}</component></ClinicalDocument>"
    )


def cda_section(title: str, text: str, more: str = "") -> str:
    """Build a component with one section of a structured body."""
    section = f"<section><title>{title}</title><text>{text}</text>{more}</section>"
    return f"<component>{section}</component>"
