"""What a query leaves out and why; lists by keys alone; what is covered by the digest."""

import json

import pytest
from sqlmodel import select

from dicom_node.models import Instance, Link, Series, Study
from tests.cohort_builders import (
    NOW,
    add_reference,
    add_series,
    blank_session,
    clock,
)
from tests.unit.training.test_cohort import (
    HERE,
    SALT,
    SETTINGS,
    labelled,
    outcome,
    patient,
    query,
)
from tests.unit.training.test_cohort import run as run  # a fixture
from training.cohort import freeze, manifest, members_of
from training.errors import Permanent
from training.evaluation.splits import Split
from training.listed import read_listed
from training.models import OptOut
from training.optouts import opted_out_studies
from training.patients import Patients, read_patients
from training.selection import SeriesRule
from training.series import analysed_images

STUDIES = "study_instance_uid\n"
PATIENTS = "patient_id,issuer_of_patient_id\n"


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def one(session, run, **values):
    """Freeze two training studies of two patients; return what became of the first."""
    if session.get(Study, "1.1") is None:
        labelled(session, run, "1.1", patient("train"))
        labelled(session, run, "1.2", patient("train", 1))
    found = outcome(session, run, **values)
    assert found["1.2"] == "train"
    return found["1.1"]


@pytest.mark.parametrize(
    ("date", "first", "last", "expected"),
    [
        ("20240131", "20240131", "20240131", "train"),
        ("20240131", "", "20240130", "study date outside"),
        ("20240131", "20240201", "", "study date outside"),
        ("", "20240101", "", "study date unknown"),
        ("202401", "20240101", "", "study date unknown"),
        ("", "", "", "train"),
    ],
)
def test_study_dates(session, run, date, first, last, expected):
    labelled(session, run, "1.1", patient("train"))
    session.get(Study, "1.1").study_date = date
    assert outcome(session, run, first_date=first, last_date=last) == {"1.1": expected}


@pytest.mark.parametrize(
    ("sequences", "fits"),
    [
        (("t2*",), True),
        (("*sagittal", "*axial"), True),
        (("T2",), False),
        (("t? SAGITTAL",), True),
        (("*STIR*",), False),
    ],
)
def test_sequences_are_patterns_of_the_whole_description(session, run, sequences, fits):
    labelled(session, run, "1.1", patient("train"))
    expected = "train" if fits else "no image series that fits"
    assert outcome(session, run, sequences=sequences) == {"1.1": expected}


def test_the_stored_query_gives_the_rule_back(session, run):
    labelled(session, run, "1.1", patient("train"))
    asked = query(run, sequences=("T2*",), body_parts=("LSPINE",))
    cohort = freeze(session, asked, SETTINGS, clock, SALT)
    assert SeriesRule.of_record(cohort.query) == asked.rule


def test_a_link_must_be_reviewed_where_that_is_asked(session, run):
    labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("train"))
    link = session.get(Link, 2)
    link.decided_by = "Dr. Who"
    assert link.study_instance_uid == "1.2"
    assert outcome(session, run, minimum_link="reviewed") == {
        "1.1": "link not reviewed by a person",
        "1.2": "train",
    }


def test_lists_of_studies_and_patients_leave_out(session, run):
    studies = read_listed(f"{STUDIES}# a comment\n\n1.1\n", "x")
    assert one(session, run, excluded=(studies,)) == "on the query's list of studies to leave out"
    patients = read_listed(f"{PATIENTS}{patient('train')},SITE\n", "x")
    assert one(session, run, excluded=(patients,)) == "on the query's list of patients to leave out"
    elsewhere = read_listed(f"{PATIENTS}{patient('train')},ELSEWHERE\n", "x")
    assert one(session, run, excluded=(elsewhere,)) == "train"


def test_consent_opens_or_closes(session, run):
    others = read_listed(f"{PATIENTS}{patient('train', 1)},SITE\n", "x")
    mine = read_listed(f"{PATIENTS}{patient('train')},SITE\n", "x")
    assert one(session, run, consent=others).startswith("no consent: not on the list")
    refused = one(session, run, consent=mine, consent_rule="opt_out")
    assert refused == "no consent: on the list of those who did not agree"


def test_a_list_follows_a_merge_and_keeps_its_digest():
    listed = read_listed(f"{PATIENTS}OLD,SITE\nP2,SITE\n", "x")
    again = read_listed(f"{PATIENTS}P2,SITE\n\n# said twice\nOLD,SITE\nP2,SITE\n", "x")
    assert listed.digest(SALT) == again.digest(SALT) != listed.digest(b"another")
    apart, joined = Patients([]), Patients([(("SITE", "OLD"), ("SITE", "NEW"))])
    new = joined.key("SITE", "NEW", SALT)
    assert new in listed.keys(joined, SALT)
    assert new not in listed.keys(apart, SALT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("patient_id\nP1\n", "must begin with the line"),
        (PATIENTS, "no line after its header"),
        (f"{PATIENTS}SECRET\n", "line 2 needs two values"),
        (f"{PATIENTS}SECRET,\n", "line 2 needs two values, none empty"),
        (f"{PATIENTS}SECRET\nP1,SITE\n,SITE\n", "line 2 needs .*; line 4 needs"),
        (f"{PATIENTS}SECRET,SITE,x\n", "line 2 needs two values, none empty, and has 3"),
        (f"{PATIENTS}SECRET;SITE\n", "line 2 .* has 1 .values are parted by semicolons"),
        (f'{PATIENTS}P1,SITE\nSECRET,"SITE\nP3,SITE\n', "line 3 .* quotation mark"),
        (f'{PATIENTS}P1,SITE\n"SECRET,SITE\nP3,SITE\n', "line 3 .* quotation mark"),
        (f'{PATIENTS}"SEC"RET,SITE\n', "line 2 .* quotation mark"),
        (f"{STUDIES}" + "SECRET\n" * 13, "line 11 holds no .*; and 3 more lines"),
        ("patient_id;issuer_of_patient_id\nSECRET;SITE\n", "semicolons, not commas"),
        (f"{STUDIES}1.2\nSECRET\n", "line 3 holds no Study Instance UID"),
    ],
)
def test_a_faulty_list_is_refused_by_line_and_quotes_nothing(text, said):
    with pytest.raises(Permanent, match=said) as caught:
        read_listed(text, "consent")
    assert "SECRET" not in str(caught.value)


def test_the_manifest_holds_digests_of_lists_and_nobody_s_number(session, run):
    labelled(session, run, "1.1", patient("train"))
    listed = read_listed(f"{PATIENTS}SECRET7,SITE\n", "x")
    digests = set()
    for values in ({}, {"excluded": (listed,)}, {"consent": listed, "consent_rule": "opt_out"}):
        cohort = freeze(session, query(run, **values), SETTINGS, clock, SALT)
        digests.add(cohort.digest)
        assert "SECRET7" not in json.dumps(manifest(session, cohort))
    assert len(digests) == 3
    assert cohort.query["consent"] == ["opt_out", "patients", listed.digest(SALT)]


def test_a_query_that_says_nothing_new_is_recorded_as_before(session, run):
    labelled(session, run, "1.1", patient("train"))
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    assert cohort.query.keys() == {
        *("modality", "body_parts", "series_description", "uncertain_policy"),
        *("include_reference_only_tests", "lock_reference_patients", "validation_share"),
        *("test_share", "result_statuses"),
    }


def test_a_cohort_without_provenance_keeps_its_digest(session, run):
    """Cohorts of earlier layouts hold neither provenance nor digests of images."""
    from training.manifest import content, digest_of

    labelled(session, run, "1.1", patient("train"))
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    [member] = members_of(session, cohort)
    cohort.provenance = {}
    member.images, member.report_sha256, member.labels_sha256 = [], "", ""
    record = content(cohort, run, [member])
    assert record.keys() == {"name", "schema", "labeling_run", "query", "members", "exclusions"}
    assert record["members"][0].keys() == {
        *("study_instance_uid", "patient_key", "fold", "report_id", "images_digest", "targets")
    }
    cohort.digest = digest_of(record)
    session.flush()
    assert len(manifest(session, cohort)["report_sha256"][str(member.report_id)]) == 64


def test_the_manifest_says_what_members_were_made_of(session, run):
    labelled(session, run, "1.1", patient("train"))
    add_series(session, "1.1")
    add_series(session, "1.1", description="scout", modality="CT")
    code = {"version": "1", "source_sha256": "c" * 64}
    cohort = freeze(session, query(run), SETTINGS, clock, SALT, code=code)
    [member] = manifest(session, cohort)["members"]
    assert len(member["images"]) == 2
    assert len(member["report_sha256"]) == len(member["labels_sha256"]) == 64
    assert cohort.provenance["code"] == code
    other = freeze(session, query(run), SETTINGS, clock, SALT, code={**code, "version": "2"})
    assert other.digest != cohort.digest


def test_images_in_bulk_are_those_of_the_analysed_series(session, run):
    labelled(session, run, "1.1", patient("train"))
    for _ in range(2):
        add_series(session, "1.1")
    labelled(session, run, "1.2", patient("train"))
    rule = query(run).rule
    expected = {uid: _of_largest_series(session, uid) for uid in ("1.1", "1.2")}
    assert analysed_images(session, ["1.1", "1.2"], rule) == expected


def _of_largest_series(session, uid):
    of_series = {}
    for series in session.exec(select(Series).where(Series.study_instance_uid == uid)).all():
        query = select(Instance).where(Instance.series_instance_uid == series.series_instance_uid)
        digests = sorted(each.digest for each in session.exec(query))
        of_series[series.series_instance_uid] = digests
    return min(of_series.items(), key=lambda item: (-len(item[1]), item[0]))[1]


def opt(session, key, revoked=False):
    session.add(
        OptOut(patient_key=key, revoked=revoked, decided_by="x", reason="y", decided_at=NOW)
    )
    session.flush()


def test_whoever_has_opted_out_is_in_no_fold_until_that_is_taken_back(session, run):
    key = Patients([]).key("SITE", patient("train"), SALT)
    assert one(session, run) == "train"
    opt(session, key)
    assert one(session, run) == "its patient has opted out of research"
    add_reference(session, "1.1", {HERE: "present"})
    assert one(session, run) == "its patient has opted out of research"
    opt(session, key, revoked=True)
    assert one(session, run) == "test"


def test_an_opt_out_holds_under_every_identity(session, run):
    from dicom_node.linking.models import PatientEvent

    labelled(session, run, "1.1", "NEW")
    opt(session, read_patients(session).key("SITE", "OLD", SALT))
    assert opted_out_studies(session, SALT) == set()
    session.add(
        PatientEvent(
            action="merge", event_time="20260101000000000000", prior_issuer="SITE",
            prior_patient_id="OLD", issuer="SITE", patient_id="NEW", recorded_at=NOW,
        )
    )  # fmt: skip
    session.flush()
    assert opted_out_studies(session, SALT) == {"1.1"}


def dated(session, run, uid, who, date, site, reference=""):
    labelled(session, run, uid, who)
    session.get(Study, uid).study_date = date
    series = session.exec(select(Series).where(Series.study_instance_uid == uid)).one()
    series.institution_name = site
    if reference:
        add_reference(session, uid, {HERE: reference})


def test_a_temporal_split_leaves_out_what_lies_on_the_wrong_side(session, run):
    early, both, late, tested = (patient("train", index) for index in range(4))
    dated(session, run, "1.1", early, "20230101", "North")
    dated(session, run, "1.2", both, "20231231", "North")
    dated(session, run, "1.3", both, "20240101", "North")
    dated(session, run, "1.4", late, "20240101", "North")
    dated(session, run, "1.5", tested, "20230601", "North", "present")
    dated(session, run, "1.6", tested, "20240601", "North", "present")
    dated(session, run, "1.7", early, "", "North")
    split = Split("temporal", "20240101")
    found = outcome(session, run, split=split)
    assert (found["1.1"], found["1.2"], found["1.6"]) == ("train", "train", "test")
    assert found["1.3"] == found["1.4"] == "after the date up to which is trained"
    assert found["1.5"] == "before the date from which is tested, of a test patient"
    assert found["1.7"] == "study date unknown"
    cohort = freeze(session, query(run, split=split), SETTINGS, clock, SALT)
    assert cohort.query["split"] == {"temporal": "20240101"}
    assert "split" not in freeze(session, query(run), SETTINGS, clock, SALT).query


def test_a_site_is_left_out_of_training_and_tests_alone(session, run):
    one, two, three, four = (patient("train", index) for index in range(4))
    dated(session, run, "1.1", one, "", "North")
    dated(session, run, "1.2", two, "", "South")
    dated(session, run, "1.3", three, "", "South", "present")
    dated(session, run, "1.4", three, "", "North", "present")
    dated(session, run, "1.5", four, "", "")
    found = outcome(session, run, split=Split("site", "South"))
    assert (found["1.1"], found["1.3"]) == ("train", "test")
    assert found["1.2"] == "at the site that is left out of training"
    assert found["1.4"] == "at a site that trains, of a test patient"
    assert found["1.5"] == "site: unknown"
