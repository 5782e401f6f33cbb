"""Rows of predictions, and which studies still need one."""

import pytest

from dicom_node.life_models import SolicitedStudy
from dicom_node.models import Quarantined, Report
from tests.cohort_builders import (
    COMPREHENSIVE_SR,
    NOW,
    add_report,
    add_series,
    add_study,
    add_training_run,
    blank_session,
    clock,
)
from training.errors import Permanent
from training.predictions import (
    SitePrediction,
    predictions_of,
    record_carrier,
    store_predictions,
    studies_to_predict,
)
from training.registry import register
from training.settings import PredictionRule
from training.stages import Stage

RULE = PredictionRule(model="spine")
ROWS = [
    SitePrediction("narrowing", "L4-L5", 0.7),
    SitePrediction("narrowing", "L5-S1", None, "no disc found"),
]


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


@pytest.fixture
def model(session):
    return register(
        session,
        weights_digest="a" * 64,
        name="spine",
        training_run=add_training_run(session),
        operating_points={"narrowing": 0.4},
        uid_source=lambda: "2.25.1",
        decided_by="radloop",
        clock=clock,
    )


def store(session, model, rows=ROWS, digest="d1", uid="1.1"):
    live = dict.fromkeys(("narrowing",), Stage.LIVE)
    points = model.operating_points
    return store_predictions(session, model, uid, digest, rows, points, clock, live)


def waiting(session, model, *, complete=("1.1", "1.2"), rule=RULE, digest="d1"):
    return studies_to_predict(session, rule, model, complete, lambda _session, _uid: digest)


def test_rows_are_stored_once_and_kept(session, model):
    add_study(session, "1.1", "P1")
    first = store(session, model)
    assert [(each.probability, each.threshold, each.reason) for each in first] == [
        (0.7, 0.4, ""),
        (None, 0.4, "no disc found"),
    ]
    again = store(session, model, [SitePrediction("narrowing", "L4-L5", 0.2), *ROWS])
    assert again == first
    assert [each.probability for each in predictions_of(session, "1.1")] == [0.7, None]


def test_an_observation_of_which_nobody_said_that_it_is_live_stays_silent(session, model):
    add_study(session, "1.1", "P1")
    rows = [*ROWS, SitePrediction("fracture", "", 0.9)]
    stored = store(session, model, rows)
    assert [each.stage for each in stored] == ["live", "live", "silent"]


def test_a_study_that_grew_gets_rows_of_its_own(session, model):
    add_study(session, "1.1", "P1")
    store(session, model)
    store(session, model, digest="d2")
    assert len(predictions_of(session, model=model)) == 4
    assert len(predictions_of(session, study_digest="d2")) == 2


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_impossible_probability_is_refused(probability):
    with pytest.raises(Permanent, match="probability"):
        SitePrediction("narrowing", "L4-L5", probability)


def test_a_site_without_probability_needs_a_reason():
    with pytest.raises(Permanent, match="reason"):
        SitePrediction("narrowing", "L4-L5", None)


def test_one_structured_report_carries_a_prediction(session, model):
    add_study(session, "1.1", "P1")
    stored = store(session, model)
    record_carrier(session, stored, "2.25.7")
    record_carrier(session, stored, "2.25.7")
    assert {each.sop_instance_uid for each in predictions_of(session, "1.1")} == {"2.25.7"}
    with pytest.raises(Permanent, match="another"):
        record_carrier(session, stored, "2.25.8")


def test_a_complete_study_that_fits_waits_until_it_is_predicted(session, model):
    add_study(session, "1.1", "P1")
    add_study(session, "1.2", "P2")
    add_study(session, "1.3", "P3")
    assert waiting(session, model) == ["1.1", "1.2"]
    store(session, model)
    assert waiting(session, model) == ["1.2"]
    assert waiting(session, model, digest="d2") == ["1.1", "1.2"]


@pytest.mark.parametrize(
    "rule",
    [{"modality": "CT"}, {"body_part": "CSPINE"}, {"series_description": "T1"}],
)
def test_a_study_that_does_not_fit_is_left_out(session, model, rule):
    add_study(session, "1.1", "P1")
    assert waiting(session, model, rule=RULE.model_copy(update=rule)) == []


def test_an_empty_body_part_fits_any(session, model):
    add_study(session, "1.1", "P1", body_part="")
    assert waiting(session, model) == []
    anywhere = RULE.model_copy(update={"body_part": ""})
    assert waiting(session, model, rule=anywhere) == ["1.1"]


def test_structured_reports_alone_are_never_predicted(session, model):
    add_study(session, "1.1", "P1", modality="SR", sop_class_uid=COMPREHENSIVE_SR)
    add_study(session, "1.2", "P2", sop_class_uid=COMPREHENSIVE_SR)
    assert waiting(session, model) == []
    assert waiting(session, model, rule=RULE.model_copy(update={"modality": "SR"})) == []


def test_a_structured_report_beside_images_does_not_matter(session, model):
    add_study(session, "1.1", "P1")
    add_series(session, "1.1", modality="SR", sop_class_uid=COMPREHENSIVE_SR)
    assert waiting(session, model) == ["1.1"]


@pytest.mark.parametrize(
    ("status", "state", "waits"),
    [
        ("F", "confirmed", False),
        ("C", "confirmed", False),
        ("P", "confirmed", True),
        ("F", "proposed", True),
        ("F", "refused", True),
    ],
)
def test_a_confirmed_final_report_ends_the_need(session, model, status, state, waits):
    add_study(session, "1.1", "P1")
    add_report(session, "1.1", status=status, state=state)
    assert waiting(session, model) == (["1.1"] if waits else [])
    always = RULE.model_copy(update={"only_without_final_report": False})
    assert waiting(session, model, rule=always) == ["1.1"]


def test_an_object_in_quarantine_freezes_its_study(session, model):
    add_study(session, "1.1", "P1")
    session.add(
        Quarantined(
            kind="dicom", digest="8" * 64, reason="r", study_instance_uid="1.1", received_at=NOW
        )
    )
    assert waiting(session, model) == []


def test_a_study_whose_reports_were_all_imported_is_not_answered(session, model):
    add_study(session, "1.1", "P1")
    add_study(session, "1.2", "P2")
    imported = session.get(Report, add_report(session, "1.1", identity="old"))
    imported.history = True
    session.flush()
    rule = PredictionRule(model="spine", only_without_final_report=False)
    assert waiting(session, model, rule=rule) == ["1.2"]
    add_report(session, "1.1", identity="provisional", status="P")
    assert waiting(session, model, rule=rule) == ["1.1", "1.2"]


def test_a_study_that_we_asked_for_is_not_answered(session, model):
    add_study(session, "1.1", "P1")
    add_study(session, "1.2", "P2")
    session.add(SolicitedStudy(study_instance_uid="1.1", way="retrieved", reason="r", asked_at=NOW))
    assert waiting(session, model) == ["1.2"]
