"""The uncertain policy "soft": probabilities where they were fitted, and training on them."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sqlmodel import select

from labeling.models import Calibration, Label
from labeling.thresholds import Threshold, Thresholds
from labeling.vocabulary import WHOLE, State
from tests.cohort_builders import NOW, SCHEMA, add_reference, blank_session, clock
from tests.unit.training.test_cohort import (
    HERE,
    SALT,
    SETTINGS,
    THERE,
    labelled,
    patient,
    query,
)
from tests.unit.training.test_cohort import run as run  # a fixture
from training.cohort import freeze, manifest, members_of
from training.errors import Permanent
from training.samples import DiscSample, hard
from training.targets import target, targets_of
from training.trainer import _check, masked_loss

FITTED = Threshold(slope=1.0, intercept=0.0, fitted_on=40, positives=20)


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def calibrate(session, run, thresholds):
    """Say that a run's labels were decided by these thresholds."""
    run.calibration_digest = thresholds.digest
    session.add(
        Calibration(
            labeler=run.labeler, schema_digest=run.schema_digest, model_digest=run.model_digest,
            question_digest="", thresholds=thresholds.to_json(), digest=thresholds.digest,
            n_reports=40, reference_digest="r" * 64, fitted_at=NOW,
        )
    )  # fmt: skip
    session.flush()


def uncertain(session, run, uid, fold, probability):
    """Add a study whose report is uncertain at one site and denies at the other."""
    report = labelled(session, run, uid, patient(fold), state="uncertain")
    [label] = session.exec(select(Label).where(Label.report_id == report)).all()
    label.probability = probability
    session.add(
        Label(
            run_id=run.id, report_id=report, observation=THERE[0], site=THERE[1], state="absent",
            probability=0.2, created_at=NOW,
        )
    )  # fmt: skip
    session.flush()


def test_an_uncertain_label_becomes_its_probability_and_a_certain_one_stays(session, run):
    calibrate(session, run, Thresholds({"narrowing": FITTED}, {"narrowing": FITTED}))
    uncertain(session, run, "1.1", "train", 0.55)
    uncertain(session, run, "1.2", "validation", None)
    cohort = freeze(session, query(run, uncertain_policy="soft"), SETTINGS, clock, SALT)
    first, second = members_of(session, cohort)
    assert first.targets["narrowing"] == {"L4-L5": 0.55, "L5-S1": 0.0}
    assert second.targets["narrowing"] == {"L4-L5": None, "L5-S1": 0.0}
    assert cohort.query["uncertain_policy"] == "soft"
    assert cohort.query["masked_without_probability"] == ["fracture"]
    record = json.loads(json.dumps(manifest(session, cohort)))
    assert record["members"][0]["targets"]["narrowing"]["L4-L5"] == 0.55


@pytest.mark.parametrize("thresholds", [None, Threshold(fitted_on=40)])
def test_without_any_fitted_probability_soft_is_refused(session, run, thresholds):
    uncertain(session, run, "1.1", "train", None)
    if thresholds:  # a cut alone gives no probability
        calibrate(session, run, Thresholds({"narrowing": thresholds}))
    with pytest.raises(Permanent, match="carry no calibrated probabilities"):
        freeze(session, query(run, uncertain_policy="soft"), SETTINGS, clock, SALT)


def test_a_schema_s_own_policy_may_be_soft_and_never_decides_a_test(session, run):
    schema = dataclasses.replace(
        SCHEMA,
        observations=tuple(
            dataclasses.replace(each, uncertain_policy="inclusive") for each in SCHEMA.observations
        ),
    )
    uncertain(session, run, "1.1", "train", None)
    uncertain(session, run, "1.2", "validation", None)
    add_reference(session, "1.2", {HERE: "uncertain", THERE: "present"})
    asked = dataclasses.replace(query(run), schema=schema)
    cohort = freeze(session, asked, SETTINGS, clock, SALT)
    trained, tested = members_of(session, cohort)
    assert trained.targets["narrowing"]["L4-L5"] == 1.0
    assert (tested.fold, tested.targets["narrowing"]["L4-L5"]) == ("test", None)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.UNCERTAIN, 0.4),
        (State.PRESENT, 1.0),
        (State.ABSENT, 0.0),
        (State.NOT_MENTIONED, None),
        (State.STABLE_UNKNOWN, None),
        (State.FAILED, None),
        (None, None),
    ],
)
def test_soft_speaks_of_uncertain_labels_alone(state, expected):
    assert target(state, "soft", 0.4) == expected


def test_a_soft_whole_implies_nothing_of_its_sites():
    states = {("narrowing", WHOLE): State.UNCERTAIN}
    found = targets_of(states, SCHEMA, "soft", {("narrowing", WHOLE): 0.3})
    assert found["narrowing"] == {"L4-L5": None, "L5-S1": None}


class _Family:
    input_shape = (1, 1, 1)


def samples(values):
    crop = np.zeros((1, 1, 1), np.float32)
    made = [
        DiscSample(str(number), str(number), "L4-L5", crop, {"a": value}, "train")
        for number, value in enumerate(values)
    ]
    return [*made, dataclasses.replace(made[0], patient_key="v", fold="validation")]


def test_the_trainer_takes_soft_targets_beside_hard_ones_and_nothing_else():
    _check(samples([0.0, 1.0, 0.6, float("nan")]), ["a"], _Family)
    with pytest.raises(Permanent, match="lacks positive or negative"):
        _check(samples([0.0, 0.6]), ["a"], _Family)
    for wrong in (1.5, -0.1):
        with pytest.raises(Permanent, match="no number from 0 to 1"):
            _check(samples([0.0, 1.0, wrong]), ["a"], _Family)


def test_the_loss_of_a_soft_target_is_least_at_its_probability():
    places = torch.linspace(-3, 3, 601)
    losses = [
        float(masked_loss(each.reshape(1, 1), torch.tensor([[0.7]]), torch.ones(1)))
        for each in places
    ]
    best = torch.sigmoid(places[int(np.argmin(losses))])
    assert float(best) == pytest.approx(0.7, abs=0.01)


def test_figures_are_made_of_hard_targets_alone():
    assert np.array_equal(hard(np.array([0, 0.5, 1, np.nan])), [0, np.nan, 1, np.nan], True)
