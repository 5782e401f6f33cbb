"""Figures of an evaluation: comparison, evidence, errors, pictures, qualification."""

import dataclasses
import math

import numpy as np
import pytest

from labeling.evaluation.agreement import Judgement, agreement, judgements
from labeling.evaluation.cases import Case, Reference, decided, locate_quote
from labeling.evaluation.comparison import compare, delong
from labeling.evaluation.drawing import draw_all
from labeling.evaluation.errors import excerpts, worst_errors
from labeling.evaluation.evidence import evidence_overlap
from labeling.evaluation.metrics import calibration_error, reliability
from labeling.evaluation.qualification import Criteria, Effort, judge
from labeling.labeler import LabelResult
from labeling.thresholds import UNCALIBRATED, Threshold, Thresholds
from labeling.vocabulary import WHOLE, State
from tests.cohort_builders import SCHEMA

P, A, U, N, F = (
    State.PRESENT,
    State.ABSENT,
    State.UNCERTAIN,
    State.NOT_MENTIONED,
    State.FAILED,
)
NAME = SCHEMA.observations[1].id
FAST = Effort(reports=100, seconds=10.0, peak_bytes=2**30)


def judged(pairs, scores=None, probabilities=None):
    return [
        Judgement(
            NAME,
            f"p{i}",
            label,
            reference,
            None if scores is None else float(scores[i]),
            None if probabilities is None else float(probabilities[i]),
            f"r{i}",
        )
        for i, (reference, label) in enumerate(pairs)
    ]


def case(name, state, reference, *, margin=None, evidence=((0, 4),), quotes=()):
    result = LabelResult(NAME, WHOLE, state, margin=margin, evidence=evidence)
    return Case(name, name, (result,), {(NAME, WHOLE): Reference(reference, quotes=quotes)})


def test_equal_labelers_do_not_differ_and_better_ones_do():
    truth = [P, A] * 40
    good = judged([(each, each) for each in truth], scores=[1 if t is P else -1 for t in truth])
    bad = judged([(each, P) for each in truth], scores=[i % 3 for i in range(80)])
    same = compare(good, good, resamples=100)[NAME]
    assert {(e.value, e.low, e.high) for e in same.differences.values()} == {(0.0, 0.0, 0.0)}
    assert (same.same, same.p_auroc) == (1.0, 1.0)
    apart = compare(good, bad, resamples=100)[NAME]
    assert apart.differences["balanced_accuracy"].low > 0
    assert apart.p_auroc is not None
    assert apart.p_auroc < 0.001
    assert apart.differences["sensitivity"].value == 0.0
    assert compare(good, []) == {}


def test_delong_finds_what_it_should_at_its_rate():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        target = rng.random(60) < 0.4
        found.append(delong(target, rng.normal(size=60) + target, rng.normal(size=60) + target))
    assert (np.array(found) < 0.05).mean() < 0.12
    assert math.isnan(delong(np.array([True, False]), np.zeros(2), np.zeros(2)))
    # Right for all against wrong for all: no spread, so nothing says how sure it is.
    apart = np.repeat([True, False], 5)
    assert math.isnan(delong(apart, apart.astype(float), 1 - apart.astype(float)))


def test_patients_with_several_reports_get_no_delong():
    pairs = judged([(P, P), (A, A)] * 10, scores=list(range(20)))
    doubled = [dataclasses.replace(each, patient=f"p{i // 2}") for i, each in enumerate(pairs)]
    assert compare(doubled, doubled, resamples=0)[NAME].p_auroc is None


def test_evidence_is_held_against_the_quote():
    text = "No fracture. Old fracture of L1."
    quotes = locate_quote(text, "old  FRACTURE")
    assert [text[start:end] for start, end in quotes] == ["Old fracture"]
    assert locate_quote(text, " ") == locate_quote(text, "tumour") == ()
    cases = [
        case("1", P, P, evidence=((13, 32),), quotes=quotes),
        case("2", P, P, evidence=((0, 12), (13, 25)), quotes=quotes),
        case("3", P, P, evidence=(), quotes=quotes),
        case("4", A, P, quotes=quotes),
        case("5", P, P),
    ]
    found = evidence_overlap(cases)[NAME]
    assert (found.n, found.pointed) == (3, 2)
    assert (found.touched, found.first_touched) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert found.overlap == pytest.approx((12 / 19 + 12 / 24) / 3)
    assert found.covered == pytest.approx(2 / 3)


def test_the_surest_errors_come_first_and_failures_before_them():
    cases = [
        case("right", P, P, margin=9.0),
        case("near", P, A, margin=1.0),
        case("far", P, A, margin=8.0),
        case("missed", N, P, margin=-3.0),
        case("failed", F, P),
        case("failed too", F, A),
        case("nobody knows", P, U, margin=9.0),
    ]
    found = worst_errors(cases, UNCALIBRATED)
    assert [each.report for each in found] == ["failed", "far", "missed", "near"]
    assert excerpts(found[1], "word and more") == {"evidence": "word", "quote": ""}
    assert len(worst_errors(cases, UNCALIBRATED, count=2)) == 2


def test_a_label_that_was_not_looked_at_is_not_held_to_its_span():
    cases = [case("low", N, P, margin=-3.0, evidence=()), case("high", P, P, margin=4.0)]
    bare = [dataclasses.replace(each, results=each.results) for each in cases]
    cut = Thresholds({NAME: Threshold(-5.0, -5.0, fitted_on=9, positives=4)})
    held = decided(bare, SCHEMA, cut)
    assert held[0].results[0].state is U
    free = decided(bare, SCHEMA, cut, sought=UNCALIBRATED)
    assert [each.results[0].state for each in free] == [P, P]
    assert free[0].results[0].evidence == ()


def test_a_reliability_curve_and_its_error():
    rng = np.random.default_rng(3)
    said = rng.random(20_000)
    seen = (rng.random(20_000) < said).astype(float)
    curve = reliability(seen, said)
    assert [each.n for each in curve] == [2000] * 10
    assert calibration_error(curve) < 0.03
    assert calibration_error(reliability(seen, np.full(20_000, 0.9))) == pytest.approx(0.4, 0.05)
    assert reliability(np.empty(0), np.empty(0)) == []
    assert math.isnan(calibration_error([]))


def test_equal_probabilities_share_a_bin_in_whatever_order_they_come():
    said = np.repeat([0.2, 0.5, 0.9], [100, 40, 60])
    seen = np.concatenate([np.arange(n) < share * n for n, share in ((100, 0.2), (40, 0.5))])
    seen = np.concatenate([seen, np.arange(60) < 54]).astype(float)
    curve = reliability(seen, said)
    assert [each.n for each in curve] == [100, 40, 60]
    assert calibration_error(curve) == pytest.approx(0.0, abs=1e-12)
    assert reliability(seen[::-1], said[::-1]) == curve


def test_failed_labels_stand_below_every_margin():
    pairs = [(P, F), (P, P), (A, A), (A, A)]
    found = agreement(judged(pairs, scores=[9.0, 2.0, 1.0, 0.0]), resamples=0)[NAME]
    assert found.auroc is not None
    assert found.auroc.value == 0.5


def test_suspicion_counts_apart():
    pairs = [(U, U), (A, A), (A, A), (P, P)]
    found = agreement(judged(pairs, scores=[5, 0, 0, 6], probabilities=[0.5, 0, 0, 1]))[NAME]
    assert (found.n, found.n_uncertain_reference, found.n_uncertain) == (3, 1, 1)
    assert found.auroc_possible is not None
    assert found.auroc_possible.value == 1.0
    assert found.brier is not None
    assert found.brier.value == 0.0


def test_sites_are_judged_apart_from_the_whole():
    site = SCHEMA.observations[0].sites[0]
    name = SCHEMA.observations[0].id
    results = (LabelResult(name, WHOLE, P), LabelResult(name, site, A))
    one = Case("1", "1", results, {(name, WHOLE): Reference(P), (name, site): Reference(A)})
    assert [each.site for each in judgements([one])] == [WHOLE]
    assert [each.site for each in judgements([one], at_sites=True)] == [site]


def test_pictures_are_drawn(tmp_path):
    pairs = [(P, P), (A, A), (U, N), (P, F)] * 5
    probabilities = [0.9, 0.1, 0.5, 0.2] * 5
    found = agreement(judged(pairs, probabilities, probabilities), resamples=20)
    files = draw_all(found, tmp_path / "new", "title")
    assert [each.name for each in files] == ["figures.png", "reliability.png", "confusion.png"]
    assert all(each.read_bytes().startswith(b"\x89PNG") for each in files)
    empty = draw_all(agreement(judged([(A, A)])), tmp_path, "no curve")
    assert [each.name for each in empty] == ["figures.png", "confusion.png"]


def measured(pairs, probability=0.95):
    said = [probability if label is P else 1 - probability for _, label in pairs]
    return agreement(judged(pairs, said, said), resamples=200)


def test_a_good_labeler_qualifies():
    verdict = judge(measured([(P, P), (A, A)] * 30), FAST, Criteria(), calibrated=True)
    assert verdict.failings == ()
    assert verdict.qualified
    assert verdict.figures["reports_per_hour"] == 36_000
    assert verdict.criteria["positives"] == 5


@pytest.mark.parametrize(
    ("pairs", "effort", "calibrated", "why"),
    [
        ([(P, P), (A, A)] * 30, FAST, False, "no thresholds are fitted"),
        ([(P, P), (A, A)] * 5, FAST, True, "readers gave 10 labels"),
        ([(P, P)] * 40, FAST, True, "40 of them present"),
        ([(P, A), (A, A)] * 30, FAST, True, "balanced accuracy 0.500"),
        ([(P, P), (A, A), (A, F)] * 30, FAST, True, "30 of 90 labels failed"),
        ([(P, P), (A, A)] * 30, Effort(10, 3600.0, 0), True, "reads 10 reports an hour"),
        ([(P, P), (A, A)] * 30, Effort(10, 1.0, 2**40), True, "1024.0 GiB of memory"),
    ],
)
def test_why_a_labeler_does_not_qualify(pairs, effort, calibrated, why):
    verdict = judge(measured(pairs), effort, Criteria(), calibrated=calibrated)
    assert not verdict.qualified
    assert any(why in each for each in verdict.failings), verdict.failings


def test_probabilities_must_be_there_and_right():
    pairs = [(P, P), (A, A)] * 30
    silent = judge(agreement(judged(pairs)), FAST, Criteria(), calibrated=True)
    assert silent.failings == (f"{NAME}: gives no probabilities",)
    wrong = judge(measured(pairs, probability=0.6), FAST, Criteria(), calibrated=True)
    assert wrong.failings == (f"{NAME}: calibration error 0.400, at most 0.150",)


def test_what_readers_hardly_labelled_can_be_let_pass():
    criteria = Criteria(allow_unjudged=True)
    both = measured([(P, P), (A, A)] * 30) | {"rare": agreement(judged([(A, A)] * 60))[NAME]}
    assert not judge(both, FAST, Criteria(), calibrated=True).qualified
    verdict = judge(both, FAST, criteria, calibrated=True)
    assert verdict.qualified
    assert verdict.figures["unjudged"] == ["rare"]
    nothing = {"rare": both["rare"]}
    assert not judge(nothing, FAST, criteria, calibrated=True).qualified


def test_what_readers_never_labelled_is_not_forgotten():
    good, names = measured([(P, P), (A, A)] * 30), (NAME, "rare")
    verdict = judge(good, FAST, Criteria(), calibrated=True, observations=names)
    assert verdict.failings == ("rare: readers gave no labels",)
    allowed = Criteria(allow_unjudged=True)
    verdict = judge(good, FAST, allowed, calibrated=True, observations=names)
    assert verdict.qualified
    assert verdict.figures["unjudged"] == ["rare"]


def test_thresholds_do_not_qualify_on_the_labels_that_fitted_them():
    good = measured([(P, P), (A, A)] * 30)
    verdict = judge(good, FAST, Criteria(), calibrated=True, held_out=False)
    assert not verdict.qualified
    assert "--folds" in verdict.failings[0]
