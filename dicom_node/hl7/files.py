"""Read files of HL7 v2 messages in the forms in which they are found.

MLLP streams, logs that spell the framing out (``<SB>``, ``<R>``, ``<EB>``), and plain text with
segments ending in CR, LF or both, alone, one after another, or in batches (FHS, BHS, BTS, FTS).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_BOM = b"\xef\xbb\xbf"
_MLLP = re.compile(rb"\x0b(.*?)(?:\x1c\r?|\Z)", re.DOTALL)
_SPELLED = re.compile(rb"<SB>(.*?)(?:<EB>|(?=<SB>)|\Z)", re.DOTALL)
_SPELLED_END = re.compile(rb"<R>(?:\r\n|\r|\n)?")
_LINE_END = re.compile(rb"(?:\r\n|\r|\n)+")
_BEGINS = re.compile(rb"(?<![^\r])(?=MSH[^A-Za-z0-9\s])")
_ENVELOPE = re.compile(rb"(?<![^\r])(?:FHS|BHS|BTS|FTS)(?![A-Za-z0-9])[^\r]*\r?")


def read_hl7_file(path: Path) -> Iterator[bytes]:
    """Yield the messages of a file, with segments ending in CR and without framing.

    Text that is no message is yielded as well, so that the receiver can say so and keep it; an
    empty file yields nothing.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes().removeprefix(_BOM)
    if b"\x0b" in content:
        found = (match.group(1) for match in _MLLP.finditer(content))
    elif b"<SB>" in content:
        found = (_SPELLED_END.sub(b"\r", match.group(1)) for match in _SPELLED.finditer(content))
    else:
        text = _ENVELOPE.sub(b"", _LINE_END.sub(b"\r", content))
        found = (part for part in _BEGINS.split(text))
    for message in found:
        if stripped := message.strip(b"\r\n \t"):
            yield stripped + b"\r"
