"""Enhanced multi-frame images: what frames say of themselves, and which of them are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import generate_uid

from dicom_node.functional_groups import MACROS
from dicom_node.inspection import DirectInspector
from tests.image_builders import AXIAL, ENHANCED_MR, SAGITTAL, image, item, save, t2_slice
from training.errors import Permanent
from training.images.choosing import choose
from training.images.headers import ImageHeader
from training.images.reading import read_images, read_picture, read_stack
from training.images.rule_file import load_rule
from training.images.series_rule import Reading
from training.images.stacking import Stack

DECODER = DirectInspector()


def groups(**elements: Any) -> Dataset:
    """Return functional groups: each element in the macro that it belongs to."""
    found = Dataset()
    for macro, keywords in MACROS.items():
        given = {name: elements[name] for name in keywords if name in elements}
        if given and not macro.startswith("Unassigned"):
            setattr(found, macro, [item(**given)])
    return found


def enhanced(frames: list[dict[str, Any]], shared: dict[str, Any]) -> FileDataset:
    """Return an enhanced MR whose frames hold 1, 2, 3 ... in every pixel."""
    pixels = np.stack([np.full((4, 6), n + 1, np.uint16) for n in range(len(frames))])
    defaults = {"PixelSpacing": [1.5, 0.5], "SliceThickness": 4.0, "RepetitionTime": 3000.0}
    return image(
        pixels,
        SOPClassUID=ENHANCED_MR,
        NumberOfFrames=len(frames),
        BodyPartExamined="LSPINE",
        SharedFunctionalGroupsSequence=[groups(**(defaults | shared))],
        PerFrameFunctionalGroupsSequence=[groups(**each) for each in frames],
    )


def at(place: float, **elements: Any) -> dict[str, Any]:
    return {"ImagePositionPatient": [place, 0, 0], **elements}


SAGITTAL_GROUPS = {"ImageOrientationPatient": SAGITTAL, "EffectiveEchoTime": 100.0}


def headers(folder: Path, data_set: FileDataset) -> list[ImageHeader]:
    return read_images([save(data_set, folder / "image")], DECODER)


def read(folder: Path, data_set: FileDataset, reading: Reading | None = None) -> Stack:
    return read_stack(headers(folder, data_set), reading, DECODER)


def test_frames_are_ordered_by_their_own_positions(tmp_path: Path) -> None:
    found = read(tmp_path, enhanced([at(8), at(0), at(4)], SAGITTAL_GROUPS))
    assert found.array[:, 0, 0].tolist() == [2, 3, 1]
    assert found.spacing == (4.0, 1.5, 0.5)


def test_each_frame_is_rescaled_and_windowed_by_its_own_group(tmp_path: Path) -> None:
    frames = [
        at(4.0 * n, RescaleSlope=10 * (n + 1), RescaleIntercept=1, WindowCenter=10, WindowWidth=20)
        for n in range(2)
    ]
    data_set = enhanced(frames, SAGITTAL_GROUPS | {"VOILUTFunction": "LINEAR"})
    # LINEAR: the function stands beside the window that it belongs to
    for each in data_set.PerFrameFunctionalGroupsSequence:
        each.FrameVOILUTSequence[0].VOILUTFunction = "LINEAR_EXACT"
    assert read(tmp_path, data_set).array[:, 0, 0].tolist() == [11, 41]
    first, second = headers(tmp_path, data_set)
    assert read_picture(first, None, DECODER).values[0, 0] == pytest.approx(11 / 20)
    assert read_picture(second, None, DECODER).values[0, 0] == 1.0


@pytest.mark.parametrize(
    ("dimension", "keyword", "values", "said"),
    [
        ("time", "TemporalPositionIndex", (1, 2), "2 times"),
        ("echo", "EffectiveEchoTime", (20.0, 100.0), "2 echo times"),
        ("b_value", "DiffusionBValue", (0.0, 1000.0), "2 b-values"),
        ("stack", "StackID", ("1", "2"), "2 stacks"),
        ("type", "FrameType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), "2 ki"),
    ],
)
def test_one_of_each_dimension_is_read_or_nothing(
    tmp_path: Path, dimension: Any, keyword: str, values: tuple[Any, Any], said: str
) -> None:
    frames = [at(4.0 * n, **{keyword: value}) for n in range(3) for value in values]
    shared = {"ImageOrientationPatient": SAGITTAL}
    data_set = enhanced(frames, shared)
    with pytest.raises(Permanent, match=f"the series has {said}.*nothing says which one is read"):
        read(tmp_path, data_set)
    least = read(tmp_path, data_set, Reading(choose={dimension: "least"}))
    greatest = read(tmp_path, data_set, Reading(choose={dimension: "greatest"}))
    assert least.array[:, 0, 0].tolist() == [1, 3, 5]
    assert greatest.array[:, 0, 0].tolist() == [2, 4, 6]


def test_a_rule_takes_the_frames_of_its_plane_and_its_echo(tmp_path: Path) -> None:
    sagittal = {"StackID": "1", "ImageOrientationPatient": SAGITTAL}
    axial = {"StackID": "2", "ImageOrientationPatient": AXIAL, "EffectiveEchoTime": 100.0}
    frames = [
        at(4.0 * n, EffectiveEchoTime=echo, **sagittal) for n in range(6) for echo in (15.0, 100.0)
    ]
    frames += [{"ImagePositionPatient": [0, 0, 4.0 * n], **axial} for n in range(3)]
    images = headers(tmp_path, enhanced(frames, {"FrameType": ["ORIGINAL", "PRIMARY", "M"]}))
    rule = load_rule("lumbar_sagittal_t2")
    chosen = choose(rule, {"1.1": images}).taken
    assert chosen is not None
    assert chosen.why == "fits"
    assert [each.frame for each in chosen.images] == [1, 3, 5, 7, 9, 11]
    assert chosen.remarks == (
        "6 images left out: the contrast is pd, by an echo time of 15 ms and a repetition time of "
        "3000 ms",
        "3 images left out: the images are axial, not sagittal",
    )
    found = read_stack(chosen.images, rule.reading, DECODER)
    assert found.array[:, 0, 0].tolist() == [2, 4, 6, 8, 10, 12]


def test_the_declared_contrast_is_believed(tmp_path: Path) -> None:
    frames = [at(4.0 * n) for n in range(6)]
    shared = {
        "ImageOrientationPatient": SAGITTAL,
        "FrameType": ["ORIGINAL", "PRIMARY", "M"],
        "AcquisitionContrast": "STIR",
    }
    images = headers(tmp_path, enhanced(frames, shared))
    found = choose(load_rule("lumbar_sagittal_t2"), {"1.1": images})
    assert found.why == "the contrast is stir, by Acquisition Contrast"


def test_a_position_outside_of_the_frames_is_nobodys(tmp_path: Path) -> None:
    data_set = enhanced([{}, {}], SAGITTAL_GROUPS)
    data_set.ImagePositionPatient = [1, 2, 3]
    with pytest.raises(Permanent, match="ImagePositionPatient of an image is missing"):
        read(tmp_path, data_set)


def test_groups_for_fewer_frames_than_there_are(tmp_path: Path) -> None:
    data_set = enhanced([at(0), at(4), at(8)], SAGITTAL_GROUPS)
    del data_set.PerFrameFunctionalGroupsSequence[2]
    found = read(tmp_path, data_set)
    assert found.array[:, 0, 0].tolist() == [1, 2]
    data_set.PerFrameFunctionalGroupsSequence.extend([groups(**at(8)), groups(**at(12))])
    with pytest.raises(Permanent, match="no such frame"):
        read(tmp_path, data_set)


def test_a_converted_series_is_what_its_slices_were(tmp_path: Path) -> None:
    plain = {
        "FrameOfReferenceUID": generate_uid(),
        "StudyID": "1",
        "StudyDate": "20260101",
        "StudyTime": "120000",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "ReferringPhysicianName": "",
        "AccessionNumber": "",
        "Manufacturer": "Simulated",
        "PatientPosition": "HFS",
        "PatientOrientation": "",
        "ContentDate": "20260101",
        "ContentTime": "120000",
        "AcquisitionDate": "20260101",
        "AcquisitionTime": "120000",
        "SeriesNumber": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "WindowCenter": 10,
        "WindowWidth": 20,
        "Laterality": "",
        "BurnedInAnnotation": "NO",
    }
    slices = [t2_slice(4.0 * n, n, InstanceNumber=n + 1, **plain) for n in range(6)]
    whole = LegacyConvertedEnhancedMRImage(slices, generate_uid(), 2, generate_uid(), 1)
    path = tmp_path / "whole"
    whole.save_as(path, enforce_file_format=True)
    images = read_images([path], DECODER)
    found = choose(load_rule("lumbar_sagittal_t2"), {"1.1": images})
    assert found.taken is not None, found.why
    again = read_stack(found.taken.images, None, DECODER)
    paths = [save(each, tmp_path / str(n)) for n, each in enumerate(slices)]
    single = read_stack(read_images(paths, DECODER), None, DECODER)
    assert np.array_equal(again.array, single.array)
    assert again.spacing == single.spacing
