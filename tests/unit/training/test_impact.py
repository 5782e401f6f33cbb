"""What a change reaches, what is noted of it, and that nothing is noted twice."""

import pytest
from sqlmodel import select

from dicom_node.linking.models import PatientEvent
from dicom_node.models import Link, Quarantined, Report, Transmission
from dicom_node.studies import study_digest
from tests.cohort_builders import (
    NOW,
    SCHEMA,
    add_labels,
    add_report,
    add_run,
    add_series,
    add_study,
    blank_session,
    clock,
)
from training.cohort import CohortQuery, freeze, manifest, members_of
from training.folds import assign_fold, patient_key
from training.impact import Artefact, Scope, note
from training.impact_closing import close_note, open_notes
from training.impact_models import ImpactNote
from training.membership import Ground, standing_of
from training.models import CohortMember, Model, Prediction, TrainingRun
from training.settings import TrainingSettings
from training.standing import Fault, spoiling, stopping

SALT = b"salt"
GROUND = Ground(SALT)
SETTINGS = TrainingSettings()
HERE = ("narrowing", "L4-L5")


def patient(fold, index=0):
    shares = (SETTINGS.validation_share, SETTINGS.test_share)
    found = (
        name
        for name in map(str, range(1000))
        if assign_fold(patient_key("SITE", name, SALT), *shares) == fold
    )
    return [next(found) for _ in range(index + 1)][index]


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


@pytest.fixture
def run(session):
    return add_run(session)


@pytest.fixture
def cohort(session, run):
    """Three studies of three patients, a model that learned from them, and a sent report."""
    for number, fold in enumerate(("train", "train", "validation"), start=1):
        uid = f"1.{number}"
        add_study(session, uid, patient(fold, number % 2))
        add_labels(session, run, add_report(session, uid), {HERE: "present"})
    query = CohortQuery(name="spine", schema=SCHEMA, run_id=run.id, body_parts=("LSPINE",))
    cohort = freeze(session, query, SETTINGS, clock, SALT)
    training = TrainingRun(
        cohort_id=cohort.id, classifier="c", seed=1, code_version="t", started_at=NOW,
        finished_at=NOW,
    )  # fmt: skip
    session.add(training)
    session.flush()
    model = Model(
        weights_digest="1" * 64, name="spine", version=1, training_run_id=training.id,
        schema_name="s", schema_digest="d", device_uid="2.25.1", registered_at=NOW,
    )  # fmt: skip
    session.add(model)
    session.flush()
    session.add(
        Prediction(
            model_id=model.id, study_instance_uid="1.1", observation="o", site="s",
            study_digest=study_digest(session, "1.1"), sop_instance_uid="2.25.9", predicted_at=NOW,
        )
    )  # fmt: skip
    session.add(
        Transmission(
            sop_instance_uid="2.25.9", sop_class_uid="1.2", study_instance_uid="1.1", peer="pacs",
            path="x", state="delivered", created_at=NOW,
        )
    )  # fmt: skip
    session.flush()
    assert [each.fault for each in standing_of(session, GROUND, cohort)] == [None] * 3
    assert look(session) == {}
    return cohort


def look(session, *studies, reports=()):
    """Note what changed; return the causes by artefact and study."""
    scope = Scope(set(studies or ("1.1", "1.2", "1.3")), set(reports))
    added = note(session, GROUND, scope, NOW, ("link_event", 1))
    assert note(session, GROUND, scope, NOW) == []
    return {
        (each.artefact, each.study_instance_uid): each.cause if each.stale else "stands"
        for each in added
    }


def link(session, uid):
    return session.exec(select(Link).where(Link.study_instance_uid == uid)).one()


def event(session, action, prior, surviving, time="2027"):
    session.add(
        PatientEvent(
            action=action, event_time=time, prior_issuer="SITE", prior_patient_id=prior,
            issuer="SITE", patient_id=surviving, recorded_at=NOW.replace(year=2027),
        )
    )  # fmt: skip
    session.flush()


def test_a_withdrawn_link_reaches_the_member_and_the_model_and_may_stand_again(session, cohort):
    link(session, "1.1").state = "suspended"
    session.flush()
    found = look(session)
    assert found == {
        (Artefact.MEMBER, "1.1"): Fault.LINK,
        (Artefact.MODEL, "1.1"): Fault.LINK,
        (Artefact.STRUCTURED_REPORT, "1.1"): Fault.LINK,
    }
    assert stopping(standing_of(session, GROUND, cohort)) == {Fault.LINK: 1}
    assert spoiling(standing_of(session, GROUND, cohort)) == {Fault.LINK: 1}
    link(session, "1.1").state = "confirmed"
    session.flush()
    assert set(look(session).values()) == {"stands"}
    assert manifest(session, cohort)["superseded"] == []


@pytest.mark.parametrize(
    ("status", "state", "cause"),
    [
        ("C", "confirmed", Fault.CORRECTED),
        ("C", "refused", Fault.LINK),
        ("P", "confirmed", Fault.NOT_FINAL),
        ("W", "withdrawn", Fault.WITHDRAWN),
    ],
)
def test_another_version_makes_labels_and_member_stale(session, cohort, status, state, cause):
    old = session.exec(select(Report).where(Report.report_identity == "report of 1.2")).one()
    old.is_current = False
    link(session, "1.2").state = "withdrawn"
    digest = cohort.digest
    new = add_report(
        session, "1.2", identity="report of 1.2", version=2, status=status, state=state
    )
    found = look(session, reports={new})
    assert found[Artefact.MEMBER, "1.2"] == found[Artefact.MODEL, "1.2"] == cause
    assert found[Artefact.LABELS, ""] == (
        Fault.WITHDRAWN if cause is Fault.WITHDRAWN else Fault.CORRECTED
    )
    (said,) = manifest(session, cohort)["superseded"]
    assert (said["study_instance_uid"], said["cause"]) == ("1.2", cause)
    assert cohort.digest == digest == manifest(session, cohort)["digest"]


def test_a_withdrawn_member_is_not_in_the_next_freeze(session, run, cohort):
    link(session, "1.1").state = "withdrawn"
    session.flush()
    query = CohortQuery(name="spine", schema=SCHEMA, run_id=run.id, body_parts=("LSPINE",))
    again = freeze(session, query, SETTINGS, clock, SALT)
    reasons = {
        each.study_instance_uid: each.exclusion_reason for each in members_of(session, again)
    }
    assert reasons == {"1.1": "link not confirmed", "1.2": "", "1.3": ""}
    assert again.id != cohort.id
    assert stopping(standing_of(session, GROUND, again)) == {}


def test_a_frozen_study_taints_until_a_person_decides(session, cohort):
    row = Quarantined(
        kind="dicom", digest="9" * 64, reason="r", cause="content", study_instance_uid="1.1",
        received_at=NOW,
    )  # fmt: skip
    session.add(row)
    session.flush()
    found = look(session)
    assert set(found.values()) == {Fault.FROZEN}
    assert {artefact for artefact, _ in found} == {
        Artefact.MEMBER, Artefact.MODEL, Artefact.PREDICTION, Artefact.STRUCTURED_REPORT,
    }  # fmt: skip
    assert stopping(standing_of(session, GROUND, cohort)) == {}
    row.state = "rejected"
    session.flush()
    assert set(look(session).values()) == {"stands"}


def test_other_images_make_member_prediction_and_structured_report_stale(session, cohort):
    add_series(session, "1.1")
    found = look(session)
    assert set(found.values()) == {Fault.IMAGES}
    assert len(found) == 4


def test_a_merge_over_two_folds_is_a_leak_and_an_unmerge_restores_it(session, cohort):
    rows = {each.study_instance_uid: each.fold for each in session.exec(select(CohortMember)).all()}
    assert rows["1.1"] == "train" != rows["1.3"]
    one, three = patient("train", 1), patient("validation", 1)
    event(session, "merge", one, three)
    # Only one of the two is named: the patient is looked at whole.
    found = look(session, "1.1")
    assert found[Artefact.MEMBER, "1.1"] == found[Artefact.MEMBER, "1.3"] == Fault.TWO_FOLDS
    assert found[Artefact.MODEL, "1.3"] == Fault.TWO_FOLDS
    assert found[Artefact.STRUCTURED_REPORT, "1.1"] == Fault.MOVED
    assert stopping(standing_of(session, GROUND, cohort)) == {Fault.TWO_FOLDS: 2}
    event(session, "unlink", one, three, time="2028")
    found = look(session)
    assert found[Artefact.MEMBER, "1.1"] == found[Artefact.MEMBER, "1.3"] == "stands"
    assert stopping(standing_of(session, GROUND, cohort)) == {}


def test_a_merge_inside_a_fold_moves_and_stops_nothing(session, cohort):
    event(session, "merge", patient("train", 1), "somebody else")
    found = look(session)
    assert found == {
        (Artefact.MEMBER, "1.1"): Fault.MOVED,
        (Artefact.STRUCTURED_REPORT, "1.1"): Fault.MOVED,
    }
    assert stopping(standing_of(session, GROUND, cohort)) == {}


def test_what_a_training_left_out_does_not_taint_its_model(session, cohort):
    training = session.exec(select(TrainingRun)).one()
    training.metrics = {"left_out": [{"study": "1.1", "reason": "frozen"}]}
    link(session, "1.1").state = "withdrawn"
    session.flush()
    assert (Artefact.MODEL, "1.1") not in look(session)


def test_notes_are_only_added(session, cohort):
    for state in ("suspended", "confirmed", "withdrawn"):
        link(session, "1.1").state = state
        session.flush()
        look(session)
    said = session.exec(
        select(ImpactNote.stale)
        .where(ImpactNote.artefact == str(Artefact.MEMBER))
        .order_by(ImpactNote.id)
    ).all()
    assert said == [True, False, True]


def corrected(session, version):
    """Have a later version of the report of study 1.2 come."""
    for old in session.exec(select(Report).where(Report.report_identity == "report of 1.2")):
        old.is_current = False
    return add_report(session, "1.2", identity="report of 1.2", version=version, status="C")


def test_a_closed_note_does_not_hide_a_later_correction(session, cohort):
    (model,) = session.exec(select(Model.id))
    new = corrected(session, 2)
    assert look(session, reports={new})[Artefact.MODEL, "1.2"] == Fault.CORRECTED
    (first,) = open_notes(session, Artefact.MODEL, model)
    close_note(session, first.id, decided_by="Dr Who", reason="seen", clock=clock)
    assert look(session, reports={new}) == {}  # nothing new: it stays closed
    newer = corrected(session, 3)
    assert look(session, reports={newer})[Artefact.MODEL, "1.2"] == Fault.CORRECTED
    (second,) = open_notes(session, Artefact.MODEL, model)
    assert second.id != first.id


def test_other_images_twice_are_two_notes(session, cohort):
    (model,) = session.exec(select(Model.id))
    for _ in range(2):
        add_series(session, "1.1")
        assert look(session)[Artefact.MODEL, "1.1"] == Fault.IMAGES
        (note,) = open_notes(session, Artefact.MODEL, model)
        close_note(session, note.id, decided_by="Dr Who", reason="seen", clock=clock)
        assert open_notes(session, Artefact.MODEL, model) == []


def test_notes_of_earlier_versions_are_opened_once_more_where_they_were_closed(session, cohort):
    (model,) = session.exec(select(Model.id))
    new = corrected(session, 2)
    look(session, reports={new})
    for each in session.exec(select(ImpactNote)):
        each.grounds = ""
    session.flush()
    assert look(session, reports={new}) == {}  # open ones stay as they are
    (early,) = open_notes(session, Artefact.MODEL, model)
    close_note(session, early.id, decided_by="Dr Who", reason="seen", clock=clock)
    assert set(look(session, reports={new})) == {(Artefact.MODEL, "1.2")}
    assert len(open_notes(session, Artefact.MODEL, model)) == 1
