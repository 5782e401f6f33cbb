"""Figures with known values, degenerate cases, and the bootstrap by patient."""

import json
import time

import numpy as np
import pytest

from labeling.evaluation.resampling import Bootstrap
from labeling.evaluation.sample_size import wilson
from training.errors import Permanent
from training.metrics import (
    evaluate,
    operating_point,
    operating_points,
    reliability_bins,
    roc_points,
)

NAN = float("nan")


def one(target, score, patients=None, threshold=0.5, **options):
    keys = patients or [str(row) for row in range(len(target))]
    options = {"samples": 200, **options}
    found = evaluate({"x": target}, {"x": score}, keys, {"x": threshold}, **options)
    return found["observations"]["x"]


def draw(rows, sites=5, seed=0):
    rng = np.random.default_rng(seed)
    target = (rng.random((rows, sites)) < 0.3).astype(float)
    return target, np.clip(0.3 * target + 0.7 * rng.random((rows, sites)), 0, 1)


def test_a_small_example_by_hand():
    found = one([1, 0, 1, 0], [0.9, 0.8, 0.6, 0.1])
    assert found["auroc"]["value"] == pytest.approx(3 / 4)
    assert found["average_precision"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["sensitivity"]["value"], found["specificity"]["value"]) == (1.0, 0.5)
    assert found["macro_f1"]["value"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert (found["n"], found["positives"], found["patients"]) == (4, 2, 4)


@pytest.mark.parametrize("empty", [None, NAN])
def test_unknown_targets_are_left_out_and_unevaluated_cases_counted(empty):
    found = one([[1, empty], [0, 1]], [[0.9, 0.1], [0.2, empty]])
    assert (found["n"], found["positives"], found["not_evaluated"]) == (2, 1, 1)


def test_one_class_gives_reasons_and_no_numbers():
    found = one([1, 1, 1], [0.2, 0.6, 0.9])
    for name in ("auroc", "average_precision", "specificity", "balanced_accuracy", "macro_f1"):
        assert found[name]["value"] is None
        assert found[name]["reason"] == "all targets are of one class"
    assert found["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["roc"] is None


def test_no_targets_at_all():
    found = one([None, None], [0.5, 0.5])
    assert found["prevalence"] is None
    assert {found[name]["reason"] for name in ("auroc", "sensitivity")} == {"no targets"}


def test_no_threshold_means_no_decision():
    found = one([1, 0], [0.9, 0.1], threshold=None)
    assert found["auroc"]["value"] == 1.0
    assert found["sensitivity"]["value"] is None
    assert found["sensitivity"]["reason"] == "no operating point"


def test_one_patient_has_no_interval():
    found = one([1, 0], [0.9, 0.1], patients=["same", "same"])
    assert (found["auroc"]["value"], found["auroc"]["low"]) == (1.0, None)
    assert found["auroc"]["reason"] == "one patient gives no interval"


def test_too_few_positive_patients_have_no_interval():
    found = one([1] + [0] * 19, np.linspace(1, 0, 20))
    assert (found["auroc"]["value"], found["auroc"]["low"]) == (1.0, None)
    assert "too few patients" in found["auroc"]["reason"]


def test_no_interval_collapses_where_all_is_right():
    """Five patients who are all found show less than all; Wilson's interval says how much less."""
    target = [1] * 5 + [0] * 20
    found = one(target, np.linspace(0.99, 0.01, 25), threshold=0.82)
    lows = [wilson(count, count)[0] for count in (5, 20)]
    assert found["sensitivity"] == {"value": 1.0, "low": lows[0], "high": 1.0, "reason": ""}
    assert found["specificity"]["low"] == lows[1]
    for name in ("balanced_accuracy", "macro_f1"):
        assert (found[name]["low"], found[name]["high"]) == (sum(lows) / 2, 1.0)
    assert found["auroc"]["low"] == lows[0] < 0.6
    assert found["average_precision"]["low"] is None
    assert "every draw is the same" in found["average_precision"]["reason"]
    nothing = one(target, np.linspace(0.01, 0.99, 25), threshold=0.82)
    assert nothing["sensitivity"]["low"] == nothing["auroc"]["low"] == 0.0
    assert nothing["sensitivity"]["high"] == pytest.approx(1 - lows[0])
    # Cases of one patient count as one: twenty sites of five patients are five.
    many = one(
        [[1] * 4] * 5 + [[0] * 4] * 20, np.repeat(np.linspace(0.99, 0.01, 25), 4).reshape(25, 4)
    )
    assert many["auroc"]["low"] == lows[0]


def test_balanced_accuracy_does_not_forget_the_side_that_is_all_right():
    target = np.repeat([1.0, 0.0], [5, 40])
    score = np.where(target > 0, 0.9, np.where(np.arange(45) % 4 == 0, 0.8, 0.1))
    found = one(target, score)
    low = (found["sensitivity"]["low"] + found["specificity"]["low"]) / 2
    assert found["balanced_accuracy"]["low"] == pytest.approx(low)
    assert found["sensitivity"]["low"] < 0.6


def test_intervals_are_wider_by_patient_than_by_case():
    target = np.repeat((np.arange(40) < 20).astype(float), 10)
    noise = np.repeat(np.random.default_rng(3).normal(size=40), 10)
    score = 1 / (1 + np.exp(-(target + noise)))
    by_patient = one(target, score, patients=[str(row // 10) for row in range(400)])["auroc"]
    by_case = one(target, score)["auroc"]
    assert by_patient["value"] == by_case["value"]
    width = {"patient": by_patient["high"] - by_patient["low"]}
    width["case"] = by_case["high"] - by_case["low"]
    assert width["patient"] > 2 * width["case"]


def test_the_interval_covers_the_value_and_repeats_with_its_seed():
    target, score = draw(50)
    first, second = one(target, score, seed=7), one(target, score, seed=7)
    assert first == second
    assert first["auroc"]["low"] < first["auroc"]["value"] < first["auroc"]["high"]
    assert first["auroc"] != one(target, score, seed=8)["auroc"]


def test_every_patient_is_drawn_whole():
    patients = np.array([0, 0, 1, 2, 2, 2])
    rows = np.concatenate(list(Bootstrap(samples=20, seed=1).weights(patients)))
    assert rows.shape == (20, 6)
    assert (rows[:, 0] == rows[:, 1]).all()
    assert (rows[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_a_baseline_stands_beside_with_the_paired_difference():
    target, score = draw(60)
    rivals = {"same": {"x": score}, "prevalence": {"x": np.full(target.shape, 0.3)}}
    found = one(target, score, baselines=rivals)["baselines"]
    assert found["same"]["auroc_difference"]["low"] == 0.0
    assert found["same"]["auroc_difference"]["high"] == 0.0
    assert found["prevalence"]["auroc"]["value"] == 0.5
    assert found["prevalence"]["auroc_difference"]["low"] > 0


def test_a_baseline_is_compared_on_the_cases_that_both_evaluated():
    rival = {"rival": {"x": [0.9, 0.2, None, 0.7]}}
    found = one([1, 0, 1, 0], [0.9, None, 0.6, 0.1], baselines=rival)
    assert found["baselines"]["rival"]["n"] == 2


def test_the_operating_point_lies_between_the_classes():
    chosen = operating_point([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    assert chosen.threshold == pytest.approx(0.4)
    assert chosen.reason == ""


def test_of_equal_operating_points_the_most_sensitive_is_taken():
    assert operating_point([1, 0, 1, 0], [0.8, 0.6, 0.4, 0.2]).threshold == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("target", "score", "reason"),
    [
        ([1, 1], [0.2, 0.3], "all targets are of one class"),
        ([None], [0.2], "no targets"),
        ([1, 0], [0.2, 0.3], "no threshold is better than chance"),
        ([1, 0], [0.5, 0.5], "no threshold is better than chance"),
    ],
)
def test_without_an_operating_point_there_is_a_reason(target, score, reason):
    chosen = operating_points({"x": target}, {"x": score})["x"]
    assert (chosen.threshold, chosen.reason) == (None, reason)


def test_neighbouring_floats_are_still_told_apart():
    lower, higher = 0.5, np.nextafter(0.5, 1)
    chosen = operating_point([0, 1], [lower, higher])
    assert chosen.threshold == higher


def test_the_roc_curve_runs_from_corner_to_corner():
    target, score = draw(200)
    curve = roc_points(target, score, most=50)
    assert (curve["fpr"][0], curve["tpr"][0]) == (0.0, 0.0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1.0, 1.0)
    assert len(curve["fpr"]) == len(curve["tpr"]) <= 50
    assert np.all(np.diff(curve["tpr"]) >= 0)


@pytest.mark.parametrize(
    ("target", "score", "patients"),
    [
        ([1, 0], [0.1], ["a", "b"]),
        ([1, 0], [0.1, 0.2], ["a"]),
        ([1, 0.5], [0.1, 0.2], ["a", "b"]),
        ([1, 0], [0.1, 1.2], ["a", "b"]),
    ],
)
def test_what_does_not_fit_is_refused(target, score, patients):
    with pytest.raises(Permanent):
        one(target, score, patients=patients)


def test_a_missing_observation_is_refused():
    with pytest.raises(Permanent, match="herniation"):
        evaluate({"herniation": [1]}, {}, ["a"], {})


def test_the_result_is_json_and_macro_counts_what_exists():
    target, score = draw(30)
    found = evaluate(
        {"x": target, "y": np.ones_like(target)},
        {"x": score, "y": score},
        [str(row) for row in range(30)],
        {"x": 0.5},
    )
    json.dumps(found, allow_nan=False)
    assert found["macro"]["auroc"]["observations"] == 1
    assert found["macro"]["auroc"]["value"] == found["observations"]["x"]["auroc"]["value"]


def test_a_thousand_draws_of_four_observations_take_less_than_five_seconds():
    target, score = draw(100)
    names = ["a", "b", "c", "d"]
    start = time.perf_counter()
    evaluate(
        dict.fromkeys(names, target),
        dict.fromkeys(names, score),
        [str(row) for row in range(100)],
        dict.fromkeys(names, 0.5),
    )
    assert time.perf_counter() - start < 5


def test_reliability_by_hand_and_no_score_of_single_patients():
    target = [0, 0, 1, 0, 1, 1, 1, None]
    bins = reliability_bins(target, [0.1, 0.12, 0.14, 0.16, 0.18, 1.0, 0.95, 0.1])
    assert [(each["low"], each["high"]) for each in bins][:2] == [(0.0, 0.1), (0.1, 0.2)]
    assert bins[1] == {
        "low": 0.1, "high": 0.2, "n": 5, "positives": 2, "mean_probability": pytest.approx(0.14)
    }  # fmt: skip
    # One is in the last bin; two cases tell no mean.
    assert bins[-1] == {
        "low": 0.9, "high": 1.0, "n": 2, "positives": 2, "mean_probability": None
    }  # fmt: skip
    assert sum(each["n"] for each in bins) == 7


def test_the_record_holds_what_pictures_need_and_no_score_of_a_case():
    target, score = draw(30, seed=3)
    keys = [str(row) for row in range(30)]
    found = evaluate(
        {"x": target}, {"x": score}, keys, {"x": 0.5}, samples=100,
        baselines={"linear": {"x": 1 - score}},
    )["observations"]["x"]  # fmt: skip
    assert sum(each["n"] for each in found["reliability"]) == found["n"] == 150
    assert found["baselines"]["linear"]["roc"]["fpr"][-1] == 1.0
    told = json.dumps(found)
    assert not any(str(float(each)) in told for each in score.ravel())
