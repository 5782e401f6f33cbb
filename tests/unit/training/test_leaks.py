"""Each leak is planted and stopped, or left out where that is asked; a clean archive passes."""

import datetime as dt

import numpy as np
import pytest

from dicom_node.models import Report, Study, Transmission
from dicom_node.sr.content import RESEARCH_TITLE, WARNING, series_description, summarise
from tests.cohort_builders import (
    MR_IMAGE,
    NOW,
    SCHEMA,
    add_series,
    add_study,
    blank_session,
    clock,
)
from tests.sr_builders import findings
from tests.unit.training.test_cohort import SALT, SETTINGS, labelled, outcome, patient, query
from tests.unit.training.test_cohort import run as run  # a fixture
from training import image_text
from training.cohort import freeze
from training.fingerprints import METHOD
from training.image_text import label_words
from training.leaks import DUPLICATED, SAME_NUMBER, SAME_PERSON, SUSPECTED, LeakFound
from training.models import Model, SeriesPicture, TrainingRun
from training.own_reports import CAME_AFTER, CITES, OwnNames
from training.pictures import series_digest
from training.series import analysed_images

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def session():
    with blank_session() as session:
        yield session


def archive(session, run):
    """Add a training and a validation patient who have nothing in common."""
    labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("validation"))
    return [session.get(Study, uid) for uid in ("1.1", "1.2")]


def see(session, uid, fingerprint=None, *, texts=(), marks=()):
    """Note what the middle image of a study's series looks like."""
    digests = analysed_images(session, [uid], query(_Run()).rule)[uid]
    value = np.random.default_rng(int(uid[-1])).bytes(64) if fingerprint is None else fingerprint
    session.add(
        SeriesPicture(
            series_digest=series_digest(digests), digest=digests[0], method=METHOD,
            fingerprint=value.hex(), texts=list(texts), marks=list(marks),
        )
    )  # fmt: skip
    session.flush()


class _Run:
    id = 1


def test_a_clean_archive_passes_every_test(session, run):
    first, second = archive(session, run)
    first.patient_name, first.patient_birth_date, first.patient_sex = "Sim^A", "19500101", "F"
    second.patient_name, second.patient_birth_date, second.patient_sex = "Sim^A", "19600101", "F"
    for uid in ("1.1", "1.2"):
        see(session, uid, texts=["T2 of the spine"])
    cohort = freeze(session, query(run, device_names=("radloop",)), SETTINGS, clock, SALT)
    assert cohort.provenance["leak_tests"]["pictures"]["compared"] == 2
    assert cohort.provenance["leak_tests"]["pictures"]["not_compared"] == {}
    assert outcome(session, run) == {"1.1": "train", "1.2": "validation"}


def namesakes(session, run):
    first, second = archive(session, run)
    first.patient_name, second.patient_name = "Müller^Änne=x", "MULLER^ANNE"
    for each in (first, second):
        each.patient_birth_date, each.patient_sex = "19500101", "F"
    session.flush()


def test_one_person_under_two_identities_stops_until_it_is_accepted_by_name(session, run):
    namesakes(session, run)
    with pytest.raises(LeakFound, match=SAME_PERSON) as caught:
        outcome(session, run)
    assert "1.1 (train)" in str(caught.value)
    assert "1.2 (validation)" in str(caught.value)
    name = str(caught.value).split(": ")[1]
    with pytest.raises(LeakFound):
        outcome(session, run, accepted_suspects=("another",))
    cohort = freeze(session, query(run, accepted_suspects=(name,)), SETTINGS, clock, SALT)
    assert cohort.query["accepted_suspects"] == [name]
    assert cohort.provenance["leak_tests"]["suspects_accepted"] == [name]


def test_suspects_leave_the_lesser_fold_where_that_is_asked(session, run):
    namesakes(session, run)
    labelled(session, run, "1.3", patient("train"))  # the same patient's second study
    assert outcome(session, run, suspects="exclude") == {
        "1.1": f"{SUSPECTED}: {SAME_PERSON}",
        "1.2": "validation",
        "1.3": f"{SUSPECTED}: {SAME_PERSON}",
    }


@pytest.mark.parametrize(
    ("dates", "stops"),
    [(("", ""), True), (("19500101", ""), True), (("19500101", "19500102"), False)],
)
def test_the_same_number_of_another_issuer(session, run, dates, stops):
    from training.folds import assign_fold, patient_key

    shares = (SETTINGS.validation_share, SETTINGS.test_share)
    number = next(
        str(each)
        for each in range(10000, 99999)
        if assign_fold(patient_key("SITE", str(each), SALT), *shares, ()) == "train"
        and assign_fold(patient_key("OTHER", f"MR-0{each}", SALT), *shares, ()) == "validation"
    )
    labelled(session, run, "1.1", number)
    labelled(session, run, "1.2", f"MR-0{number}")
    first, second = (session.get(Study, uid) for uid in ("1.1", "1.2"))
    second.issuer_of_patient_id = "OTHER"
    first.patient_birth_date, second.patient_birth_date = dates
    session.flush()
    if stops:
        with pytest.raises(LeakFound, match=SAME_NUMBER):
            outcome(session, run)
    else:
        assert set(outcome(session, run).values()) == {"train", "validation"}


def test_suspects_of_one_fold_are_no_leak(session, run):
    labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("train", 1))
    for uid in ("1.1", "1.2"):
        study = session.get(Study, uid)
        study.patient_name, study.patient_birth_date = "Sim^A", "19500101"
    assert set(outcome(session, run).values()) == {"train"}


def test_near_duplicates_on_two_sides_stop_by_name_or_leave_training(session, run):
    archive(session, run)
    labelled(session, run, "1.3", patient("train"))
    picture = np.random.default_rng(0).bytes(64)
    nearly = bytes([picture[0] ^ 0b111]) + picture[1:]
    see(session, "1.1", picture)
    see(session, "1.2", nearly)
    see(session, "1.3")
    with pytest.raises(LeakFound, match="1 pairs of near-duplicate images") as caught:
        outcome(session, run)
    assert "1.1 (train) and 1.2 (validation)" in str(caught.value)
    assert outcome(session, run, duplicates="exclude") == {
        "1.1": DUPLICATED,
        "1.2": "validation",
        "1.3": DUPLICATED,
    }


def test_near_duplicates_of_one_patient_are_no_leak(session, run):
    for number, uid in enumerate(("1.1", "1.2")):
        labelled(session, run, uid, patient("train", number))
        see(session, uid, bytes(64))
    assert set(outcome(session, run).values()) == {"train"}


def test_images_that_nobody_could_compare_are_counted_with_the_reason(session, run):
    archive(session, run)
    see(session, "1.1", b"")
    cohort = freeze(session, query(run), SETTINGS, clock, SALT)
    record = cohort.provenance["leak_tests"]["pictures"]
    assert record["compared"] == 0
    assert record["not_compared"] == {"": 1, "nobody has looked at it": 1}


@pytest.mark.parametrize(
    ("values", "seen", "reason"),
    [
        ({"description": "T2 sag narrowing L4"}, {}, image_text.DESCRIPTION),
        ({"description": "T2_FRACTURE"}, {}, image_text.DESCRIPTION),
        ({"description": "refracture2"}, {}, ""),
        ({"sop_class_uid": SECONDARY_CAPTURE}, {}, image_text.SECONDARY),
        ({"sop_class_uid": f"{SECONDARY_CAPTURE}.4"}, {}, image_text.SECONDARY),
        ({"sop_class_uid": f"{SECONDARY_CAPTURE}7.1.4"}, {}, ""),
        ({"sop_class_uid": MR_IMAGE}, {"texts": ["severe Narrowing"]}, image_text.COMMENTS),
        ({"sop_class_uid": MR_IMAGE}, {"marks": ["DOSE"]}, image_text.SCREENS),
    ],
)
def test_images_with_text_of_reports_are_left_out(session, run, values, seen, reason):
    labelled(session, run, "1.1", patient("train"))
    add_series(session, "1.1", **values)
    see(session, "1.1", **seen)
    assert outcome(session, run) == {"1.1": reason or "train"}
    kept = {"label_words": "keep", "secondary_captures": "keep"}
    expected = reason if reason == image_text.SCREENS else "train"
    assert outcome(session, run, **kept) == {"1.1": expected}


def test_a_structured_report_beside_the_images_is_no_input(session, run):
    from tests.cohort_builders import COMPREHENSIVE_SR

    labelled(session, run, "1.1", patient("train"))
    add_series(session, "1.1", sop_class_uid=COMPREHENSIVE_SR, description="narrowing")
    assert outcome(session, run) == {"1.1": "train"}


def test_words_of_labels_are_whole_words():
    words = label_words(SCHEMA)
    assert words.search("old FRACTURE, healed")
    assert not words.search("fractures narrow")


OURS = OwnNames(
    frozenset({"2.25.123456789", "1.2.3.4.5"}),
    frozenset({"lumbar-discs", "spine"}),
    frozenset({"radloop"}),
)


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("MRI of the lumbar spine. The lumbar discs are normal. Model patient.", False),
        ("See 2.25.1234567890 and 11.2.3.4.5", False),
        ("See object 1.2.3.4.5.", True),
        (f"As in {RESEARCH_TITLE.meaning.lower()}: stenosis", True),
        ("ai result -\n research   use only", True),
        ("According to Radloop there is a stenosis", True),
        ("radloops", False),
        ("The lumbar-discs tool says so", True),
        ("spine:3 says so", True),
        ("the model spine says so", True),
        ("spine, version 2, says so", True),
        (WARNING, True),
        ("Research use only \u2013 not for diagnosis.", True),
        ("computed by an algorithm,\n not verified by a physician", True),
        (summarise(findings()), True),
        ("Nothing above threshold. Below threshold: 3 of 3.", True),
        (series_description(findings()), True),
        ("Nothing above the level of L1 was imaged. Not evaluated: the sacrum.", False),
        ("Research has shown no use. Not for the diagnosis of tumours.", False),
    ],
)
def test_what_counts_as_a_citation(text, cited):
    assert OURS.cited_in(text) is cited


def sent(session, study, uid="2.25.77", delivered=None):
    session.add(
        Transmission(
            sop_instance_uid=uid, sop_class_uid="1.2", study_instance_uid=study, peer="pacs",
            path="x", state="delivered", created_at=NOW, delivered_at=delivered,
        )
    )  # fmt: skip
    session.flush()


@pytest.mark.parametrize(
    "text",
    ["The AI (2.25.77) sees a stenosis.", "radloop sees a stenosis.", "See lumbar-discs:1."],
)
def test_a_report_that_cites_our_prediction_is_left_out(session, run, text):
    report = labelled(session, run, "1.1", patient("train"))
    labelled(session, run, "1.2", patient("train"))
    add_study(session, "1.9", "P9")
    sent(session, "1.9")
    training = TrainingRun(
        cohort_id=freeze(session, query(run), SETTINGS, clock, SALT).id, classifier="c", seed=1,
        code_version="t", started_at=NOW, finished_at=NOW,
    )  # fmt: skip
    session.add(training)
    session.flush()
    session.add(
        Model(
            weights_digest="1" * 64, name="lumbar-discs", version=1,
            training_run_id=training.id, schema_name="spine", schema_digest="5" * 64,
            device_uid="2.25.1", registered_at=NOW,
        )
    )  # fmt: skip
    session.get(Report, report).text = text
    session.flush()
    found = outcome(session, run, device_names=("radloop",))
    assert (found["1.1"], found["1.2"]) == (CITES, "train")


@pytest.mark.parametrize(
    ("setting", "hours", "history", "said", "expected"),
    [
        ("exclude", -1, False, "", CAME_AFTER),
        ("exclude", 1, False, "", "train"),
        ("keep", -1, False, "", "train"),
        (None, -1, False, "", "train"),
        ("exclude", -1, True, "20200101", "train"),
        ("exclude", -1, True, "20270101", CAME_AFTER),
    ],
)
def test_a_report_after_a_delivered_prediction(
    session, run, setting, hours, history, said, expected
):
    report = session.get_one(Report, labelled(session, run, "1.1", patient("train")))
    report.history, report.status_changed_at = history, said
    sent(session, "1.1", delivered=NOW + dt.timedelta(hours=hours))
    assert outcome(session, run, reports_after_delivery=setting) == {"1.1": expected}
