"""Stage: what changed since the last look is followed to everything that rests on it.

Changes are rows that are only added, so how far they were read is one number a table. Asked twice,
nothing is noted twice; without the numbers everything is looked at, and nothing is noted twice
either.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, func, select

from dicom_node.database import chunks
from dicom_node.documents.models import DocumentDecision, RejectedInstance
from dicom_node.durable import write_durably
from dicom_node.life_models import Erasure, StudyCompletion
from dicom_node.linking.models import LinkEvent, PatientEvent, PatientReview
from dicom_node.models import (
    Quarantined,
    QuarantineDecision,
    Report,
    Transmission,
)
from dicom_node.reports.models import ReportInput
from dicom_node.retrieval.models import PacsDifference
from dicom_node.studies import frozen_studies
from labeling.models import Label
from plugin.context import Context
from plugin.stages.ground import ground_of
from training.cohort import manifest
from training.impact import ERASURE, Artefact, Scope, cohorts_of, note
from training.impact_models import ImpactNote, ImpactPosition
from training.membership import Ground
from training.models import Cohort, CohortMember, Model, OptOut, Prediction, TrainingRun
from training.optouts import opted_out_studies
from training.patients import studies_of_patients
from training.standing import Fault

_log = logging.getLogger(__name__)

Read = Callable[[Session, Ground, int], Scope]
"""From the rows of a table after a position to what they touch."""


def note_impacts(context: Context, *, everything: bool = False) -> int:
    """Note what has become stale, or stands again, by all that changed since the last call.

    Where nothing has changed this costs one small query a table. It may be called at any time and
    as often as wanted.

    Args:
        context: the open node.
        everything: look at all that anything rests on, as after a start.

    Returns:
        The number of notes that were added.
    """
    if not everything:
        with context.database.read() as session:
            if _newest(session) == _positions(session):
                return 0
    with context.database.write() as session:
        return len(note_changes(context, session, everything=everything))


def note_changes(
    context: Context, session: Session, *, everything: bool = False
) -> list[ImpactNote]:
    """Do the work of :func:`note_impacts` in the caller's transaction; return the new notes."""
    ground = ground_of(context.settings)
    known, newest = _positions(session), _newest(session)
    # A table that has become shorter may have given a number twice.
    whole = everything or known.keys() != newest.keys()
    whole = whole or any(newest[name] < known[name] for name in SOURCES)
    now = context.clock()
    notes: list[ImpactNote] = []
    if whole:
        notes += note(session, ground, _all(session), now)
    else:
        for name, read in SOURCES.items():
            if newest[name] > known[name] and (scope := read(session, ground, known[name])):
                notes += note(session, ground, scope, now, (name, newest[name]))
        if newest[_QUARANTINE] != known[_QUARANTINE]:
            notes += note(session, ground, _frozen_or_thawed(session), now, (_QUARANTINE, 0))
    notes += _note_erasures(session, now)
    for name, position in newest.items():
        session.merge(ImpactPosition(source=name, position=position))
    session.flush()
    _write_manifests(context, session, notes)
    if notes:
        stale = sum(each.stale for each in notes)
        _log.info("changes made %d things stale; %d stand again", stale, len(notes) - stale)
    return notes


def forget_positions(session: Session) -> None:
    """Have the next look take in everything: rows were deleted, and numbers may come again."""
    session.execute(sa.delete(ImpactPosition))


def _of_links(session: Session, _ground: Ground, after: int) -> Scope:
    rows = session.exec(
        select(LinkEvent.study_instance_uid, LinkEvent.report_id).where(col(LinkEvent.id) > after)
    ).all()
    return Scope({uid for uid, _ in rows}, {report for _, report in rows})


def _of_reports(session: Session, _ground: Ground, after: int) -> Scope:
    rows = session.exec(select(Report.id).where(col(Report.id) > after)).all()
    return Scope(reports=_some(rows))


def _of_inputs(session: Session, _ground: Ground, after: int) -> Scope:
    """A report that was read again may have gone back to an earlier version."""
    chains = session.exec(
        select(ReportInput.report_identity).where(col(ReportInput.id) > after).distinct()
    ).all()
    found = Scope()
    for names in chunks(sorted(chains)):
        query = select(Report.id).where(col(Report.report_identity).in_(names))
        found.reports |= _some(session.exec(query).all())
    return found


def _of_events(session: Session, ground: Ground, after: int) -> Scope:
    rows = session.exec(select(PatientEvent).where(col(PatientEvent.id) > after)).all()
    whom = {(row.issuer, row.patient_id) for row in rows}
    whom |= {(row.prior_issuer, row.prior_patient_id) for row in rows}
    return _of_whom(session, ground, whom)


def _of_reviews(session: Session, ground: Ground, after: int) -> Scope:
    rows = session.exec(select(PatientReview).where(col(PatientReview.id) > after))
    return _of_whom(session, ground, {(row.issuer, row.patient_id) for row in rows})


def _of_whom(session: Session, ground: Ground, whom: Iterable[tuple[str, str]]) -> Scope:
    named = {(ground.name_of(issuer), value) for issuer, value in whom if value}
    # An un-merge parts them, and both sides are touched.
    return Scope(studies_of_patients(session, ground.name_of, named))


def _of_decisions(session: Session, _ground: Ground, after: int) -> Scope:
    rows = session.exec(
        select(Quarantined.study_instance_uid, Quarantined.other_study_instance_uid)
        .join(QuarantineDecision, col(QuarantineDecision.digest) == col(Quarantined.digest))
        .where(col(QuarantineDecision.id) > after)
    )
    return Scope({uid for both in rows for uid in both if uid})


def _of_rejections(session: Session, _ground: Ground, after: int) -> Scope:
    query = select(RejectedInstance.study_instance_uid).where(col(RejectedInstance.id) > after)
    return Scope(set(session.exec(query.distinct())))


def _of_releases(session: Session, _ground: Ground, after: int) -> Scope:
    decided = col(DocumentDecision.id) > after
    query = select(DocumentDecision.study_instance_uid).where(decided)
    named = (
        select(RejectedInstance.study_instance_uid)
        .join(DocumentDecision, col(DocumentDecision.digest) == col(RejectedInstance.note_digest))
        .where(decided)
    )
    return Scope(set(session.exec(query)) | set(session.exec(named.distinct())))


def _of_completions(session: Session, _ground: Ground, after: int) -> Scope:
    query = select(StudyCompletion.study_instance_uid).where(col(StudyCompletion.id) > after)
    return Scope(set(session.exec(query)))


def _of_labels(session: Session, _ground: Ground, after: int) -> Scope:
    """A report may have been corrected while it was read."""
    query = select(Label.report_id).where(col(Label.id) > after).distinct()
    return Scope(reports=set(session.exec(query)))


def _of_cohorts(session: Session, _ground: Ground, after: int) -> Scope:
    query = select(CohortMember.study_instance_uid).where(
        col(CohortMember.cohort_id) > after, CohortMember.exclusion_reason == ""
    )
    return Scope(set(session.exec(query)))


def _of_models(session: Session, _ground: Ground, after: int) -> Scope:
    query = (
        select(CohortMember.study_instance_uid)
        .join(TrainingRun, col(TrainingRun.cohort_id) == col(CohortMember.cohort_id))
        .join(Model, col(Model.training_run_id) == col(TrainingRun.id))
        .where(col(Model.id) > after, CohortMember.exclusion_reason == "")
    )
    return Scope(set(session.exec(query)))


def _of_predictions(session: Session, _ground: Ground, after: int) -> Scope:
    query = select(Prediction.study_instance_uid).where(col(Prediction.id) > after).distinct()
    return Scope(set(session.exec(query)))


def _of_transmissions(session: Session, _ground: Ground, after: int) -> Scope:
    query = select(Transmission.study_instance_uid).where(col(Transmission.id) > after)
    return Scope(set(session.exec(query)))


def _of_opt_outs(session: Session, ground: Ground, after: int) -> Scope:
    keys = set(session.exec(select(OptOut.patient_key).where(col(OptOut.id) > after)))
    return Scope(opted_out_studies(session, ground.salt, ground.name_of, keys))


def _of_differences(session: Session, _ground: Ground, after: int) -> Scope:
    query = select(PacsDifference.study_instance_uid).where(col(PacsDifference.id) > after)
    return Scope(set(session.exec(query)))


SOURCES: dict[str, Read] = {
    "pacs_difference": _of_differences,
    "link_event": _of_links,
    "report": _of_reports,
    "report_input": _of_inputs,
    "patient_event": _of_events,
    "patient_review": _of_reviews,
    "quarantine_decision": _of_decisions,
    "rejected_instance": _of_rejections,
    "document_decision": _of_releases,
    "study_completion": _of_completions,
    "label": _of_labels,
    "cohort": _of_cohorts,
    "model": _of_models,
    "prediction": _of_predictions,
    "transmission": _of_transmissions,
    "opt_out": _of_opt_outs,
}
"""The tables whose new rows are changes."""

_QUARANTINE = Quarantined.__tablename__
# Its rows change state and go; which studies they freeze is compared as a whole.


def _some(keys: Iterable[int | None]) -> set[int]:
    return {key for key in keys if key is not None}


def _positions(session: Session) -> dict[str, int]:
    return {row.source: row.position for row in session.exec(select(ImpactPosition))}


def _newest(session: Session) -> dict[str, int]:
    tables = SQLModel.metadata.tables
    names = (*SOURCES, Erasure.__tablename__)
    newest = {
        name: session.execute(select(func.max(tables[name].c["id"]))).scalar() or 0
        for name in names
    }
    frozen = hashlib.sha256("\n".join(frozen_studies(session)).encode()).digest()
    return {**newest, _QUARANTINE: int.from_bytes(frozen[:6], "big")}


def _frozen_or_thawed(session: Session) -> Scope:
    """Return the studies that are frozen, and those that a note ever called so."""
    noted = session.exec(
        select(ImpactNote.study_instance_uid)
        .where(ImpactNote.cause == str(Fault.FROZEN))
        .distinct()
    )
    return Scope({*frozen_studies(session), *noted} - {""})


def _all(session: Session) -> Scope:
    """Return everything that anything rests on."""
    found = Scope(reports=set(session.exec(select(Label.report_id).distinct())))
    for query in (
        select(CohortMember.study_instance_uid).where(CohortMember.exclusion_reason == ""),
        select(Prediction.study_instance_uid).distinct(),
        select(Transmission.study_instance_uid).distinct(),
    ):
        found.studies |= set(session.exec(query))
    return found


def _note_erasures(session: Session, now: Any) -> list[ImpactNote]:
    """Note for cohorts and models how many members were erased: nothing else of them is kept."""
    known = set(
        session.exec(select(ImpactNote.source_id).where(ImpactNote.cause == ERASURE).distinct())
    )
    notes = [
        ImpactNote(
            artefact=str(artefact),
            artefact_id=key,
            cause=ERASURE,
            count=each["members"],
            source=Erasure.__tablename__,
            source_id=row.id or 0,
            noted_at=now,
        )
        for row in session.exec(select(Erasure).order_by(col(Erasure.id)))
        if row.id not in known
        for each in row.cohorts
        if each["members"]
        for artefact, key in _of_cohort(session, each["cohort"])
    ]
    session.add_all(notes)
    session.flush()
    return notes


def _of_cohort(session: Session, cohort_id: int) -> list[tuple[Artefact, int]]:
    models = session.exec(
        select(Model.id)
        .join(TrainingRun, col(TrainingRun.id) == col(Model.training_run_id))
        .where(TrainingRun.cohort_id == cohort_id)
        .order_by(col(Model.id))
    )
    return [(Artefact.MEMBER, cohort_id), *((Artefact.MODEL, key or 0) for key in models)]


def _write_manifests(context: Context, session: Session, notes: Iterable[ImpactNote]) -> None:
    """Have the manifests of the cohorts that notes speak of say so; in the transaction."""
    for cohort in cohorts_of(session, notes):
        path = context.folder.cohorts / f"{cohort.digest}.json"
        if path.exists():
            record = manifest(session, session.get_one(Cohort, cohort.id))
            write_durably(path, json.dumps(record, indent=1).encode())
