"""Objects for attacks: encoded by hand, so that every value goes out exactly as it was meant.

Each object carries a random token in Image Comments, by which it is found again on the victim's
disk whatever name the victim gave it.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tests.builders import uid

MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG = frozenset((b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"UC", b"UR"))
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Sample:
    """An object as it travels.

    Attributes:
        sop_instance: UID of the command.
        data: the encoded data set.
        token: by which it is found on disk.
    """

    sop_instance: bytes
    data: bytes
    token: str


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an explicit VR little endian element; ``length`` may lie."""
    if len(value) % 2:
        value += b" " if vr in (b"LO", b"PN", b"LT", b"CS", b"IS", b"SH", b"DA") else b"\0"
    stated = len(value) if length is None else length
    if vr in _LONG:
        return struct.pack("<HH2sHL", group, number, vr, 0, stated & UNDEFINED) + value
    return struct.pack("<HH2sH", group, number, vr, stated & 0xFFFF) + value


def sample(
    *,
    sop_instance: bytes | None = None,
    sop_class: bytes = MR.encode(),
    study: bytes | None = None,
    series: bytes | None = None,
    patient: bytes = b"HOSTILE",
    name: bytes = b"Hostile^Test",
    pixels: bytes = bytes(128),
    rows: int = 8,
    columns: int = 8,
    frames: bytes = b"",
    bits: int = 16,
    samples: int = 1,
    extra: bytes = b"",
    tail: bytes | None = None,
    token: str = "",
) -> Sample:
    """Return an MR image; every identifying value can be replaced by any bytes.

    Args:
        sop_instance: of the command and of the data set; None for a fresh valid one.
        sop_class: SOP Class UID.
        study: Study Instance UID; None for one of its own.
        series: Series Instance UID; None for one of its own.
        patient: Patient ID.
        name: Patient's Name.
        pixels: value of Pixel Data.
        rows: Rows as stated.
        columns: Columns as stated.
        frames: Number of Frames as stated, absent if empty.
        bits: Bits Allocated as stated.
        samples: Samples per Pixel as stated.
        extra: encoded elements between (0020,4000) and (0028,0000).
        tail: the encoded end of the data set in place of Pixel Data.
        token: the token of another object, for one with identical bytes.
    """
    token = token or secrets.token_hex(12)
    instance = uid("hostile", token).encode() if sop_instance is None else sop_instance
    parts = [
        element(0x0008, 0x0008, b"CS", b"ORIGINAL\\PRIMARY"),
        element(0x0008, 0x0016, b"UI", sop_class),
        element(0x0008, 0x0018, b"UI", instance),
        element(0x0008, 0x0020, b"DA", b"20260102"),
        element(0x0008, 0x0060, b"CS", b"MR"),
        element(0x0010, 0x0010, b"PN", name),
        element(0x0010, 0x0020, b"LO", patient),
        element(0x0020, 0x000D, b"UI", uid("study", token).encode() if study is None else study),
        element(0x0020, 0x000E, b"UI", uid("series", token).encode() if series is None else series),
        element(0x0020, 0x0013, b"IS", b"1"),
        element(0x0020, 0x4000, b"LT", f"[m:{token}]".encode()),
        extra,
        *_image(rows, columns, frames, bits, samples),
        element(0x7FE0, 0x0010, b"OW", pixels) if tail is None else tail,
    ]
    return Sample(instance, b"".join(parts), token)


def _image(rows: int, columns: int, frames: bytes, bits: int, samples: int) -> Iterable[bytes]:
    def us(number: int, value: int) -> bytes:
        return element(0x0028, number, b"US", struct.pack("<H", value))

    yield us(0x0002, samples)
    yield element(0x0028, 0x0004, b"CS", b"MONOCHROME2")
    if frames:
        yield element(0x0028, 0x0008, b"IS", frames)
    yield us(0x0010, rows)
    yield us(0x0011, columns)
    yield us(0x0100, bits)
    yield us(0x0101, max(bits, 1))
    yield us(0x0102, max(bits, 1) - 1)
    yield us(0x0103, 0)


def encapsulated(*frames: bytes) -> bytes:
    """Return Pixel Data as an encapsulated element with an empty offset table (PS3.5 A.4)."""
    items = b"".join(_fragment(frame) for frame in (b"", *frames))
    return (
        struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
        + items
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )


def _fragment(frame: bytes) -> bytes:
    padded = frame + b"\0" * (len(frame) % 2)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(padded)) + padded


def nested(depth: int, *, closed: bool = True) -> bytes:
    """Return sequences inside sequences, each of undefined length (PS3.5 7.5)."""
    opening = struct.pack("<HH2sHL", 0x0020, 0x9222, b"SQ", 0, UNDEFINED) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, UNDEFINED
    )
    closing = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return opening * depth + (closing * depth if closed else b"")


def nested_defined(depth: int) -> bytes:
    """Return sequences inside sequences, each with its length stated."""
    parts = []
    length = 0
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, length)
        parts.append(struct.pack("<HH2sHL", 0x0020, 0x9222, b"SQ", 0, length + 8) + item)
        length += 20
    return b"".join(reversed(parts))
