"""Old files without preamble or whole File Meta Information: taken where there is no doubt."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicom_node.headers import Header, read_header
from dicom_node.imports.fates import Fate
from dicom_node.imports.folders import FolderSource
from dicom_node.imports.taking import Taking
from dicom_node.imports.tolerant import Begun, NotReadable, TolerantReader
from dicom_node.inspection import inspect_header
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore
from tests.builders import compressed_image, encode, mr_image, received

PREFIX = bytes(128) + b"DICM"
PLAIN = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def element(number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def ui(number: int, text: str) -> bytes:
    return element(number, b"UI", text.encode() + b"\0" * (len(text) % 2))


def take(tmp_path: Path, content: bytes) -> tuple[Taking, DicomStore, list[str]]:
    """Take one file in; return what was taken, the store, and why it was refused."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "image").write_bytes(content)
    store = DicomStore(tmp_path / "store")
    store.recover()
    settings = DicomSettings.model_validate({"minimum_free_bytes": 0})
    why: list[str] = []
    found = Taking(store.intake, settings, "IMPORT", lambda _: (),
                   tell=lambda _name, _fate, reason: why.append(reason))  # fmt: skip
    for each in FolderSource(folder).candidates():
        found.take(each)
    return found, store, why


IMAGE = mr_image()
CLASS, INSTANCE = ui(2, IMAGE.SOPClassUID), ui(3, IMAGE.SOPInstanceUID)


def whole(syntax: str) -> bytes:
    return CLASS + INSTANCE + ui(0x10, syntax)


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(
    "before",
    [
        lambda _: b"",
        lambda _: PREFIX,
        lambda syntax: PREFIX + whole(syntax),
        lambda syntax: whole(syntax),
        lambda _: PREFIX + CLASS + INSTANCE,
        lambda syntax: PREFIX + ui(0x10, syntax),
        lambda syntax: PREFIX + element(0, b"UL", struct.pack("<L", 9999)) + whole(syntax),
        lambda syntax: PREFIX + element(0, b"UL", struct.pack("<L", 10)) + whole(syntax),
        lambda syntax: PREFIX
        + element(0, b"UL", struct.pack("<L", len(whole(syntax))))
        + whole(syntax)
        + ui(0x12, "1.2.3"),
    ],
    ids=["bare", "prefix", "no length", "no preamble", "no syntax", "no uids", "long", "short",
         "early"],
)  # fmt: skip
def test_what_is_missing_is_completed_and_no_byte_of_the_data_set_changes(
    tmp_path: Path, syntax: str, before: object
) -> None:
    assert callable(before)
    data_set = encode(IMAGE, syntax)
    content = before(syntax) + data_set
    found, store, why = take(tmp_path, content)
    assert (found.taken.fates, why) == ({Fate.NEW: 1}, [])
    assert found.taken.completed == 1
    (path,) = store.spooled()
    assert path.stem == received(IMAGE, syntax).digest  # as if it had been sent
    stored = path.read_bytes()
    assert stored.endswith(data_set)
    header = read_header(path)
    assert (header.transfer_syntax_uid, header.way) == (syntax, "imported")
    with path.open("rb") as file:
        assert isinstance(inspect_header(file), Header)  # the index takes it
    # The library, forced to read the old file, finds the same.
    assert pixels(dcmread(path)) == pixels(forced(content, before(syntax), syntax))


def forced(content: bytes, before: bytes, syntax: str) -> Dataset:
    """Read a data set with the library, which is told nothing but where it begins."""
    read = dcmread(BytesIO(content[len(before) :]), force=True)
    assert read.is_implicit_VR == (syntax == ImplicitVRLittleEndian)
    return read


def pixels(data_set: Dataset) -> tuple[str, int, bytes]:
    return str(data_set.SOPInstanceUID), int(data_set.Rows), bytes(data_set["PixelData"].value)


@pytest.mark.parametrize(
    "name", ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm"]
)
def test_files_without_meta_that_others_wrote(tmp_path: Path, name: str) -> None:
    content = Path(str(get_testdata_file(name, download=False))).read_bytes()
    found, store, why = take(tmp_path, content)
    assert (found.taken.fates, found.taken.completed, why) == ({Fate.NEW: 1}, 1, [])
    (path,) = store.spooled()
    assert path.read_bytes().endswith(content)
    assert dcmread(path) == dcmread(BytesIO(content), force=True)


def test_a_file_that_is_whole_is_not_completed(tmp_path: Path) -> None:
    length = element(0, b"UL", struct.pack("<L", len(whole(ExplicitVRLittleEndian))))
    content = PREFIX + length + whole(ExplicitVRLittleEndian) + encode(IMAGE)
    found, _, _ = take(tmp_path, content)
    assert (found.taken.fates, found.taken.completed) == ({Fate.NEW: 1}, 0)


def test_compressed_pixels_are_refused_where_nothing_says_how(tmp_path: Path) -> None:
    found, store, why = take(tmp_path, encode(compressed_image(), ExplicitVRLittleEndian))
    assert found.taken.fates == {Fate.REFUSED: 1}
    assert "its pixel data are compressed" in why[0]
    assert store.spooled() == []


def test_compressed_pixels_come_in_where_file_meta_says_how(tmp_path: Path) -> None:
    data_set = encode(compressed_image(), ExplicitVRLittleEndian)
    found, store, _ = take(tmp_path, PREFIX + ui(0x10, JPEG2000Lossless) + data_set)
    assert found.taken.fates == {Fate.NEW: 1}
    (path,) = store.spooled()
    assert read_header(path).transfer_syntax_uid == JPEG2000Lossless


def without(*keywords: str) -> Dataset:
    image = mr_image()
    for each in keywords:
        delattr(image, each)
    return image


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(without("SOPClassUID")), "beyond doubt"),
        (encode(without("SOPInstanceUID"), ImplicitVRLittleEndian), "beyond doubt"),
        # ACR-NEMA 2.0: neither class nor instance, but a recognition code.
        (struct.pack("<HHL", 8, 0, 4) + b"\x0c\0\0\0" + struct.pack("<HHL", 8, 1, 4) + bytes(4)
         + struct.pack("<HHL", 8, 0x10, 12) + b"ACR-NEMA 2.0", "beyond doubt"),
        (PREFIX + ui(3, "1.2.3") + encode(IMAGE), "beyond doubt"),  # another instance
        (PREFIX + ui(2, "1.2") + encode(IMAGE), "beyond doubt"),  # another class
        (PREFIX + CLASS + ui(3, "1.2.3") + ui(0x10, ExplicitVRLittleEndian) + encode(IMAGE),
         "not the object"),
        (PREFIX + INSTANCE + CLASS + encode(IMAGE), "not in ascending order"),
        (PREFIX + CLASS[:20], "ends inside an element"),
        (CLASS + INSTANCE + struct.pack("<HHL", 2, 0x10, 10**6), "ends inside an element"),
        (PREFIX, "beyond doubt"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    found, store, why = take(tmp_path, content)
    assert found.taken.fates == {Fate.REFUSED: 1}
    assert reason in why[0]
    assert store.spooled() == []


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"PK\x03\x04" + bytes(500), b"\x08\x00\x77\x00" + bytes(200)]
)
def test_what_is_no_dicom_is_passed_over(tmp_path: Path, content: bytes) -> None:
    found, _, why = take(tmp_path, content)
    assert (found.taken.fates, why) == ({Fate.OTHER: 1}, [])


def test_a_long_file_that_is_no_dicom_is_not_read_to_its_end() -> None:
    with pytest.raises(NotReadable):
        TolerantReader().feed(b"\x7fELF" + bytes(1000))


@given(st.binary(max_size=300), st.integers(1, 50))
def test_however_it_is_cut_it_is_read_the_same(noise: bytes, size: int) -> None:
    for content in (noise, PREFIX + noise, encode(IMAGE)[:200] + noise):
        assert read(content, len(content) or 1) == read(content, size)


def read(content: bytes, size: int) -> tuple[object, ...]:
    reader, found = TolerantReader(), None
    rest = b""
    try:
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            if found is not None:
                rest += piece
            else:
                found = reader.feed(piece)
        found = found or reader.end()
    except NotReadable as error:
        return (error.is_dicom,)
    assert isinstance(found, Begun)
    return found.meta, found.rest + rest, found.completed, found.guessed
