"""Cuts of chest findings come from other reports than those that they decide."""

import numpy as np

from labeling.evaluation.calibration import fit_threshold
from labeling.evaluation.resampling import Bootstrap
from tests.acceptance import chest_cuts
from tests.acceptance.chest_cuts import ahead, fitted_flags, macro_f1


def world(seed=0, count=400):
    chance = np.random.default_rng(seed)
    goal = {name: (chance.random(count) < share).astype(float) for name, share in SHARES.items()}
    scores = {name: 3 * each + 5 + chance.normal(0, 0.7, count) for name, each in goal.items()}
    return goal, scores


SHARES = {"common": 0.3, "rare": 0.05}


def test_a_fitted_cut_mends_margins_that_are_all_above_zero():
    goal, scores = world()
    found = fitted_flags(goal, scores, 5)
    weights = np.ones((1, 400))
    assert found is not None
    assert macro_f1(goal, found, weights)[0] > 0.9
    assert macro_f1(goal, {name: each > 0 for name, each in scores.items()}, weights)[0] < 0.4


def test_no_report_decides_its_own_cut(monkeypatch):
    goal, scores = world()
    asked = []

    def spied(measured, rule):
        asked.append({each.margin for each in measured})
        return fit_threshold(measured, rule)

    monkeypatch.setattr(chest_cuts, "fit_threshold", spied)
    found = fitted_flags(goal, scores, 5)
    assert found is not None
    everyone = set(scores["common"].tolist())
    assert len(everyone) == 400
    left_out = [everyone - each for each in asked[:: len(goal)]]
    assert len(left_out) == 5
    assert sorted(margin for each in left_out for margin in each) == sorted(everyone)


def test_without_margins_or_with_an_order_of_states_nothing_is_fitted():
    goal, scores = world()
    assert fitted_flags(goal, {**scores, "rare": None}, 5) is None
    order = {name: np.where(each > 0, 2.0, -2.0) for name, each in goal.items()}
    assert fitted_flags(goal, order, 5) is None


def test_what_is_ahead_is_the_difference_on_the_same_reports():
    goal, scores = world()
    found = fitted_flags(goal, scores, 5)
    assert found is not None
    nothing = {name: np.zeros(400, dtype=bool) for name in goal}
    paired = ahead(goal, found, nothing, Bootstrap(100, 0))
    assert paired.value == macro_f1(goal, found, np.ones((1, 400)))[0]
    assert paired.low <= paired.value <= paired.high
