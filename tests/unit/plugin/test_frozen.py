"""A frozen study is left out of labelling, training, prediction and write-back until decided."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from dicom_node.models import Link, Quarantined, QuarantineDecision, Report, Transmission
from dicom_node.studies import decisions_on, frozen_studies, is_frozen
from labeling.models import LabelingRun
from labeling.runs import reports_without_labels
from plugin.pipeline import waiting_transmissions
from plugin.stages.train import _frozen_members, _members
from tests.cohort_builders import add_study, blank_session
from tests.index_room import NOW
from training.models import Cohort, CohortMember


@pytest.fixture
def session() -> Iterator[Session]:
    with blank_session() as session:
        yield session


def freeze(session: Session, study: str = "", other: str = "", state: str = "open") -> None:
    number = len(session.exec(select(Quarantined)).all())
    session.add(
        Quarantined(
            kind="dicom",
            digest=f"{number:064d}",
            reason="other content",
            cause="content",
            state=state,
            study_instance_uid=study,
            other_study_instance_uid=other,
            received_at=NOW,
        )
    )
    session.flush()


def report(session: Session, *studies: str) -> int:
    number = len(session.exec(select(Report)).all())
    row = Report(report_identity=f"R{number}", version=1, text="t", received_at=NOW)
    session.add(row)
    session.flush()
    for uid in studies:
        session.add(
            Link(
                report_id=row.id or 0, study_instance_uid=uid, state="confirmed",
                rule="", reason="", decided_at=NOW,
            )
        )  # fmt: skip
    session.flush()
    return row.id or 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"study": "1"}, True),
        ({"study": "9", "other": "1"}, True),
        ({"study": "1", "state": "rejected"}, False),
        ({"study": "1", "state": "accepted"}, False),
        ({"study": "2"}, False),
        ({"study": ""}, False),
    ],
)
def test_a_study_is_frozen_while_an_object_of_it_is_open(
    session: Session, row: dict[str, Any], expected: bool
) -> None:
    freeze(session, **row)
    assert is_frozen(session, "1") is expected
    assert ("1" in frozen_studies(session)) is expected


def test_a_quarantined_message_freezes_nothing(session: Session) -> None:
    session.add(Quarantined(kind="hl7", digest="1" * 64, reason="no MSH", received_at=NOW))
    session.flush()
    assert not is_frozen(session, "")
    assert frozen_studies(session) == {}


def test_reports_of_frozen_studies_alone_are_not_labelled(session: Session) -> None:
    for uid in ("1", "2"):
        add_study(session, uid, f"P{uid}")
    reports = [report(session), report(session, "1"), report(session, "1", "2"), report(session)]
    run = LabelingRun(labeler="rules", schema_name="s", schema_digest="d", started_at=NOW)
    session.add(run)
    session.flush()
    freeze(session, "1")
    waiting = [each.id for each in reports_without_labels(session, run)]
    assert waiting == [reports[0], reports[2], reports[3]]
    for row in session.exec(select(Quarantined)):
        row.state = "rejected"
    session.flush()
    assert [each.id for each in reports_without_labels(session, run)] == reports


def test_queued_reports_of_a_frozen_study_are_held(session: Session) -> None:
    for uid in ("1", "2"):
        session.add(
            Transmission(
                sop_instance_uid=f"2.25.{uid}", sop_class_uid="1.2", study_instance_uid=uid,
                peer="pacs", path="x", created_at=NOW,
            )
        )  # fmt: skip
    freeze(session, "9", "1")
    assert [row.study_instance_uid for row in waiting_transmissions(session)] == ["2"]


def test_members_that_are_frozen_since_do_not_train(session: Session, tmp_path: Path) -> None:
    for uid in ("1", "2"):
        add_study(session, uid, f"P{uid}")
    run = LabelingRun(labeler="rules", schema_name="s", schema_digest="d", started_at=NOW)
    session.add(run)
    session.flush()
    cohort = Cohort(
        digest="d", name="c", schema_name="s", schema_digest="d", labeling_run_id=run.id or 0,
        query={"modality": "MR", "body_parts": [], "series_description": ""}, frozen_at=NOW,
    )  # fmt: skip
    session.add(cohort)
    session.flush()
    for uid in ("1", "2"):
        session.add(
            CohortMember(
                cohort_id=cohort.id or 0, study_instance_uid=uid, patient_key=uid, fold="train"
            )
        )
    session.flush()
    freeze(session, "1")

    class Folder:
        root = tmp_path

    class Context:
        folder = Folder

    members = _members(Context, session, cohort)  # type: ignore[arg-type]
    assert [member["study_instance_uid"] for member in members] == ["2"]
    assert _frozen_members(session, cohort) == ["1"]


def test_decisions_are_counted_for_a_study(session: Session) -> None:
    freeze(session, "1")
    assert decisions_on(session, "1") == 0
    for minute in range(2):
        session.add(
            QuarantineDecision(
                digest=f"{0:064d}", action="reject", decided_by="x", reason="y",
                decided_at=NOW + dt.timedelta(minutes=minute),
            )
        )  # fmt: skip
    session.flush()
    assert decisions_on(session, "1") == 2
    assert decisions_on(session, "2") == 0
