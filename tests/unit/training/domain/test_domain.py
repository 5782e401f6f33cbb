from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.domain import stored
from training.domain.domain import OUTSIDE, UNLIKE, Domain, Look, learn_domain
from training.domain.facts import Facts, facts_of
from training.domain.likeness import LEAST, SHARE, threshold_of
from training.domain.overview import Overview, overview_of
from training.domain.stored import packed, unpacked
from training.errors import Permanent
from training.images.headers import ImageHeader

T2 = {
    "Modality": ["MR"],
    "BodyPartExamined": ["LSPINE"],
    "ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"],
    "ScanningSequence": ["SE"],
    "EchoTime": ["100"],
    "RepetitionTime": ["3500"],
    "Rows": ["256"],
    "Columns": ["256"],
    "PixelSpacing": ["1", "1.1"],
}


def header(**elements: Any) -> ImageHeader:
    given = {name: each for name, each in (T2 | elements).items() if each is not None}
    return ImageHeader(Path("x"), given)


def facts(**elements: Any) -> tuple[Facts, ...]:
    return facts_of([header(**elements)], 11)


def picture(number: int) -> np.ndarray:
    """Return a stack of a bright column in front of a dark one, with bars, as people vary."""
    rng = np.random.default_rng([1, number])
    rows, columns = np.mgrid[0:80, 0:72].astype(float)
    place = 30 + rng.normal(0, 2) + 0.1 * rows
    spine = np.exp(-(((columns - place) / 8) ** 2))
    bars = 1 + 0.5 * np.sin(rows / (4 + rng.normal(0, 0.2)))
    back = 0.6 * (columns > 55 + rng.normal(0, 2)) * (rows > 10)
    whole = 300 * (spine * bars + back + 0.1) * rng.uniform(0.5, 2)
    return np.stack([whole + rng.normal(0, 8, whole.shape) for _ in range(3)]).astype(np.float32)


def look(number: int, given: tuple[Facts, ...] | None = None) -> Look:
    fold = ("train", "train", "validation", "test")[number % 4]
    return Look(f"p{number}", fold, given or facts(), overview_of(picture(number)))


@pytest.fixture(scope="module")
def learned() -> Domain:
    return learn_domain([look(number) for number in range(100)])


def test_headers_that_were_learned_from_are_no_reason(learned: Domain) -> None:
    assert learned.unlike_headers(facts()) == ""
    assert learned.unlike_headers(facts(PixelSpacing=["1.2", "1.2"])) == ""  # 307 mm, not 256


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"Modality": ["CT"]}, "Modality is not MR"),
        ({"BodyPartExamined": ["HEAD"]}, "the body part is not LSPINE"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}, "plane is not sagittal"),
        ({"ImageOrientationPatient": ["0", "1", "0", "0", "0", "1"]}, "is not P and F"),
        ({"ImageOrientationPatient": ["0", "-1", "0", "0", "0", "-1"]}, "is not P and F"),
        ({"EchoTime": ["10"], "RepetitionTime": ["500"]}, "the contrast is not t2"),
        ({"PixelSpacing": ["0.2", "0.2"]}, "the field of view lies too far from 256"),
    ],
)
def test_other_headers_are_a_reason_that_names_what_was_learned(
    learned: Domain, elements: dict[str, Any], named: str
) -> None:
    reason = learned.unlike_headers(facts(**elements))
    assert reason.startswith(OUTSIDE)
    assert named in reason


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"Modality": None}, "Modality is not stated"),
        ({"Modality": [""]}, "Modality is not stated"),
        ({"BodyPartExamined": None}, "the body part is not stated"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "1"]}, "the plane is not stated"),
        ({"PixelSpacing": ["x", "y"]}, "the height of the field of view is not stated"),
        ({"PixelSpacing": ["-1", "-1"]}, "the height of the field of view is not stated"),
        ({"RepetitionTime": ["nan"]}, "is not stated"),
        ({"RepetitionTime": ["0"]}, "is not stated"),
        ({"RepetitionTime": ["-10"]}, "is not stated"),
        ({"Modality": ["MR", "CT"]}, "Modality is not MR"),
        ({"Modality": ["", "CT"]}, "Modality is not MR"),
        ({"BodyPartExamined": ["", "CHEST"]}, "the body part is not LSPINE"),
        ({"BodyPartExamined": ["LSPINE", "CHEST"]}, "the body part is not LSPINE"),
    ],
)
def test_what_nearly_all_stated_has_to_be_stated_well(
    learned: Domain, elements: dict[str, Any], named: str
) -> None:
    assert named in learned.unlike_headers(facts(**elements))
    assert learned.unlike_headers(facts(Modality=["MR", "", "MR"])) == ""


def test_what_some_were_silent_on_is_not_asked_of_others() -> None:
    given = [facts(), *[facts(BodyPartExamined=None, SliceThickness=["4"])] * 49]
    domain = learn_domain([look(number, each) for number, each in enumerate(given)])
    assert domain.stated["slice_distance"] < 0.98
    assert "the body part" not in domain.record["expected"]
    assert "Modality" in domain.record["expected"]
    assert domain.unlike_headers(facts(BodyPartExamined=None)) == ""
    assert "is not LSPINE" in domain.unlike_headers(facts(BodyPartExamined=["HEAD"]))


def test_a_second_length_stands_in_for_one_that_is_none() -> None:
    (first, *_) = facts(SpacingBetweenSlices=["0"], SliceThickness=["4"])
    assert first.figures["slice_distance"] == 4


def test_the_inputs_of_one_patient_alone_describe_no_pixels() -> None:
    looks = [Look("p", "train", facts(), overview_of(picture(n))) for n in range(LEAST + 1)]
    domain = learn_domain(looks)
    assert domain.likeness is None
    assert "one patient" in domain.record["pixels"]
    assert domain.unlike_headers(facts()) == ""


def test_a_text_of_a_file_is_neither_kept_nor_told() -> None:
    odd = facts(BodyPartExamined=["MUELLER KNIE"])
    domain = learn_domain([look(number, odd) for number in range(4)])
    assert "MUELLER" not in repr(domain)
    reason = domain.unlike_headers(facts(BodyPartExamined=["SCHMIDT ARM"]))
    assert reason == f"{OUTSIDE}: the body part is not another that is not named here"
    assert domain.unlike_headers(odd) == ""


def test_a_frontal_view_may_be_pa_and_a_lateral_one_may_not() -> None:
    plain = dict.fromkeys(T2) | {"Modality": ["DX"]}
    chest = facts(**plain, ViewPosition=["PA"])
    domain = learn_domain([look(number, chest) for number in range(4)])
    frontal = facts(**plain, PatientOrientation=["L", "F"])
    assert domain.unlike_headers(frontal) == ""
    assert "the view is not PA" in domain.unlike_headers(facts(**plain, ViewPosition=["LL"]))
    assert "the view is not PA" in domain.unlike_headers(facts(**plain, ViewPosition=["AP"]))


def test_fresh_pictures_pass_and_changed_ones_do_not(learned: Domain) -> None:
    fresh = [picture(number) for number in range(1000, 1100)]
    abstained = [learned.unlike_pixels(overview_of(each)) for each in fresh]
    assert sum(map(bool, abstained)) <= 4
    rng = np.random.default_rng(0)
    for each in fresh[:5]:
        for changed in (
            each.max() - each,
            np.minimum(each, np.percentile(each, 50)),
            each[:, 20:50, 20:50],
            rng.normal(500, 100, each.shape),
        ):
            assert learned.unlike_pixels(overview_of(changed)).startswith(UNLIKE)
        for turned in (each[:, ::-1], each[:, :, ::-1], each[:, ::-1, ::-1]):
            assert "upside down or mirrored" in learned.unlike_pixels(overview_of(turned))


def test_blank_pictures_are_blank_and_others_need_finite_pixels() -> None:
    domain = learn_domain([look(number) for number in range(8)])  # too few to describe pixels
    assert domain.likeness is None
    assert f"fewer than {LEAST}" in domain.record["pixels"]
    assert domain.unlike_pixels(overview_of(np.full((2, 5, 5), 7.0))) == f"{UNLIKE}: it is blank"
    assert domain.unlike_pixels(overview_of(picture(0)[:, ::-1])) == ""
    with pytest.raises(Permanent, match="no finite number"):
        overview_of(np.full((1, 4, 4), np.nan))
    with pytest.raises(Permanent, match="no pixels"):
        overview_of(np.zeros((0, 4, 4)))


def test_the_record_counts_who_abstains_in_each_fold(learned: Domain) -> None:
    assert learned.record["inputs"] == {"train": 50, "validation": 25, "test": 25}
    assert learned.record["abstained"]["validation"] <= 2
    assert learned.record["terms"]["directions"] == "P and F"
    assert learned.record["pixels"] == ""


def test_the_threshold_leaves_about_the_share_beyond() -> None:
    rng = np.random.default_rng(3)
    given, fresh = rng.normal(size=(40, 200)), rng.normal(size=100_000)
    beyond = [float((fresh > threshold_of(each, SHARE)).mean()) for each in given]
    assert 0.4 * SHARE < np.mean(beyond) < 1.5 * SHARE


def test_overviews_fit_any_size_and_survive_the_cache() -> None:
    for shape in ((1, 28, 28), (1, 3000, 2100), (7, 64, 64)):
        made = overview_of(np.random.default_rng(1).random(shape))
        again = Overview.of_vector(made.vector())
        assert again.blank == made.blank
        for name, each in made.groups.items():
            assert np.isfinite(each).all()
            np.testing.assert_allclose(again.groups[name], each, rtol=1e-6)
        np.testing.assert_allclose(again.turned, made.turned, rtol=1e-6)


def test_what_is_stored_judges_as_before(learned: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    about, tensors = packed(learned)
    network = {"layer.weight": next(iter(tensors.values()))}
    again, own = unpacked(about, {**tensors, **network})
    assert set(own) == {"layer.weight"}
    assert again is not None
    for number in (2000, 2001):
        for given in (picture(number), picture(number)[:, ::-1], picture(number)[:, 20:50, 20:50]):
            seen = overview_of(given)
            assert again.unlike_pixels(seen) == learned.unlike_pixels(seen)
    assert again.unlike_headers(facts(Modality=["CT"])) == f"{OUTSIDE}: Modality is not MR"
    assert unpacked({}, network) == (None, network)  # a file of an earlier version
    assert packed(None) == ({}, {})
    monkeypatch.setattr(stored, "FORM", "another")
    with pytest.raises(Permanent, match="looked at otherwise"):
        unpacked(about, tensors)
