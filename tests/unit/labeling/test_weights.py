"""Weighted figures on enriched samples: unbiased for the frame, where the plain ones are not."""

from dataclasses import replace

import numpy as np
import pytest

from labeling.evaluation.agreement import Judgement, agreement, unweighted
from labeling.evaluation.calibration import Measured, fit_probability, fit_threshold
from labeling.evaluation.comparison import compare
from labeling.evaluation.resampling import Bootstrap
from labeling.evaluation.sampling import Unit, allocated, candidates, draw, sizes_of, stratified
from labeling.evaluation.weights import Design
from labeling.vocabulary import State

P, A = State.PRESENT, State.ABSENT
FIGURES = ("sensitivity", "specificity", "balanced_accuracy", "f1", "auroc", "prevalence")


def population(size=800, seed=3):
    """Judgements of every report: 8 % present, margins that overlap, a labeler that often errs."""
    rng = np.random.default_rng(seed)
    truth = rng.random(size) < 0.08
    margins = rng.normal(np.where(truth, 1.0, -1.5), 1.4)
    return [
        Judgement(
            "x", f"p{number}", P if margin > 0 else A, P if present else A, float(margin),
            report=str(number),
        )
        for number, (present, margin) in enumerate(zip(truth, margins, strict=True))
    ]  # fmt: skip


def drawn_from(everybody, seed, n=160, found=None):
    """Draw half of n of what a labeler found; by default of what the judged one calls present."""
    found = {each.report for each in everybody if each.label is P} if found is None else found
    by_name = {each.report: each for each in everybody}
    units = [
        Unit(each.report, each.patient, frozenset({"x"} if each.report in found else ()))
        for each in everybody
    ]
    chosen = stratified(candidates(units, seed, one_per_patient=False), ["x"])
    return [
        replace(by_name[each.subject], weight=1 / each.probability, stratum=each.stratum)
        for each in draw(chosen, allocated(sizes_of(chosen), n, 0.5), seed)
    ]


def figures(found):
    return {name: getattr(found["x"], name).value for name in FIGURES}


def test_weighted_figures_are_those_of_the_frame_and_plain_ones_are_not():
    everybody = population()
    truth = figures(agreement(everybody, resamples=0))
    rounds = 200
    weighted = {name: [] for name in FIGURES}
    plain = {name: [] for name in FIGURES}
    for seed in range(rounds):
        drawn = drawn_from(everybody, seed)
        for found, given in ((weighted, drawn), (plain, unweighted(drawn))):
            for name, value in figures(agreement(given, resamples=0)).items():
                found[name].append(value)
    for name in FIGURES:
        error = np.std(weighted[name]) / np.sqrt(rounds)
        # Ratios of estimates have a bias of their own, far below their spread.
        bias = np.mean(weighted[name]) - truth[name]
        assert abs(bias) < 3 * error + 0.1 * np.std(weighted[name]), name
        if name != "balanced_accuracy":
            assert abs(np.mean(plain[name]) - truth[name]) > 4 * error, name
    assert np.mean(plain["sensitivity"]) - truth["sensitivity"] > 0.1
    assert truth["specificity"] - np.mean(plain["specificity"]) > 0.1
    assert np.mean(plain["prevalence"]) > 1.5 * truth["prevalence"]


def test_intervals_cover_the_frame():
    everybody = population()
    truth = figures(agreement(everybody, resamples=0))
    inside = dict.fromkeys(("sensitivity", "specificity", "prevalence"), 0)
    for seed in range(60):
        found = agreement(drawn_from(everybody, seed), resamples=100, seed=seed)["x"]
        for name in inside:
            each = getattr(found, name)
            inside[name] += each.low <= truth[name] <= each.high
    assert all(count >= 50 for count in inside.values()), inside


def test_where_all_count_alike_nothing_changes():
    everybody = population(200)
    alike = [replace(each, weight=4.0, stratum="all") for each in everybody]
    one, other = agreement(everybody)["x"], agreement(alike)["x"]
    assert (one.sensitivity, one.auroc) == (other.sensitivity, other.auroc)
    assert other.design_effect == 1.0
    mixed = [*alike[:-1], replace(alike[-1], weight=None)]
    assert agreement(mixed)["x"].design_effect == 1.0
    assert Design.of([], []) is None
    assert Design.of([1.0, 3.0], ["a", "b"]).effect == pytest.approx(1.25)


def test_a_stratum_of_one_patient_stays_and_others_are_drawn_within_theirs():
    design = Design.of([1.0, 2.0, 2.0, 5.0], ["a", "b", "b", "c"])
    rows = np.concatenate(list(design.resampled(Bootstrap(500, 1), np.array([0, 1, 2, 3]))))
    assert np.all(rows[:, 0] == 1.0)
    assert np.all(rows[:, 3] == 5.0)
    # One of the two is drawn, and counts for both.
    assert np.all(rows[:, 1] + rows[:, 2] == 4.0)
    assert rows[:, 1].mean() == pytest.approx(2.0, abs=0.2)
    alone = Design.of([1.0, 3.0], ["a", "b"])
    assert list(alone.resampled(Bootstrap(10, 1), np.array([0, 1]))) == []


def test_a_patient_of_two_strata_is_drawn_once():
    design = Design.of([1.0, 2.0, 1.0, 2.0], ["a", "b", "a", "b"])
    rows = np.concatenate(list(design.resampled(Bootstrap(200, 1), np.array([0, 0, 1, 1]))))
    assert np.all(rows[:, 0] * 2 == rows[:, 1])
    assert np.all(rows[:, 0] + rows[:, 2] == 2.0)


def test_probabilities_fitted_on_an_enriched_sample_are_those_of_the_house():
    everybody = population(1500, seed=5)
    rng = np.random.default_rng(6)
    # Another labeler enriches: it knows of the truth what the margins do not.
    chances = {each.report: 0.8 if each.reference is P else 0.1 for each in everybody}
    by_another = {name for name, chance in chances.items() if rng.random() < chance}
    margins = np.array([each.score for each in everybody])
    slope, intercept = fit_probability(
        margins, np.array([each.reference is P for each in everybody])
    )
    found, plain = [], []
    for seed in range(12):
        measured = [
            Measured(each.patient, each.score, None, each.reference, each.weight, each.stratum)
            for each in drawn_from(everybody, seed, 500, by_another)
        ]
        found.append(fit_threshold(measured).intercept)
        bare = [each._replace(weight=None) for each in measured]
        plain.append(fit_threshold(bare).intercept)
    assert slope > 0
    assert abs(np.mean(found) - intercept) < 0.25 < np.mean(plain) - intercept


def test_two_labelers_on_an_enriched_sample_differ_as_in_the_frame():
    everybody = population()
    other = [replace(each, label=P if each.score > 1 else A) for each in everybody]
    truth = compare(everybody, other, resamples=0)["x"].differences["sensitivity"].value
    found = []
    for seed in range(80):
        drawn = drawn_from(everybody, seed)
        theirs = [replace(each, label=P if each.score > 1 else A) for each in drawn]
        compared = compare(drawn, theirs, resamples=0)["x"]
        assert compared.p_auroc is None
        found.append(compared.differences["sensitivity"].value)
    assert np.mean(found) == pytest.approx(truth, abs=0.03)
