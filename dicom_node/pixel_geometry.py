"""Whether pixel data have the size of the image that they claim to be (PS3.3 C.7.6.3, PS3.5 8).

Everything is arithmetic on integers of the header; no pixel is touched. A file that passes can be
handed to a decoder that allocates what the header asks for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import RLELossless

from dicom_node.file_meta import EXPLICIT_VR_BIG_ENDIAN
from dicom_node.part10 import Part10

LARGEST_FRAME = 512 * 2**20
"""Bytes of one decoded frame."""
MOST_FRAMES = 2**31 - 1

FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA, PIXEL_DATA = 0x7FE00008, 0x7FE00009, 0x7FE00010
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100
_BITS_STORED, _HIGH_BIT, _PIXEL_PROVIDER_URL = 0x00280101, 0x00280102, 0x00287FE0
_PLANAR_CONFIGURATION, _PIXEL_REPRESENTATION = 0x00280006, 0x00280103
_PIXELS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
_BITS_OF_FLOATS = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}

ELEMENTS_OF_INTEREST = frozenset(
    (
        _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT,
        _PLANAR_CONFIGURATION, _PIXEL_REPRESENTATION, _PIXEL_PROVIDER_URL, _EXTENDED_OFFSETS,
        _EXTENDED_LENGTHS, *_PIXELS,
    )
)  # fmt: skip

_NATIVE = frozenset(
    (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        EXPLICIT_VR_BIG_ENDIAN,
    )
)
_JPIP = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(94|95|204|205)")
# MPEG-2, MPEG-4, HEVC: one stream, cut anywhere, holds all frames (PS3.5 8.2.5 to 8.2.8).
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")
_STANDARD_ROOT = "1.2.840.10008."
_SUBSAMPLED = {b"YBR_FULL_422": 2, b"YBR_PARTIAL_422": 2}
_INTEGER = re.compile(rb"[+-]?[0-9]{1,12}")


@dataclass(frozen=True)
class Fragments:
    """Encapsulated pixel data (PS3.5 A.4): where the sequence, its offset table and pieces lie."""

    start: int
    offset_table: slice
    places: Sequence[slice]

    @property
    def stop(self) -> int:
        """Where the last fragment ends."""
        last: int = (self.places[-1] if self.places else self.offset_table).stop
        return last


@dataclass(frozen=True)
class Geometry:
    """The image that the pixel data hold.

    Attributes:
        tag: Pixel Data, Float Pixel Data or Double Float Pixel Data.
        start: where its value begins in the plain file.
        stop: where it ends.
    """

    tag: int
    start: int
    stop: int
    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int

    @property
    def unpacked_frame_bytes(self) -> int:
        """Bytes of one frame in an array, where a bit takes a byte."""
        bits = max(self.bits_allocated, 8)
        return self.rows * self.columns * self.samples * bits // 8


def geometry_of(
    part10: Part10, values: Mapping[int, slice], fragments: Fragments | None
) -> Geometry | None:
    """Compare the pixel data of an object with its Image Pixel module.

    Args:
        part10: the object.
        values: where the top-level elements of :data:`ELEMENTS_OF_INTEREST` lie, defined lengths.
        fragments: encapsulated pixel data, if any.

    Returns:
        None where the object has no pixel data.

    Raises:
        ValueError: they contradict each other; the message names no value.
    """
    header = _Header(part10, values)
    present = [tag for tag in _PIXELS if tag in values or (tag == PIXEL_DATA and fragments)]
    if not present:
        if _has_image(values) and not _JPIP.fullmatch(part10.transfer_syntax_uid):
            raise ValueError("(7FE0,0010) is missing from an image")
        return None
    if len(present) > 1:
        raise ValueError("(7FE0,0010) is not the only kind of pixel data")
    geometry = _geometry(header, present[0], values, fragments)
    if fragments is not None:
        _check_encapsulated(header, geometry, fragments)
    else:
        _check_native(header, geometry, values[geometry.tag])
    return geometry


def _has_image(values: Mapping[int, slice]) -> bool:
    return all(tag in values for tag in (_ROWS, _COLUMNS, _BITS_ALLOCATED))


class _Header:
    """The integers of an Image Pixel module."""

    def __init__(self, part10: Part10, values: Mapping[int, slice]) -> None:
        self.part10 = part10
        self.values = values
        self._order = ">" if part10.encoding_uid == EXPLICIT_VR_BIG_ENDIAN else "<"

    def raw(self, tag: int) -> bytes:
        place = self.values.get(tag, slice(0, 0))
        return self.part10.buffer[place.start : min(place.stop, place.start + 64)].strip(b"\0 ")

    def short(self, tag: int, default: int | None = None) -> int:
        place = self.values.get(tag)
        if place is None or place.start == place.stop:
            if default is None:
                raise ValueError(f"{_name(tag)} is missing from an image")
            return default
        if place.stop - place.start != 2:
            raise ValueError(f"{_name(tag)} is not one number")
        (number,) = struct.unpack_from(self._order + "H", self.part10.buffer, place.start)
        return int(number)

    def frames(self) -> int:
        text = self.raw(_FRAMES)
        if not text:
            return 1
        if not _INTEGER.fullmatch(text):
            raise ValueError(f"{_name(_FRAMES)} is no number of frames")
        # Zero stands for one in files of old equipment; what there is must fit all the same.
        frames = int(text) or 1
        if not 0 < frames <= MOST_FRAMES:
            raise ValueError(f"{_name(_FRAMES)} is no number of frames")
        return frames


def _geometry(
    header: _Header, tag: int, values: Mapping[int, slice], fragments: Fragments | None
) -> Geometry:
    rows, columns = header.short(_ROWS), header.short(_COLUMNS)
    samples = header.short(_SAMPLES, 1)
    bits = _BITS_OF_FLOATS.get(tag) or header.short(_BITS_ALLOCATED)
    if not rows or not columns:
        raise ValueError(f"{_name(_ROWS)} or {_name(_COLUMNS)} is zero")
    if samples not in (1, 3, 4):
        raise ValueError(f"{_name(_SAMPLES)} is not 1, 3 or 4")
    if bits != 1 and bits not in (8, 16, 32, 64):
        raise ValueError(f"{_name(_BITS_ALLOCATED)} is not 1, 8, 16, 32 or 64")
    if tag == PIXEL_DATA:
        _check_bits(header, bits)
    place = values[tag] if fragments is None else slice(fragments.start, fragments.stop)
    frames = header.frames()
    geometry = Geometry(tag, place.start, place.stop, rows, columns, samples, frames, bits)
    if geometry.unpacked_frame_bytes > LARGEST_FRAME:
        raise ValueError(f"{_name(tag)} has frames larger than {LARGEST_FRAME >> 20} MiB")
    return geometry


def _check_bits(header: _Header, allocated: int) -> None:
    stored = header.short(_BITS_STORED, allocated)
    if not 1 <= stored <= allocated:
        raise ValueError(f"{_name(_BITS_STORED)} does not fit {_name(_BITS_ALLOCATED)}")
    for tag in (_PIXEL_REPRESENTATION, _PLANAR_CONFIGURATION):
        if header.short(tag, 0) > 1:
            raise ValueError(f"{_name(tag)} is not 0 or 1")
    if not stored - 1 <= header.short(_HIGH_BIT, stored - 1) < allocated:
        raise ValueError(f"{_name(_HIGH_BIT)} does not fit {_name(_BITS_STORED)}")


def _check_native(header: _Header, geometry: Geometry, place: slice) -> None:
    syntax = header.part10.transfer_syntax_uid
    if syntax.startswith(_STANDARD_ROOT) and syntax not in _NATIVE:
        raise ValueError(f"{_name(geometry.tag)} is not encapsulated as its transfer syntax says")
    pixels = geometry.rows * geometry.columns * geometry.frames
    expected = {-(-pixels * geometry.samples * geometry.bits_allocated // 8)}
    if geometry.samples == 3 and header.raw(_PHOTOMETRIC) in _SUBSAMPLED:
        # Two chrominance samples for each pair of pixels (PS3.3 C.7.6.3.1.2).
        expected.add(pixels * 2 * geometry.bits_allocated // 8)
    length = place.stop - place.start
    if length not in expected and not any(length == size + size % 2 for size in expected):
        raise ValueError(f"{_name(geometry.tag)} has not the size of its image")


def _check_encapsulated(header: _Header, geometry: Geometry, fragments: Fragments) -> None:
    syntax = header.part10.transfer_syntax_uid
    if syntax in _NATIVE:
        raise ValueError(f"{_name(PIXEL_DATA)} is encapsulated against its transfer syntax")
    lengths = [place.stop - place.start for place in fragments.places]
    if not lengths or not all(lengths):
        raise ValueError(f"{_name(PIXEL_DATA)} has no fragments or empty ones")
    _check_offsets(header.part10, geometry, fragments)
    if _VIDEO.fullmatch(syntax):
        return
    if len(lengths) < geometry.frames:
        raise ValueError(f"{_name(PIXEL_DATA)} has fewer fragments than frames")
    if syntax == RLELossless and len(lengths) != geometry.frames:
        raise ValueError(f"{_name(PIXEL_DATA)} has not one RLE fragment a frame")
    _check_extended_offsets(header, geometry)


def _check_offsets(part10: Part10, geometry: Geometry, fragments: Fragments) -> None:
    """Check that the Basic Offset Table, where it is filled, points to one fragment a frame."""
    table = fragments.offset_table
    size = table.stop - table.start
    if not size:
        return
    count, rest = divmod(size, 4)
    if rest or (count != geometry.frames and not _VIDEO.fullmatch(part10.transfer_syntax_uid)):
        raise ValueError(f"{_name(PIXEL_DATA)} has an offset table of another number of frames")
    offsets = struct.unpack_from(f"<{count}L", part10.buffer, table.start)
    starts = {place.start - 8 - table.stop for place in fragments.places}
    if offsets[0] or list(offsets) != sorted(set(offsets)) or not starts.issuperset(offsets):
        raise ValueError(f"{_name(PIXEL_DATA)} has an offset table that points elsewhere")


def _check_extended_offsets(header: _Header, geometry: Geometry) -> None:
    for tag in (_EXTENDED_OFFSETS, _EXTENDED_LENGTHS):
        place = header.values.get(tag)
        if place is not None and place.stop - place.start != 8 * geometry.frames:
            raise ValueError(f"{_name(tag)} is of another number of frames")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
