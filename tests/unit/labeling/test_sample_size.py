"""Sample sizes: against published examples, scipy's intervals, and brute-force simulation."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from labeling.evaluation.sample_size import (
    Aim,
    Stratum,
    design_effect,
    exact,
    finite,
    hanley_mcneil,
    reports_needed,
    stratified_width,
    width_of,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (45, 50), (81, 100)])
def test_intervals_are_those_of_scipy(hits, n):
    for own, method in ((wilson, "wilson"), (exact, "exact")):
        expected = binomtest(hits, n).proportion_ci(0.95, method)
        assert own(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_error_of_an_area_is_that_of_the_paper():
    # Hanley and McNeil 1982, table of 58 normal and 51 abnormal patients: area 0.893, error 0.032.
    assert hanley_mcneil(0.893, 51, 58) == pytest.approx(0.032, abs=0.0006)


@pytest.mark.parametrize("measure", ["sensitivity", "specificity", "both", "auroc"])
@pytest.mark.parametrize("interval", ["wilson", "exact"])
def test_the_size_is_the_least_that_is_enough(measure, interval):
    aim = Aim(measure, expected=0.9, width=0.12, prevalence=0.2, interval=interval)
    n = reports_needed(aim)
    assert width_of(aim, n * 0.2, n * 0.8) <= 0.12 < width_of(aim, (n - 1) * 0.2, (n - 1) * 0.8)


def test_rare_findings_need_more_reports():
    sizes = [reports_needed(Aim(prevalence=share)) for share in (0.5, 0.1, 0.02)]
    assert sizes == sorted(sizes)
    assert sizes[2] == pytest.approx(5 * sizes[1], rel=0.02)
    # Expected .9, width .15: 64 positives by Wilson's interval.
    low, high = wilson(0.9 * 0.1 * sizes[1], 0.1 * sizes[1])
    assert high - low == pytest.approx(0.15, abs=0.001)


def test_a_finite_frame_needs_fewer_and_never_more_than_it_holds():
    assert finite(384, 1000) == math.ceil(384 / (1 + 383 / 1000)) == 278
    assert finite(640, 100) <= 100
    assert finite(10, 1_000_000_000) == 10
    assert finite(5, 0) == 0


@pytest.mark.parametrize(
    "aim", [Aim(expected=1.0), Aim(prevalence=0.0), Aim(width=0.0), Aim("auroc", expected=0.4)]
)
def test_an_aim_that_makes_no_sense_is_refused(aim):
    with pytest.raises(ValueError, match="between 0 and 1"):
        reports_needed(aim)


def test_too_narrow_an_interval_is_refused():
    with pytest.raises(ValueError, match="not even"):
        reports_needed(Aim(width=1e-6, prevalence=0.001))


@pytest.mark.parametrize("measure", ["sensitivity", "specificity"])
def test_the_width_of_a_stratified_sample_is_what_draws_show(measure):
    said_sizes = {"said": (300, 300), "rest": (2700, 0)}
    strata = {name: Stratum(*sizes) for name, sizes in said_sizes.items()}
    drawn = {"said": 100, "rest": 150}
    aim = Aim(measure, expected=0.8, width=0.2, prevalence=0.1)
    # A population in which the labeler finds 240 of 300 findings and says 60 that are none.
    said = np.repeat([True, False], [300, 2700])
    truth = np.concatenate([np.repeat([1, 0], [240, 60]), np.repeat([1, 0], [60, 2640])])
    target = truth if measure == "sensitivity" else 1 - truth
    right = (said == (truth == 1)) & (target == 1)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        chosen = [
            rng.choice(np.flatnonzero(said == inside), drawn[name], replace=False)
            for name, inside in (("said", True), ("rest", False))
        ]
        weights = [strata[name].size / drawn[name] for name in ("said", "rest")]
        hits = sum(w * right[c].sum() for w, c in zip(weights, chosen, strict=True))
        base = sum(w * target[c].sum() for w, c in zip(weights, chosen, strict=True))
        found.append(hits / base)
    assert stratified_width(aim, strata, drawn) == pytest.approx(2 * 1.96 * np.std(found), rel=0.1)


def test_a_stratum_of_which_nobody_is_drawn_leaves_everything_open():
    strata = {"said": Stratum(10, 10), "rest": Stratum(90, 0)}
    assert stratified_width(Aim(), strata, {"said": 10}) == 1.0
    whole = {"said": 10, "rest": 90}
    assert stratified_width(Aim(), strata, whole) == pytest.approx(0.0, abs=1e-9)
    assert 0 < stratified_width(Aim("auroc"), strata, whole) < 1


def test_equal_weights_cost_nothing():
    assert design_effect([2.0] * 5) == pytest.approx(1.0)
    assert design_effect([1.0, 3.0]) == pytest.approx(1.25)
