"""A PS3.10 file as it streams in: its File Meta Information is read, its data set passes through.

Preamble and File Meta Information of the peer are not kept: what we store has our own. Only tags
and lengths are looked at, all of them bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAXIMUM_META_BYTES = 64 * 1024
"""The longest File Meta Information that is read; a real one has some hundred bytes."""

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_START = _PREAMBLE_BYTES + len(_PREFIX)
_GROUP = b"\x02\x00"
_GROUP_HEADER = 12  # (0002,0000) UL with its value
_GROUP_LENGTH = struct.pack("<HH2sH", 0x0002, 0x0000, b"UL", 4)
_LONG_VRS = frozenset((b"OB", b"OW", b"UN", b"UT", b"UC", b"UR", b"SQ"))
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
_LONGEST_UID = 128  # of what is kept to be judged; a UID has 64


@dataclass(frozen=True)
class FileMeta:
    """What a file says of its data set; UIDs as they stand there, well-formed or not."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class FileMetaReader:
    """Collects bytes until the File Meta Information is whole."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> tuple[FileMeta, bytes] | None:
        """Take bytes; return what the file says and the first of its data set, None before that.

        Raises:
            ValueError: this is no PS3.10 file, or its File Meta Information is not readable.
        """
        self._data += data
        read = self._data
        if not _PREFIX.startswith(bytes(read[_PREAMBLE_BYTES:_START])):
            raise ValueError("there is no DICM prefix behind a preamble")
        if len(read) < _START + _GROUP_HEADER:
            return None
        if not read.startswith(_GROUP_LENGTH, _START):
            raise ValueError("the file meta information does not begin with its length")
        (length,) = struct.unpack_from("<L", read, _START + len(_GROUP_LENGTH))
        if length > MAXIMUM_META_BYTES:
            raise ValueError("the file meta information is longer than any")
        end = _START + _GROUP_HEADER + length
        if len(read) < end:
            return None
        return _read(read, _START + _GROUP_HEADER, end), bytes(read[end:])


def leading_elements(data: bytearray, position: int) -> tuple[FileMeta, int]:
    """Read what there is of group 0002, whatever its length is said to be; other groups end it.

    Args:
        data: the file, or its beginning.
        position: where the group begins, or what comes after it where it is missing.

    Returns:
        What it says, each UID empty where it is missing, and where the data set begins.

    Raises:
        ValueError: it is not readable.
    """
    found: dict[int, str] = {}
    previous, start = -1, position
    while data[position : position + 2] == _GROUP:
        if position - start > MAXIMUM_META_BYTES:
            raise ValueError("the file meta information is longer than any")
        position, previous = _take(data, position, len(data), previous, found)
    return _meta(found), position


def _read(data: bytearray, position: int, end: int) -> FileMeta:
    found: dict[int, str] = {}
    previous = 0
    while position < end:
        position, previous = _take(data, position, end, previous, found)
    if not all(found.get(each) for each in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX)):
        raise ValueError("the file meta information lacks a UID")
    return _meta(found)


def _meta(found: dict[int, str]) -> FileMeta:
    return FileMeta(
        *(found.get(each, "") for each in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX))
    )


def _take(
    data: bytearray, position: int, end: int, previous: int, found: dict[int, str]
) -> tuple[int, int]:
    """Note an element where it is a UID that matters; return where it ends, and its number."""
    number, length, start = _element(data, position, end)
    if number <= previous:
        raise ValueError("the file meta information is not in ascending order")
    if start + length > end:
        raise ValueError("the file meta information ends inside an element")
    if number in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX):
        if length > _LONGEST_UID:
            raise ValueError("the file meta information holds a UID that is not one")
        found[number] = data[start : start + length].decode("latin-1").rstrip("\0 ")
    return start + length, number


def _element(data: bytearray, position: int, end: int) -> tuple[int, int, int]:
    """Return the number of an element of group 0002, its length and where its value starts."""
    try:
        group, number, vr, short = struct.unpack_from("<HH2sH", data, position)
        if group != 0x0002:
            raise ValueError("the file meta information holds another group")
        if vr not in _LONG_VRS:
            return number, short, position + 8
        return number, struct.unpack_from("<L", data, position + 8)[0], position + 12
    except struct.error:
        raise ValueError("the file meta information ends inside an element") from None
