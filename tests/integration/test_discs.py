import dataclasses
import functools

import numpy as np
import pytest

from plugin.simulation import phantom
from plugin.simulation.truth import LEVELS, LevelTruth, SpineTruth
from training import discs, picture
from training.disc_crops import CROP_SHAPE, cut_crops
from training.geometry import Volume, stack_slices

HEALTHY = SpineTruth(dict.fromkeys(LEVELS, LevelTruth(0.05, 0.0, 0.0, 0.0)))


@functools.cache
def spine(slices: int = 9) -> tuple[Volume, dict[str, tuple[float, float, float]]]:
    anatomy = phantom.draw_anatomy(np.random.default_rng(2))
    scanner = dataclasses.replace(phantom.SCANNERS[1], slices=slices)
    drawn = phantom.draw_series(HEALTHY, scanner, "T2", anatomy, np.random.default_rng(1))
    volume = stack_slices(
        list(drawn.pixels.astype(np.float32)),
        [np.asarray(p) for p in drawn.positions],
        np.asarray(drawn.orientation),
        drawn.pixel_spacing,
        drawn.slice_thickness,
    )
    return volume, phantom.disc_centres(HEALTHY, anatomy)


@functools.cache
def found(slices: int = 9) -> tuple[discs.DiscLocation, ...]:
    return discs.locate_discs(spine(slices)[0])


def test_discs_are_found_and_numbered_from_pixels() -> None:
    _, centres = spine()
    assert [each.level for each in found()] == list(LEVELS)
    for location in found():
        assert np.linalg.norm(np.asarray(location.centre) - centres[location.level]) < 5
        assert 0.5 < location.confidence <= 1


def test_the_lowest_disc_is_tilted_most() -> None:
    tilts = [each.tilt for each in found()]
    assert max(tilts) == tilts[-1] > 15


def test_a_single_slice_is_enough() -> None:
    _, centres = spine(1)
    assert len(found(1)) == 5
    for location in found(1):
        distance = np.asarray(location.centre) - centres[location.level]
        assert np.linalg.norm(distance[1:]) < 5


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((3, 256, 200)), "no row of five discs"),
        (np.random.default_rng(0).normal(100, 20, (3, 256, 200)), "no row of five discs"),
        (np.ones((3, 80, 200)), "too short"),
    ],
)
def test_what_is_no_spine_is_refused_with_a_reason(pixels: np.ndarray, reason: str) -> None:
    volume = Volume(pixels.astype(np.float32), (4.0, 1.0, 1.0), np.zeros(3), np.eye(3))
    search = discs.search_discs(volume)
    assert search.locations == ()
    assert reason in search.reason


@pytest.mark.parametrize("shape", [(400, 60), (160, 600), (150, 12)])
def test_images_of_any_shape_are_searched(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).normal(100, 20, (1, *shape)).astype(np.float32)
    volume = Volume(pixels, (4.0, 1.0, 1.0), np.zeros(3), np.eye(3))
    assert discs.locate_discs(volume) == ()


def test_half_a_spine_is_not_numbered() -> None:
    volume, _ = spine()
    cut = dataclasses.replace(volume, array=volume.array[:, :150])
    assert discs.locate_discs(cut) == ()


def test_crops_are_comparable_between_scalings() -> None:
    volume, _ = spine()
    crops, valid = cut_crops(volume, found(), LEVELS)
    assert crops.shape == (5, *CROP_SHAPE)
    assert crops.dtype == np.float32
    assert valid.all()
    brighter = dataclasses.replace(volume, array=volume.array * 7)
    assert cut_crops(brighter, found(), LEVELS)[0] == pytest.approx(crops, abs=1e-4)


def test_crops_of_absent_sites_are_not_valid() -> None:
    volume, _ = spine()
    at_edge = dataclasses.replace(found()[0], voxel=(4.0, 0.0, 0.0))
    crops, valid = cut_crops(volume, [at_edge, found()[1]], [*LEVELS[:3], "whole"])
    assert valid.tolist() == [False, True, False, False]
    assert np.isnan(crops[0]).all()


def test_picture_shows_the_discs_where_they_are() -> None:
    volume, _ = spine()
    image, scale = picture.mid_sagittal_image(volume, found())
    assert image.dtype == np.uint8
    assert scale == pytest.approx(1 / min(volume.spacing[1:]))
    for row, column, _ in picture.on_image(volume, found()).values():
        assert 0 < row < image.shape[0]
        assert 0 < column < image.shape[1]
    size = np.asarray(image.shape) / scale
    assert size == pytest.approx(np.asarray(volume.array.shape[1:]) * volume.spacing[1:], rel=0.01)
