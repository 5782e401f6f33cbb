"""The simulated notes, the rates that they are worded for, and what is compared."""

import json
from collections import Counter

import numpy as np
import pytest

from plugin.simulation.truth import LEVELS
from tests.acceptance.rivals import Trial
from tests.parity import classifiers
from tests.parity.calibrating import calibration_notes
from tests.parity.classifiers import AUTOMATIC, HUMAN, Course, Crops, regression_on, trial_of
from tests.parity.figures import achieved, verdict_of
from tests.parity.gradings import TARGETS, GradedPatient
from tests.parity.labeling import Reading
from tests.parity.matching import match, solve
from tests.parity.notes import FALSE_FRIEND, NAMED, PLAIN, Shares, wording, write_note
from tests.parity.rates import Rate, wanted_rates
from training.learning.example import Example


def shares(findings=0.0, normal=0.0, slips=0.2):
    return Shares(*(dict.fromkeys(TARGETS, each) for each in (findings, normal, slips)))


def patients(count=40, seed=3):
    rng = np.random.default_rng(seed)
    places = [(target, level) for target in TARGETS for level in LEVELS]
    return [
        GradedPatient(str(n), "F", {place: bool(rng.random() < 0.4) for place in places}, ())
        for n in range(count)
    ]


def wanted(sensitivity, specificity):
    return dict.fromkeys(TARGETS, Rate(sensitivity, specificity, "stenosis", 98))


def test_rules_read_plain_notes_as_they_are_graded(tmp_path):
    some = patients()
    notes = {each.name: write_note(each.name, each.truth, shares()) for each in some}
    said = Reading("rules", 1, tmp_path)({name: note.text for name, note in notes.items()})
    found = achieved(some, notes, said)
    for target in TARGETS:
        assert found[target].sensitivity > 0.95  # some notes have misspellings
        assert found[target].specificity > 0.97
        assert found[target].missing == 0
    assert len({note.text for note in notes.values()}) == len(some)


def test_wording_is_matched_to_the_wanted_rates(tmp_path):
    some = patients()
    reading = Reading("rules", 1, tmp_path)
    rates = wanted(0.80, 0.95)
    found = match(some, rates, reading, pilot=80, rounds=2, seed=1)
    others = patients(120, seed=4)
    notes = {each.name: write_note(f"x {each.name}", each.truth, found.shares) for each in others}
    said = reading({name: note.text for name, note in notes.items()})
    for each in achieved(others, notes, said).values():
        assert each.sensitivity == pytest.approx(0.80, abs=0.07)
        assert each.specificity == pytest.approx(0.95, abs=0.04)
    assert not found.limits


def test_what_no_wording_can_reach_is_said():
    counts = Counter({(t, True, PLAIN, said): 50 for t in TARGETS for said in (True, False)})
    counts.update({(t, True, "omitted", False): 50 for t in TARGETS})
    counts.update({(t, False, PLAIN, False): 50 for t in TARGETS})
    counts.update({(t, False, FALSE_FRIEND, True): 50 for t in TARGETS})
    found, limits = solve(counts, wanted(0.9, 0.9))
    assert found.findings["disc_bulging"] == 0
    assert found.normal["disc_bulging"] == pytest.approx(0.1)
    assert limits == [f"{t}: more findings than wanted are missed" for t in TARGETS]


def test_a_slip_names_a_normal_disc_beside_it_and_silences_its_own():
    truth = {(t, level): level == "L3-L4" for t in TARGETS for level in LEVELS}
    note = write_note("slip", truth, shares(findings=1.0, slips=1.0))
    for target in TARGETS:
        named = [level for level in LEVELS if note.manners[target, level] == NAMED]
        assert note.manners[target, "L3-L4"] == "wrong_level"
        assert named in (["L2-L3"], ["L4-L5"])


def test_more_misleading_words_leave_other_places_as_they_were():
    (patient,) = patients(1)
    few = write_note("same", patient.truth, shares(0.1, 0.1, 0.0)).manners
    many = write_note("same", patient.truth, shares(0.6, 0.6, 0.0)).manners
    assert all(many[place] == manner for place, manner in few.items() if manner != PLAIN)
    assert sum(each != PLAIN for each in many.values()) > sum(e != PLAIN for e in few.values())


def test_no_words_stand_under_two_manners():
    for target in TARGETS:
        words = [each for some in wording()[target].values() for each in some]
        assert len(words) == len(set(words))


def test_calibration_notes_say_in_the_whole_what_is_strongest():
    for note in calibration_notes(patients(), 20, 0):
        for target in TARGETS:
            at_levels = {str(note.states[target, level]) for level in LEVELS}
            order = ("present", "uncertain", "absent", "not_mentioned")
            assert str(note.states[target, "whole"]) == next(s for s in order if s in at_levels)


def test_targets_take_the_rates_of_the_nearest_condition_with_enough_levels(tmp_path):
    assert {each.condition for each in wanted_rates("token_scores", 20).values()} == {"stenosis"}
    assert wanted_rates("token_scores", 1)["disc_bulging"].condition == "herniation"
    row = {"sensitivity": {"value": 0.7}, "specificity": {"value": 0.8}, "n_present": 30}
    labeler = {"labeler": "token_scores smollm2", "sites": {"stenosis": row}}
    path = tmp_path / "notes.json"
    path.write_text(json.dumps({"labelers": [labeler]}), encoding="utf-8")
    found = wanted_rates("token_scores", 20, path)["disc_degeneration"]
    assert (found.sensitivity, found.specificity, found.positives) == (0.7, 0.8, 30)


def crops(automatic_flips):
    rng = np.random.default_rng(0)
    truth = (rng.random((60, len(TARGETS))) < 0.5).astype(float)
    examples = []
    for row, target in enumerate(truth):
        picture = rng.normal(0.5, 0.1, (1, 32, 64)).astype(np.float32)
        picture[0, :16] += target[0]
        presence = dict(zip(TARGETS, target, strict=True))
        key = str(row // 5)
        examples.append(Example(f"{row}", key, "train", picture, presence, site="1"))
    automatic = np.where(rng.random(truth.shape) < automatic_flips, 1 - truth, truth)
    return Crops("given", examples, {HUMAN: truth, AUTOMATIC: automatic})


def test_the_same_labels_give_the_same_classifier_and_scores_are_kept(tmp_path, monkeypatch):
    course = Course(seeds=1, folds=2, epochs=1)
    trial = trial_of(crops(0.0), course, tmp_path)
    assert not np.isnan(np.stack(list(trial.scores.values()))).any()
    assert np.array_equal(trial.scores[HUMAN], trial.scores[AUTOMATIC])
    for source in (HUMAN, AUTOMATIC):
        assert trial.auroc(regression_on(source), TARGETS[0]).value > 0.9
    monkeypatch.setattr(classifiers, "learn", None)  # nothing is learned again
    again = trial_of(crops(0.0), course, tmp_path)
    assert np.array_equal(again.scores[HUMAN], trial.scores[HUMAN])


def test_other_labels_are_learned_anew(tmp_path):
    course = Course(seeds=1, folds=2, epochs=1)
    trial_of(crops(0.0), course, tmp_path)
    trial = trial_of(crops(0.5), course, tmp_path)
    assert not np.array_equal(trial.scores[HUMAN], trial.scores[AUTOMATIC])


@pytest.mark.parametrize(("noise", "kept"), [(0.0, True), (3.0, False)])
def test_the_verdict_follows_the_paired_difference(noise, kept):
    rng = np.random.default_rng(1)
    target = (rng.random((200, len(TARGETS))) < 0.4).astype(float)
    good = target + rng.normal(0, 0.6, (2, *target.shape))
    scores = {AUTOMATIC: good + noise * rng.normal(size=good.shape), HUMAN: good}
    keys = [str(row // 5) for row in range(200)]
    assert verdict_of(Trial(TARGETS, target, keys, scores, 200))["kept"] is kept
