"""Studies without reports and reports without studies: which, why, and how many."""

import pytest
from sqlmodel import Session

from dicom_node.models import Report, Study
from dicom_node.reports.models import ReportedAccession
from plugin.errors import Permanent
from plugin.stages.gaps import (
    NO_ACCESSION,
    NO_ISSUER,
    NOT_LINKED,
    OTHER_ISSUER,
    UNKNOWN_ACCESSION,
    UNKNOWN_STUDY,
    WAITING,
    find_gaps,
)
from tests.cohort_builders import NOW, add_report, add_series, add_study, blank_session


def given(session: Session) -> None:
    for number, (uid, accession, date) in enumerate(
        (
            ("1.1", "A1", "20260105"),
            ("1.2", "A2", "20260106"),
            ("1.3", "", "20260201"),
            ("1.4", "A4", "20251201"),
        )
    ):
        add_study(session, uid, f"P{number}")
        study = session.get_one(Study, uid)
        study.accession_number, study.study_date = accession, date
        session.add(study)
    add_report(session, "1.1")
    add_report(session, "1.2", state="proposed")


def why(rows: list[dict], key: str) -> dict:
    return {row[key]: row["why"] for row in rows}


def test_each_gap_has_its_reason() -> None:
    with blank_session() as session:
        given(session)
        found = find_gaps(session, "")
        assert why(found["studies"], "study_instance_uid") == {
            "1.2": "link proposed",
            "1.3": NO_ACCESSION,
            "1.4": WAITING,
        }
        assert [row["why"] for row in found["reports"]] == ["link proposed"]


def test_a_report_of_nothing_here_is_told() -> None:
    with blank_session() as session:
        given(session)
        session.add(
            Report(
                report_identity="RIS|F9", version=1, text="x", result_status="F",
                accession_number="A9", observation_date="202601051200", modality="MR",
                received_at=NOW,
            )
        )  # fmt: skip
        session.flush()
        (found,) = [row for row in find_gaps(session, "")["reports"] if row["number"] == "RIS|F9"]
        assert found["why"] in (UNKNOWN_STUDY, NO_ACCESSION)
        assert found["date"] == "20260105"


def test_counts_are_by_modality_month_and_reason() -> None:
    with blank_session() as session:
        given(session)
        note = "1.2.840.10008.5.1.4.1.1.88.59"
        add_series(session, "1.2", modality="KO", sop_class_uid=note)
        counts = find_gaps(session, "")["counts"]
        studies = [row for row in counts if row["gap"] == "study without report"]
        assert {(row["modality"], row["month"], row["why"], row["number"]) for row in studies} == {
            ("MR", "2026-01", "link proposed", 1),
            ("MR", "2026-02", NO_ACCESSION, 1),
            ("MR", "2025-12", WAITING, 1),
        }


def test_since_leaves_out_what_is_older() -> None:
    with blank_session() as session:
        given(session)
        found = find_gaps(session, "2026-01-06")
        assert set(why(found["studies"], "study_instance_uid")) == {"1.2", "1.3"}


@pytest.mark.parametrize("since", ["2026", "2026-02-30", "yesterday", "20260101"])
def test_a_day_that_is_none_is_refused(since: str) -> None:
    with blank_session() as session, pytest.raises(Permanent, match="--since"):
        find_gaps(session, since)


def test_a_complete_study_waits_for_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin.stages.gaps.complete_studies", lambda _session: ["1.4"])
    with blank_session() as session:
        given(session)
        found = why(find_gaps(session, "")["studies"], "study_instance_uid")
        assert found["1.4"] == UNKNOWN_ACCESSION


def report_of(session: Session, accession: str, issuer: str, **values: object) -> None:
    report = Report(
        report_identity=f"RIS|{accession}{issuer}{values}", text="x", received_at=NOW,
        **{"version": 1, "result_status": "F", "accession_number": accession, **values},
    )  # fmt: skip
    session.add(report)
    session.flush()
    session.add(
        ReportedAccession(report_id=report.id or 0, accession_number=accession, issuer=issuer)
    )
    session.flush()


@pytest.mark.parametrize(
    ("ours", "theirs", "values", "said"),
    [
        ("RIS", "OTHER", {}, OTHER_ISSUER),
        ("RIS", "RIS", {}, NOT_LINKED),
        ("RIS", "ris", {}, NOT_LINKED),
        ("RIS", "", {}, NO_ISSUER),
        ("", "RIS", {}, NO_ISSUER),
        ("RIS", "OTHER", {"is_current": False}, WAITING),
        ("RIS", "RIS", {"is_current": False}, WAITING),
        ("RIS", "OTHER", {"result_status": "X"}, WAITING),
    ],
)
def test_a_number_is_of_another_issuer_only_where_a_current_report_says_so(
    ours: str, theirs: str, values: dict, said: str
) -> None:
    with blank_session() as session:
        given(session)
        study = session.get_one(Study, "1.4")
        study.issuer_of_accession_number = ours
        session.add(study)
        report_of(session, "A4", theirs, **values)
        found = find_gaps(session, "", str.upper)
        assert why(found["studies"], "study_instance_uid")["1.4"] == said
