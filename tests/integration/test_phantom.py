import dataclasses
import functools

import numpy as np
import pytest

from plugin.simulation import phantom
from plugin.simulation.truth import LEVELS, LevelTruth, SpineTruth, draw_truth

HEALTHY = LevelTruth(0.0, 0.0, 0.0, 0.0)


def truth_with(level: str, **degrees: float) -> SpineTruth:
    levels = dict.fromkeys(LEVELS, HEALTHY)
    levels[level] = dataclasses.replace(HEALTHY, **degrees)
    return SpineTruth(levels)


def draw(
    truth: SpineTruth, weighting: phantom.Weighting = "T2", scanner: int = 0, slices: int = 1
) -> phantom.PhantomSeries:
    anatomy = phantom.draw_anatomy(np.random.default_rng(5))
    small = dataclasses.replace(phantom.SCANNERS[scanner], slices=slices, noise=0.0)
    return phantom.draw_series(truth, small, weighting, anatomy, np.random.default_rng(1))


@functools.cache
def draw_healthy() -> phantom.PhantomSeries:
    return draw(SpineTruth(dict.fromkeys(LEVELS, HEALTHY)))


@pytest.mark.parametrize("scanner", range(len(phantom.SCANNERS)))
def test_geometry_agrees_with_the_scanner(scanner: int) -> None:
    series = draw(SpineTruth(dict.fromkeys(LEVELS, HEALTHY)), scanner=scanner, slices=3)
    machine = phantom.SCANNERS[scanner]
    assert series.pixels.shape == (3, machine.rows, machine.columns)
    assert series.pixels.dtype == np.uint16
    row, column = np.asarray(series.orientation[:3]), np.asarray(series.orientation[3:])
    assert np.linalg.norm(row) == pytest.approx(1)
    assert np.linalg.norm(column) == pytest.approx(1)
    assert row @ column == pytest.approx(0, abs=1e-12)
    steps = np.diff(np.asarray(series.positions), axis=0) @ np.cross(row, column)
    sign = -1 if machine.right_to_left else 1
    assert steps == pytest.approx([sign * machine.spacing_between_slices] * 2)


def test_same_arguments_give_the_same_pixels() -> None:
    truth = draw_truth(np.random.default_rng(3))
    assert np.array_equal(draw(truth).pixels, draw(truth).pixels)


def test_weightings_differ_in_the_canal() -> None:
    t1, t2 = draw(SpineTruth(dict.fromkeys(LEVELS, HEALTHY)), "T1"), draw_healthy()
    assert t1.description != t2.description
    assert not np.array_equal(t1.pixels, t2.pixels)


@pytest.mark.parametrize(
    "degrees",
    [
        {"disc_narrowing": 0.5},
        {"herniation": 6.0},
        {"stenosis": 0.6},
        {"spondylolisthesis": 8.0},
    ],
)
def test_a_finding_changes_the_image_near_its_disc(degrees: dict[str, float]) -> None:
    healthy = draw_healthy()
    ill = draw(truth_with("L2-L3", **degrees))
    changed = np.abs(healthy.pixels[0].astype(int) - ill.pixels[0].astype(int)) > 60
    rows = np.flatnonzero(changed.any(axis=1))
    assert changed.sum() > 20
    anatomy = phantom.draw_anatomy(np.random.default_rng(5))
    centre = phantom.disc_centres(truth_with("L2-L3"), anatomy)["L2-L3"]
    at = (healthy.positions[0][2] - centre[2]) / healthy.pixel_spacing[0]
    assert np.abs(rows - at).min() < 6


def test_slip_moves_the_upper_disc_forwards() -> None:
    anatomy = phantom.draw_anatomy(np.random.default_rng(5))
    healthy = phantom.disc_centres(truth_with("L4-L5"), anatomy)
    slipped = phantom.disc_centres(truth_with("L4-L5", spondylolisthesis=8.0), anatomy)
    before = healthy["L3-L4"][1] - healthy["L5-S1"][1]
    after = slipped["L3-L4"][1] - slipped["L5-S1"][1]
    assert before - after == pytest.approx(8.0, abs=1.0)
