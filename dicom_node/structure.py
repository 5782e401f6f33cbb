"""Checks that every length in a stored object is true, before anybody interprets a value.

Parsers are lenient: they return a value that was cut short, and a data set that ends in the middle
of a sequence, without a word. This walk over tags and lengths (PS3.5 section 7) is not. It recurses
nowhere and copies no value, so neither depth nor size of an object costs memory.

Refused, because bytes are lost or contradict each other:
- a length that reaches beyond the data set, the sequence or the item around it; a missing, early or
  misplaced delimiter; an undefined length where none is allowed;
- a value representation that the standard does not know, a value whose length is no multiple of
  its unit (numbers, tags), a text with NUL inside (it took the next element along), elements that
  repeat or do not ascend;
- sequences deeper than :data:`DEEPEST_SEQUENCE`, more than :data:`MOST_ELEMENTS` elements;
- pixel data that do not fit the image they belong to (see :mod:`dicom_node.pixel_geometry`).

Let through, because real equipment writes it and no byte is in doubt:
- values of odd length; group lengths (gggg,0000), retired, that are out of date;
- Data Set Trailing Padding (FFFC,FFFC);
- unknown and private elements, in Implicit VR without looking inside: they may be sequences;
- anything that is wrong with a value alone: UIDs with leading zeros, empty mandatory elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from pydicom.datadict import dictionary_VR

from dicom_node.file_meta import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_uid
from dicom_node.part10 import NotPart10, Part10, open_part10
from dicom_node.pixel_geometry import (
    ELEMENTS_OF_INTEREST,
    PIXEL_DATA,
    Fragments,
    Geometry,
    geometry_of,
)

DEEPEST_SEQUENCE = 32
"""Sequences inside sequences; structured reports of real systems stay below 20."""
MOST_ELEMENTS = 2_000_000
"""Elements and items of one object, at all depths; a walk over so many takes some seconds."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_STUDY_INSTANCE_UID = 0x0020000D
_WANTED = ELEMENTS_OF_INTEREST | {_STUDY_INSTANCE_UID}

# PS3.5 section 7.1.2, tables 7.1-1 and 7.1-2; the unit is the size of one value in bytes.
_TEXT = 0  # stands for any number of characters
_UNITS_OF_SHORT = {
    b"AE": 0, b"AS": 0, b"AT": 4, b"CS": 0, b"DA": 0, b"DS": 0, b"DT": 0, b"FL": 4, b"FD": 8,
    b"IS": 0, b"LO": 0, b"LT": 0, b"PN": 0, b"SH": 0, b"SL": 4, b"SS": 2, b"ST": 0, b"TM": 0,
    b"UI": 0, b"UL": 4, b"US": 2,
}  # fmt: skip
_UNITS_OF_LONG = {
    b"OB": 1, b"OD": 8, b"OF": 4, b"OL": 4, b"OV": 8, b"OW": 2, b"SQ": 1, b"SV": 8, b"UC": 0,
    b"UN": 1, b"UR": 0, b"UT": 0, b"UV": 8,
}  # fmt: skip
_MAY_BE_UNDEFINED = frozenset((b"SQ", b"UN", b"OB", b"OW"))

_Layouts = tuple[Struct, Struct, Struct]  # tag and length; tag, VR and length; length


def _layouts(order: str) -> _Layouts:
    return Struct(order + "HHL"), Struct(order + "HH2sH"), Struct(order + "L")


_LITTLE, _BIG = _layouts("<"), _layouts(">")


class _Fault(Exception):
    """The structure is broken; the message names a tag and never a value."""

    def __init__(self, tag: int, fault: str) -> None:
        super().__init__(f"{_name(tag)} {fault}")


@dataclass(frozen=True)
class Structure:
    """What the walk found.

    Attributes:
        fault: why the object must not be interpreted; empty where nothing is wrong.
        study_instance_uid: as far as it was reached; empty where it is none.
        geometry: of the pixel data; None where there are none or something is wrong.
        encoding_uid: the transfer syntax in which the bytes lie now.
    """

    fault: str
    study_instance_uid: str = ""
    geometry: Geometry | None = None


def structural_fault(path: Path) -> str:
    """Return why a stored file must not be interpreted, or an empty string.

    Raises:
        OSError: the disk cannot be read.
    """
    with path.open("rb") as file:
        return examine(file).fault


def examine(file: BinaryIO) -> Structure:
    """Check a stored file that is open for reading.

    Raises:
        OSError: the disk cannot be read.
    """
    try:
        with open_part10(file) as part10:
            return examine_part10(part10)
    except NotPart10 as error:
        return Structure(str(error))


def examine_part10(part10: Part10) -> Structure:
    """Check an object whose bytes are at hand."""
    walk = _Walk(part10)
    geometry, fault = None, ""
    try:
        walk.run()
        geometry = geometry_of(part10, walk.values, walk.fragments)
    except _Fault as error:
        fault = str(error)
    except ValueError as error:
        fault = str(error)
    return Structure(fault, walk.study_instance_uid(), geometry)


class _Level:
    """A data set or a sequence that the walk is inside of."""

    __slots__ = ("delimited", "end", "implicit", "is_sequence", "layouts", "previous", "tag")

    def __init__(
        self, tag: int, end: int, delimited: bool, is_sequence: bool, implicit: bool, big: bool
    ) -> None:
        self.tag = tag
        self.end = end
        self.delimited = delimited
        self.is_sequence = is_sequence
        self.implicit = implicit
        self.layouts = _BIG if big else _LITTLE
        self.previous = -1

    def inner(self, tag: int, end: int, delimited: bool, *, implicit: bool = False) -> _Level:
        """Return the level below: items below a sequence, sequences below an item."""
        level = _Level(tag, end, delimited, not self.is_sequence, self.implicit or implicit, False)
        # A sequence in a value of unknown representation is Implicit VR Little Endian (6.2.2).
        level.layouts = _LITTLE if implicit else self.layouts
        return level


class _Walk:
    """One pass over the tags and lengths of a data set."""

    def __init__(self, part10: Part10) -> None:
        self.values: dict[int, slice] = {}
        self.fragments: Fragments | None = None
        self._data: mmap = part10.buffer
        self._count = 0
        self._position = part10.start
        self._stack = [
            _Level(
                0,
                len(part10.buffer),
                delimited=False,
                is_sequence=False,
                implicit=part10.encoding_uid == IMPLICIT_VR_LITTLE_ENDIAN,
                big=part10.encoding_uid == EXPLICIT_VR_BIG_ENDIAN,
            )
        ]

    def study_instance_uid(self) -> str:
        place = self.values.get(_STUDY_INSTANCE_UID, slice(0, 0))
        if place.stop - place.start > 65:
            return ""
        text = self._data[place].decode("latin-1").rstrip("\0 ")
        return text if is_uid(text) else ""

    def run(self) -> None:
        stack = self._stack
        while stack:
            level = stack[-1]
            if self._position < level.end:
                self._count += 1
                if self._count > MOST_ELEMENTS:
                    raise _Fault(level.tag, "is where the object exceeds the number of elements")
                if level.is_sequence:
                    self._item(level)
                else:
                    self._element(level)
            elif level.delimited:
                raise _Fault(level.tag, "has no delimiter at its end")
            else:
                stack.pop()

    def _item(self, level: _Level) -> None:
        first = self._position + 8
        if first > level.end:
            raise _Fault(level.tag, "ends inside an item")
        group, element, length = level.layouts[0].unpack_from(self._data, self._position)
        tag = group << 16 | element
        self._position = first
        if tag == _ITEM:
            delimited = length == _UNDEFINED
            end = level.end if delimited else first + length
            if end > level.end:
                raise _Fault(level.tag, "has an item that is longer than the sequence")
            self._stack.append(level.inner(level.tag, end, delimited))
        elif tag == _SEQUENCE_END and level.delimited and not length:
            self._stack.pop()
        else:
            raise _Fault(level.tag, "contains something else than items")

    def _element(self, level: _Level) -> None:
        data, start = self._data, self._position
        if start + 8 > level.end:
            raise _Fault(level.previous, "is followed by bytes that are no element")
        if level.implicit:
            group, element, length = level.layouts[0].unpack_from(data, start)
            tag, first, vr = group << 16 | element, start + 8, b""
        else:
            group, element, vr, length = level.layouts[1].unpack_from(data, start)
            tag, first = group << 16 | element, start + 8
        if tag <= level.previous or group == 0xFFFE or group < 8:
            self._end_of_item(level, tag)
            return
        level.previous = tag
        if level.implicit:
            sequence, unit = _known(tag)
        else:
            sequence = vr == b"SQ"
            unit = _UNITS_OF_SHORT.get(vr, -1)
            if unit < 0:
                unit = _UNITS_OF_LONG.get(vr, -1)
                first = start + 12
                if unit < 0 or first > level.end:
                    raise _Fault(tag, "has no value representation of the standard")
                (length,) = level.layouts[2].unpack_from(data, start + 8)
        if unit > 1 and length % unit and length != _UNDEFINED:
            raise _Fault(tag, "has a length that is no multiple of its value's size")
        if length == _UNDEFINED:
            self._undefined(level, tag, vr, first)
            return
        last = first + length
        if last > level.end:
            raise _Fault(tag, "declares more bytes than there are")
        if unit == _TEXT and length and data.find(b"\0", first, last) >= 0:
            self._check_padding(tag, first, last)
        if len(self._stack) == 1 and tag in _WANTED:
            self.values[tag] = slice(first, last)
        if sequence:
            self._enter(level.inner(tag, last, delimited=False), first)
        elif vr == b"UN" and _known(tag)[0]:
            self._enter(level.inner(tag, last, delimited=False, implicit=True), first)
        else:
            self._position = last

    def _check_padding(self, tag: int, first: int, last: int) -> None:
        """Refuse text with NUL inside: no character set has it, but every next element does."""
        if b"\0" in self._data[first:last].rstrip(b"\0 "):
            raise _Fault(tag, "is a text with bytes of something else inside")

    def _undefined(self, level: _Level, tag: int, vr: bytes, first: int) -> None:
        if tag == PIXEL_DATA and (level.implicit or vr in (b"OB", b"OW")):
            if level.implicit:
                raise _Fault(tag, "has an undefined length in Implicit VR")
            fragments = self._encapsulated(level, first)
            if len(self._stack) == 1:
                self.fragments = fragments
        elif level.implicit or vr in (b"SQ", b"UN"):
            inner = level.inner(tag, level.end, delimited=True, implicit=vr == b"UN")
            self._enter(inner, first)
        else:
            raise _Fault(tag, "has an undefined length")

    def _enter(self, inner: _Level, first: int) -> None:
        if len(self._stack) > 2 * DEEPEST_SEQUENCE:
            raise _Fault(inner.tag, f"is nested deeper than {DEEPEST_SEQUENCE} sequences")
        self._stack.append(inner)
        self._position = first

    def _encapsulated(self, level: _Level, first: int) -> Fragments:
        """Walk over the fragments (PS3.5 A.4) and stop behind their delimiter."""
        places: list[slice] = []
        position = first
        while position + 8 <= level.end:
            group, element, length = level.layouts[0].unpack_from(self._data, position)
            position += 8
            if group << 16 | element == _SEQUENCE_END and not length and places:
                self._position = position
                return Fragments(first, places[0], places[1:])
            if group << 16 | element != _ITEM or position + length > level.end:
                break
            places.append(slice(position, position + length))
            position += length
            self._count += 1
        raise _Fault(PIXEL_DATA, "has fragments that do not fill it")

    def _end_of_item(self, level: _Level, tag: int) -> None:
        """Take the delimiter of an item; no other tag of its group belongs into a data set."""
        if tag != _ITEM_END or not level.delimited:
            raise _Fault(tag, "repeats, stands in the wrong order or does not belong here")
        if level.layouts[0].unpack_from(self._data, self._position)[2]:
            raise _Fault(level.tag, "has a delimiter with a length")
        self._position += 8
        self._stack.pop()


@lru_cache(maxsize=8192)
def _known(tag: int) -> tuple[bool, int]:
    """Tell what the data dictionary knows: whether it is a sequence, and the size of a value."""
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return False, 1
    if vr in ("US or SS", "US or OW", "US or SS or OW", "OB or OW"):
        return False, 1 if vr == "OB or OW" else 2
    return vr == "SQ", (_UNITS_OF_SHORT | _UNITS_OF_LONG).get(vr.encode(), 1)


def _name(tag: int) -> str:
    return "the data set" if tag <= 0 else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
