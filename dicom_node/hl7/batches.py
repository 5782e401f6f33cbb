"""Batches (HL7 2.5.1 section 2.10.3): many messages between FHS, BHS and BTS, FTS, in one frame.

They are parted as bytes, before anything is decoded: each message has its own character set, and
CR is no part of a character in any set that MLLP can carry.
"""

from __future__ import annotations

import re

from dicom_node.hl7.text import ContentFault

MAXIMUM_MESSAGES = 10_000
"""Of one batch."""

_LINE_END = re.compile(rb"[\r\n]+")
_COUNT = re.compile(rb"\d{1,9}")


def is_batch(content: bytes) -> bool:
    """Tell whether a frame holds a batch, and not a message."""
    return content[:3] in (b"FHS", b"BHS") and content[3:4] not in (b"", b"\r", b"\n")


def batch_messages(content: bytes) -> tuple[bytes, ...]:
    """Return the messages of a batch as they stand in it, segments ending in CR.

    Raises:
        ContentFault: a trailer counts other messages than there are, something stands outside of
            the messages, or there are more than ``MAXIMUM_MESSAGES``. Then none of them counts: a
            batch that was cut short is sent again.
    """
    messages: list[list[bytes]] = []
    batches = in_batch = 0
    name = content[:3]
    for line in _LINE_END.split(content):
        kind = line[:3]
        if kind == b"MSH":
            if len(messages) >= MAXIMUM_MESSAGES:
                raise ContentFault("BHS", 0, 102, "the batch has far too many messages")
            messages.append([line])
            in_batch += 1
            name = kind
        elif kind in (b"FHS", b"BHS"):
            batches += kind == b"BHS"
            in_batch, name = 0, kind
        elif kind == b"BTS":
            _check(line, in_batch, "BTS", "messages")
            name = kind
        elif kind == b"FTS":
            _check(line, batches, "FTS", "batches")
            name = kind
        elif line:
            if name != b"MSH":
                raise ContentFault("BHS", 0, 100, "something stands outside of the messages")
            messages[-1].append(line)
    return tuple(b"\r".join([*lines, b""]) for lines in messages)


def _check(line: bytes, count: int, segment: str, what: str) -> None:
    """Compare a trailer's count (BTS-1, FTS-1), where it gives one, with what is there."""
    declared = (line[4:].split(line[3:4], 1)[0] if line[3:4] else b"").strip()
    if declared and (not _COUNT.fullmatch(declared) or int(declared) != count):
        raise ContentFault(segment, 1, 102, f"the trailer counts other {what} than there are")
