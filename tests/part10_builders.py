"""Stored files as the node writes them, sound ones and broken ones, for the tests of inspection."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicom_node.file_meta import EXPLICIT_VR_BIG_ENDIAN, encode_file_meta
from dicom_node.structure import examine
from tests.builders import compressed_image, encode, mr_image, uid

NATIVE_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, EXPLICIT_VR_BIG_ENDIAN)
UNDEFINED = 0xFFFFFFFF


def part10(data_set: bytes, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Return a file around data set bytes, with the meta information of :func:`mr_image`."""
    image = mr_image()
    meta = encode_file_meta(
        sop_class_uid=str(image.SOPClassUID),
        sop_instance_uid=str(image.SOPInstanceUID),
        transfer_syntax_uid=transfer_syntax_uid,
        calling_ae_title="SCANNER",
        called_ae_title="RADLOOP",
    )
    return meta + data_set


def file_of(data_set: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Return a file of a data set."""
    return part10(encode(data_set, transfer_syntax_uid), transfer_syntax_uid)


def written(folder: Path, content: bytes, name: str = "object.dcm") -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(content)
    return path


def fault_in_memory(content: bytes) -> str:
    """Return what the walk says about a file that never touches a disk."""
    with os.fdopen(os.memfd_create("object"), "w+b", buffering=0) as file:
        file.write(content)
        return examine(file).fault  # type: ignore[arg-type]


def rich_image(**attributes: object) -> Dataset:
    """Return an MR image with sequences in sequences, numbers and private elements."""
    inner, outer = Dataset(), Dataset()
    inner.LocalNamespaceEntityID = "HOSPITAL"
    outer.ReferencedSOPInstanceUID = uid("other")
    outer.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    outer.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    image = mr_image(**attributes)
    image.IssuerOfAccessionNumberSequence = Sequence([inner])
    image.ReferencedImageSequence = Sequence([outer, outer])
    image.PixelSpacing = [1, 1]
    image.MagneticFieldStrength = 1.5
    image.add_new(0x00091001, "LO", "private")
    image.add_new(0x00091002, "FD", [1.0, 2.0])
    image.SmallestImagePixelValue = 0
    return image


def bases() -> Iterator[tuple[str, bytes]]:
    """Yield sound objects: transfer syntax and file."""
    for syntax in NATIVE_SYNTAXES:
        yield str(syntax), file_of(rich_image(), syntax)
    compressed = compressed_image()
    compressed.IssuerOfAccessionNumberSequence = rich_image().IssuerOfAccessionNumberSequence
    yield str(JPEG2000Lossless), file_of(compressed, JPEG2000Lossless)


def nested(depth: int, *, undefined: bool, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return a file whose Referenced Image Sequence holds itself ``depth`` times."""
    explicit = syntax == ExplicitVRLittleEndian
    tag, item = b"\x08\x00\x40\x11", b"\xfe\xff\x00\xe0"
    head = tag + (b"SQ\0\0" if explicit else b"")
    pieces = []
    if undefined:
        opening = head + struct.pack("<L", UNDEFINED) + item + struct.pack("<L", UNDEFINED)
        closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        pieces = [opening * depth, closing * depth]
    else:
        size = (len(head) + 12) * depth
        for _ in range(depth):
            size -= len(head) + 4
            pieces.append(head + struct.pack("<L", size))
            size -= 8
            pieces.append(item + struct.pack("<L", size))
    image = encode(mr_image(), syntax)
    place = image.index(b"\x10\x00\x10\x00")
    return part10(image[:place] + b"".join(pieces) + image[place:], syntax)


def bomb(inflated_bytes: int) -> bytes:
    """Return a deflated object of a sound structure, most of which is one value of zeros."""
    image = encode(mr_image())
    head = image + struct.pack("<HH2sHL", 0x7FE1, 0x1001, b"OB", 0, inflated_bytes)
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = stream.compress(head) + stream.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush a block depends on nothing before it, so one serves for all.
    block = stream.compress(bytes(2**20)) + stream.flush(zlib.Z_FULL_FLUSH)
    blocks = block * (inflated_bytes >> 20)
    return part10(start + blocks + stream.flush(), DeflatedExplicitVRLittleEndian)


def deflated(data_set: Dataset) -> bytes:
    """Return an object in Deflated Explicit VR Little Endian."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = stream.compress(encode(data_set)) + stream.flush()
    return part10(data + bytes(len(data) % 2), DeflatedExplicitVRLittleEndian)


def library_files() -> list[Path]:
    """Return the DICOM files that the library brings along, none that it would download."""
    here = Path(get_testdata_file("MR_small.dcm", download=False) or "").parent
    files = {Path(each) for each in get_testdata_files("**/*") if Path(each).is_file()}
    return sorted(each for each in files if each.is_relative_to(here))


def elements(content: bytes, syntax: str) -> Iterator[tuple[int, int, int]]:
    """Yield the top-level elements of a sound file: tag, where its length stands, length's size."""
    order = ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<"
    long_vrs = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
    position = 132 + 12 + struct.unpack_from("<L", content, 140)[0]
    while position < len(content):
        group, element = struct.unpack_from(order + "HH", content, position)
        place, size = position + 4, 4
        if syntax != ImplicitVRLittleEndian:
            long = content[position + 4 : position + 6] in long_vrs
            place, size = (position + 8, 4) if long else (position + 6, 2)
        length = struct.unpack_from(order + ("L" if size == 4 else "H"), content, place)[0]
        yield group << 16 | element, place, size
        if length == UNDEFINED:
            return
        position = place + size + length
