"""Known keys, refusals, merges in the database, and the check that stops a leak."""

import pytest
from sqlmodel import select

from dicom_node.linking.models import PatientEvent
from tests.cohort_builders import NOW, add_study, blank_session
from training.errors import Permanent
from training.folds import assign_fold, check_folds, patient_key
from training.patients import read_patients, studies_of_patients

SALT = b"salt"


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def event(session, action, prior, surviving, time):
    session.add(
        PatientEvent(
            action=action,
            event_time=time,
            prior_issuer=prior[0],
            prior_patient_id=prior[1],
            issuer=surviving[0],
            patient_id=surviving[1],
            recorded_at=NOW,
        )
    )
    session.flush()


def merge(session, prior, surviving):
    number = len(session.exec(select(PatientEvent)).all())
    event(session, "merge", prior, surviving, f"2026010112{number:04d}")


def surviving_identity(session, issuer, patient_id):
    return read_patients(session).of(issuer, patient_id)


def test_a_key_depends_on_issuer_identifier_and_salt():
    keys = {
        patient_key("A", "1", SALT),
        patient_key("B", "1", SALT),
        patient_key("A", "2", SALT),
        patient_key("A", "1", b"other"),
    }
    assert len(keys) == 4
    assert all(len(key) == 64 for key in keys)


def test_keys_and_folds_never_change_between_releases():
    key = patient_key("SITE", "P1", SALT)
    assert key == "fef8601bd9fbdf95bfd4b3cff21d3498d27026910b30834099d3fb154bdf5c5a"
    folds = [assign_fold(patient_key("S", str(n), SALT), 0.2, 0.25) for n in range(6)]
    assert folds == ["train", "train", "validation", "test", "validation", "train"]


@pytest.mark.parametrize(("issuer", "patient_id", "salt"), [("A", "", SALT), ("A", "1", b"")])
def test_a_key_needs_identifier_and_salt(issuer, patient_id, salt):
    with pytest.raises(Permanent):
        patient_key(issuer, patient_id, salt)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.2, -0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(Permanent):
        assign_fold("key", *shares)


def test_shares_are_met_on_average():
    folds = [assign_fold(patient_key("A", str(n), SALT), 0.2, 0.25) for n in range(4000)]
    assert abs(folds.count("test") / 4000 - 0.25) < 0.03
    assert abs(folds.count("validation") / 4000 - 0.2) < 0.03


def test_a_chain_of_merges_is_followed_to_its_end(session):
    merge(session, ("S", "1"), ("S", "2"))
    merge(session, ("S", "2"), ("T", "3"))
    assert surviving_identity(session, "S", "1") == ("T", "3")
    assert surviving_identity(session, "S", "9") == ("S", "9")


def test_the_bare_identifier_is_not_merged_for_another_issuer(session):
    merge(session, ("S", "1"), ("S", "2"))
    assert surviving_identity(session, "T", "1") == ("T", "1")


def test_the_newest_merge_of_an_identity_counts(session):
    merge(session, ("S", "1"), ("S", "2"))
    merge(session, ("S", "1"), ("S", "3"))
    assert surviving_identity(session, "S", "1") == ("S", "3")


def test_whoever_was_ever_merged_stays_together(session):
    merge(session, ("S", "1"), ("S", "2"))
    merge(session, ("S", "1"), ("S", "3"))
    assert surviving_identity(session, "S", "2") == ("S", "3")


def test_merges_in_a_circle_keep_everybody_together(session):
    for prior, surviving in (("1", "2"), ("2", "3"), ("3", "2"), ("4", "4")):
        merge(session, ("S", prior), ("S", surviving))
    ends = {surviving_identity(session, "S", each) for each in "123"}
    assert ends == {("S", "2")}
    assert surviving_identity(session, "S", "4") == ("S", "4")


def test_an_unmerge_splits_what_was_joined_before_it_and_nothing_later(session):
    one, two, three = ("S", "1"), ("S", "2"), ("S", "3")
    event(session, "unlink", one, two, "2026")  # heard of first, happened between
    event(session, "merge", one, two, "2025")
    assert surviving_identity(session, *one) == one
    event(session, "merge", two, three, "2025")
    assert surviving_identity(session, *two) == surviving_identity(session, *three) != one
    event(session, "merge", two, one, "2027")
    assert len({surviving_identity(session, *each) for each in (one, two, three)}) == 1


def test_an_event_that_does_not_hold_joins_nobody(session):
    merge(session, ("S", "1"), ("S", "2"))
    for row in session.exec(select(PatientEvent)):
        row.holds = False
    session.flush()
    assert surviving_identity(session, "S", "1") == ("S", "1")


def test_an_update_joins_nobody(session):
    event(session, "update", ("S", ""), ("S", "1"), "2026")
    assert surviving_identity(session, "S", "1") == ("S", "1")


def test_names_of_one_issuer_are_one_patient(session):
    def name_of(issuer):
        return {"HOSPITAL": "HOSP"}.get(issuer, issuer)

    merge(session, ("HOSPITAL", "1"), ("HOSP", "2"))
    patients = read_patients(session, name_of)
    assert patients.of("HOSP", "1") == patients.of("HOSPITAL", "1") == ("HOSP", "2")
    assert patients.key("HOSP", "1", SALT) == patients.key("HOSPITAL", "2", SALT)


def test_the_studies_of_a_patient_are_those_of_every_joined_identity(session):
    for number in range(5):
        add_study(session, f"1.{number}", str(number))
    merge(session, ("SITE", "1"), ("SITE", "2"))
    merge(session, ("SITE", "2"), ("SITE", "3"))
    event(session, "unlink", ("SITE", "2"), ("SITE", "3"), "2027")
    assert studies_of_patients(session, str, {("SITE", "1")}) == {"1.1", "1.2"}
    assert studies_of_patients(session, str, {("SITE", "3")}) == {"1.3"}
    assert studies_of_patients(session, str, {("OTHER", "4")}) == set()


def test_a_patient_in_two_folds_stops_everything():
    check_folds([("a", "train"), ("a", "train"), ("b", "test")])
    with pytest.raises(Permanent, match="1 patients"):
        check_folds([("a", "train"), ("a", "test"), ("b", "test")])
