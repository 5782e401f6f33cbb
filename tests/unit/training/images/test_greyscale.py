"""Grey values of one image, by the decoder that works in this process."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_node.content import Undecodable
from dicom_node.greyscale import GreyImage, Rendition
from dicom_node.inspection import DirectInspector
from tests.image_builders import CT, image, item, save

PIXELS = np.asarray([[0, 100, 200], [300, 400, 4095]], np.uint16)
WINDOW = {"WindowCenter": 200, "WindowWidth": 200}


def grey(path: Path, rendition: Rendition | None = None, pixels=PIXELS, **elements) -> GreyImage:
    file = save(image(pixels, BitsStored=12, HighBit=11, **elements), path / "image")
    return DirectInspector().grey(file, rendition or Rendition())


DECLARED = Rendition(voi="declared")


def test_rescaling_gives_the_units_of_the_modality(tmp_path: Path) -> None:
    found = grey(tmp_path, RescaleSlope=2, RescaleIntercept=-1024)
    assert found.applied == "none"
    assert found.frames[0].tolist() == [[-1024, -824, -624], [-424, -224, 7166]]


def test_a_slope_without_intercept_counts(tmp_path: Path) -> None:
    assert grey(tmp_path, RescaleSlope=2).frames[0, 0].tolist() == [0, 200, 400]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1 worked out for c = 200, w = 200
        ("LINEAR", [0.0, (100 - 199.5) / 199 + 0.5, (200 - 199.5) / 199 + 0.5]),
        ("LINEAR_EXACT", [0.0, 0.0, 0.5]),
        ("SIGMOID", [1 / (1 + np.exp(4)), 1 / (1 + np.exp(2)), 0.5]),
    ],
)
def test_windows_follow_their_function(
    tmp_path: Path, function: str, expected: list[float]
) -> None:
    found = grey(tmp_path, DECLARED, VOILUTFunction=function, **WINDOW)
    assert found.applied == "window"
    assert found.frames[0, 0] == pytest.approx(expected, abs=1e-6)


def test_one_of_several_windows_is_chosen_by_its_number(tmp_path: Path) -> None:
    several = {"WindowCenter": [200, 1000], "WindowWidth": [200, 2000]}
    first = grey(tmp_path, DECLARED, **several).frames
    second = grey(tmp_path, Rendition(voi="declared", index=1), **several).frames
    assert first[0, 1, 1] == 1.0
    assert second[0, 1, 1] == pytest.approx((400 - 999.5) / 1999 + 0.5, abs=1e-6)
    with pytest.raises(Undecodable, match="declares no such window"):
        grey(tmp_path, Rendition(voi="declared", index=2), **several)


def lut(first: int, values: list[int], bits: int, vr: str = "US"):
    table = item(LUTDescriptor=[len(values), first, bits], LUTData=values)
    table["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    table["LUTData"].VR = vr
    if vr == "OW":
        table["LUTData"].value = np.asarray(values, "<u2").tobytes()
    return table


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_voi_lut_wins_over_the_window(tmp_path: Path, vr: str) -> None:
    table = lut(100, [0, *([512] * 200), 1023], 10, vr)
    found = grey(tmp_path, DECLARED, VOILUTSequence=[table], **WINDOW)
    assert found.applied == "lut"
    assert found.frames[0] == pytest.approx(np.asarray([[0, 0, 512], [512, 1023, 1023]]) / 1023)


def test_a_modality_lut_replaces_rescaling(tmp_path: Path) -> None:
    found = grey(tmp_path, ModalityLUTSequence=[lut(0, list(range(0, 202, 2)), 8)])
    assert found.frames[0].tolist() == [[0, 200, 200], [200, 200, 200]]


def test_a_picture_without_window_fills_the_range_of_its_bits(tmp_path: Path) -> None:
    found = grey(tmp_path, DECLARED)
    assert found.applied == "range"
    assert found.frames[0, 1].tolist() == pytest.approx([300 / 4095, 400 / 4095, 1.0])


def test_monochrome1_is_turned_round_in_the_window(tmp_path: Path) -> None:
    plain = grey(tmp_path, DECLARED, **WINDOW).frames
    turned = grey(tmp_path, DECLARED, PhotometricInterpretation="MONOCHROME1", **WINDOW).frames
    assert turned == pytest.approx(1 - plain)


def test_monochrome1_is_turned_round_by_its_bits_not_by_its_extremes(tmp_path: Path) -> None:
    dim = np.asarray([[0, 100, 200]], np.uint16)
    found = grey(tmp_path, pixels=dim, PhotometricInterpretation="MONOCHROME1")
    assert found.frames[0, 0].tolist() == [4095, 3995, 3895]
    rescaled = grey(
        tmp_path,
        pixels=dim,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=-100,
    )
    assert rescaled.frames[0, 0].tolist() == [8090, 7890, 7690]


@pytest.mark.parametrize("declared", [-2000, 63536])  # the second as many write it: unsigned
def test_padding_is_background(tmp_path: Path, declared: int) -> None:
    pixels = np.asarray([[-2000, -900, 0, 40]], np.int16)
    data_set = image(pixels, SOPClassUID=CT, Modality="CT", PixelPaddingValue=40)
    data_set["PixelPaddingValue"].VR = "SS" if declared < 0 else "US"
    data_set["PixelPaddingValue"].value = declared
    file = save(data_set, tmp_path / "image")
    found = DirectInspector().grey(file, Rendition())
    assert found.frames[0, 0].tolist() == [-900, -900, 0, 40]
    brain = Rendition(voi="window", center=40, width=80)
    assert DirectInspector().grey(file, brain).frames[0, 0, 0] == 0.0


def test_a_range_of_padding_stays_dark_in_monochrome1(tmp_path: Path) -> None:
    found = grey(
        tmp_path,
        DECLARED,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=100,
        **WINDOW,
    )
    assert found.frames[0, 0, :2].tolist() == [0.0, 0.0]
    assert 0 < found.frames[0, 0, 2] < 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_values_do_not_depend_on_the_encoding(tmp_path: Path, syntax: str) -> None:
    table = lut(-5, [0, 10, 20], 10)
    pixels = np.asarray([[-5, -4, 7]], np.int16)
    data_set = image(pixels, VOILUTSequence=[table], PixelPaddingValue=None)
    if syntax == ExplicitVRBigEndian:
        data_set.PixelData = pixels.astype(">i2").tobytes()
    path = tmp_path / "image"
    data_set.file_meta.TransferSyntaxUID = syntax
    dcmwrite(
        path,
        data_set,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    found = DirectInspector().grey(path, DECLARED)
    assert found.frames[0, 0] == pytest.approx(np.asarray([0, 10, 20]) / 1023)


@pytest.mark.parametrize(
    ("rendition", "elements", "reason"),
    [
        (DECLARED, {"WindowCenter": 5, "WindowWidth": 0}, "cannot be decoded"),
        (DECLARED, {"VOILUTFunction": "CURVED", **WINDOW}, "cannot be decoded"),
        (Rendition(), {"RescaleSlope": 0, "RescaleIntercept": 0}, "Rescale Slope"),
        (Rendition(frames=(1,)), {}, "no such frame"),
        (Rendition(), {"PhotometricInterpretation": "PALETTE COLOR"}, "in colour"),
        (DECLARED, {"VOILUTSequence": [lut(0, [1, 2], 40)]}, "cannot be decoded"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, rendition: Rendition, elements: dict, reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        grey(tmp_path, rendition, **elements)
