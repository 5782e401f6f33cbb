"""Rows of labeling: a run per configuration, and labels that are only ever added.

A corrected report is a new report version without labels, so it needs labels by itself; the labels
of the version before stay as they were and are stale by the report's ``is_current``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, not_
from sqlmodel import Session, col, select

from dicom_node.database import Clock
from dicom_node.linking.decision import CONFIRMED
from dicom_node.models import Link, Report
from dicom_node.reports.status import EFFECTS, Effect
from dicom_node.studies import frozen
from labeling.labeler import LabelResult
from labeling.models import Label, LabelingRun
from labeling.vocabulary import LabelSchema, State

WITHOUT_RESULT = frozenset(
    code for code, effect in EFFECTS.items() if effect not in (Effect.PROVISIONAL, Effect.FINAL)
)
"""Statuses (OBR-25, HL7 table 0123) under which a version is not read: its text is no report."""

READABLE: tuple[ColumnElement[bool], ...] = (
    col(Report.is_current).is_(True),
    col(Report.result_status).not_in(WITHOUT_RESULT),
    col(Report.text) != "",
)
"""What a report fulfils that labelers read: current, with a result, not empty."""

PROVISIONAL = frozenset(code for code, effect in EFFECTS.items() if effect is Effect.PROVISIONAL)
"""Statuses under which a version is read, its labels are provisional, and no cohort takes it."""


@dataclass(frozen=True)
class LabelerIdentity:
    """What a run records of its labeler, which may live in another process.

    ``prompt_digest`` is of the questions and of every setting that changes an answer.
    """

    name: str
    model_digest: str
    prompt_digest: str
    model_name: str = ""


def open_run(
    session: Session,
    labeler: LabelerIdentity,
    schema: LabelSchema,
    clock: Clock,
    calibration_digest: str = "",
) -> LabelingRun:
    """Return the run of this configuration; it is created when it first reads.

    Labeler, schema, model, questions and calibration together are the configuration, so a change
    of any of them is a new run and labels anew.
    """
    asked = prompt_digest_of(labeler.prompt_digest, calibration_digest)
    run = session.exec(
        select(LabelingRun).where(
            LabelingRun.labeler == labeler.name,
            LabelingRun.schema_digest == schema.digest,
            LabelingRun.model_digest == labeler.model_digest,
            LabelingRun.prompt_digest == asked,
        )
    ).first()
    if run is None:
        run = LabelingRun(
            labeler=labeler.name,
            schema_name=schema.name,
            schema_digest=schema.digest,
            model_digest=labeler.model_digest,
            prompt_digest=asked,
            question_digest=labeler.prompt_digest,
            calibration_digest=calibration_digest,
            model_name=labeler.model_name,
            started_at=clock(),
        )
        session.add(run)
        session.flush()
    return run


def prompt_digest_of(question_digest: str, calibration_digest: str) -> str:
    """Return the digest of questions and calibration; of the questions alone without one."""
    if not calibration_digest:
        return question_digest
    return hashlib.sha256(f"{question_digest} {calibration_digest}".encode()).hexdigest()


def reports_without_labels(
    session: Session, run: LabelingRun, *, limit: int | None = None
) -> list[Report]:
    """Return current report versions with a result that the run has not read, oldest first.

    A report that failed has labels with state "failed" and is not tried again by the same run. One
    whose confirmed links all lead to frozen studies waits until a person has decided.
    """
    query = select(Report).where(*_unread_by(run)).order_by(col(Report.id))
    return list(session.exec(query if limit is None else query.limit(limit)))


def unread_reports(session: Session, run: LabelingRun) -> list[tuple[int, bool]]:
    """Return of the same reports the id, and whether it is provisional; texts stay where they are.

    There may be a hundred thousand of them.
    """
    columns = select(Report.id, Report.result_status)
    rows = session.exec(columns.where(*_unread_by(run)).order_by(col(Report.id)))
    return [(key or 0, status in PROVISIONAL) for key, status in rows]


def texts_of(session: Session, report_ids: Sequence[int]) -> list[tuple[int, str]]:
    """Return id and text of those of these reports that are still there and current."""
    rows = session.exec(
        select(Report.id, Report.text)
        .where(col(Report.id).in_(report_ids), col(Report.is_current).is_(True))
        .order_by(col(Report.id))
    )
    return [(key or 0, text) for key, text in rows]


def anything_readable(session: Session) -> bool:
    """Tell whether there is a report that a labeler would read that has read nothing yet."""
    return session.exec(select(Report.id).where(*READABLE).limit(1)).first() is not None


def _unread_by(run: LabelingRun) -> tuple[ColumnElement[bool], ...]:
    labelled = select(Label.report_id).where(Label.run_id == run.id)
    return *READABLE, col(Report.id).not_in(labelled), not_(_only_on_frozen_studies())


def _only_on_frozen_studies() -> ColumnElement[bool]:
    confirmed = select(Link.id).where(Link.report_id == Report.id, Link.state == CONFIRMED)
    is_frozen = frozen(col(Link.study_instance_uid))
    return and_(
        confirmed.where(is_frozen).exists(), not_(confirmed.where(not_(is_frozen)).exists())
    )


def store_labels(
    session: Session,
    run: LabelingRun,
    report_id: int,
    results: Sequence[LabelResult],
    clock: Clock,
) -> int:
    """Add the labels of one report and return how many; 0 where the run has labelled it already.

    Labels of a provisional version say so. They are 0 too where the version is gone, or another one
    became current while it was read: that one is read instead.

    All labels of a report go in together (the caller's transaction), so a report has either all
    labels of a run or none, and an interrupted run goes on where it stopped.
    """
    if run.id is None:
        raise ValueError("the run is not stored yet")
    known = select(Label.id).where(Label.run_id == run.id, Label.report_id == report_id)
    if session.exec(known.limit(1)).first() is not None:
        return 0
    report = session.get(Report, report_id)
    if report is None or not report.is_current:
        return 0
    now = clock()
    provisional = report.result_status in PROVISIONAL
    session.add_all(_label(run.id, report_id, each, provisional, now) for each in results)
    session.flush()
    return len(results)


def _label(
    run_id: int, report_id: int, result: LabelResult, provisional: bool, now: dt.datetime
) -> Label:
    start, end = result.evidence[0] if result.evidence else (None, None)
    return Label(
        run_id=run_id,
        report_id=report_id,
        observation=result.observation,
        site=result.site,
        state=str(result.state),
        own_state=str(result.own_state or ""),
        probability=result.probability,
        margin=result.margin,
        mention_margin=result.mention_margin,
        evidence_start=start,
        evidence_end=end,
        more_evidence=[list(each) for each in result.evidence[1:]],
        severity=result.severity,
        locations=list(result.locations),
        detail=result.detail,
        provisional=provisional,
        created_at=now,
    )


def result_of_label(label: Label) -> LabelResult:
    """Return what a stored label says, as its labeler gave it after the decision."""
    spans = [(start, end) for start, end in label.more_evidence]
    if label.evidence_start is not None and label.evidence_end is not None:
        spans.insert(0, (label.evidence_start, label.evidence_end))
    return LabelResult(
        observation=label.observation,
        site=label.site,
        state=State(label.state),
        probability=label.probability,
        margin=label.margin,
        mention_margin=label.mention_margin,
        evidence=tuple(spans),
        severity=label.severity,
        locations=tuple(label.locations),
        detail=label.detail,
        own_state=State(label.own_state) if label.own_state else None,
    )
