"""The gate as a pure function: what it lets through, what it refuses, and with which numbers."""

from dataclasses import replace

import pytest

from training.errors import Permanent
from training.gate import Need, Record, Shown, judge, needs_of
from training.settings import GateSettings

GOOD = Shown(auroc=0.9, low=0.8, positives=30, n=60, referenced=40, read=40)
NAN = float("nan")
SETTINGS = GateSettings(minimum_auroc=0.7, minimum_positives=20)


def record(**changes):
    return Record({"narrowing": GOOD, "stenosis": replace(GOOD, **changes)})


def test_what_shows_everything_is_spoken_and_nothing_is_missing():
    found = judge(record(), SETTINGS)
    assert found.spoken == ("narrowing", "stenosis")
    assert (found.refusal, found.lacks, found.accepted) == ("", (), ())


@pytest.mark.parametrize(
    ("changes", "need", "numbers"),
    [
        ({"low": 0.65}, Need.AUROC, ("0.650", "0.700", "0.050")),
        ({"low": None, "reason": "one patient"}, Need.AUROC, ("0.900", "one patient")),
        (
            {"low": None, "auroc": None, "reason": "one class"},
            Need.AUROC,
            ("no AUROC", "one class"),
        ),
        ({"positives": 12}, Need.POSITIVES, ("12", "20", "8 missing")),
        ({"referenced": 0}, Need.REFERENCE, ("sampled", "40 were read")),
        ({"referenced": 35}, Need.REFERENCE, ("35 of the 40", "90%")),
        ({"low": NAN}, Need.AUROC, ("0.9", "nan", "none that can be")),
        ({"auroc": NAN}, Need.AUROC, ("nan", "0.8")),
        ({"auroc": 7.0}, Need.AUROC, ("7.0", "0.8")),
        ({"auroc": 7.0, "low": None}, Need.AUROC, ("7.0", "without interval")),
        ({"auroc": 0.75}, Need.AUROC, ("0.75", "0.8")),
        ({"auroc": None}, Need.AUROC, ("None", "0.8")),
        ({"auroc": float("inf")}, Need.AUROC, ("inf",)),
        ({"positives": 61}, Need.POSITIVES, ("61 positives of 60",)),
        ({"positives": -1}, Need.POSITIVES, ("-1 positives",)),
        ({"positives": NAN}, Need.POSITIVES, ("nan",)),
    ],
)
def test_an_observation_that_lacks_something_is_left_out_with_the_numbers(changes, need, numbers):
    found = judge(record(**changes), SETTINGS)
    assert found.spoken == ("narrowing",)
    assert found.refusal == ""
    [lack] = found.lacks
    assert (lack.need, lack.observation) == (need, "stenosis")
    assert lack.why.startswith("stenosis: ")
    assert all(number in lack.why for number in numbers)
    refused = judge(record(**changes), SETTINGS.model_copy(update={"failing": "refuse"}))
    assert refused.refusal == lack.why


def test_the_bounds_themselves_pass():
    found = judge(record(low=0.7, positives=20), SETTINGS)
    assert found.spoken == ("narrowing", "stenosis")
    perfect = judge(record(low=1.0 + 1e-15, auroc=1.0), SETTINGS)
    assert perfect.spoken == ("narrowing", "stenosis")


def test_labels_of_any_reader_are_enough_where_the_settings_say_so():
    anybody = SETTINGS.model_copy(update={"reference": "any"})
    assert judge(record(referenced=0), anybody).lacks == ()
    assert judge(record(referenced=0, read=0), anybody).spoken == ("narrowing",)


def test_where_nothing_may_be_spoken_nothing_is_promoted():
    found = judge(Record({"a": replace(GOOD, positives=1), "b": replace(GOOD, low=0.1)}), SETTINGS)
    assert found.spoken == ()
    assert "a: 1 positives" in found.refusal
    assert "b: the lower bound of AUROC is 0.100" in found.refusal
    assert judge(Record({}), SETTINGS).refusal == "the model predicts no observation"


@pytest.mark.parametrize(
    ("changes", "settings", "need", "said"),
    [
        ({"notes": {4: "note 4: corrected"}}, {}, Need.IMPACT, "1 impact notes are open (note 4"),
        ({"silent_days": 3.0}, {"silent_days": 14}, Need.SILENT, "3.0 days of silent mode, 14"),
        ({}, {"silent_days": 1}, Need.SILENT, "0.0 days"),
        ({"silent_studies": 40}, {"silent_studies": 50}, Need.SILENT, "40 studies compared"),
        ({"silent_days": NAN}, {"silent_days": 1}, Need.SILENT, "nan days"),
        ({"domain": "it knows no domain"}, {}, Need.DOMAIN, "it knows no domain"),
        ({"drifts": ["x: PSI 0.4"]}, {}, Need.DRIFT, "drift: x: PSI 0.4"),
    ],
)
def test_what_the_whole_model_lacks_refuses_until_a_person_accepts_it(
    changes, settings, need, said
):
    given, asked = replace(record(), **changes), SETTINGS.model_copy(update=settings)
    refused = judge(given, asked)
    assert said in refused.refusal
    accepted = judge(given, asked, {need, Need.AUROC})
    assert accepted.refusal == ""
    assert accepted.accepted == (need,)  # what was not missing was not waived
    assert said in accepted.details()["lacks"][0]["why"]
    assert judge(given, asked, set(Need) - {need}).refusal == refused.refusal


def test_drift_can_be_ignored_by_the_settings():
    ignoring = SETTINGS.model_copy(update={"drift": "ignore"})
    assert judge(replace(record(), drifts=["x"]), ignoring).refusal == ""


def test_what_was_accepted_is_kept_with_the_figures():
    found = judge(record(positives=3), SETTINGS, needs_of(["positives"]))
    assert found.spoken == ("narrowing", "stenosis")
    kept = found.details()
    assert kept["accepted"] == ["positives"]
    assert kept["observations"]["stenosis"]["positives"] == 3
    assert kept["observations"]["stenosis"]["spoken"]


def test_an_unknown_need_is_named():
    with pytest.raises(Permanent, match=r"no 'luck'; what can be accepted: auroc, positives"):
        needs_of(["auroc", "luck"])


def test_the_event_keeps_every_note_and_what_was_not_known():
    notes = {number: f"note {number}: corrected" for number in range(1, 9)}
    given = replace(record(), notes=notes, remarks=["nobody watched"])
    kept = judge(given, SETTINGS, {Need.IMPACT}).details()
    assert kept["open_notes"] == list(range(1, 9))
    assert kept["remarks"] == ["nobody watched"]


def test_numbers_that_are_none_are_kept_as_words():
    kept = judge(record(low=NAN), SETTINGS).details()["observations"]["stenosis"]
    assert (kept["low"], kept["auroc"]) == ("nan", 0.9)
