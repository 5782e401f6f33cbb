"""Membership: one test for each way in and each way out; targets; the digest."""

import dataclasses
import json

import pytest
from sqlmodel import select

from dicom_node.linking.models import PatientEvent
from dicom_node.models import Quarantined
from labeling.vocabulary import WHOLE, State
from tests.cohort_builders import (
    COMPREHENSIVE_SR,
    NOW,
    SCHEMA,
    add_labels,
    add_reference,
    add_report,
    add_run,
    add_series,
    add_study,
    blank_session,
    clock,
    sample_with,
)
from training.cohort import CohortQuery, exclusions, freeze, manifest, members_of
from training.errors import Permanent
from training.folds import assign_fold, patient_key
from training.models import Cohort, CohortMember
from training.settings import TrainingSettings
from training.targets import targets_of, usable

SALT = b"salt"
SETTINGS = TrainingSettings()
HERE, THERE = ("narrowing", "L4-L5"), ("narrowing", "L5-S1")


def patient(fold, index=0):
    """Return the number ``index`` of the patient ids whose key falls into a fold."""
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


def labelled(session, run, uid, patient_id, state="present", **report):
    """Add a study with a linked report that says ``state`` at L4-L5."""
    add_study(session, uid, patient_id)
    number = add_report(session, uid, **report)
    add_labels(session, run, number, {HERE: state})
    return number


def query(run, **values):
    return CohortQuery("spine", SCHEMA, run.id, **values)


def outcome(session, run, complete=None, **values):
    """Freeze and return fold or reason of each study."""
    cohort = freeze(session, query(run, **values), SETTINGS, clock, SALT, complete)
    return {
        each.study_instance_uid: each.exclusion_reason or each.fold
        for each in members_of(session, cohort)
    }


def test_members_carry_fold_report_and_targets(session, run):
    number = labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("validation"), state="absent", status="C")
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    first, second = members_of(session, cohort)
    assert (first.fold, second.fold) == ("train", "validation")
    assert first.report_id == number
    assert first.targets["narrowing"] == {"L4-L5": 1.0, "L5-S1": None}
    assert second.targets["narrowing"] == {"L4-L5": 0.0, "L5-S1": None}
    assert first.targets["fracture"] == {WHOLE: None}
    assert len(first.images_digest) == 64


@pytest.mark.parametrize("status", ["P", "R", "", "X", "W", "S", "I"])
def test_only_final_reports_enter(session, run, status):
    labelled(session, run, "1.1", patient("train"), status=status)
    assert outcome(session, run) == {"1.1": "report not final"}


@pytest.mark.parametrize("state", ["proposed", "refused", "withdrawn", "suspended"])
def test_only_confirmed_links_count(session, run, state):
    add_study(session, "1.1", patient("train"))
    add_labels(session, run, add_report(session, "1.1", state=state), {HERE: "present"})
    assert outcome(session, run) == {"1.1": "link not confirmed"}


def test_a_study_without_report(session, run):
    add_study(session, "1.1", patient("train"))
    assert outcome(session, run) == {"1.1": "no linked report"}


def test_a_superseded_report_does_not_speak_for_a_provisional_one(session, run):
    labelled(session, run, "1.1", patient("train"), identity="r", current=False)
    newer = add_report(session, "1.1", identity="r", version=2, status="P")
    add_labels(session, run, newer, {HERE: "present"})
    assert outcome(session, run) == {"1.1": "report not final"}


def test_a_correction_must_be_labelled_itself(session, run):
    labelled(session, run, "1.1", patient("train"), identity="r", current=False)
    add_report(session, "1.1", identity="r", version=2, status="C")
    assert outcome(session, run) == {"1.1": "report not labelled by this run"}


def test_two_final_reports_are_ambiguous(session, run):
    labelled(session, run, "1.1", patient("train"), identity="a")
    number = add_report(session, "1.1", identity="b")
    add_labels(session, run, number, {HERE: "absent"})
    assert outcome(session, run) == {"1.1": "several final reports"}


def test_labels_of_another_run_do_not_count(session, run):
    add_study(session, "1.1", patient("train"))
    number = add_report(session, "1.1")
    other = add_run(session, dataclasses.replace(SCHEMA, digest="7" * 64))
    add_labels(session, other, number, {HERE: "present"})
    assert outcome(session, run) == {"1.1": "report not labelled by this run"}


def test_a_failed_reading_is_named(session, run):
    labelled(session, run, "1.1", patient("train"), state="failed")
    assert outcome(session, run) == {"1.1": "label failed"}


def test_a_report_without_a_known_finding_is_no_use(session, run):
    labelled(session, run, "1.1", patient("train"), state="not_mentioned")
    assert outcome(session, run) == {"1.1": "no usable target"}


@pytest.mark.parametrize(("patient_id", "issuer"), [("", "SITE"), ("P1", "")])
def test_a_study_of_an_unknown_patient_has_no_side(session, run, patient_id, issuer):
    add_study(session, "1.1", patient_id, issuer=issuer)
    add_reference(session, "1.1", {HERE: "present"})
    assert outcome(session, run) == {"1.1": "no patient id with its issuer"}


def test_an_object_in_quarantine_freezes_its_study(session, run):
    labelled(session, run, "1.1", patient("train"))
    session.add(
        Quarantined(
            kind="dicom",
            digest="8" * 64,
            reason="same UID, other bytes",
            study_instance_uid="1.1",
            received_at=NOW,
        )
    )
    assert outcome(session, run) == {"1.1": "study frozen: an object of it is in quarantine"}


def test_a_growing_study_waits(session, run):
    labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("train"))
    assert outcome(session, run, complete=["1.2"]) == {"1.1": "study not complete", "1.2": "train"}


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({}, True),
        ({"body_parts": ("lspine", "TSPINE")}, True),
        ({"body_parts": ("CSPINE",)}, False),
        ({"series_description": "t2"}, True),
        ({"series_description": "T1"}, False),
        ({"series_description": "%"}, False),
        ({"modality": "CT"}, False),
    ],
)
def test_an_image_series_must_fit(session, run, rule, fits):
    labelled(session, run, "1.1", patient("train"))
    expected = "train" if fits else "no image series that fits"
    assert outcome(session, run, **rule) == {"1.1": expected}


def test_a_structured_report_is_no_image_even_if_it_claims_the_modality(session, run):
    add_study(session, "1.1", patient("train"), sop_class_uid=COMPREHENSIVE_SR)
    assert outcome(session, run) == {"1.1": "no image series that fits"}


def test_test_targets_come_from_readers_and_never_from_the_report(session, run):
    number = labelled(session, run, "1.1", patient("train"), state="present")
    add_labels(session, run, number, {THERE: "present"})
    add_reference(session, "1.1", {HERE: "absent"})
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    [member] = members_of(session, cohort)
    assert member.fold == "test"
    assert member.targets["narrowing"] == {"L4-L5": 0.0, "L5-S1": None}


def test_an_uncertain_or_disputed_reading_is_no_truth_under_any_policy(session, run):
    add_study(session, "1.1", patient("train"))
    add_reference(session, "1.1", {HERE: "uncertain", THERE: "present"})
    add_reference(session, "1.1", {THERE: "absent"}, reader="reader 2")
    assert outcome(session, run, uncertain_policy="inclusive") == {"1.1": "no usable target"}


def test_an_awaiting_study_with_a_reference_may_be_tested_on(session, run):
    add_study(session, "1.1", patient("train"))
    add_reference(session, "1.1", {HERE: "present"})
    assert outcome(session, run) == {"1.1": "test"}
    without = outcome(session, run, include_reference_only_tests=False)
    assert without == {"1.1": "no linked report"}


def test_a_locked_patient_trains_nothing_not_even_a_prior_study(session, run):
    labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("train"))
    add_reference(session, "1.1", {HERE: "present"})
    assert outcome(session, run) == {
        "1.1": "test",
        "1.2": "test patient without reference labels",
    }


def test_without_the_lock_the_key_decides(session, run):
    labelled(session, run, "1.1", patient("train"))
    add_reference(session, "1.1", {HERE: "present"})
    labelled(session, run, "1.2", patient("test"))
    labelled(session, run, "1.3", patient("test", 1))
    add_reference(session, "1.3", {HERE: "present"})
    assert outcome(session, run, lock_reference_patients=False) == {
        "1.1": "train",
        "1.2": "test patient without reference labels",
        "1.3": "test",
    }


def test_references_for_another_schema_lock_nobody(session, run):
    labelled(session, run, "1.1", patient("train"))
    add_reference(session, "1.1", {("wrist_fracture", WHOLE): "present"})
    assert outcome(session, run) == {"1.1": "train"}


def test_report_level_references_lock_nobody(session, run):
    labelled(session, run, "1.1", patient("train"))
    add_reference(session, "1.1", {HERE: "present"}, level="report")
    assert outcome(session, run) == {"1.1": "train"}


def test_labels_of_no_sample_test_nothing_unless_accepted_and_their_patients_never_train(
    session, run
):
    for uid, name in (("1.1", patient("train")), ("1.2", patient("train"))):
        labelled(session, run, uid, name)
    add_reference(session, "1.1", {HERE: "present"}, sampled=False)
    assert outcome(session, run) == {
        "1.1": "reference labels that were not sampled, blinded and adjudicated",
        "1.2": "test patient without reference labels",
    }
    assert outcome(session, run, accepted=("unsampled",))["1.1"] == "test"


def test_a_place_that_lacks_a_second_reader_is_unknown_in_a_test(session, run):
    add_study(session, "1.1", patient("train"))
    add_reference(session, "1.1", {HERE: "present"})
    add_reference(session, "1.1", {THERE: "present", ("narrowing", WHOLE): "absent"}, sampled=False)
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    [member] = members_of(session, cohort)
    assert member.targets["narrowing"] == {"L4-L5": 1.0, "L5-S1": None}


def test_whoever_was_drawn_for_the_test_fold_trains_nothing_before_being_read(session, run):
    labelled(session, run, "1.1", patient("train"))
    sample_with(session, "1.1", "image", [HERE])
    assert outcome(session, run) == {"1.1": "test patient without reference labels"}


def test_merged_identities_stay_on_one_side(session, run):
    old, new = patient("train"), patient("validation")
    labelled(session, run, "1.1", old)
    labelled(session, run, "1.2", new)
    assert outcome(session, run) == {"1.1": "train", "1.2": "validation"}
    session.add(
        PatientEvent(
            action="merge",
            event_time="20260101000000000000",
            prior_issuer="SITE",
            prior_patient_id=old,
            issuer="SITE",
            patient_id=new,
            recorded_at=NOW,
        )
    )
    assert outcome(session, run) == {"1.1": "validation", "1.2": "validation"}


def test_the_same_content_is_one_cohort(session, run):
    labelled(session, run, "1.1", patient("train"))
    first = freeze(session, query(run), SETTINGS, clock, SALT)
    assert freeze(session, query(run), SETTINGS, clock, SALT) is first
    assert len(session.exec(select(CohortMember)).all()) == 1


def test_whatever_changes_the_content_changes_the_digest(session, run):
    labelled(session, run, "1.1", patient("train"), state="uncertain")
    add_labels(session, run, labelled(session, run, "1.2", patient("train")), {THERE: "absent"})
    digests = [freeze(session, query(run), SETTINGS, clock, SALT).digest]

    def again(salt=SALT, **values):
        digests.append(freeze(session, query(run, **values), SETTINGS, clock, salt).digest)

    again(uncertain_policy="inclusive")
    again(uncertain_policy="exclusive")
    again(salt=b"another")
    add_series(session, "1.2")
    again()
    add_study(session, "1.3", patient("train"))
    again()
    assert len(set(digests)) == len(digests)
    assert len(session.exec(select(Cohort)).all()) == len(digests)


def test_the_manifest_is_json_and_explains_everyone(session, run):
    number = labelled(session, run, "1.1", patient("train"))
    add_study(session, "1.2", patient("train"))
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    record = json.loads(json.dumps(manifest(session, cohort)))
    assert record["digest"] == cohort.digest
    assert [each["study_instance_uid"] for each in record["members"]] == ["1.1"]
    assert [each["reason"] for each in record["exclusions"]] == ["no linked report"]
    assert record["query"]["uncertain_policy"] == "mask"
    assert record["report_sha256"].keys() == {str(number)}
    assert exclusions(session, cohort) == {"no linked report": 1}


def test_rows_that_were_changed_after_freezing_are_noticed(session, run):
    labelled(session, run, "1.1", patient("train"))
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    [member] = members_of(session, cohort)
    member.targets = {**member.targets, "narrowing": {"L4-L5": 0.0, "L5-S1": None}}
    session.add(member)
    with pytest.raises(Permanent, match="no longer match"):
        manifest(session, cohort)


def test_the_run_must_exist_and_speak_the_same_schema(session, run):
    other = dataclasses.replace(SCHEMA, digest="7" * 64)
    with pytest.raises(Permanent, match="no labeling run"):
        freeze(session, CohortQuery("spine", SCHEMA, 99), SETTINGS, clock, SALT)
    with pytest.raises(Permanent, match="another version"):
        freeze(session, CohortQuery("spine", other, run.id), SETTINGS, clock, SALT)
    with pytest.raises(Permanent, match="modality"):
        freeze(session, query(run, modality=" "), SETTINGS, clock, SALT)


W = ("narrowing", WHOLE)
TARGETS = [
    ({HERE: State.PRESENT}, "mask", (1.0, None)),
    ({HERE: State.ABSENT}, "mask", (0.0, None)),
    ({HERE: State.UNCERTAIN}, "mask", (None, None)),
    ({HERE: State.UNCERTAIN}, "inclusive", (1.0, None)),
    ({HERE: State.UNCERTAIN}, "exclusive", (0.0, None)),
    ({HERE: State.FAILED, THERE: State.STABLE_UNKNOWN}, "inclusive", (None, None)),
    ({W: State.ABSENT}, "mask", (0.0, 0.0)),
    ({W: State.ABSENT, HERE: State.PRESENT}, "mask", (1.0, 0.0)),
    ({W: State.ABSENT, HERE: State.NOT_MENTIONED}, "mask", (0.0, 0.0)),
    ({W: State.ABSENT, HERE: State.FAILED}, "mask", (None, 0.0)),
    ({W: State.ABSENT, HERE: State.STABLE_UNKNOWN}, "mask", (None, 0.0)),
    ({W: State.ABSENT, HERE: None}, "mask", (None, 0.0)),
    ({W: State.PRESENT}, "mask", (None, None)),
    ({W: State.UNCERTAIN}, "inclusive", (None, None)),
    ({W: State.UNCERTAIN}, "exclusive", (0.0, 0.0)),
    ({W: State.NOT_MENTIONED}, "exclusive", (None, None)),
    ({}, "exclusive", (None, None)),
]


@pytest.mark.parametrize(("states", "policy", "expected"), TARGETS)
def test_from_states_to_targets(states, policy, expected):
    found = targets_of(states, SCHEMA, policy)
    assert found["narrowing"] == dict(zip(("L4-L5", "L5-S1"), expected, strict=True))
    assert found["fracture"] == {WHOLE: None}
    assert usable(found) == (expected != (None, None))
