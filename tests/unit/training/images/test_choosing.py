"""What the shipped rules pick, and what they say of the rest."""

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from dicom_node.inspection import DirectInspector
from tests.image_builders import (
    AXIAL,
    CORONAL,
    CR,
    PRESENTATION_STATE,
    SECONDARY_CAPTURE,
    item,
    radiograph,
    save,
    t2_slice,
)
from training.images.choosing import Chosen, Verdict, choose
from training.images.headers import ImageHeader, read_headers
from training.images.rule_file import load_rule, parse_rule
from training.images.series_rule import ImageSeriesRule

T2 = load_rule("lumbar_sagittal_t2")
T1 = load_rule("lumbar_sagittal_t1")
CHEST = load_rule("chest_frontal")
ARM = load_rule("upper_extremity")
HEAD = load_rule("head_axial_t2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def headers(folder: Path, images: list[FileDataset]) -> list[ImageHeader]:
    decoder = DirectInspector()
    start = len(list(folder.iterdir()))
    paths = [save(each, folder / str(start + i)) for i, each in enumerate(images)]
    return [header for path in paths for header in read_headers(path, decoder)]


def slices(folder: Path, count: int = 6, **elements: Any) -> list[ImageHeader]:
    return headers(folder, [t2_slice(4.0 * i, **elements) for i in range(count)])


def verdict(rule: ImageSeriesRule, images: list[ImageHeader]) -> Verdict:
    (found,) = choose(rule, {"1.1": images}).verdicts
    return found


def test_a_plain_t2_fits(folder: Path) -> None:
    found = verdict(T2, slices(folder))
    assert (found.taken, found.why, found.remarks) == (True, "fits", ())
    assert len(found.images) == 6


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": PRESENTATION_STATE}, "not images of the patient"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22"}, "not images of the patient"),
        ({"Modality": "CT"}, "Modality is not MR"),
        ({"SOPClassUID": SECONDARY_CAPTURE}, "a secondary capture or screen save"),
        ({"ConversionType": "WSD"}, "a secondary capture or screen save"),
        ({"ImageType": ["ORIGINAL", "SECONDARY", "OTHER"]}, "Image Type says SECONDARY"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "Image Type says MPR"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE"]}, "says PROJECTION IMAGE"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "SUB"]}, "Image Type says SUB"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "Image Type says ADC"),
        ({"ImageType": ["DERIVED", "PRIMARY"]}, "Image Type says DERIVED"),
        ({"SamplesPerPixel": 3}, "images in colour"),
        ({"NumberOfFrames": 4}, "several frames"),
        ({"BodyPartExamined": "HEAD"}, "Body Part Examined is none of the rule's"),
        ({"BodyPartExamined": None}, "Body Part Examined is empty, and no word"),
        ({"BodyPartExamined": "SPINE"}, "Body Part Examined is a larger part, and no word"),
        ({"ImageOrientationPatient": AXIAL}, "the images are axial, not sagittal"),
        ({"ImageOrientationPatient": CORONAL}, "the images are coronal, not sagittal"),
        ({"ImageOrientationPatient": None}, r"Image Orientation \(Patient\) is missing"),
        ({"ImageOrientationPatient": [0, 3, 0, 0, 0, 1]}, "not made of unit vectors"),
        (
            {"ImageOrientationPatient": [-0.6, 0.8, 0, 0, 0, -1]},
            "the images are 37 degrees off sagittal",
        ),
        ({"EchoTime": 12.0, "RepetitionTime": 600.0}, "the contrast is t1, by an echo time of 12"),
        ({"EchoTime": 15.0}, "the contrast is pd"),
        ({"ScanningSequence": ["SE", "IR"], "InversionTime": 160.0}, "the contrast is stir"),
        ({"ScanningSequence": ["SE", "IR"], "InversionTime": 2400.0}, "the contrast is flair"),
        ({"ScanningSequence": "GR", "EchoTime": 20.0}, "the contrast is t2_star"),
        ({"SequenceName": "ep_b1000t"}, "the contrast is diffusion"),
        ({"EchoTime": None}, "the contrast is not known: Echo Time or Repetition Time is missing"),
        ({"ContrastBolusAgent": "Gd"}, "a contrast agent was given"),
        ({"PixelSpacing": None}, "Pixel Spacing is missing"),
        ({"PixelSpacing": [3, 3]}, "Pixel Spacing in mm: 3 is above 2"),
        ({"PixelSpacing": [0, 1]}, "Pixel Spacing is not positive"),
        ({"SeriesDescription": "loc sag"}, "which the rule excludes"),
    ],
)
def test_the_first_condition_that_fails_is_the_reason(
    folder: Path, elements: dict[str, Any], reason: str
) -> None:
    images = slices(folder, **elements)
    found = verdict(T2, images)
    assert not found.taken
    assert not found.images
    assert re.search(reason, found.why)


def test_an_original_volume_is_no_reformat(folder: Path) -> None:
    assert verdict(T2, slices(folder, ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])).taken


def test_a_reason_quotes_no_text_of_the_image(folder: Path) -> None:
    images = slices(folder, SeriesDescription="loc Secret Person", BodyPartExamined="LSPINE")
    assert "Secret" not in verdict(T2, images).why


def test_too_few_slices(folder: Path) -> None:
    assert verdict(T2, slices(folder, 3)).why == "number of slices: 3 is below 5"


def test_slices_that_are_too_far_apart(folder: Path) -> None:
    images = headers(folder, [t2_slice(12.0 * i) for i in range(6)])
    assert verdict(T2, images).why == "spacing between slices in mm: 12 is above 8"


@pytest.mark.parametrize(
    ("description", "taken"), [("t2_tse_sag", T2), ("T1 sag", T1), ("sag", None)]
)
def test_a_description_is_only_a_hint(
    folder: Path, description: str, taken: ImageSeriesRule | None
) -> None:
    images = slices(folder, EchoTime=None, SeriesDescription=description)
    assert [rule for rule in (T1, T2) if verdict(rule, images).taken] == ([taken] if taken else [])
    if taken:
        remark = "hint: the contrast comes from a description"
        assert verdict(taken, images).remarks == (remark,)


def test_how_it_was_acquired_wins_over_the_description(folder: Path) -> None:
    assert verdict(T2, slices(folder, SeriesDescription="t1_tse_sag")).taken


def test_a_word_stands_for_a_body_part_that_is_missing(folder: Path) -> None:
    found = verdict(T2, slices(folder, BodyPartExamined=None, StudyDescription="MRT LWS"))
    assert found.taken
    assert found.remarks == ("hint: the body part comes from a description",)


def test_the_native_t1_and_the_one_after_contrast_are_told_apart(folder: Path) -> None:
    times = {"EchoTime": 11.0, "RepetitionTime": 600.0}
    native = slices(folder, **times)
    after = slices(folder, ContrastBolusAgent="Gadovist", **times)
    enhanced = parse_rule(
        b"name: gd\ntitle: T1 Gd\nmodality: MR\ngeometry: sagittal\ncontrast: post_contrast\n",
        "gd.yaml",
    )
    assert verdict(T1, native).taken
    assert not verdict(T1, after).taken
    assert verdict(enhanced, after).taken
    assert verdict(enhanced, native).why == "no contrast agent is stated"


def test_images_that_do_not_fit_are_left_out_of_a_series(folder: Path) -> None:
    scout = headers(folder, [t2_slice(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])])
    found = verdict(T2, slices(folder) + scout)
    assert (found.taken, len(found.images)) == (True, 6)
    assert found.remarks == ("1 image left out: a localizer by its Image Type",)


def test_a_dual_echo_series_gives_its_t2(folder: Path) -> None:
    proton = slices(folder, EchoTime=15.0)
    found = verdict(T2, [*proton, *slices(folder)])
    assert {image.echo_time for image in found.images} == {100.0}


def series(*fitting: list[ImageHeader]) -> dict[str, list[ImageHeader]]:
    return {f"1.{i}": images for i, images in enumerate(fitting)}


def taken(chosen: Chosen) -> tuple[str, str]:
    assert chosen.taken is not None
    return chosen.taken.series_instance_uid, chosen.why


def test_of_several_series_the_preferred_one_is_taken(folder: Path) -> None:
    few = slices(folder, 6)
    many, fine = slices(folder, 7), slices(folder, 7, PixelSpacing=[0.4, 0.4])
    new = slices(folder, 7, PixelSpacing=[0.4, 0.4], AcquisitionDate="20260101")
    assert taken(choose(T2, series(few, many))) == ("1.1", "fits; first by most_slices")
    assert taken(choose(T2, series(few, many, fine))) == ("1.2", "fits; first by finest")
    assert taken(choose(T2, series(fine, new))) == ("1.1", "fits; first by newest")
    tie = choose(T2, series(few, few))
    assert taken(tie) == ("1.0", "fits; first by Series Instance UID")
    assert tie.verdicts[1].why == "fits, but another series is first by Series Instance UID"


def test_the_choice_does_not_depend_on_any_order(folder: Path) -> None:
    one, other, third = slices(folder, 6), slices(folder, 7), slices(folder, 7)
    found = set()
    for order in permutations({"1.1": one, "1.2": other, "1.3": third}.items()):
        chosen = choose(T2, {uid: images[::-1] for uid, images in order})
        assert chosen.taken is not None
        paths = tuple(image.path for image in chosen.taken.images)
        found.add((chosen.why, chosen.taken.series_instance_uid, paths))
    assert len(found) == 1


def test_where_none_fits_the_series_that_came_furthest_tells_why(folder: Path) -> None:
    t1 = slices(folder, EchoTime=12.0, RepetitionTime=600.0)
    chosen = choose(T2, {"1.1": "Modality is not MR", "1.2": t1})
    assert chosen.taken is None
    assert chosen.why.startswith("the contrast is t1")
    assert choose(T2, {}).why == "the study has no series"


PICTURE = np.zeros((4, 4), np.uint16)


@pytest.mark.parametrize(
    ("elements", "fits"),
    [
        ({}, True),
        ({"ViewPosition": "AP"}, True),
        ({"ViewPosition": "LL"}, False),
        ({"ViewPosition": None, "ViewCodeSequence": "272479007"}, True),
        ({"ViewPosition": None, "ViewCodeSequence": "399067008"}, False),
        ({"ViewPosition": None, "PatientOrientation": ["L", "F"]}, True),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, False),
        ({"ViewPosition": None, "SeriesDescription": "Thorax pa"}, True),
        ({"ViewPosition": None, "SeriesDescription": "Thorax lat"}, False),
        ({"ViewPosition": None, "SeriesDescription": "Thorax pa und lat"}, False),
        ({"ViewPosition": None}, False),
        ({"SOPClassUID": CR, "Modality": "CR"}, True),
        ({"BodyPartExamined": "ABDOMEN"}, False),
        ({"SOPClassUID": SECONDARY_CAPTURE}, False),
    ],
)
def test_frontal_chests(folder: Path, elements: dict[str, Any], fits: bool) -> None:
    if code := elements.get("ViewCodeSequence"):
        coded = item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning="a view")
        elements = elements | {"ViewCodeSequence": [coded]}
    assert verdict(CHEST, headers(folder, [radiograph(PICTURE, **elements)])).taken is fits


def test_of_two_views_in_one_series_the_frontal_one_is_taken(folder: Path) -> None:
    both = headers(
        folder,
        [radiograph(PICTURE, ViewPosition=view) for view in ("LL", "AP", "PA")],
    )
    found = verdict(CHEST, both)
    assert [image.text("ViewPosition") for image in found.images] == ["PA"]
    assert found.remarks == ("1 image left out: the view is LATERAL, by View Position",)


def test_pa_comes_before_ap_and_the_newer_before_the_older(folder: Path) -> None:
    ap = headers(folder, [radiograph(PICTURE, ViewPosition="AP", AcquisitionDate="20260102")])
    pa = headers(folder, [radiograph(PICTURE, AcquisitionDate="20260101")])
    newer = headers(folder, [radiograph(PICTURE, AcquisitionDate="20260103")])
    assert taken(choose(CHEST, series(ap, pa)))[0] == "1.1"
    assert taken(choose(CHEST, series(ap, pa, newer))) == ("1.2", "fits; first by newest")


@pytest.mark.parametrize(
    ("side", "why"),
    [("R", "fits"), ("L", "fits"), ("", "Laterality is not stated"), ("B", "Laterality is B")],
)
def test_a_side_has_to_be_known_where_the_rule_says_so(folder: Path, side: str, why: str) -> None:
    hand = radiograph(PICTURE, BodyPartExamined="HAND", ImageLaterality=side or None)
    assert verdict(ARM, headers(folder, [hand])).why == why


def test_an_oblique_axial_head(folder: Path) -> None:
    tilt = np.radians(25)
    oblique = [1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))]
    normal = np.cross(oblique[:3], oblique[3:])
    images = [
        t2_slice(
            0,
            BodyPartExamined="HEAD",
            ImageOrientationPatient=[f"{each:.6f}" for each in oblique],
            ImagePositionPatient=[f"{each:.6f}" for each in 5 * i * normal],
            PixelSpacing=[0.5, 0.5],
        )
        for i in range(14)
    ]
    assert verdict(HEAD, headers(folder, images)).why == "fits"
