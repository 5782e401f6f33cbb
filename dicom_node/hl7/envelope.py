"""What the first segment says without decoding the message, and the acknowledgement it gets.

MSH is read as bytes, so that even a message in the wrong character set is answered under its own
control id (MSA-2 repeats the bytes of MSH-10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
