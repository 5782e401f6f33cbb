import csv
import functools
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from dicom_node.feeds.registry import Profiles
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.hl7.reader import read_message
from dicom_node.settings import Hl7Settings
from labeling.reference_file import COLUMNS
from labeling.vocabulary import WHOLE, State
from plugin.errors import Permanent
from plugin.simulation.hospital import (
    REFERENCE_COLUMNS,
    HospitalPlan,
    SendMessage,
    SendStudy,
    plan_hospital,
)
from plugin.simulation.messages import escape
from plugin.simulation.spider import pixel_spacing, spider_studies
from plugin.simulation.truth import LEVELS, OBSERVATIONS

SHARED = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[3].parent / "shared"))
SPIDER = SHARED / "data" / "spider_lumbar_png"
needs_spider = pytest.mark.skipif(not SPIDER.is_dir(), reason=f"{SPIDER} is not there")


@functools.cache
def plan(seed: int = 5) -> HospitalPlan:
    return plan_hospital(seed, patients=40, awaiting=6, priors=3, reference_reports=8)


def messages() -> dict[str, SendMessage]:
    return {
        each.message_control_id: each for each in plan().events if isinstance(each, SendMessage)
    }


@functools.cache
def parsed(control_id: str) -> ParsedMessage:
    return read_message(messages()[control_id].content, Profiles(Hl7Settings()).of)


def sent_at() -> dict[str, int]:
    """The place of each study's sending among the events."""
    return {
        each.study.study_instance_uid: i
        for i, each in enumerate(plan().events)
        if isinstance(each, SendStudy)
    }


def test_the_same_seed_gives_the_same_bytes() -> None:
    again = plan_hospital(5, patients=40, awaiting=6, priors=3, reference_reports=8)
    assert [m.content for m in messages().values()] == [
        each.content for each in again.events if isinstance(each, SendMessage)
    ]
    assert plan().studies.keys() == again.studies.keys()
    assert plan().studies.keys() != plan_hospital(6, patients=40, awaiting=6).studies.keys()


def test_a_study_can_travel_to_a_process_that_draws_it() -> None:
    study = next(iter(plan().studies.values()))
    travelled = pickle.loads(pickle.dumps(study))
    assert (travelled.header, travelled.spine.truth) == (study.header, study.spine.truth)
    assert travelled.uids("a name") == study.uids("a name")


def test_events_come_in_order_of_time_and_each_study_once() -> None:
    times = [each.at for each in plan().events]
    assert times == sorted(times)
    assert set(sent_at()) == set(plan().studies)
    assert len(plan().studies) == 43


def test_reports_come_before_and_after_their_images() -> None:
    order = list(plan().events)
    place = {m.message_control_id: order.index(m) for m in messages().values()}
    early = [cid for cid, uid in plan().expected_links if place[cid] < sent_at()[uid]]
    assert 2 <= len(early) < len(plan().expected_links) / 2


def test_statuses_cover_preliminary_final_and_corrected() -> None:
    statuses = [control_id[-1] for control_id, _ in plan().expected_links]
    assert statuses.count("P") >= 4
    assert statuses.count("C") >= 2
    assert statuses.count("F") > 25


def test_a_corrected_report_says_something_else_than_before() -> None:
    for control_id in (each for each in messages() if each.endswith("C")):
        before = plan().reports[control_id[:-1] + "F"]
        assert before.states != plan().reports[control_id].states


def test_messages_say_to_the_node_what_was_meant() -> None:
    for control_id, uid in sorted(plan().final_links):
        header = plan().studies[uid].header
        (report,) = parsed(control_id).reports
        assert report.result_status == control_id[-1]
        (accession,) = report.accessions
        assert accession.value == header.accession_number
        assert report.patient.birth_date == f"{header.patient.birth_date:%Y%m%d}"
        name = f"{header.patient.family_name}^{header.patient.given_name}"
        assert report.patient.name == name
        if header.site.declares_study_uid:
            assert report.study_instance_uids == (uid,)
        else:
            assert accession.issuer == header.site.issuer_of_accession_number
            assert not accession.issuer_assumed
        assert report.patient.identifiers[0].issuer == header.site.issuer_of_patient_id


def test_the_text_arrives_as_it_was_written() -> None:
    for control_id, report in plan().reports.items():
        parts = parsed(control_id).reports[0].parts
        assert "\n".join(part.text for part in parts) == report.text


def test_strays_match_nothing_or_contradict() -> None:
    reasons = plan().expected_unlinked
    assert sorted(reasons.values()) == ["contradicting patient", "unknown accession number"]
    numbers = {study.header.accession_number: uid for uid, study in plan().studies.items()}
    for control_id, reason in reasons.items():
        (report,) = parsed(control_id).reports
        uid = numbers.get(report.accessions[0].value)
        if reason == "unknown accession number":
            assert uid is None
        else:
            assert uid in plan().awaiting
            patient = plan().studies[uid].header.patient
            assert report.patient.identifiers[0].value != patient.patient_id
            assert report.patient.birth_date != f"{patient.birth_date:%Y%m%d}"


def test_merges_join_the_ids_of_images_and_report() -> None:
    assert len(plan().merges) == 2
    for control_id in plan().merges:
        (merge,) = parsed(control_id).patient_events
        number = control_id[1:-1]
        (uid,) = (u for c, u in plan().final_links if c == f"{control_id[0]}{number}F")
        (report,) = parsed(plan().final_message[uid]).reports
        ids = {plan().studies[uid].header.patient.patient_id, report.patient.identifiers[0].value}
        assert ids == {merge.prior.value, merge.survivor.value}


def test_awaiting_patients_have_no_report_and_no_prior() -> None:
    held_out = [plan().studies[uid].header.patient for uid in plan().awaiting]
    keys = [(each.issuer_of_patient_id, each.patient_id) for each in held_out]
    all_keys = [
        (s.header.patient.issuer_of_patient_id, s.header.patient.patient_id)
        for s in plan().studies.values()
    ]
    assert all(all_keys.count(key) == 1 for key in keys)
    assert not plan().awaiting & plan().report_states.keys()
    assert plan().truth_of.keys() == plan().studies.keys()


def test_sites_share_numbers_but_reference_reports_do_not(tmp_path: Path) -> None:
    numbers = [each.header.accession_number for each in plan().studies.values()]
    assert len(set(numbers)) < len(numbers)
    path = tmp_path / "reference.csv"
    assert plan().write_reference_csv(path) == len(plan().reference_rows())
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == REFERENCE_COLUMNS == COLUMNS
    by_report = {row["subject"] for row in rows if row["level"] == "report"}
    assert len(by_report) == 8
    assert all(numbers.count(number) == 1 for number in by_report)
    image_rows = [row for row in rows if row["level"] == "image"]
    assert len(image_rows) == 6 * len(OBSERVATIONS) * (len(LEVELS) + 1)
    assert {row["state"] for row in image_rows} == {State.PRESENT, State.ABSENT}
    assert {row["site"] for row in rows} == {WHOLE, *LEVELS}


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(Permanent):
        plan_hospital(1, patients=20)


def test_hl7_delimiters_in_text_are_escaped() -> None:
    assert escape("a|b^c&d~e\\f\ng") == r"a\F\b\S\c\T\d\R\e\E\f\.br\g"


def test_a_folder_that_is_not_spider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"overview\.csv"):
        next(spider_studies(tmp_path))


@pytest.mark.parametrize(
    ("recorded", "rows", "columns", "expected"),
    [
        ("[0.625, 0.625]", 448, 448, 0.625),
        ("[0.625, 0.625]", 512, 382, 0.625),
        ("[.46875, .46875]", 512, 410, 300 / 512),
    ],
)
def test_spacing_of_shrunk_images(recorded: str, rows: int, columns: int, expected: float) -> None:
    assert pixel_spacing(recorded, rows, columns) == (expected, expected)


@needs_spider
def test_spider_slices_become_studies_without_stenosis() -> None:
    hospital = plan_hospital(2, patients=30, awaiting=4, images=SPIDER)
    study = next(iter(hospital.studies.values()))
    datasets = study.datasets()
    assert {each.Modality for each in datasets} == {"MR"}
    assert any("T2" in each.SeriesDescription.upper() for each in datasets)
    assert all("SIMULATED" in each.StudyDescription for each in datasets)
    assert all(np.ptp(each.pixel_array) > 50 for each in datasets)
    for states in hospital.report_states.values():
        said = {state for (observation, _), state in states.items() if observation == "stenosis"}
        assert said == {State.NOT_MENTIONED}
    assert not any(report.severities for report in hospital.reports.values())
    assert "stenosis" not in {row[2] for row in hospital.reference_rows() if row[0] == "image"}
