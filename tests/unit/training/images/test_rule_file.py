from pathlib import Path

import pytest

from training.images.contrast import Contrast
from training.images.rule_file import load_rule, parse_rule, shipped_rules
from training.images.series_rule import InvalidSeriesRule, Limits

SHORT = "name: own\ntitle: Own rule\nmodality: MR\ngeometry: sagittal\n"


@pytest.mark.parametrize("name", shipped_rules())
def test_shipped_rules_bear_the_name_of_their_file(name: str) -> None:
    assert load_rule(name).name == name


def test_the_rules_that_ship() -> None:
    assert shipped_rules() == (
        "chest_frontal",
        "head_axial_t2",
        "lumbar_sagittal_t1",
        "lumbar_sagittal_t2",
        "upper_extremity",
    )


def test_what_a_rule_says_is_read() -> None:
    rule = parse_rule(
        (
            SHORT + "contrast: [t2, stir]\nslices: {minimum: 5}\n"
            "spacing: {in_plane: {maximum: 1.5}, needed: false}\n"
            "description: {exclude: ['\\bloc']}\nprefer: [thinnest]\n"
            "reading: {window: none, choose: {echo: greatest}}\n"
        ).encode(),
        "own.yaml",
    )
    assert rule.contrast == (Contrast.T2, Contrast.STIR)
    assert rule.slices == Limits(5.0, None)
    assert rule.in_plane == Limits(None, 1.5)
    assert not rule.reading.spacing_needed
    assert rule.reading.choose == {"echo": "greatest"}
    assert rule.exclude[0].search("3-plane LOC")


def test_post_contrast_is_a_t1_after_an_agent() -> None:
    rule = parse_rule((SHORT + "contrast: post_contrast\n").encode(), "own.yaml")
    assert (rule.contrast, rule.contrast_agent) == ((Contrast.T1,), "given")


@pytest.mark.parametrize(
    ("added", "line", "said"),
    [
        ("planes: axial\n", 5, "planes: unknown key"),
        ("contrast: t3\n", 5, "contrast: expected one of t1"),
        ("contrast: [post_contrast, t2]\n", 5, "contrast: post_contrast stands alone"),
        ("slices: {minimum: five}\n", 5, "slices.minimum: expected a number"),
        ("slices: {minimum: 9, maximum: 5}\n", 5, "slices: minimum is above maximum"),
        ("slices: {}\n", 5, "slices: needs minimum"),
        ("spacing: {in_plane: {maximum: .nan}}\n", 5, "expected a plain number"),
        ("hints: true\nviews: [PA]\n", 6, "views: means nothing where geometry is sagittal"),
        ("description: {exclude: ['(']}\n", 5, "is no pattern"),
        ("reading: {window: lung}\n", 5, "reading.window: a window in Hounsfield units"),
        ("reading: {mirror: to_left}\n", 5, "reading.mirror: is for projections"),
        ("prefer: [best]\n", 5, r"prefer\[0\]: expected one of"),
        ("title: again\n", 5, "title: the key stands twice"),
    ],
)
def test_faults_are_named_by_line_and_key(added: str, line: int, said: str) -> None:
    with pytest.raises(InvalidSeriesRule, match=rf"own.yaml, line {line}, .*{said}"):
        parse_rule((SHORT + added).encode(), "own.yaml")


def test_contrast_is_for_mr_alone() -> None:
    content = SHORT.replace("MR", "CT") + "contrast: t1\n"
    with pytest.raises(InvalidSeriesRule, match="line 5, contrast: is for the modality MR alone"):
        parse_rule(content.encode(), "own.yaml")


def test_a_rule_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SHORT)
    assert load_rule(str(path)).name == "own"
    with pytest.raises(InvalidSeriesRule, match="cannot be read"):
        load_rule(str(tmp_path / "absent.yaml"))
    with pytest.raises(InvalidSeriesRule, match="there are chest_frontal, head_axial_t2"):
        load_rule("../chest_frontal")
