"""Lengths, nesting and geometry of stored objects (attacks D9 and D10)."""

import random
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_node import structure
from dicom_node.file_meta import EXPLICIT_VR_BIG_ENDIAN
from dicom_node.inspection import DirectInspector, Header, Unreadable
from dicom_node.structure import structural_fault
from tests.builders import encode, mr_image
from tests.part10_builders import (
    NATIVE_SYNTAXES,
    UNDEFINED,
    bases,
    deflated,
    elements,
    fault_in_memory,
    file_of,
    library_files,
    nested,
    part10,
    rich_image,
    written,
)

CASES = 1000

# What of the library's own files is broken or no stored object, and why.
REFUSED = {
    "ExplVR_BigEndNoMeta.dcm": "no DICM prefix",
    "ExplVR_LitEndNoMeta.dcm": "no DICM prefix",
    "no_meta.dcm": "no DICM prefix",
    "rtstruct.dcm": "no DICM prefix",
    "MR_small_padded.dcm": "has not the size of its image",
    "MR_truncated.dcm": "declares more bytes",
    "rtplan_truncated.dcm": "declares more bytes",
    "SC_rgb_jpeg.dcm": "no value representation",
    "badVR.dcm": "no number of frames",
    "meta_missing_tsyntax.dcm": "names no transfer syntax",
    "nested_priv_SQ.dcm": "does not belong here",
}


def test_files_of_real_equipment() -> None:
    files = [path for path in library_files() if path.suffix == ".dcm"]
    found = {path.name: structural_fault(path) for path in files}
    faults = {name: fault for name, fault in found.items() if fault and "DICOMDIR" not in name}
    assert len(found) > 75
    assert faults.keys() == REFUSED.keys()
    assert all(REFUSED[name] in fault for name, fault in faults.items())


def test_sound_objects_pass(tmp_path: Path) -> None:
    for _, content in bases():
        assert not structural_fault(written(tmp_path, content))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [10, 32, 33, 100, 10_000, 100_000])
def test_nesting_is_capped(tmp_path: Path, depth: int, undefined: bool, syntax: str) -> None:
    content = nested(depth, undefined=undefined, syntax=syntax)
    path = written(tmp_path, content)
    (found,) = DirectInspector().headers([path])
    if depth <= structure.DEEPEST_SEQUENCE:
        assert isinstance(found, Header)
    else:
        assert isinstance(found, Unreadable)
        assert "nested deeper than 32" in str(found)
    assert path.read_bytes() == content


def test_number_of_elements_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MOST_ELEMENTS", 40)
    assert "number of elements" in structural_fault(written(tmp_path, file_of(rich_image())))


def lying_lengths(seed: int = 1) -> Iterator[bytes]:
    """Objects whose declared lengths are not those of their bytes."""
    rng = random.Random(seed)
    sound = [(syntax, content, list(elements(content, syntax))) for syntax, content in bases()]
    while True:
        syntax, content, places = rng.choice(sound)
        _, place, size = rng.choice(places)
        code = byte_order(syntax) + ("L" if size == 4 else "H")
        (length,) = struct.unpack_from(code, content, place)
        most = 2 ** (8 * size) - 1
        shorter = [each for each in (length - 1, length - 2, length // 2, 0) if 0 <= each < length]
        longer = [
            length + 1,
            length + 2,
            length + rng.randrange(1, 4000),
            most - 1,
            most // 2,
            most,
        ]
        lie = min(rng.choice(shorter + longer), most)
        if lie != length:
            yield content[:place] + struct.pack(code, lie) + content[place + size :]


def lying_geometry(seed: int = 2) -> Iterator[bytes]:
    """Images whose header speaks of another image than their pixel data."""
    rng = random.Random(seed)
    sound = [(syntax, file_of(mr_image(NumberOfFrames="1"), syntax)) for syntax in NATIVE_SYNTAXES]
    places = {
        (syntax, tag): place + size
        for syntax, content in sound
        for tag, place, size in elements(content, syntax)
    }
    lies = {
        0x00280010: (0, 1, 7, 9, 16, 65535),  # Rows
        0x00280011: (0, 1, 7, 9, 16, 65535),  # Columns
        0x00280002: (0, 2, 3, 4, 65535),  # Samples per Pixel
        0x00280100: (0, 1, 8, 12, 32, 64, 65535),  # Bits Allocated
        0x00280101: (0, 17, 65535),  # Bits Stored
        0x00280102: (14, 16, 65535),  # High Bit
        0x00280008: (b"2 ", b"99", b"-1", b"1A"),  # Number of Frames
    }
    while True:
        (syntax, content), tag = rng.choice(sound), rng.choice(list(lies))
        lie = rng.choice(lies[tag])
        value = lie if isinstance(lie, bytes) else struct.pack(byte_order(syntax) + "H", lie)
        place = places[syntax, tag]
        yield content[:place] + value + content[place + 2 :]


def byte_order(syntax: str) -> str:
    return ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<"


def test_no_lie_is_accepted() -> None:
    for source in (lying_lengths(), lying_geometry()):
        for content in islice(source, CASES // 2):
            assert fault_in_memory(content)


def test_truncation_inside_an_element_is_found() -> None:
    """Between two elements nothing tells, until the pixel data are missing from an image."""
    for syntax, content in bases():
        places = list(elements(content, syntax))
        ends = {place + size + length for _, place, size, length in measured(content, syntax)}
        for end in range(places[0][1], len(content), 3):
            if end not in ends:
                assert fault_in_memory(content[:end]), (syntax, end)


def measured(content: bytes, syntax: str) -> Iterator[tuple[int, int, int, int]]:
    for tag, place, size in elements(content, syntax):
        code = byte_order(syntax) + ("L" if size == 4 else "H")
        yield tag, place, size, struct.unpack_from(code, content, place)[0]


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "size of its image"),
        ({"Rows": None}, "(0028,0010) is missing"),
        ({"BitsAllocated": None}, "(0028,0100) is missing"),
        ({"PixelData": None}, "(7FE0,0010) is missing"),
        ({"NumberOfFrames": "1" * 12}, "(0028,0008) is no number of frames"),
        ({"FloatPixelData": b"\0" * 256}, "not the only kind"),
    ],
)
def test_images_that_contradict_themselves(
    tmp_path: Path, attributes: dict[str, object], fault: str
) -> None:
    image = mr_image(**{name: value for name, value in attributes.items() if value is not None})
    for name in (name for name, value in attributes.items() if value is None):
        delattr(image, name)
    if "PixelData" in image:
        image["PixelData"].VR = "OW"
    assert fault in structural_fault(written(tmp_path, file_of(image)))


def test_subsampled_bit_packed_and_float_pixels_pass(tmp_path: Path) -> None:
    subsampled = mr_image(SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")
    subsampled.BitsAllocated = subsampled.BitsStored = 8
    subsampled.HighBit, subsampled.PlanarConfiguration = 7, 0
    bits = mr_image(rows=5, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0)
    bits.PixelData = bytes(10)  # 75 bits, padded to an even number of bytes
    floats = mr_image(FloatPixelData=bytes(256))
    del floats.PixelData
    for image, size in ((subsampled, 128), (bits, 10), (floats, 0)):
        if size:
            image.PixelData = bytes(size)
        assert not structural_fault(written(tmp_path, file_of(image)))


def encapsulated(fragments: bytes, frames: int, syntax: str) -> bytes:
    image = mr_image(NumberOfFrames=frames)
    image.PixelData = fragments
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return file_of(image, syntax)


@pytest.mark.parametrize(
    ("fragments", "frames", "syntax", "fault"),
    [
        (encapsulate([b"ab"] * 3), 3, RLELossless, ""),
        (encapsulate([b"ab"] * 3, has_bot=False), 3, RLELossless, ""),
        (encapsulate([b"abcd"] * 3, fragments_per_frame=2), 3, JPEG2000Lossless, ""),
        (encapsulate([b"ab"] * 3), 4, RLELossless, "offset table of another number"),
        (encapsulate([b"ab"] * 3, has_bot=False), 4, JPEG2000Lossless, "fewer fragments"),
        (encapsulate([b"ab"] * 3, has_bot=False), 2, RLELossless, "one RLE fragment a frame"),
        (encapsulate([b"ab"] * 3), 3, ExplicitVRLittleEndian, "against its transfer syntax"),
        (b"\xfe\xff\x00\xe0\0\0\0\0", 1, RLELossless, "no fragments or empty"),
    ],
)
def test_fragments(tmp_path: Path, fragments: bytes, frames: int, syntax: str, fault: str) -> None:
    found = structural_fault(written(tmp_path, encapsulated(fragments, frames, syntax)))
    assert fault in found
    assert bool(found) == bool(fault)


def test_offset_table_that_points_elsewhere(tmp_path: Path) -> None:
    for wrong in (1, 8, 2**32 - 1):
        fragments = bytearray(encapsulate([b"ab"] * 3))
        struct.pack_into("<L", fragments, 12, wrong)
        content = encapsulated(bytes(fragments), 3, RLELossless)
        assert "points elsewhere" in structural_fault(written(tmp_path, content))


def test_native_pixels_in_a_compressed_syntax(tmp_path: Path) -> None:
    content = part10(encode(mr_image()), JPEG2000Lossless)
    assert "not encapsulated" in structural_fault(written(tmp_path, content))


def test_unknown_representation_holds_an_implicit_sequence(tmp_path: Path) -> None:
    """PS3.5 section 6.2.2, with an undefined length and, of a known sequence, a defined one."""
    item = encode(rich_image().ReferencedImageSequence[0], ImplicitVRLittleEndian)
    inside = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
    image = encode(mr_image())
    place = image.index(b"\x10\x00\x10\x00")
    head = b"\x08\x00\x40\x11UN\0\0"
    for broken in (False, True):
        value = (
            inside.replace(struct.pack("<L", len(item)), struct.pack("<L", 3)) if broken else inside
        )
        for length, end in ((len(value), b""), (UNDEFINED, b"\xfe\xff\xdd\xe0\0\0\0\0")):
            element = head + struct.pack("<L", length) + value + end
            content = part10(image[:place] + element + image[place:])
            assert bool(structural_fault(written(tmp_path, content))) == broken


def test_delimiters_in_the_wrong_place(tmp_path: Path) -> None:
    image = mr_image(ReferencedImageSequence=Sequence([mr_image(), mr_image()]))
    image["ReferencedImageSequence"].is_undefined_length = True
    content = file_of(image)
    delimiter = b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert content.count(delimiter) == 1
    assert not structural_fault(written(tmp_path, content))
    for other in (b"", delimiter * 2, b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\x02\0\0\0"):
        assert structural_fault(written(tmp_path, content.replace(delimiter, other)))


def test_faults_name_tags_and_no_values(tmp_path: Path) -> None:
    content = file_of(mr_image(PatientName="Secret^Person"))
    place = content.index(b"Secret") - 2
    broken = content[:place] + b"\xff\xff" + content[place + 2 :]
    (found,) = DirectInspector().headers([written(tmp_path, broken)])
    assert isinstance(found, Unreadable)
    assert str(found) == "(0010,0010) declares more bytes than there are"


def test_a_broken_object_still_names_its_study(tmp_path: Path) -> None:
    (found,) = DirectInspector().headers([written(tmp_path, file_of(mr_image(Rows=9)))])
    assert isinstance(found, Unreadable)
    assert found.study_instance_uid == mr_image().StudyInstanceUID


def test_header_of_a_deflated_object(tmp_path: Path) -> None:
    path = written(tmp_path, deflated(mr_image()))
    (found,) = DirectInspector().headers([path])
    assert isinstance(found, Header)
    assert found.transfer_syntax_uid == "1.2.840.10008.1.2.1.99"
    assert found.size == path.stat().st_size
    assert (found.rows, found.columns, found.number_of_frames) == (8, 8, 1)


@pytest.mark.parametrize(("cut", "added"), [(20, b""), (0, b"tail"), (0, b"\0" * 200_000 + b"x")])
def test_damaged_deflation(tmp_path: Path, cut: int, added: bytes) -> None:
    content = deflated(mr_image())
    path = written(tmp_path, content[: len(content) - cut] + added)
    assert "deflated data set" in structural_fault(path)
