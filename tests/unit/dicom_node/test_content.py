"""The digest of what an object shows survives corrections of headers and lossless recompression."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.inspection import DirectInspector, Undecodable, data_set_of
from tests.builders import compressed_image, encode, mr_image, uid
from tests.part10_builders import (
    NATIVE_SYNTAXES,
    deflated,
    file_of,
    library_files,
    part10,
    rich_image,
    written,
)

DIRECT = DirectInspector()


def digest(folder: Path, content: bytes) -> str:
    return DIRECT.content_digest(written(folder, content))


def recompressed(image: Dataset, syntax: str, frames: int = 1) -> bytes:
    encoder = get_encoder(syntax)
    options = {
        "rows": image.Rows, "columns": image.Columns, "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2", "bits_allocated": 16, "bits_stored": 16,
        "pixel_representation": 0, "number_of_frames": 1, "transfer_syntax_uid": syntax,
    }  # fmt: skip
    size = len(image.PixelData) // frames
    pieces = [
        encoder.encode(image.PixelData[n * size : (n + 1) * size], **options) for n in range(frames)
    ]
    image.PixelData = encapsulate(pieces)
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return file_of(image, syntax)


def test_pixels_decide_not_encodings(tmp_path: Path) -> None:
    found = {digest(tmp_path, file_of(mr_image(rows=32), syntax)) for syntax in NATIVE_SYNTAXES[:2]}
    found.add(digest(tmp_path, deflated(mr_image(rows=32))))
    found |= {
        digest(tmp_path, recompressed(mr_image(rows=32), syntax))
        for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless)
    }
    assert len(found) == 1


def test_headers_do_not_count_and_pixels_do(tmp_path: Path) -> None:
    first = digest(tmp_path, file_of(mr_image()))
    renamed = mr_image(PatientName="Other^Name", PatientID="P2", WindowCenter=40)
    assert digest(tmp_path, file_of(renamed)) == first
    image = mr_image()
    image.PixelData = bytes([image.PixelData[0] ^ 1]) + image.PixelData[1:]
    assert digest(tmp_path, file_of(image)) != first
    inverted = mr_image(PhotometricInterpretation="MONOCHROME1")
    assert digest(tmp_path, file_of(inverted)) != first
    turned = mr_image(rows=4)
    turned.Rows, turned.Columns, turned.PixelData = 2, 8, turned.PixelData
    assert digest(tmp_path, file_of(turned)) != digest(tmp_path, file_of(mr_image(rows=4)))


def test_frames_count_one_by_one(tmp_path: Path) -> None:
    def frames(*values: int) -> Dataset:
        image = mr_image(rows=4, NumberOfFrames=len(values))
        image.PixelData = b"".join(np.full(16, value, np.uint16).tobytes() for value in values)
        return image

    native = digest(tmp_path, file_of(frames(1, 2)))
    assert digest(tmp_path, recompressed(frames(1, 2), RLELossless, 2)) == native
    assert digest(tmp_path, file_of(frames(2, 1))) != native


def test_real_files_in_several_encodings(tmp_path: Path) -> None:
    by_name = {path.name: path for path in library_files()}
    names = ("", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless")
    found = {DIRECT.content_digest(by_name[f"MR_small{name}.dcm"]) for name in names}
    assert len(found) == 1
    assert (
        len({DIRECT.content_digest(by_name[f"rtdose{e}.dcm"]) for e in ("", "_expb", "_rle")}) == 1
    )


def report(text: str, **attributes: object) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.TextValue = text
    document = mr_image(**attributes)
    for keyword in [each.keyword for each in document.group_dataset(0x28)] + ["PixelData"]:
        delattr(document, keyword)
    document.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    document.ContentSequence = Sequence([item])
    return document


def test_content_of_objects_without_pixels(tmp_path: Path) -> None:
    first = digest(tmp_path, file_of(report("no stenosis")))
    same = [file_of(report("no stenosis"), syntax) for syntax in NATIVE_SYNTAXES[1:]]
    identity = {"PatientName": "Other^Name", "StudyDescription": "x", "Manufacturer": "y"}
    same.append(file_of(report("no stenosis", SeriesInstanceUID=uid("s2"), **identity)))
    private = report("no stenosis")
    private.private_block(0x99, "ARCHIVE", create=True).add_new(1, "LO", "added on the way")
    same.append(file_of(private))
    assert {digest(tmp_path, content) for content in same} == {first}
    assert digest(tmp_path, file_of(report("stenosis"))) != first


def test_private_objects_speak_privately(tmp_path: Path) -> None:
    def private(text: str) -> bytes:
        document = report("x", SOPClassUID="1.2.3")
        document.SOPClassUID = "1.3.12.2.1107.5.9.1"
        document.private_block(0x29, "CSA", create=True).add_new(1, "LO", text)
        return file_of(document)

    assert digest(tmp_path, private("a")) != digest(tmp_path, private("b"))


@pytest.mark.parametrize(
    "content",
    [
        file_of(compressed_image(), JPEG2000Lossless),
        file_of(mr_image(Rows=9)),
        part10(encode(mr_image())[:-1]),
        b"no file",
        b"",
    ],
)
def test_undecodable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Undecodable):
        DIRECT.content_digest(written(tmp_path, content))


def test_image_and_elements(tmp_path: Path) -> None:
    image = rich_image()
    path = written(tmp_path, file_of(image))
    decoded = DIRECT.image(path)
    assert decoded.frames.tobytes() == image.PixelData
    assert decoded.photometric_interpretation == "MONOCHROME2"
    with pytest.raises(Undecodable, match="too large"):
        DIRECT.image(path, maximum_bytes=127)
    keywords = ("PatientName", "PixelSpacing", "IssuerOfAccessionNumberSequence", "StationName")
    found = DIRECT.elements(path, keywords)
    assert found["PixelSpacing"] == ["1.0", "1.0"]
    assert "StationName" not in found
    read = dcmread(path)
    for element in data_set_of(found):
        assert read[element.tag] == element


def test_explicit_little_endian_is_what_the_builders_write(tmp_path: Path) -> None:
    path = written(tmp_path, file_of(mr_image()))
    assert dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_video_is_compared_as_encoded(tmp_path: Path) -> None:
    def video(stream: bytes, **attributes: object) -> bytes:
        image = mr_image(NumberOfFrames=30, **attributes)
        image.PixelData = encapsulate([stream], has_bot=False)
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
        return file_of(image, "1.2.840.10008.1.2.4.102")

    first = digest(tmp_path, video(b"stream"))
    assert digest(tmp_path, video(b"stream", PatientName="Other^Name")) == first
    assert digest(tmp_path, video(b"others")) != first
