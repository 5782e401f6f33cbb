"""The scoring of disc localisers on cases that were made by hand; no shared data is needed."""

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.disc_localiser import Case, agreement, figures, trade_off
from tests.acceptance.disc_phantoms import NO_SACRUM, draw_spine
from tests.acceptance.spider_slices import _find_crops, field_spacing
from training.localiser import LEVELS, DiscLocation, DiscSearch


def answer(numbering: float, shift: float = 0.0) -> DiscSearch:
    places = tuple(
        DiscLocation(level, (0.0, 0.0, 0.0), (0.0, 35.0 * i + shift, 50.0), 0.0, 0.9)
        for i, level in enumerate(LEVELS)
    )
    return DiscSearch(places, numbering=numbering)


RIGHT = Case("A", "T1", answer(0.9), (1.0, 2.0, 3.0, 4.0, 5.0), known=True, picture="1")
WRONG = Case("A", "T2", answer(0.6, 35.0), (36.0,) * 5, known=True, picture="1")
SILENT = Case("A", "T2", DiscSearch((), "no row"), (), known=True, picture="1")
UNKNOWN = Case("A", "T1", answer(0.95), (), known=False)
FLIPPED = Case("A", "T1", answer(0.9), (), known=True, answerable=False)


def test_rates_count_what_they_say() -> None:
    found = figures([RIGHT, WRONG, SILENT, UNKNOWN], 0.5)
    assert (found["answered"]["count"], found["answered"]["of"]) == (3, 4)
    assert (found["right"]["count"], found["right"]["of"]) == (1, 3)
    assert found["wrong_and_confident"]["count"] == 1
    assert found["right"]["low"] < 1 / 3 < found["right"]["high"]
    assert found["error_median"]["mm"] == 3.0
    assert found["abstained"] == {"no row": 1}


def test_any_answer_to_what_has_none_is_wrong() -> None:
    found = figures([FLIPPED], 0.5)
    assert found["wrong_and_confident"]["count"] == 1
    assert found["right"]["of"] == 0


def test_more_confidence_means_fewer_answers() -> None:
    rows = {row["least_numbering"]: row for row in trade_off([RIGHT, WRONG, SILENT])}
    assert rows[0.5]["wrong_of_answered"]["count"] == 1
    assert rows[0.75]["wrong_of_answered"]["count"] == 0
    assert rows[0.95]["answered"]["count"] == 0


def test_contrasts_of_one_matrix_are_compared() -> None:
    found = agreement([RIGHT, WRONG, UNKNOWN], 0.5)
    assert (found["count"], found["of"]) == (0, 1)
    assert agreement([RIGHT, WRONG], 0.7)["of"] == 0


def test_a_cut_field_of_view_lacks_what_it_is_said_to_lack() -> None:
    drawn = draw_spine(5, 2, "T2", NO_SACRUM)
    row = drawn.volume.to_voxels(np.asarray(drawn.centres["L5-S1"]))[1]
    assert row > drawn.volume.array.shape[1]


@pytest.mark.parametrize(
    ("recorded", "rows", "columns", "expected"),
    [
        ("[0.625, 0.625]", 448, 448, (0.625, 0.625)),
        ("[0.625, 0.625]", 392, 448, (280 / 392, 0.625)),
        ("[0.625, 0.625]", 512, 382, (280 / 512, 280 / 382)),
    ],
)
def test_both_sides_of_a_picture_span_the_field(
    recorded: str, rows: int, columns: int, expected: tuple[float, float]
) -> None:
    assert field_spacing(recorded, rows, columns) == pytest.approx(expected)


@pytest.mark.parametrize("upside_down", [False, True])
def test_crops_are_found_again(tmp_path, upside_down: bool) -> None:
    picture = np.random.default_rng(3).uniform(0, 255, (120, 100)).astype(np.float32)
    (tmp_path / "disc_crops").mkdir()
    crop = Image.fromarray(picture[40:61, 30:51].astype(np.uint8))
    crop.save(tmp_path / "disc_crops" / "1.png")
    row = {"file": "1.png", "IVD label": "2", "mapping_sure": "1"}
    places, turned = _find_crops(picture[::-1] if upside_down else picture, tmp_path, [row])
    assert turned == upside_down
    assert places == ({} if upside_down else {"L4-L5": (50.0, 40.0)})
