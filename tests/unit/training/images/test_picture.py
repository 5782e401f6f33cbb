"""Radiographs: grey values, spacing, which way round, which side, burned-in text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.inspection import DirectInspector
from tests.image_builders import radiograph, save
from training.errors import Permanent
from training.images.reading import Picture, read_images, read_picture
from training.images.rule_file import load_rule
from training.images.series_rule import Reading

DECODER = DirectInspector()
PIXELS = np.asarray([[0, 10, 20], [30, 40, 50]], np.uint8)
SCALED = PIXELS / 255


def read(folder: Path, reading: Reading | None = None, **elements: Any) -> Picture:
    path = save(radiograph(PIXELS, **elements), folder / "image")
    (image,) = read_images([path], DECODER)
    return read_picture(image, reading, DECODER)


def test_a_picture_as_it_lies(tmp_path: Path) -> None:
    found = read(tmp_path, PixelSpacing=[0.2, 0.3], BurnedInAnnotation="NO")
    assert found.values == pytest.approx(SCALED)
    assert found.values.dtype == np.float32
    assert found.spacing == (0.2, 0.3)
    assert found.burned_in is False
    assert found.remarks == ("no window in the file: the range that its bits can hold",)


def test_monochrome1_becomes_bright_on_dark(tmp_path: Path) -> None:
    window = {"WindowCenter": 25, "WindowWidth": 50, "VOILUTFunction": "LINEAR_EXACT"}
    plain = read(tmp_path, **window).values
    found = read(tmp_path, PhotometricInterpretation="MONOCHROME1", **window)
    assert found.values == pytest.approx(1 - plain)


@pytest.mark.parametrize(
    ("elements", "spacing", "remark"),
    [
        ({"PixelSpacing": [0.2, 0.3]}, (0.2, 0.3), ""),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "spacing at the detector"),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "spacing of the film"),
        (
            {"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.1, 0.1]},
            (0.1, 0.1),
            "Pixel Spacing is that at the detector",
        ),
        ({}, None, ""),
    ],
)
def test_spacing_and_what_it_means(
    tmp_path: Path, elements: dict[str, Any], spacing: Any, remark: str
) -> None:
    found = read(tmp_path, WindowCenter=25, WindowWidth=50, **elements)
    assert found.spacing == spacing
    assert remark in (found.remarks[0] if remark else "")
    assert len(found.remarks) == bool(remark)


def test_a_rule_may_need_the_spacing(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="Pixel Spacing of the image is missing"):
        read(tmp_path, Reading(window="declared"))


FREE = {"window": "declared", "spacing_needed": False}


@pytest.mark.parametrize(
    ("orientation", "shown", "done"),
    [
        (["L", "F"], PIXELS, ()),
        (["R", "F"], PIXELS[:, ::-1], ("mirrored",)),
        (["L", "H"], PIXELS[::-1], ("upside down",)),
        (["R", "H"], PIXELS[::-1, ::-1], ("mirrored", "upside down")),
        (["F", "L"], PIXELS.T, ("turned",)),
        (["H", "L"], PIXELS.T[::-1], ("turned", "upside down")),
        (["LP", "FR"], PIXELS, ()),
        (["P", "F"], PIXELS, ()),
        (["A", "F"], PIXELS[:, ::-1], ("mirrored",)),
    ],
)
def test_pictures_are_turned_upright(
    tmp_path: Path, orientation: list[str], shown: np.ndarray, done: tuple[str, ...]
) -> None:
    found = read(
        tmp_path,
        Reading(upright=True, **FREE),
        PatientOrientation=orientation,
        PixelSpacing=[0.2, 0.3],
    )
    assert found.values * 255 == pytest.approx(shown)
    assert found.remarks[1:] == tuple(f"turned upright: {each}" for each in done)
    assert found.spacing == ((0.3, 0.2) if "turned" in done else (0.2, 0.3))


@pytest.mark.parametrize("orientation", [None, ["L", "A"], ["X", "F"]])
def test_a_picture_that_does_not_say_how_it_lies(tmp_path: Path, orientation: Any) -> None:
    with pytest.raises(Permanent, match="which way round"):
        read(tmp_path, Reading(upright=True, **FREE), PatientOrientation=orientation)


def test_right_hands_become_left_ones(tmp_path: Path) -> None:
    reading = load_rule("upper_extremity").reading
    right = read(tmp_path, reading, ImageLaterality="R")
    assert right.values * 255 == pytest.approx(PIXELS[:, ::-1])
    assert right.laterality == "R"
    assert right.remarks[-1] == "mirrored: laterality is R"
    assert read(tmp_path, reading, Laterality="L").values * 255 == pytest.approx(PIXELS)
    with pytest.raises(Permanent, match="Laterality is not stated"):
        read(tmp_path, reading)


def test_burned_in_text_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, BurnedInAnnotation="YES")
    assert found.burned_in
    assert "text is burned into the picture" in found.remarks
    assert read(tmp_path).burned_in is None


def test_a_cine_is_no_picture(tmp_path: Path) -> None:
    path = save(radiograph(np.zeros((3, 2, 2), np.uint8), NumberOfFrames=3), tmp_path / "cine")
    (image,) = read_images([path], DECODER)
    with pytest.raises(Permanent, match="several frames"):
        read_picture(image, None, DECODER)
