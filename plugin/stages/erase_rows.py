"""Which rows an erasure deletes, mends and keeps: every table has its place in one of three lists.

A test compares the lists with the tables that exist, so that a new table cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, select

from dicom_node.database import chunks
from dicom_node.models import Quarantined, Report, ReportedStudy
from dicom_node.quarantine import DICOM
from dicom_node.settling import misplace
from labeling.evaluation.cases import locate_quote
from labeling.models import LabelingRun, ReferenceLabel
from plugin.stages.erase_filed import blank_shared, mend_imports, mend_lists
from plugin.stages.erase_whom import Subject
from training.manifest import content, digest_of
from training.models import Cohort, CohortMember, Model, TrainingRun

DELETED_BY: dict[str, dict[str, str]] = {
    "cohort_member": {
        "study_instance_uid": "studies",
        "report_id": "reports",
        "patient_key": "patient_keys",
    },
    "awaited_object": {"digest": "digests"},
    "commitment_inquiry": {"study_instance_uid": "studies"},
    "commitment_reference": {"sop_instance_uid": "instances", "study_instance_uid": "studies"},
    "commitment_transaction": {"study_instance_uid": "studies"},
    "committed_instance": {"sop_instance_uid": "instances", "study_instance_uid": "studies"},
    "decoded_content": {"digest": "digests"},
    "dicom_document": {"digest": "digests", "study_instance_uid": "studies"},
    "document_decision": {"digest": "digests", "study_instance_uid": "studies"},
    "document_reference": {"digest": "digests"},
    "evaluation_member": {"study_instance_uid": "studies", "patient_key": "patient_keys"},
    "expired_study": {"study_instance_uid": "studies"},
    "imaging_order": {"id": "orders"},
    "imported_object": {"digest": "digests"},
    "impact_note": {"study_instance_uid": "studies", "report_id": "reports"},
    "instance": {"series_instance_uid": "series"},
    "label": {"report_id": "reports"},
    "label_disagreement": {"report_id": "reports"},
    "link": {"report_id": "reports", "study_instance_uid": "studies"},
    "link_decision": {"id": "decisions"},
    "link_event": {"report_id": "reports", "study_instance_uid": "studies"},
    "message": {"id": "own_messages"},
    "misplaced_file": {"digest": "digests"},
    "pacs_difference": {"study_instance_uid": "studies"},
    "patient": {"id": "patients"},
    "patient_event": {"id": "events"},
    "patient_review": {"id": "reviews"},
    "prediction": {"study_instance_uid": "studies"},
    "prior_study": {"study_instance_uid": "requested", "prior_instance_uid": "requested"},
    "quarantine_decision": {"digest": "digests"},
    "quarantined": {"digest": "digests", "message_id": "messages"},
    "reference_label": {"subject": "reference_subjects"},
    "reference_sample_subject": {"subject": "reference_subjects"},
    "rejected_instance": {"note_digest": "digests", "study_instance_uid": "studies"},
    "report": {"id": "reports"},
    "report_input": {"id": "inputs"},
    "reported_accession": {"report_id": "reports"},
    "reported_patient": {"report_id": "reports"},
    "reported_study": {"report_id": "reports", "study_instance_uid": "studies"},
    "retrieval": {
        "study_instance_uid": "requested",
        "prior_of": "requested",
        "accession_number": "reference_subjects",
        # A row says no issuer of the patient: another one's request may go, and is made again.
        "patient_id": "patient_ids",
    },
    "series": {"series_instance_uid": "series"},
    "series_choice": {"study_instance_uid": "studies"},
    "series_picture": {"digest": "digests"},
    "solicited_study": {"study_instance_uid": "requested"},
    "study": {"study_instance_uid": "studies"},
    "study_completion": {"study_instance_uid": "studies"},
    "superseded_instance": {"digest": "digests", "study_instance_uid": "studies"},
    "tombstone": {"study_key": "study_keys"},
    "transmission": {"study_instance_uid": "studies"},
}
"""Table -> column -> the set of :class:`Subject` whose values make a row the patient's."""

MENDED = frozenset({"cohort", "cohort_export", "imported_file", "training_run"})
"""Tables whose rows stay and lose what they say about the patient."""

KEPT = frozenset(
    {
        "backfill",
        "calibration",
        "commitment_request",
        "erasure",
        "evaluation_plan",
        "feed_acceptance",
        "filed_position",
        "impact_position",
        "labeling_run",
        "model",
        "model_event",
        "object_import",
        "opt_out",
        "pending_deletion",
        "qualification",
        "reference_sample",
        "retrieval_asking",
        "run_in_force",
        "schema_version",
        "test_set_opening",
    }
)
"""Tables that hold nothing about patients, or what must remain of an erasure."""

# References of other patients' rows to the patient's.
_REFERENCES = (
    ("report", "supersedes_id", "reports", None),
    ("report", "message_id", "own_messages", None),
    ("report", "input_id", "inputs", None),
    ("patient_event", "message_id", "own_messages", None),
    ("quarantined", "other_study_instance_uid", "studies", ""),
    ("imaging_order", "study_instance_uid", "studies", ""),
)


def delete_rows(session: Session, subject: Subject) -> dict[str, int]:
    """Delete every row about the patient and every mention in others' rows; count by table."""
    _rewrite_notices(session, subject)
    for table, column, values, blank in _REFERENCES:
        _blank(session, table, column, getattr(subject, values), blank)
    _mend_reports(session, subject)
    _blank_quotes(session, subject)
    mend_lists(session, subject)
    blank_shared(session, subject)
    mend_imports(session, subject)
    counts: dict[str, int] = {}
    # Rows that refer to others go before those that they refer to.
    for table in reversed(SQLModel.metadata.sorted_tables):
        deleted = 0
        for column, values in DELETED_BY.get(table.name, {}).items():
            for chunk in chunks(sorted(getattr(subject, values))):
                statement = sa.delete(table).where(table.c[column].in_(chunk))
                deleted += session.connection().execute(statement).rowcount
        if deleted:
            counts[table.name] = deleted
    session.expire_all()
    _make_current(session)
    return counts


def _rewrite_notices(session: Session, subject: Subject) -> None:
    """Have the notices of others' objects written anew: they name the patient's studies too."""
    for chunk in chunks(sorted(subject.studies)):
        digests = session.exec(
            select(Quarantined.digest).where(
                Quarantined.kind == DICOM,
                col(Quarantined.other_study_instance_uid).in_(chunk),
                col(Quarantined.digest).not_in(subject.digests),
            )
        ).all()
        misplace(session, digests)


def _blank(
    session: Session, table_name: str, column: str, values: Collection[Any], blank: str | None
) -> None:
    table = SQLModel.metadata.tables[table_name]
    for chunk in chunks(sorted(values)):
        session.connection().execute(
            sa.update(table).where(table.c[column].in_(chunk)).values({column: blank})
        )


def _mend_reports(session: Session, subject: Subject) -> None:
    """Take the patient's studies out of the lists of other patients' reports."""
    naming = (
        select(Report)
        .join(ReportedStudy, col(ReportedStudy.report_id) == col(Report.id))
        .where(
            col(ReportedStudy.study_instance_uid).in_(subject.studies),
            col(Report.id).not_in(subject.reports),
        )
    )
    for report in session.exec(naming).unique():
        report.study_instance_uids = [
            uid for uid in report.study_instance_uids if uid not in subject.studies
        ]
        session.add(report)
    session.flush()


def _blank_quotes(session: Session, subject: Subject) -> None:
    """Take quotes that stand in the patient's reports out of readers' labels of files.

    Such a label names the report by its id in a file, which the node cannot tell to be the
    patient's. A quote so short that it stands in others' reports, too, goes with them.
    """
    quoting = select(ReferenceLabel).where(
        ReferenceLabel.level == "file", ReferenceLabel.quote != ""
    )
    rows = list(session.exec(quoting))
    for chunk in chunks(sorted(subject.reports) if rows else []):
        for text in session.exec(select(Report.text).where(col(Report.id).in_(chunk))):
            for row in rows:
                if row.quote and locate_quote(text, row.quote):
                    row.quote = ""
                    session.add(row)
    session.flush()


def _make_current(session: Session) -> None:
    """Make the last version current where the one that was is gone."""
    current = select(Report.report_identity).where(col(Report.is_current))
    left = session.exec(
        select(Report)
        .where(col(Report.report_identity).not_in(current))
        .order_by(col(Report.report_identity), col(Report.version))
    )
    last = {report.report_identity: report for report in left}
    for report in last.values():
        report.is_current = True
        session.add(report)
    session.flush()


def cohorts_with(session: Session, subject: Subject) -> dict[int, int]:
    """Return the cohorts that hold a row about the patient, and how many were members."""
    found: dict[int, int] = {}
    for member in session.exec(
        select(CohortMember).where(
            sa.or_(
                *(
                    col(getattr(CohortMember, column)).in_(getattr(subject, values))
                    for column, values in DELETED_BY["cohort_member"].items()
                )
            )
        )
    ):
        members = 0 if member.exclusion_reason else 1
        found[member.cohort_id] = found.get(member.cohort_id, 0) + members
    return found


def mend_cohorts(session: Session, members: dict[int, int]) -> list[dict[str, Any]]:
    """Give each cohort that lost rows a digest of what is left; return what changed.

    The digest before goes into the query, so that two cohorts that differed in this patient alone
    stay two.
    """
    changed = []
    for cohort_id, lost in sorted(members.items()):
        cohort = session.get_one(Cohort, cohort_id)
        run = session.get_one(LabelingRun, cohort.labeling_run_id)
        before = cohort.digest
        cohort.query = {**cohort.query, "rewritten_from": before}
        rows = session.exec(
            select(CohortMember)
            .where(CohortMember.cohort_id == cohort_id)
            .order_by(col(CohortMember.study_instance_uid))
        )
        cohort.digest = digest_of(content(cohort, run, list(rows)))
        session.add(cohort)
        changed.append(
            {"cohort": cohort_id, "before": before, "after": cohort.digest, "members": lost}
        )
    session.flush()
    return changed


def models_trained_on(session: Session, members: dict[int, int]) -> list[dict[str, Any]]:
    """Return the models that were trained on a cohort of which the patient was a member."""
    cohorts = [cohort for cohort, lost in members.items() if lost]
    rows = session.exec(
        select(Model, TrainingRun.cohort_id)
        .join(TrainingRun, col(TrainingRun.id) == col(Model.training_run_id))
        .where(col(TrainingRun.cohort_id).in_(cohorts))
        .order_by(col(Model.id))
    )
    return [{"model": model.reference, "cohort": cohort_id} for model, cohort_id in rows]


def mend_training_runs(session: Session, subject: Subject) -> None:
    """Take entries about the patient's studies out of the records of trainings."""
    for run in session.exec(select(TrainingRun)):
        kept = _without(run.metrics, subject.studies | subject.patient_keys)
        if kept != run.metrics:
            run.metrics = kept
            session.add(run)
    session.flush()


def _without(value: Any, names: set[str]) -> Any:
    """Return a JSON value without list items and entries that hold one of the names."""
    if isinstance(value, dict):
        return {
            key: _without(each, names)
            for key, each in value.items()
            if key not in names and not (isinstance(each, str) and each in names)
        }
    if isinstance(value, list):
        return [_without(each, names) for each in value if not _holds(each, names)]
    return value


def _holds(value: Any, names: set[str]) -> bool:
    if isinstance(value, dict):
        return any(isinstance(each, str) and each in names for each in value.values())
    return isinstance(value, str) and value in names
