import pytest

from plugin.cli_label import cautions

GOOD = {"reports": 4, "failed": 0, "calibrated": True, "uncalibrated": [], "qualified": True}


def test_labels_that_may_be_relied_on_are_shown_without_a_word() -> None:
    assert cautions(GOOD) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"calibrated": False, "uncalibrated": ["stenosis"]}, "nobody calibrated"),
        ({"uncalibrated": ["cancer", "herniation at its sites"]}, "cancer, herniation at its"),
        ({"qualified": False}, "for demonstration"),
        ({"failed": 4}, "every report failed"),
        ({"unadapted": True}, "no adapter fits this schema"),
    ],
)
def test_what_is_missing_is_said(changed: dict, words: str) -> None:
    [said] = cautions(GOOD | changed)
    assert words in said
