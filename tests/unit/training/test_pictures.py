"""What is seen of a series: its middle image, texts in headers, why there is no fingerprint."""

from pathlib import Path

import numpy as np
import pytest

from dicom_node.inspection import DirectInspector
from tests.builders import mr_image, write_file
from training.errors import Permanent
from training.fingerprints import fingerprint
from training.pictures import look_at, series_digest
from training.pixels import rough_picture

SIDE = 12
NOISE = np.random.default_rng(0).integers(0, 4000, (5, SIDE, SIDE), dtype=np.uint16)


def written(folder, number, **values):
    given = {"PixelData": NOISE[number].tobytes(), **values}
    return write_file(folder / f"{number}", mr_image(instance=number, rows=SIDE, **given))


def series(folder, orientation=(0, 1, 0, 0, 0, -1), **values):
    """Write slices whose Instance Numbers and digests say another order than their places."""
    places = {0: 30, 1: 10, 2: 50, 3: 20, 4: 40}
    return {
        "abcde"[number]: written(
            folder,
            number,
            ImageOrientationPatient=list(orientation),
            ImagePositionPatient=[place, 0, 0],
            **values,
        )
        for number, place in places.items()
    }


@pytest.mark.parametrize("orientation", [(0, 1, 0, 0, 0, -1), (0, 0, -1, 0, 1, 0)])
def test_the_middle_lies_in_the_middle_along_the_normal(tmp_path, orientation):
    files = series(tmp_path, orientation)
    found = look_at(files, DirectInspector())
    assert found.digest == "a"
    assert found.fingerprint == fingerprint(NOISE[0].astype(float)).hex()
    assert (found.reason, found.texts, found.marks) == ("", [], [])
    assert found.series_digest == series_digest(reversed(files))


def test_texts_and_marks_come_from_every_image(tmp_path):
    files = series(tmp_path)
    kind = ["DERIVED", "SECONDARY", "DOSE_INFO"]
    files["f"] = written(
        tmp_path, 4, ImageComments="seen: stenosis", ImageType=kind, BurnedInAnnotation="YES"
    )
    found = look_at(files, DirectInspector())
    assert found.texts == ["seen: stenosis"]
    assert found.marks == ["BURNED IN", "DOSE"]


def test_what_cannot_be_read_has_a_reason_and_no_fingerprint(tmp_path):
    files = {"a": written(tmp_path, 1)}
    missing = look_at({**files, "b": tmp_path / "nowhere"}, DirectInspector())
    assert (missing.fingerprint, missing.reason) == ("", "a file of the series is missing")
    (tmp_path / "odd").write_bytes(b"no DICOM")
    odd = look_at({"b": tmp_path / "odd"}, DirectInspector())
    assert (odd.digest, odd.reason) == ("b", "a file of the series is not readable")
    flat = written(tmp_path, 2, PixelData=bytes(2 * SIDE * SIDE))
    assert look_at({"c": flat}, DirectInspector()).reason == "the picture shows nothing"
    torn = written(tmp_path, 3, PixelData=b"\0\0")
    assert look_at({"d": torn}, DirectInspector()).reason.startswith("the pixels of an image")


def read(path: Path):
    return rough_picture(path, DirectInspector())


def test_a_picture_is_one_grey_frame(tmp_path):
    frames = written(tmp_path, 0, NumberOfFrames=3, PixelData=NOISE[:3].tobytes())
    assert np.array_equal(read(frames), NOISE[1])
    negative = written(tmp_path, 1, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read(negative), -NOISE[1].astype(np.float32))
    colours = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    colour = written(
        tmp_path, 2, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0,
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=colours.tobytes(),
    )  # fmt: skip
    assert np.allclose(read(colour), colours.mean(axis=-1))
    with pytest.raises(Permanent, match="could not be decoded"):
        read(written(tmp_path, 3, PixelData=b"\0\0"))
