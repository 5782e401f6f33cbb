"""Volumes in any orientation, and every way in which slices make none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.inspection import DirectInspector
from tests.image_builders import AXIAL, CORONAL, CT, SAGITTAL, image, save, t2_slice
from training import pixels
from training.errors import Permanent, Transient
from training.images.planes import CANONICAL
from training.images.reading import read_images, read_stack
from training.images.series_rule import Reading
from training.images.stacking import Stack, stack

DECODER = DirectInspector()


def read(folder: Path, images: list, reading: Reading | None = None) -> Stack:
    paths = [save(each, folder / str(i)) for i, each in enumerate(images)]
    return read_stack(read_images(paths, DECODER), reading, DECODER)


def test_unsorted_slices_are_ordered_by_position_with_anisotropic_spacing(tmp_path: Path) -> None:
    places = [5.0, -5.0, 0.0]
    found = read(
        tmp_path,
        [t2_slice(x, int(100 + x), InstanceNumber=i) for i, x in enumerate(places)],
    )
    assert found.array[:, 0, 0].tolist() == [95, 100, 105]
    assert (found.plane, found.oblique) == ("sagittal", pytest.approx(0))
    assert found.spacing == (5.0, 1.5, 0.5)
    assert found.to_patient(np.asarray((0, 1, 2))) == pytest.approx((-5, 11, 18.5))
    assert found.to_voxels(np.asarray((-5, 11, 18.5))) == pytest.approx((0, 1, 2))


def test_a_sagittal_stack_is_what_the_older_reader_gives(tmp_path: Path) -> None:
    paths = [save(t2_slice(3.0 * i, i), tmp_path / str(i)) for i in range(5)]
    older = pixels.read_volume(paths, DECODER)
    found = read_stack(read_images(paths, DECODER), None, DECODER)
    assert np.array_equal(found.array, older.array)
    assert found.spacing == older.spacing
    assert found.origin == pytest.approx(older.origin)
    assert found.axes == pytest.approx(older.axes)


@pytest.mark.parametrize("plane", ["sagittal", "axial", "coronal"])
@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_every_way_round_gives_the_same_stack(plane, flips, turned: bool) -> None:
    shape, spacing = (3, 4, 5), np.asarray((4.0, 2.0, 0.5))
    canonical = np.arange(60, dtype=np.float32).reshape(shape)
    axes, array, origin = CANONICAL[plane].copy(), canonical, np.zeros(3)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + axes[axis] * spacing[axis] * (shape[axis] - 1)
            axes[axis], array = -axes[axis], np.flip(array, axis)
    gaps = (float(spacing[1]), float(spacing[2]))
    if turned:
        array, axes, gaps = array.transpose(0, 2, 1), axes[[0, 2, 1]], gaps[::-1]
    positions = [origin + axes[0] * spacing[0] * i for i in range(3)]
    orientation = np.concatenate([axes[2], axes[1]])
    found = stack(list(array)[::-1], positions[::-1], orientation, gaps, 4.0)
    assert found.plane == plane
    assert np.array_equal(found.array, canonical)
    assert found.spacing == pytest.approx(tuple(spacing))
    assert found.origin == pytest.approx(np.zeros(3))
    assert found.axes == pytest.approx(CANONICAL[plane])


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (
            (0, 4, 8, 16, 20),
            "1 slice is missing between slices 3 and 4 of 5, counted from the right",
        ),
        ((0, 4, 16), "2 slices are missing between slices 2 and 3 of 3"),
        (
            (0, 4, 4, 8),
            "slices 2 and 3 of 4 lie at the same position .counted from the right.: a rep",
        ),
        ((0, 0, 4, 4), "slices 1 and 2 of 4 lie at the same position, and 1 more"),
        (
            (0, 4, 8, 13.5),
            "not evenly spaced: 5.50 mm, not 4.00 mm, between slices 3 and 4 of 4",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, places: tuple[float, ...], reason: str
) -> None:
    with pytest.raises(Permanent, match=reason):
        read(tmp_path, [t2_slice(x) for x in reversed(places)])


def ct_slice(z: float, y: float = 0.0, **elements: Any):
    pixels = np.full((4, 6), 1064, np.uint16)
    values = {
        "SOPClassUID": CT,
        "Modality": "CT",
        "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [0, y, z],
        "PixelSpacing": [0.7, 0.7],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "RescaleType": "HU",
    }
    return image(pixels, **(values | elements))


def test_gantry_tilt_is_refused_with_its_angle(tmp_path: Path) -> None:
    shift = float(np.tan(np.radians(12)))
    slices = [ct_slice(5.0 * i, round(5.0 * i * shift, 4), GantryDetectorTilt=12) for i in range(4)]
    with pytest.raises(Permanent, match=r"shifted against each other by 12\.0 degrees \(gantry"):
        read(tmp_path, slices)


def test_a_ct_is_read_in_hounsfield_units_or_in_a_window_by_name(tmp_path: Path) -> None:
    plain = read(tmp_path, [ct_slice(5.0 * i) for i in range(3)])
    assert plain.plane == "axial"
    assert (plain.array == 40).all()
    brain = read(tmp_path, [ct_slice(5.0 * i) for i in range(3)], Reading(window="brain"))
    assert brain.array == pytest.approx((40 - 39.5) / 79 + 0.5)
    lung = read(tmp_path, [ct_slice(5.0 * i) for i in range(3)], Reading(window="lung"))
    assert lung.array == pytest.approx((40 + 600.5) / 1499 + 0.5)


@pytest.mark.parametrize("elements", [{"Modality": "MR"}, {"RescaleType": "US"}])
def test_a_ct_window_needs_hounsfield_units(tmp_path: Path, elements: dict[str, str]) -> None:
    with pytest.raises(Permanent, match="needs a CT in Hounsfield units"):
        read(tmp_path, [ct_slice(0, **elements)], Reading(window="bone"))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelSpacing": None}, "PixelSpacing of an image is missing"),
        ({"PixelSpacing": [0, 1]}, "Pixel Spacing is not positive"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient of an image is missing"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient of an image is missing"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 1, 0]}, "not perpendicular"),
        ({"SamplesPerPixel": 3}, "in colour"),
        ({"NumberOfFrames": 3}, "several frames"),
        ({"Rows": 0}, "no usable number of rows"),
    ],
)
def test_unusable_slices_are_refused(tmp_path: Path, elements: dict[str, Any], reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        read(tmp_path, [t2_slice(0, **elements)])


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SeriesInstanceUID": "1.2.9"}, "different series"),
        ({"PixelSpacing": [1.5, 0.6]}, "differ in PixelSpacing"),
        ({"ImageOrientationPatient": CORONAL}, "differ in ImageOrientationPatient"),
    ],
)
def test_slices_have_to_be_alike(tmp_path: Path, elements: dict[str, Any], reason: str) -> None:
    slices = [t2_slice(0), t2_slice(4), t2_slice(8, **elements)]
    with pytest.raises(Permanent, match=reason):
        read(tmp_path, slices)


@pytest.mark.parametrize(("choice", "value"), [("least", 0), ("greatest", 100)])
def test_one_of_several_echoes_is_read_where_the_rule_says_which(
    tmp_path: Path, choice: Any, value: int
) -> None:
    both = [t2_slice(4.0 * i, 100 * n, EchoTime=20.0 + 80 * n) for i in range(3) for n in (0, 1)]
    with pytest.raises(Permanent, match="has 2 echo times, and nothing says which one is read"):
        read(tmp_path, both)
    found = read(tmp_path, both, Reading(choose={"echo": choice}))
    assert found.array[:, 0, 0].tolist() == [value] * 3
    assert found.remarks == (f"one of 2 echo times was read: {choice}",)


def test_the_b_value_with_the_most_images(tmp_path: Path) -> None:
    images = [t2_slice(4.0 * i, 7, DiffusionBValue=0.0) for i in range(2)]
    images += [t2_slice(4.0 * i, 9, DiffusionBValue=1000.0) for i in range(3)]
    found = read(tmp_path, images, Reading(choose={"b_value": "most"}))
    assert found.array[:, 0, 0].tolist() == [9, 9, 9]


def test_a_single_slice_without_thickness_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, [t2_slice(0, SliceThickness=None)])
    assert found.remarks == ("one slice without a thickness: taken for 1 mm",)


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not dicom at all" * 20)
    with pytest.raises(Permanent, match="not readable DICOM"):
        read_images([garbage], DECODER)
    with pytest.raises(Transient, match="could not be read"):
        read_images([tmp_path / "absent"], DECODER)
    with pytest.raises(Permanent, match="no images"):
        read_stack([], None, DECODER)


def test_a_value_of_the_file_is_in_no_error(tmp_path: Path) -> None:
    broken = t2_slice(0)
    broken.ImageOrientationPatient = SAGITTAL[:5]
    with pytest.raises(Permanent) as caught:
        read(tmp_path, [broken])
    assert "Secret" not in str(caught.value)
    assert "ImageOrientationPatient of an image is malformed" in str(caught.value)
