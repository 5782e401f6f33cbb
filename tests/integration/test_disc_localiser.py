import functools
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from plugin.simulation import phantom
from plugin.simulation.truth import LEVELS, LevelTruth, SpineTruth
from training import samples
from training.disc_chain import find_chain, unseen_lead
from training.disc_response import Candidates
from training.discs import DISC_CHAIN, ChainLocaliser, discs_of_slice
from training.errors import Permanent
from training.geometry import Volume, stack_slices
from training.localiser import DiscLocaliser, DiscSearch, slice_volume

HEALTHY = SpineTruth(dict.fromkeys(LEVELS, LevelTruth(0.05, 0.0, 0.0, 0.0)))
WEIGHTINGS: tuple[phantom.Weighting, ...] = ("T1", "T2")


@functools.cache
def middle(weighting: phantom.Weighting) -> tuple[np.ndarray, tuple[float, float], np.ndarray]:
    """Return a slice, its spacing, and the true row and column of each disc in pixels."""
    anatomy = phantom.draw_anatomy(np.random.default_rng(2))
    scanner = replace(phantom.SCANNERS[1], slices=1)
    drawn = phantom.draw_series(HEALTHY, scanner, weighting, anatomy, np.random.default_rng(1))
    volume = stack_slices(
        list(drawn.pixels.astype(np.float32)),
        [np.asarray(p) for p in drawn.positions],
        np.asarray(drawn.orientation),
        drawn.pixel_spacing,
        drawn.slice_thickness,
    )
    centres = phantom.disc_centres(HEALTHY, anatomy)
    places = np.stack([volume.to_voxels(np.asarray(centres[level]))[1:] for level in LEVELS])
    return volume.array[0], (volume.spacing[1], volume.spacing[2]), places


def apart(search: DiscSearch, places: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    found = np.asarray([each.voxel[1:] for each in search.locations])
    return np.linalg.norm((found - places) * spacing, axis=1)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_one_slice_of_either_contrast_is_enough(weighting: phantom.Weighting) -> None:
    array, spacing, places = middle(weighting)
    search = discs_of_slice(array, spacing)
    assert [each.level for each in search.locations] == list(LEVELS)
    assert (apart(search, places, spacing) < 5).all()
    assert 0.75 <= search.numbering <= 1
    assert all(0.5 < each.confidence <= 1 for each in search.locations)
    assert search.reason == ""
    assert all(each.voxel[0] == 0 for each in search.locations)


@pytest.mark.parametrize("factors", [(0.55, 1.0), (1.0, 0.55)])
def test_rows_and_columns_may_differ_in_spacing(factors: tuple[float, float]) -> None:
    array, spacing, places = middle("T2")
    squeezed = ndimage.zoom(array, factors, order=1, grid_mode=True, mode="nearest")
    scale = np.asarray(squeezed.shape) / array.shape
    wider = (spacing[0] / scale[0], spacing[1] / scale[1])
    search = discs_of_slice(squeezed, wider)
    assert len(search.locations) == 5
    assert (apart(search, (places + 0.5) * scale - 0.5, wider) < 5).all()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.rot90, lambda a: a[::-1, ::-1]])
def test_a_turned_picture_is_refused(weighting: phantom.Weighting, turn) -> None:
    array, spacing, _ = middle(weighting)
    search = discs_of_slice(turn(array), spacing)
    assert search.locations == ()
    assert search.numbering == 0
    assert search.reason


def blobs() -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(280, 240)), 5)
    return np.clip(100 + 60 * noise / noise.std(), 0, None)


def stripes() -> np.ndarray:
    return np.repeat(100 + 50 * np.sign(np.sin(np.arange(280) / 9))[:, None], 240, axis=1)


@pytest.mark.parametrize("picture", [blobs, stripes, lambda: np.full((280, 240), 80.0)])
def test_what_is_no_spine_is_refused(picture) -> None:
    search = discs_of_slice(picture(), (1.0, 1.0))
    assert search.locations == ()
    assert search.reason


def test_doubt_in_the_numbering_makes_it_abstain() -> None:
    array, spacing, _ = middle("T2")
    search = discs_of_slice(array, spacing, ChainLocaliser(least_numbering=1.0))
    assert search.locations == ()
    assert "numbered" in search.reason


@pytest.mark.parametrize(
    ("array", "spacing"),
    [
        (np.ones((3, 200, 200)), (1.0, 1.0)),
        (np.full((200, 200), np.nan), (1.0, 1.0)),
        (np.ones((200, 200)), (0.0, 1.0)),
        (np.ones((200, 200)), (1.0, float("nan"))),
    ],
)
def test_what_is_no_slice_is_an_error(array: np.ndarray, spacing: tuple[float, float]) -> None:
    with pytest.raises(Permanent):
        slice_volume(array, spacing)


# A spine as it is expected, from T12-L1 to S1-S2: distance to the next disc, tilt, depth.
EXPECTED = (
    (33.0, -10.0, 32.0),
    (34.5, -9.0, 33.5),
    (35.5, -5.0, 35.0),
    (36.5, 1.0, 36.5),
    (36.5, 12.0, 37.0),
    (32.0, 34.0, 35.5),
    (0.0, 50.0, 25.5),
)


def bars(*, without: tuple[int, ...] = ()) -> Candidates:
    row, column, places = 30.0, 100.0, []
    for (step, tilt, depth), below in zip(EXPECTED, [*EXPECTED[1:], EXPECTED[-1]], strict=True):
        places.append((row, column, tilt, 0.35, depth))
        middle = np.radians((tilt + below[1]) / 2)
        row, column = row + step * np.cos(middle), column + step * np.sin(middle)
    kept = np.asarray([p for i, p in enumerate(places) if i not in without])
    return Candidates(*kept.T)


def test_the_chain_numbers_from_the_bend_and_the_sacrum() -> None:
    chain = find_chain(bars())
    assert chain is not None
    assert chain.indices == (1, 2, 3, 4, 5)
    assert chain.margin > 5


def test_the_bend_tells_whether_a_disc_below_is_unseen() -> None:
    whole, cut = bars(without=(6,)), bars(without=(5, 6))
    ends_at_l5, ends_at_l4 = find_chain(whole), find_chain(cut)
    assert ends_at_l5 is not None
    assert ends_at_l4 is not None
    assert unseen_lead(whole, ends_at_l5) > 5
    assert unseen_lead(cut, ends_at_l4) < -5


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_picture_that_ends_above_the_last_disc_is_refused(weighting: phantom.Weighting) -> None:
    array, spacing, places = middle(weighting)
    search = discs_of_slice(array[: int(places[3:, 0].mean())], spacing)
    assert search.locations == ()


def test_fewer_than_five_bars_are_no_chain() -> None:
    assert find_chain(bars(without=(0, 1, 2))) is None


def test_our_localiser_speaks_the_protocol_and_names_itself() -> None:
    assert isinstance(DISC_CHAIN, DiscLocaliser)
    search = discs_of_slice(stripes(), (1.0, 1.0))
    assert (search.localiser, search.digest) == ("disc_chain", DISC_CHAIN.digest)
    assert len(DISC_CHAIN.digest) == 64
    assert ChainLocaliser(least_numbering=0.9).digest != DISC_CHAIN.digest


def test_the_entry_point_leads_to_it() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    offered = project["project"]["entry-points"]["radloop.disc_localisers"]
    module, _, name = offered["disc_chain"].partition(":")
    assert getattr(import_module(module), name) is DISC_CHAIN


class Elsewhere:
    name = "elsewhere"
    digest = "0" * 64

    def search(self, volume: Volume) -> DiscSearch:
        return DiscSearch((), "not today", 0.0, self.name, self.digest)


def test_what_is_cut_tells_which_localiser_found_it(monkeypatch: pytest.MonkeyPatch) -> None:
    array, spacing, _ = middle("T2")
    monkeypatch.setattr(samples, "read_volume", lambda paths: slice_volume(array, spacing))
    ours = samples.read_discs([], LEVELS)
    assert (ours.localiser, ours.localiser_digest) == (DISC_CHAIN.name, DISC_CHAIN.digest)
    assert set(ours.crops) == set(LEVELS)
    other = samples.read_discs([], LEVELS, Elsewhere())
    assert (other.localiser, other.localiser_digest) == ("elsewhere", "0" * 64)
    assert set(other.reasons.values()) == {"not today"}
