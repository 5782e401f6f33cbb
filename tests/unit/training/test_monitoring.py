"""Agreement, calibration and drift of numbers that are known beforehand."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from training.monitoring.agreement import agreement, calibration, running
from training.monitoring.cases import NOT_STATED, Watched, groups
from training.monitoring.drift import drift, ks_distance, psi
from training.monitoring.watching import watch
from training.settings import MonitorSettings

START = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
SETTINGS = MonitorSettings(reference_studies=60, newest_studies=30)
SITES = ("L3-L4", "L4-L5", "L5-S1")


def row(study, probability, label=None, *, scanner="A", site="L4-L5", stage="silent", ours=False):
    predicted = START + dt.timedelta(hours=study)
    return Watched(
        study=f"1.2.{study}",
        patient=f"p{study}",
        observation="stenosis",
        site=site,
        probability=probability,
        threshold=0.5,
        stage=stage,
        scanner=scanner,
        house="NORTH",
        predicted_at=predicted,
        label=label,
        report_at=None if label is None else predicted + dt.timedelta(minutes=30),
        ours_before=ours,
    )


def stream(count, first=0, *, shift=0.0, scanner="A", seed=1, failing=0.0):
    """Studies of three sites whose probabilities hang together within a study."""
    rng = np.random.default_rng([seed, first])
    rows = []
    for study in range(first, first + count):
        middle = rng.normal(0.35 + shift, 0.12)
        for site in SITES:
            value = float(np.clip(rng.normal(middle, 0.05), 0, 1))
            given = None if rng.random() < failing else value
            rows.append(row(study, given, scanner=scanner, site=site))
    return rows


def test_agreement_counts_what_was_compared():
    rows = [
        *(row(number, 0.9, 1.0) for number in range(6)),  # hits
        *(row(number, 0.2, 1.0) for number in range(6, 8)),  # missed
        *(row(number, 0.8, 0.0) for number in range(8, 12)),  # false alarms
        *(row(number, 0.1, 0.0) for number in range(12, 20)),
        row(20, None, 1.0),  # not evaluated
        row(21, 0.9),  # no label
    ]
    found = agreement(rows)
    assert (found["n"], found["studies"], found["positives"]) == (20, 20, 8)
    assert found["sensitivity"]["value"] == pytest.approx(6 / 8)
    assert found["specificity"]["value"] == pytest.approx(8 / 12)
    assert found["ppv"]["value"] == pytest.approx(6 / 10)
    assert found["ppv"]["low"] < 0.6 < found["ppv"]["high"]


def test_few_patients_who_all_agree_have_an_interval_all_the_same():
    rows = [
        row(number, 0.9 * (number < 5), float(number < 5), site=site)
        for number in range(12)
        for site in SITES
    ]
    found = agreement(rows)
    # Wilson's of 5 of 5, though there are 15 sites: those of one patient are not independent.
    assert found["sensitivity"] == {"value": 1.0, "low": pytest.approx(0.566, abs=1e-3), "high": 1}
    assert found["specificity"]["low"] == pytest.approx(0.646, abs=1e-3)


def test_what_does_not_exist_is_none():
    found = agreement([row(1, 0.9, 0.0), row(2, 0.8)])
    assert found["sensitivity"] == {"value": None, "low": None, "high": None}
    assert found["specificity"] == {"value": 0.0, "low": None, "high": None}
    nothing = agreement([])
    assert (nothing["n"], nothing["ppv"]["value"], nothing["calibration"]["brier"]) == (
        0,
        None,
        None,
    )


def test_calibration_holds_probabilities_against_shares():
    rows = [row(n, 0.3, float(n < 3)) for n in range(10)] + [row(10, 1.0, 1.0)]
    found = calibration(rows)
    assert found["brier"] == pytest.approx((3 * 0.49 + 7 * 0.09) / 11)
    assert found["difference"] == pytest.approx((10 * 0.3 + 1) / 11 - 4 / 11)
    assert [each["n"] for each in found["bins"]] == [10, 1]
    assert found["bins"][0]["share_present"] == pytest.approx(0.3)


def test_running_agreement_follows_the_reports():
    rows = [row(n, 0.9, 1.0) for n in range(10)] + [row(n, 0.1, 1.0) for n in range(10, 20)]
    points = running(rows, 10)
    assert [each["study"] for each in points] == list(range(10, 21))
    assert (points[0]["sensitivity"], points[-1]["sensitivity"]) == (1.0, 0.0)
    assert points[5]["sensitivity"] == pytest.approx(0.5)
    assert points[0]["specificity"] is None
    assert running(rows[:9], 10) == []


def test_distances_of_known_samples():
    values = np.linspace(0, 1, 100)
    assert psi(values, values) == pytest.approx(0.0)
    assert ks_distance(values, values) == 0.0
    assert ks_distance(np.zeros(5), np.ones(7)) == 1.0
    assert ks_distance(np.array([0.0, 1.0]), np.array([0.0, 0.0])) == pytest.approx(0.5)
    assert psi(values, np.full(50, 0.99)) > 1
    assert psi(values, np.empty(0)) is None


def test_no_alarm_where_nothing_changed_and_one_where_a_scanner_did():
    quiet = drift(stream(120), SETTINGS)
    assert (quiet["state"], quiet["alarms"], quiet["new_scanners"]) == ("watched", [], [])
    rows = [*stream(90), *stream(30, 90, shift=0.25, scanner="B")]
    found = drift(rows, SETTINGS)
    assert found["new_scanners"] == ["B"]
    assert any("scanner B" in each for each in found["alarms"])
    assert not any("scanner A" in each for each in found["alarms"])
    [whole] = [each for each in found["changes"] if each["split"] == "all"]
    assert whole["alarm"]
    assert whole["mean"] > whole["mean_before"] + 0.15
    assert whole["psi"] > SETTINGS.minimum_distance


def test_sites_that_are_no_longer_evaluated_are_an_alarm_of_their_own():
    found = drift([*stream(90), *stream(30, 90, failing=0.6)], SETTINGS)
    assert any("not evaluated 0% to" in each for each in found["alarms"])


def test_a_few_studies_and_one_odd_patient_make_no_alarm():
    few = drift(stream(89), SETTINGS)
    assert (few["state"], few["alarms"]) == ("89 studies, 90 are needed", [])
    odd = [row(89, 0.99, site=site) for site in SITES]
    assert drift([*stream(89), *odd], SETTINGS)["alarms"] == []


def test_a_scanner_that_is_not_stated_is_no_new_one():
    rows = [*stream(90), *stream(30, 90, scanner=NOT_STATED)]
    assert drift(rows, SETTINGS)["new_scanners"] == []


def test_many_groups_leave_an_alarm_within_reach():
    rows = [*stream(90)]
    for number in range(1, 4):
        rows += stream(30, 90 * number, shift=0.3, scanner=f"S{number}")
    names = [f"finding {number}" for number in range(15)]
    many = [replace(each, observation=name) for name in names for each in rows]
    few = [each for each in many if each.observation == names[0]]
    alone = {each["value"] for each in drift(few, SETTINGS)["changes"] if each["alarm"]}
    found = [each for each in drift(many, SETTINGS)["changes"] if each["observation"] == names[0]]
    assert {each["value"] for each in found if each["alarm"]} == alone
    assert all(each["p"] is None or 0 < each["p"] <= 1 for each in found)


def test_abstaining_and_not_evaluated_rows_are_shares_of_all():
    rows = [row(1, 0.9, 1.0), row(2, None), replace(row(3, None), abstained=True), row(4, 0.1)]
    found = agreement(rows)
    assert (found["abstained"], found["not_evaluated"]) == (0.25, 0.5)
    assert agreement([])["abstained"] is None


def test_false_alarms_are_rare():
    alarms = sum(bool(drift(stream(90, seed=seed), SETTINGS)["alarms"]) for seed in range(40))
    assert alarms <= 2


def test_figures_are_split_by_scanner_site_stage_and_our_own_reports():
    rows = [row(n, 0.9, 1.0, ours=True, stage="live") for n in range(5)]
    rows += [row(n, 0.2, 1.0, scanner="B") for n in range(5, 10)]
    splits = set(groups(rows))
    assert {("all", ""), ("scanner", "A"), ("scanner", "B"), ("site", "NORTH")} <= splits
    found = watch(rows, SETTINGS)
    assert (found["studies"], found["compared"]) == (10, 10)
    by = {
        (each["split"], each["value"]): each["sensitivity"]["value"] for each in found["agreement"]
    }
    assert by["all", ""] == pytest.approx(0.5)
    assert (by["scanner", "A"], by["scanner", "B"]) == (1.0, 0.0)
    assert (by["structured report before", "yes"], by["structured report before", "no"]) == (1, 0)
    assert (by["stage", "live"], by["stage", "silent"]) == (1.0, 0.0)
    assert "accuracy" in found["called"]
