"""Simulated chests: the truth shows in the picture, and the reader's doubt is calibrated."""

import numpy as np
import pytest

from plugin.simulation.chest_phantom import (
    LOCATIONS,
    OBSERVATIONS,
    SIDE,
    STEPS,
    ChestTruth,
    draw_chest,
    report_of,
)


def chests(count, first=0):
    return [draw_chest(np.random.default_rng([9, first + n])) for n in range(count)]


def reports(unsure, count=4000):
    for number in range(count):
        rng = np.random.default_rng([10, number])
        places = {name: {} for name in OBSERVATIONS}
        if rng.random() < 0.35:
            places["lung_lesion"] = {"left": 1}
        truth = ChestTruth(places)
        yield truth, report_of(truth, rng, unsure=unsure)


def test_a_generator_determines_the_chest():
    (one, first), (other, again) = chests(1) + chests(1)
    assert one == other
    assert np.array_equal(first, again)
    assert first.shape == (SIDE, SIDE)
    assert first.dtype == np.float32
    assert not np.array_equal(first, chests(1, first=1)[0][1])


def test_findings_have_places_and_steps_of_their_scales():
    truths = [truth for truth, _ in chests(150)]
    for name in OBSERVATIONS:
        there = [truth for truth in truths if truth.present(name)]
        assert 25 < len(there) < 85
        assert {truth.severity(name) for truth in there} == set(range(STEPS))
        allowed = set(LOCATIONS.get(name, ("",)))
        assert {place for truth in there for place in truth.places[name]} == allowed


def test_fluid_is_bright_at_the_base_of_its_own_side():
    drawn = chests(150)
    base = slice(62, 76)
    difference = {}
    for side in ("left", "right"):
        only = [
            picture for truth, picture in drawn if set(truth.places["pleural_effusion"]) == {side}
        ]
        assert len(only) > 5
        mean = np.mean(only, axis=0)
        difference[side] = mean[base, 62:84].mean() - mean[base, 12:34].mean()
    assert difference["left"] > 0.03
    assert difference["right"] < -0.03


def test_a_sure_reader_is_right():
    for truth, report in reports(0.0, 300):
        assert report.unsure == frozenset()
        assert all(report.probability[n] == truth.present(n) for n in OBSERVATIONS)
        for said in report.locations.values():
            assert said == {"left": 1.0, "right": 0.0}


def test_doubt_comes_at_its_rate_and_means_what_it_says():
    found = [(t.present("lung_lesion"), r) for t, r in reports(0.4)]
    doubted = [
        (there, r.probability["lung_lesion"]) for there, r in found if "lung_lesion" in r.unsure
    ]
    assert len(doubted) / len(found) == pytest.approx(0.4, abs=0.03)
    there, said = np.asarray(doubted).T
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0)):
        within = (said >= low) & (said < high)
        assert within.sum() > 100
        assert there[within].mean() == pytest.approx(said[within].mean(), abs=0.07)


def test_only_what_is_said_to_be_there_has_a_place_or_a_step():
    for _, report in reports(0.5, 500):
        for name in {*report.locations, *report.severities}:
            assert report.probability[name] >= 0.5
