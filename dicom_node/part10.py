"""The bytes of a stored DICOM file (PS3.10 section 7) as one plain buffer, inflated where needed.

An object in a deflated transfer syntax becomes, in memory, a file of the same data set in Explicit
VR Little Endian, so that nobody behind this module inflates anything. Two passes over the deflated
bytes: the first only counts, so that a bomb costs time but no memory.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from dicom_node.errors import Permanent
from dicom_node.file_meta import is_uid

# Deflated Explicit VR Little Endian, JPIP Referenced Deflate, JPIP HTJ2K Referenced Deflate.
_DEFLATED = frozenset(
    ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
)
_EXPLICIT_VR_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1\0"
_PREFIX_END = 132
_TRANSFER_SYNTAX_UID = 0x00020010
_LONG_VRS = frozenset((b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL"))
_META_ELEMENTS = 64
_STEP = 64 * 1024

LARGEST_INFLATED = 512 * 2**20
"""Bytes; what no deflated object may exceed."""
INFLATION_FLOOR = 64 * 2**20
"""Bytes that any deflated object may grow to; beyond, the ratio counts."""
LARGEST_RATIO = 4
"""How many times its size a deflated object above the floor may grow."""


class NotPart10(Permanent):
    """The bytes are no DICOM file, or one that must not be unpacked; names no value of them."""


@dataclass(frozen=True)
class Part10:
    """A DICOM file in memory or mapped.

    Attributes:
        buffer: the whole file, positioned at its start; file-like and readable by index.
        start: where the data set begins in ``buffer``.
        transfer_syntax_uid: as the file names it.
        encoding_uid: the transfer syntax of the bytes in ``buffer``.
    """

    buffer: mmap.mmap
    start: int
    transfer_syntax_uid: str
    encoding_uid: str


@contextmanager
def open_part10(file: BinaryIO) -> Iterator[Part10]:
    """Map a stored file, and inflate it where its transfer syntax says so.

    Raises:
        NotPart10: no DICOM file, a damaged stream, or one that inflates beyond the limits.
        OSError: the disk cannot be read.
    """
    try:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise NotPart10("the file is empty") from None
    with mapped:
        start, syntax, value = _file_meta(mapped)
        if syntax not in _DEFLATED:
            yield Part10(mapped, start, syntax, syntax)
            return
        with _inflated(mapped, start, value) as plain:
            moved = len(_EXPLICIT_VR_LITTLE_ENDIAN) - (value.stop - value.start)
            encoding = _EXPLICIT_VR_LITTLE_ENDIAN[:-1].decode()
            yield Part10(plain, start + moved, syntax, encoding)


def _file_meta(data: mmap.mmap) -> tuple[int, str, slice]:
    """Return where the data set begins, the Transfer Syntax UID and where that value lies."""
    if data[128:_PREFIX_END] != b"DICM":
        raise NotPart10("the file has no DICM prefix")
    position, syntax, place = _PREFIX_END, "", slice(0, 0)
    for _ in range(_META_ELEMENTS):
        head = data[position : position + 12]
        if len(head) < 8 or head[:2] != b"\x02\x00":
            break
        (element,) = struct.unpack_from("<H", head, 2)
        if head[4:6] in _LONG_VRS and len(head) == 12:
            (length,), first = struct.unpack_from("<L", head, 8), position + 12
        else:
            (length,), first = struct.unpack_from("<H", head, 6), position + 8
        position = first + length
        if position > len(data):
            raise NotPart10("the file ends inside its file meta information")
        if 0x00020000 | element == _TRANSFER_SYNTAX_UID:
            place = slice(first, position)
            syntax = data[place].decode("latin-1").rstrip("\0 ")
    if not is_uid(syntax):
        raise NotPart10("the file names no transfer syntax")
    return position, syntax, place


def _inflated(data: mmap.mmap, start: int, value: slice) -> mmap.mmap:
    """Return the file with its data set inflated and its transfer syntax changed to say so."""
    allowed = min(LARGEST_INFLATED, max(INFLATION_FLOOR, LARGEST_RATIO * (len(data) - start)))
    size = 0
    for piece in _pieces(data, start):
        size += len(piece)
        if size > allowed:
            raise NotPart10(f"the data set inflates to more than {allowed >> 20} MiB")
    head = (
        data[: value.start - 2]
        + struct.pack("<H", len(_EXPLICIT_VR_LITTLE_ENDIAN))
        + _EXPLICIT_VR_LITTLE_ENDIAN
        + data[value.stop : start]
    )
    plain = mmap.mmap(-1, len(head) + size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    plain.write(head)
    for piece in _pieces(data, start):
        plain.write(piece)
    plain.seek(0)
    return plain


def _pieces(data: mmap.mmap, start: int) -> Iterator[bytes]:
    """Inflate in small steps (RFC 1951, no zlib header: PS3.5 A.5)."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    position, waiting, size, checksum = start, b"", 0, 0
    try:
        while not stream.eof:
            if not waiting:
                waiting = data[position : position + _STEP]
                position += len(waiting)
            piece = stream.decompress(waiting, _STEP)
            if not piece and not waiting:
                raise NotPart10("the deflated data set ends early")
            waiting = stream.unconsumed_tail
            if piece:
                size, checksum = size + len(piece), zlib.crc32(piece, checksum)
                yield piece
    except zlib.error:
        raise NotPart10("the deflated data set is damaged") from None
    # Some writers leave the trailer of a gzip file behind the stream (RFC 1952).
    trailer = struct.pack("<LL", checksum, size & 0xFFFFFFFF)
    rest = (stream.unused_data + data[position : position + _STEP]).removeprefix(trailer)
    if rest.strip(b"\0") or position + _STEP < len(data):
        raise NotPart10("bytes follow the deflated data set")
