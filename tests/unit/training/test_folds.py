"""Known keys, refusals, merges in the database, and the check that stops a leak."""

import pytest

from dicom_node.models import PatientAlias
from tests.cohort_builders import NOW, blank_session
from training.errors import Permanent
from training.folds import assign_fold, check_folds, patient_key, surviving_identity

SALT = b"salt"


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def merge(session, prior, surviving):
    session.add(
        PatientAlias(
            prior_issuer=prior[0],
            prior_patient_id=prior[1],
            surviving_issuer=surviving[0],
            surviving_patient_id=surviving[1],
            recorded_at=NOW,
        )
    )
    session.flush()


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


def test_a_patient_in_two_folds_stops_everything():
    check_folds([("a", "train"), ("a", "train"), ("b", "test")])
    with pytest.raises(Permanent, match="1 patients"):
        check_folds([("a", "train"), ("a", "test"), ("b", "test")])
