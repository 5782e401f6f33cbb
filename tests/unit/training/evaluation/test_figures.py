"""Calibration, paired comparison and subgroups against scikit-learn, scipy and known values."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from labeling.evaluation.comparison import delong
from labeling.evaluation.sample_size import wilson
from training.errors import Permanent
from training.evaluation.calibration import calibration
from training.evaluation.pairing import compare_models
from training.evaluation.recalibration import ALIKE, SEPARATED, recalibration
from training.evaluation.subgroups import BESIDE, HIDDEN, by_subgroup, tellable

DRAWS = 200


def drawn(rows=200, seed=0, sites=2):
    """Return targets that follow their probabilities, with noise, and the patients."""
    rng = np.random.default_rng(seed)
    said = expit(rng.normal(-0.5, 1.2, size=(rows, sites)))
    return (rng.random((rows, sites)) < said).astype(float), said, [str(i) for i in range(rows)]


def test_brier_slope_and_intercept_are_those_of_scikit_learn():
    target, said, keys = drawn()
    extreme = expit(2 * logit(said) + 0.7)
    found = calibration(target, extreme, keys, samples=DRAWS)
    odds = logit(extreme.ravel())
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=500)
    fit.fit(odds[:, None], target.ravel())
    assert found["slope"]["value"] == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    assert found["slope"]["low"] < fit.coef_[0, 0] < found["slope"]["high"] < 1
    assert found["intercept"]["high"] < 0
    assert found["brier"]["value"] == pytest.approx(
        brier_score_loss(target.ravel(), extreme.ravel())
    )
    # At slope 1 the fitted probabilities have the mean of the targets.
    shifted = expit(odds + found["intercept"]["value"])
    assert shifted.mean() == pytest.approx(target.mean(), abs=1e-6)


def test_probabilities_that_are_right_are_called_so():
    target, said, keys = drawn(rows=1500, seed=2)
    found = calibration(target, said, keys, samples=DRAWS)
    assert found["slope"]["low"] < 1 < found["slope"]["high"]
    assert found["intercept"]["low"] < 0 < found["intercept"]["high"]
    assert found["brier"]["value"] < found["brier_of_prevalence"]
    inside = [each["low"] <= each["said"] <= each["high"] for each in found["bins"]]
    assert sum(inside) >= 9


def test_bins_hold_all_cases_and_count_patients_not_cases():
    target, said, keys = drawn(rows=50, sites=4)
    bins = calibration(target, said, keys, bins=5, samples=DRAWS)["bins"]
    assert sum(each["n"] for each in bins) == 200
    assert [each["said"] for each in bins] == sorted(each["said"] for each in bins)
    first = bins[0]
    assert first["patients"] < first["n"]
    low, high = wilson(first["seen"] * first["patients"], first["patients"])
    assert (first["low"], first["high"]) == (max(low, 0), high)
    assert low > 0 or first["seen"] < 0.2


def test_no_maximum_no_number():
    found = calibration([0, 0, 1, 1] * 5, [0.1, 0.2, 0.8, 0.9] * 5, range(20), samples=DRAWS)
    assert found["slope"]["value"] is None
    assert "separates" in found["slope"]["reason"]
    assert found["brier"]["value"] == pytest.approx((0.01 + 0.04 + 0.04 + 0.01) / 4)
    one_class = calibration([1, 1, 1], [0.2, 0.6, 0.9], range(3), samples=DRAWS)
    assert one_class["slope"]["reason"] == "all targets are of one class"
    nothing = calibration([None, None], [0.5, 0.5], range(2), samples=DRAWS)
    assert (nothing["brier"]["value"], nothing["bins"]) == (None, [])
    json.dumps([found, one_class, nothing], allow_nan=False)


@pytest.mark.parametrize(("times", "shift"), [(3, 0), (20, 0), (1, 4), (1, -3), (0.1, 2), (-1, 0)])
def test_recalibration_finds_the_maximum_however_far_off(times, shift):
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 1, 2000)
    target = (rng.random(2000) < expit(odds)).astype(float)
    said = np.clip(expit(times * odds + shift), 1e-6, 1 - 1e-6)
    slope, intercept = recalibration(target, said, np.ones((1, 2000)))
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000)
    fit.fit(logit(said)[:, None], target)
    assert slope[0] == pytest.approx(fit.coef_[0, 0], abs=2e-3)
    assert expit(logit(said) + intercept[0]).mean() == pytest.approx(target.mean(), abs=1e-8)
    told = calibration(target[:300], said[:300], range(300), samples=DRAWS)
    assert told["slope"]["low"] < told["slope"]["value"] < told["slope"]["high"]


def test_no_slope_says_why():
    """Separated and constant probabilities have no slope, and have an intercept."""
    target = np.repeat([0.0, 1.0], 10)
    apart = calibration(target, np.linspace(0.1, 0.9, 20), range(20), samples=DRAWS)
    alike = calibration(target, np.full(20, 0.3), range(20), samples=DRAWS)
    assert (apart["slope"]["reason"], alike["slope"]["reason"]) == (SEPARATED, ALIKE)
    assert alike["intercept"]["value"] == pytest.approx(logit(0.5) - logit(0.3))
    assert apart["intercept"]["value"] == pytest.approx(0, abs=1e-8)
    # A class whose scores lie within those of the other overlaps with it.
    inside = recalibration(np.array([0.0, 1, 0]), np.array([0.2, 0.5, 0.9]), np.ones((1, 3)))
    assert np.isfinite(inside).all()


def test_bins_of_few_patients_are_counts_alone():
    target, said, keys = drawn(rows=4, sites=10)
    found = calibration(target, said, keys, bins=2, samples=DRAWS)
    for each in found["bins"]:
        assert (each["said"], each["seen"], each["low"]) == (None, None, None)
        assert each["n"] > each["patients"] > 0
        assert "patients" in each["reason"]
    nothing = calibration([None], [0.5], ["a"], samples=DRAWS)
    assert nothing["calibration_error_reason"] == "no targets"


def test_recalibration_of_weights_is_that_of_repeated_cases():
    rng = np.random.default_rng(5)
    said = rng.uniform(0.05, 0.95, 40)
    target = (rng.random(40) < said).astype(float)
    times = rng.integers(0, 4, 40)
    weighted = recalibration(target, said, times[None, :].astype(float))
    repeated = recalibration(
        np.repeat(target, times), np.repeat(said, times), np.ones((1, times.sum()))
    )
    assert np.allclose(weighted, repeated)


def test_a_model_beside_itself_and_beside_a_worse_one():
    target, said, keys = drawn(rows=150, sites=3)
    noise = np.random.default_rng(1).normal(0, 2.0, said.shape)
    worse = expit(logit(said) + noise)
    cuts = {"x": 0.5}, {"x": 0.5}
    same = compare_models({"x": target}, {"x": said}, {"x": said}, keys, cuts, samples=DRAWS)["x"]
    assert same["p_delong"] == 1.0
    assert {each["value"] for each in same["difference"].values()} == {0.0}
    found = compare_models({"x": target}, {"x": said}, {"x": worse}, keys, cuts, samples=DRAWS)["x"]
    gain = roc_auc_score(target.ravel(), said.ravel()) - roc_auc_score(
        target.ravel(), worse.ravel()
    )
    assert found["difference"]["auroc"]["value"] == pytest.approx(gain)
    assert found["difference"]["auroc"]["low"] > 0
    assert found["p_delong"] < 0.01
    assert found["difference"]["brier"]["high"] < 0


def test_cases_that_one_model_did_not_evaluate_are_counted_and_left_out():
    target = [[1, 0], [0, 1], [1, 0]]
    first = [[0.9, 0.2], [0.1, None], [0.8, 0.3]]
    second = [[0.7, 0.4], [None, None], [0.6, 0.5]]
    found = compare_models(
        {"x": target}, {"x": first}, {"x": second}, list("abc"), ({}, {}), samples=DRAWS
    )["x"]
    assert (found["n"], found["one_only"], found["patients"]) == (4, 1, 2)
    assert found["difference"]["sensitivity"]["reason"] == "no operating point"


def test_delong_for_patients_with_several_cases():
    """With one case each it is DeLong's; with copies of cases it does not gain by the copies."""
    rng = np.random.default_rng(7)
    target = rng.random(80) < 0.4
    scores = [rng.normal(size=80) + target, rng.normal(size=80) + 0.4 * target]
    single = delong(target, *scores)
    assert delong(target, *scores, np.arange(80)) == pytest.approx(single)
    tripled = [np.repeat(each, 3) for each in (target, *scores)]
    assert delong(*tripled) < single / 2
    assert delong(*tripled, np.repeat(np.arange(80), 3)) == pytest.approx(single, rel=1e-6)
    assert np.isnan(delong(target, *scores, np.zeros(80, dtype=int)))


def test_delong_for_patients_holds_its_rate_where_the_plain_one_does_not():
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 5)
    found = []
    for _ in range(150):
        own = np.repeat(rng.normal(size=(40, 3)), 5, axis=0)
        target = own[:, 0] + 0.3 * rng.normal(size=200) > 0
        scores = [own[:, 0] + 1.5 * own[:, 1], own[:, 0] + 1.5 * own[:, 2]]
        scores = [each + 0.3 * rng.normal(size=200) for each in scores]
        found.append((delong(target, *scores), delong(target, *scores, patients)))
    plain, by_patient = (np.array(found) < 0.05).mean(axis=0)
    assert plain > 0.2
    assert by_patient < 0.12


def test_two_perfect_models_are_not_shown_to_be_equal_or_different():
    """Differences that are alike in every draw have neither interval nor p value, and say why."""
    target = [1] * 5 + [0] * 20
    right, other = np.linspace(0.9, 0.1, 25), np.linspace(0.8, 0.2, 25)
    wrong = 1 - right
    cuts = ({"x": 0.5}, {"x": 0.5})
    for second, gain in ((other, 0.0), (wrong, 1.0)):
        found = compare_models(
            {"x": target}, {"x": right}, {"x": second}, range(25), cuts, samples=DRAWS
        )["x"]
        assert found["difference"]["auroc"]["value"] == gain
        assert found["difference"]["auroc"]["low"] is None
        assert "every draw is the same" in found["difference"]["auroc"]["reason"]
        assert found["p_delong"] == (1.0 if gain == 0 else None)
    assert found["p_note"] == "the areas differ by the same for every patient"


def test_few_patients_make_a_note_of_p():
    rng = np.random.default_rng(1)
    target = np.repeat([1.0, 0.0], 5)
    scores = [np.clip(0.2 * target + rng.uniform(0, 0.8, 10), 0, 1) for _ in range(2)]
    said = {"x": scores[0]}, {"x": scores[1]}
    found = compare_models({"x": target}, *said, range(10), ({}, {}), samples=DRAWS)["x"]
    assert 0 < found["p_delong"] <= 1
    assert "10 patients, fewer than 20" in found["p_note"]
    one = compare_models({"x": target}, *said, [0] * 5 + list(range(5)), ({}, {}), samples=DRAWS)
    assert one["x"]["p_delong"] is None
    assert "fewer than two patients" in one["x"]["p_note"]


def test_subgroups_say_where_they_are_too_small():
    target, said, keys = drawn(rows=80, sites=1)
    sex = ["F"] * 50 + ["M"] * 12 + ["O"] * 18
    rows = by_subgroup({"x": target}, {"x": said}, keys, {"x": 0.4}, {"sex": sex}, samples=DRAWS)
    women, men, others = rows
    assert [each["group"] for each in rows] == ["F", "M", "O"]
    assert sum(each["n"] for each in rows) == 80
    assert women["auroc"]["value"] == pytest.approx(
        roc_auc_score(target[:50].ravel(), said[:50].ravel())
    )
    assert women["auroc"]["low"] < women["auroc"]["value"] < women["auroc"]["high"]
    assert women["brier"] == pytest.approx(brier_score_loss(target[:50, 0], said[:50, 0]))
    assert women["note"] == ""
    with_it = int(target[50:62].sum())
    few = [f"{c} {w}" for c, w in ((with_it, "with"), (12 - with_it, "without")) if c < 10]
    assert men["note"] == f"too few patients: {', '.join(few)} the finding"
    assert others["n"] == 18
    called = said[:50] >= 0.4
    assert women["sensitivity"]["value"] == pytest.approx(called[target[:50] > 0].mean())


def test_groups_of_few_patients_leave_no_figure_that_is_theirs():
    """Two patients: neither their row nor the others' tells what they had."""
    target, said, keys = drawn(rows=60, sites=2)
    sex = ["F"] * 38 + ["M"] * 20 + ["unknown"] * 2
    rows = by_subgroup({"x": target}, {"x": said}, keys, {"x": 0.4}, {"sex": sex}, samples=DRAWS)
    women, men, unknown = rows
    assert (women["patients"], women["note"]) == (38, "")
    assert unknown["note"] == HIDDEN
    assert men["note"] == BESIDE  # all less the women and the men would be the two
    for each in (men, unknown):
        assert set(each) == set(women)
        told = [value for name, value in each.items() if name not in _NAMED]
        assert all(value is None or value["value"] is None for value in told)
        assert each["brier_reason"] == each["auroc"]["reason"] == each["note"]
    assert tellable(rows) == rows
    # Sites are no patients: forty of four patients are few.
    few = by_subgroup(
        {"x": target.reshape(12, 10)}, {"x": said.reshape(12, 10)}, keys[:12], {"x": 0.4},
        {"sex": ["F"] * 8 + ["M"] * 4}, samples=DRAWS,
    )  # fmt: skip
    assert [each["note"] for each in few] == [HIDDEN, HIDDEN]


_NAMED = {"attribute", "group", "observation", "note", "brier_reason"}


def test_models_of_different_shapes_are_refused():
    with pytest.raises(Permanent, match="different shapes"):
        compare_models({"x": [1, 0]}, {"x": [0.1, 0.2]}, {"x": [0.1]}, list("ab"), ({}, {}))
