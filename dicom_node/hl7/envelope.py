"""What the first segment says without decoding the message, and the acknowledgement it gets.

MSH is read as bytes, so that even a message in the wrong character set is answered under its own
control id (MSA-2 repeats the bytes of MSH-10).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.hl7.text import ContentFault

_FIELDS = 21

ERROR_TEXTS = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    207: "Application internal error",
}
"""The codes of table 0357 that this node answers with."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """MSH of a message, as bytes; ``fields[n]`` is MSH-n, empty where absent.

    Args:
        is_hl7: whether the content begins with MSH and a usable field separator.
        fields: MSH-0 (unused) to MSH-20.
    """

    is_hl7: bool
    fields: Sequence[bytes]

    def text(self, number: int) -> str:
        """MSH-``number`` as text; bytes outside ASCII are shown as escapes."""
        return self.fields[number].decode("ascii", errors="backslashreplace").strip()

    @property
    def sender(self) -> str:
        """MSH-3 and MSH-4, joined with ``|``."""
        return f"{self.text(3)}|{self.text(4)}" if self.is_hl7 else ""

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.text(10)

    @property
    def message_type(self) -> str:
        """The first two components of MSH-9, joined with ``^``."""
        separator = self.fields[2][:1].decode("latin-1") or "^"
        return "^".join(part.strip() for part in self.text(9).split(separator)[:2])

    @property
    def processing_id(self) -> str:
        """The first component of MSH-11: P, T or D (table 0103)."""
        separator = self.fields[2][:1].decode("latin-1") or "^"
        return self.text(11).split(separator)[0].upper()


def read_envelope(content: bytes) -> Envelope:
    """Read MSH; anything at all may be given, nothing is raised."""
    separator = content[3:4]
    if content[:3] != b"MSH" or not separator or separator.isalnum() or separator.isspace():
        return Envelope(is_hl7=False, fields=(b"",) * _FIELDS)
    first = content[:65536].replace(b"\n", b"\r").split(b"\r", 1)[0]
    fields = [b"MSH", separator, *first[4:].split(separator)]
    return Envelope(is_hl7=True, fields=tuple((fields + [b""] * _FIELDS)[:_FIELDS]))


def build_ack(
    code: str,
    request: bytes,
    now: dt.datetime,
    fault: ContentFault | None = None,
) -> bytes:
    """Build an acknowledgement in original mode (HL7 2.5.1 section 2.9.2).

    Args:
        code: MSA-1, table 0008: ``AA``, ``AE`` or ``AR``.
        request: the message that is answered, whole or in part.
        now: the time for MSH-7.
        fault: what was wrong; it becomes an ERR segment with location, code and sentence.
    """
    envelope = read_envelope(request)
    version = envelope.text(12).split("^")[0] if envelope.text(12)[:1] == "2" else "2.5.1"
    digest = hashlib.sha256(code.encode() + request).hexdigest()[:18]
    segments = [
        b"|".join(
            (
                b"MSH|^~\\&",
                _echo(envelope.fields[5]),
                _echo(envelope.fields[6]),
                _echo(envelope.fields[3]),
                _echo(envelope.fields[4]),
                now.strftime("%Y%m%d%H%M%S%z").encode(),
                b"",
                b"ACK^" + _echo(envelope.message_type.partition("^")[2].encode()) + b"^ACK",
                f"RL{digest}".encode(),
                _echo(envelope.fields[11]) or b"P",
                _echo(version.encode()),
            )
        ),
        b"|".join((b"MSA", code.encode(), _echo(envelope.fields[10]))),
    ]
    if fault is not None:
        segments.append(_error_segment(fault, version, code))
    return b"\r".join(segments) + b"\r"


def _error_segment(fault: ContentFault, version: str, code: str) -> bytes:
    """ERR: locations in ERR-1 up to version 2.4, in ERR-2 since 2.5."""
    field = str(fault.field) if fault.field else ""
    text = ERROR_TEXTS[fault.code]
    old = f"{fault.segment}^1^{field}^{fault.code}&{text}&HL70357" if version < "2.5" else ""
    severity = "W" if code == "AA" else "E"
    parts = (
        "ERR",
        old,
        f"{fault.segment}^1^{field}",
        f"{fault.code}^{text}^HL70357",
        severity,
        "",
        "",
        "",
        _escaped(fault.sentence),
    )
    return "|".join(parts).encode("ascii", errors="replace")


def _escaped(text: str) -> str:
    for mark, sequence in (
        ("\\", "\\E\\"),
        ("|", "\\F\\"),
        ("^", "\\S\\"),
        ("~", "\\R\\"),
        ("&", "\\T\\"),
    ):
        text = text.replace(mark, sequence)
    return text


def _echo(value: bytes) -> bytes:
    """Give a peer's value back without control bytes, which would break frame or segment."""
    return bytes(byte for byte in value[:256] if byte >= 0x20 and byte != 0x7F)
