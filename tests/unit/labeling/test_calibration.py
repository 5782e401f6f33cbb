"""Thresholds from readers' labels: cut, band, probability, mention cut, held-out patients."""

import math

import numpy as np
import pytest

from labeling.decision import decide
from labeling.evaluation.calibration import (
    FitRule,
    Measured,
    best_cuts,
    cross_fitted,
    fit_probability,
    fit_threshold,
    fit_thresholds,
)
from labeling.evaluation.cases import Case, Reference, folds_by_patient
from labeling.labeler import LabelResult
from labeling.thresholds import Threshold, Thresholds
from labeling.vocabulary import WHOLE, State
from tests.cohort_builders import SCHEMA

P, A, U, N, F = (
    State.PRESENT,
    State.ABSENT,
    State.UNCERTAIN,
    State.NOT_MENTIONED,
    State.FAILED,
)
NO_BAND = FitRule(band="none")
OBSERVATION = SCHEMA.observations[0].id


def measured(pairs, mention=None):
    return [
        Measured(f"p{i}", margin, None if mention is None else mention[i], state)
        for i, (margin, state) in enumerate(pairs)
    ]


def case(number, margin, state, site=WHOLE, patient=None):
    result = LabelResult(OBSERVATION, site, N, margin=margin, evidence=((0, 1),))
    whole = LabelResult(OBSERVATION, WHOLE, N, margin=margin, evidence=((0, 1),))
    results = (result,) if site == WHOLE else (whole, result)
    references = {(OBSERVATION, site): Reference(state)}
    return Case(f"r{number}", patient or f"p{number}", results, references)


def test_the_cut_lies_in_the_gap_and_uncertain_references_are_left_out():
    pairs = [(-5, A), (-4.5, N), (-4, A), (-2, P), (-1.5, P), (-1, P), (9, U)]
    fitted = fit_threshold(measured(pairs))
    assert fitted is not None
    assert (fitted.low, fitted.high) == (-3.0, -3.0)
    assert (fitted.fitted_on, fitted.positives) == (6, 3)
    assert fitted.cut_interval is not None
    assert fitted.cut_interval[0] <= -3.0 <= fitted.cut_interval[1]
    assert Thresholds.from_json(Thresholds({"x": fitted}).to_json()).of("x") == fitted


@pytest.mark.parametrize("pairs", [[(1, P), (2, P), (3, A)], [(1, A)] * 9, []])
def test_too_few_labels_fit_nothing(pairs):
    assert fit_threshold(measured(pairs)) is None


def test_a_cut_of_equal_error_rates_balances_both_errors():
    rng = np.random.default_rng(0)
    margins = np.concatenate([rng.normal(2, 2, 300), rng.normal(-1, 1, 900)])
    present = np.arange(1200) < 300
    [cut] = best_cuts(margins, present, np.ones((1, 1200)), "equal_error_rate")
    missed, false = (margins[present] <= cut).mean(), (margins[~present] > cut).mean()
    assert missed == pytest.approx(false, abs=0.01)
    [balanced] = best_cuts(margins, present, np.ones((1, 1200)))
    errors = (margins[present] <= balanced).mean() + (margins[~present] > balanced).mean()
    assert errors <= missed + false


def test_a_weighting_without_a_class_has_no_cut():
    margins, present = np.array([0.0, 1.0]), np.array([False, True])
    cuts = best_cuts(margins, present, np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert cuts[0] == 0.5
    assert math.isnan(cuts[1])


def test_probabilities_follow_the_margins_of_a_logistic_world():
    rng = np.random.default_rng(1)
    margins = rng.normal(0, 3, 20_000)
    present = rng.random(20_000) < 1 / (1 + np.exp(-(0.7 * margins - 1.2)))
    slope, intercept = fit_probability(margins, present)
    assert slope == pytest.approx(0.7, abs=0.03)
    assert intercept == pytest.approx(-1.2, abs=0.05)


def test_margins_that_say_the_opposite_carry_no_probability():
    fitted = fit_threshold(measured([(m, P if m < 0 else A) for m in range(-10, 11)]))
    assert fitted is not None
    assert fitted.probability(3.0) is None


def test_separated_classes_give_probabilities_that_are_not_certain():
    fitted = fit_threshold(measured([(m, P if m > 0 else A) for m in range(-10, 11)]))
    assert fitted is not None
    said = fitted.probability(10.0)
    assert said is not None
    assert 0.8 < said < 1.0


def test_enough_uncertain_labels_make_the_band():
    pairs = [(m, A) for m in (-5, -4, -3, -2.5)] + [(m, P) for m in (3, 4, 5, 6)]
    doubted = [(m, U) for m in (-1, -0.5, 0, 0.5, 1)]
    fitted = fit_threshold(measured(pairs + doubted))
    assert fitted is not None
    assert all(fitted.decide(m) is U for m, _ in doubted)
    assert all(fitted.decide(m) is state for m, state in pairs)


def test_few_uncertain_labels_leave_a_share_of_the_overlap():
    rng = np.random.default_rng(2)
    pairs = [(float(m), P) for m in rng.normal(1, 1, 100)]
    pairs += [(float(m), A) for m in rng.normal(-1, 1, 100)]
    fitted = fit_threshold(measured(pairs), FitRule(share=0.1, given_up=1.0))
    assert fitted is not None
    assert sum(fitted.decide(margin) is U for margin, _ in pairs) == 20
    apart = fit_threshold(measured([(m, P if m > 0 else A) for m in range(-30, 31)]))
    assert apart is not None
    assert apart.low == apart.high


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("doubted", [0, 40])
def test_the_band_takes_no_more_than_its_share_of_the_findings(share, doubted):
    rng = np.random.default_rng(3)
    pairs = [(float(m), P) for m in rng.normal(1, 1, 60)]
    pairs += [(float(m), A) for m in rng.normal(-1, 1, 900)]
    pairs += [(float(m), U) for m in rng.normal(0.2, 0.2, doubted)]
    fitted = fit_threshold(measured(pairs), FitRule(share=0.2, given_up=share))
    cut = fit_threshold(measured(pairs), NO_BAND)
    assert fitted is not None
    assert cut is not None
    found = [margin for margin, state in pairs if state is P and margin > cut.high]
    taken = [margin for margin in found if fitted.decide(margin) is not P]
    assert len(taken) <= share * len(found)
    assert fitted.high >= cut.high
    assert fitted.high > cut.high or share < 0.2


def test_a_cut_by_f1_spares_a_rare_condition_the_false_findings():
    rng = np.random.default_rng(4)
    margins = np.concatenate([rng.normal(2, 1, 30), rng.normal(-1, 1, 2000)])
    present = np.arange(2030) < 30
    weights = np.ones((1, 2030))

    def f1(cut):
        said = margins > cut
        return 2 * (said & present).sum() / (said.sum() + present.sum())

    [chosen] = best_cuts(margins, present, weights, "f1")
    [balanced] = best_cuts(margins, present, weights)
    assert chosen > balanced
    assert f1(chosen) == max(f1(cut) for cut in margins - 1e-9)
    assert f1(chosen) > f1(balanced) + 0.1


def test_sites_are_cut_by_their_own_rule():
    margins = [(m / 10, P if m > 12 else A) for m in range(-100, 20)] + [(0.5, P)]
    cases = [case(i, m, state, "L4-L5") for i, (m, state) in enumerate(margins)]
    by_f1 = fit_thresholds(cases, NO_BAND).of(OBSERVATION, "L4-L5")
    balanced = fit_thresholds(cases, FitRule(band="none", site_cut="balanced_accuracy"))
    assert by_f1.low > balanced.of(OBSERVATION, "L4-L5").low


def test_an_order_of_states_keeps_its_band_and_gets_a_probability():
    pairs = [(2.0, P)] * 12 + [(0.0, P)] * 2 + [(-2.0, A)] * 14 + [(2.0, A)]
    fitted = fit_threshold(measured(pairs))
    assert fitted is not None
    assert (fitted.low, fitted.high) == (Threshold().low, Threshold().high)
    assert fitted.fitted_on == 29
    high, low = fitted.probability(2.0), fitted.probability(-2.0)
    assert high is not None
    assert low is not None
    assert high > low


def test_the_mention_cut_parts_absent_from_not_mentioned():
    pairs = [(5, P)] * 3 + [(-5, A)] * 3 + [(-4.9, N)] * 3
    fitted = fit_threshold(measured(pairs, mention=[9, 9, 9, 2, 3, 4, 0, 0.5, 1]))
    assert fitted is not None
    assert fitted.mention_cut == 1.5
    few = fit_threshold(measured(pairs[:7] + pairs[:2], mention=[9, 9, 9, 2, 3, 4, 0, 9, 9]))
    assert few is not None
    assert few.mention_cut == 0.0


def test_sites_share_a_threshold_of_their_own():
    site = SCHEMA.observations[0].sites[0]
    cases = [case(i, i, P if i > 0 else A) for i in range(-5, 6)]
    cases += [case(i + 100, i, P if i > 3 else A, site) for i in range(-5, 9)]
    fitted = fit_thresholds(cases, NO_BAND)
    assert fitted.of(OBSERVATION).low == 0.5
    assert fitted.of(OBSERVATION, site).low == 3.5
    assert fit_thresholds([], NO_BAND).digest == ""


def test_failed_labels_and_labels_without_margin_fit_nothing():
    cases = [case(i, None, P if i % 2 else A) for i in range(20)]
    failed = Case("f", "f", (LabelResult(OBSERVATION, WHOLE, F, margin=1.0),), {})
    assert fit_thresholds([*cases, failed]).whole == {}


def test_held_out_reports_never_fit_their_own_threshold():
    cases = [case(i, float(i), P if i >= 6 else A, patient=f"p{i // 2}") for i in range(12)]
    judged = cross_fitted(cases, SCHEMA, folds=3, rule=NO_BAND)
    assert [each.report for each in judged] == [each.report for each in cases]
    folds = folds_by_patient(cases, 3)
    for held_out in folds:
        others = [cases[i] for i in range(12) if i not in held_out]
        thresholds = fit_thresholds(others, NO_BAND)
        for index in held_out:
            expected = decide(cases[index].results, SCHEMA, thresholds)
            assert list(judged[index].results) == expected
    patients = [{cases[i].patient for i in fold} for fold in folds]
    assert sum(len(each) for each in patients) == 6
    assert all(any(i >= 6 for i in fold) for fold in folds)
