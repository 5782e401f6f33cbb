"""What a change makes stale: labels, cohort members, models, predictions, structured reports.

What is stale now is a question to the tables. When a change has come, the answer is written down
once more as notes, so that a cohort, a model or a structured report tells what became of its
grounds and when.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.documents.rejections import held_studies
from dicom_node.models import Link, Report, Study, Transmission
from dicom_node.reports.status import EFFECTS, Effect
from dicom_node.studies import frozen_studies, study_digest
from labeling.models import Label
from training.impact_grounds import grounds_of
from training.impact_models import ImpactNote
from training.membership import Ground, standings, with_patients
from training.models import Cohort, CohortMember, Model, Prediction, TrainingRun
from training.patients import last_change_of_identity
from training.selection import suspended_studies
from training.standing import CONSEQUENCES, Fault, Standing


class Artefact(StrEnum):
    """What can be stale; ``ImpactNote.artefact_id`` is the id of the row in brackets."""

    LABELS = "labels"  # (labeling run), of one report version
    MEMBER = "cohort member"  # (cohort), one study
    MODEL = "model"  # (model), one study that it learned from
    PREDICTION = "prediction"  # (model), one study
    STRUCTURED_REPORT = "structured report"  # (transmission), one study


ERASURE = "erasure"
"""The cause of a note about members that were erased: only how many they were is kept."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One thing that depends on a study or a report version."""

    artefact: Artefact
    artefact_id: int
    study_instance_uid: str = ""
    report_id: int = 0  # 0: none


@dataclass(slots=True)
class Scope:
    """Studies and report versions that a change touches; see :func:`close`."""

    studies: set[str] = field(default_factory=set)
    reports: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.studies or self.reports)


def close(session: Session, ground: Ground, scope: Scope) -> Scope:
    """Take in every version of the reports, every study of theirs, and the studies' patients."""
    reports = set(scope.reports)
    for chunk in chunks(sorted(scope.studies)):
        reports |= set(
            session.exec(select(Link.report_id).where(col(Link.study_instance_uid).in_(chunk)))
        )
    chains: set[str] = set()
    for part in chunks(sorted(reports)):
        chains |= set(session.exec(select(Report.report_identity).where(col(Report.id).in_(part))))
    for chunk in chunks(sorted(chains)):
        rows = session.exec(select(Report.id).where(col(Report.report_identity).in_(chunk)))
        reports |= {key for key in rows if key is not None}
    studies = set(scope.studies)
    for part in chunks(sorted(reports)):
        for table in (Link, CohortMember):
            studies |= set(
                session.exec(select(table.study_instance_uid).where(col(table.report_id).in_(part)))
            )
    return Scope(with_patients(session, ground.name_of, studies), reports)


def dependents(session: Session, ground: Ground, scope: Scope) -> dict[Key, str]:
    """Return everything that depends on a closed scope, and why it is stale; empty: it stands."""
    members = standings(session, ground, scope.studies)
    return {
        **_labels(session, scope.reports),
        **{_member_key(each): each.fault or "" for each in members},
        **_models(session, members),
        **_predictions(session, scope.studies),
        **_structured_reports(session, ground, scope.studies),
    }


def note(
    session: Session,
    ground: Ground,
    scope: Scope,
    now: dt.datetime,
    source: tuple[str, int] = ("", 0),
) -> list[ImpactNote]:
    """Add a note for everything in a scope that became stale or stands again since the last one.

    What is stale for the same cause as before gets another note where the change came again
    (``training.impact_grounds``): a person who closed the last one has not seen that.

    Args:
        session: a writing session; the caller commits.
        ground: how patients are told apart.
        scope: what changed, closed or not; asked twice, nothing is added the second time.
        now: the time of the notes.
        source: the table and row of the change that was read.
    """
    scope = close(session, ground, scope)
    found = dependents(session, ground, scope)
    known = _noted(session, scope)
    grounds = grounds_of(session, ground, found)
    added = [
        ImpactNote(
            artefact=str(key.artefact),
            artefact_id=key.artefact_id,
            study_instance_uid=key.study_instance_uid,
            report_id=key.report_id or None,
            stale=bool(cause),
            cause=str(cause),
            grounds=grounds.get(key, ""),
            source=source[0],
            source_id=source[1],
            noted_at=now,
        )
        for key in sorted({*found, *known})
        if not _says(known.get(key), cause := found.get(key, ""), grounds.get(key, ""))
    ]
    session.add_all(added)
    session.flush()
    return added


def notes_of(session: Session, artefact: Artefact, artefact_id: int) -> list[ImpactNote]:
    """Return the notes about one cohort, model, labeling run or transmission, oldest first."""
    return list(
        session.exec(
            select(ImpactNote)
            .where(ImpactNote.artefact == str(artefact), ImpactNote.artefact_id == artefact_id)
            .order_by(col(ImpactNote.id))
        )
    )


def _says(newest: ImpactNote | None, cause: str, grounds: str) -> bool:
    """Tell whether the newest note about something says what is so now."""
    if newest is None or not newest.stale or not cause:
        return bool(newest is not None and newest.stale) == bool(cause)
    if newest.cause != cause:
        return False
    # Notes of earlier versions do not tell their grounds: one that a person closed may be about
    # an earlier change, and is opened once more.
    return newest.grounds == grounds or not (newest.grounds or newest.closed_by)


def _noted(session: Session, scope: Scope) -> dict[Key, ImpactNote]:
    """Return the newest notes about everything in a scope."""
    rows: dict[int, ImpactNote] = {}
    for column, values in (
        (col(ImpactNote.study_instance_uid), scope.studies),
        (col(ImpactNote.report_id), scope.reports),
    ):
        for chunk in chunks(sorted(values)):
            query = select(ImpactNote).where(column.in_(chunk), ImpactNote.cause != ERASURE)
            rows |= {row.id or 0: row for row in session.exec(query)}
    return {
        Key(
            Artefact(row.artefact), row.artefact_id, row.study_instance_uid, row.report_id or 0
        ): row
        for _, row in sorted(rows.items())
    }


def _member_key(each: Standing) -> Key:
    member = each.member
    return Key(Artefact.MEMBER, member.cohort_id, member.study_instance_uid, member.report_id or 0)


def _labels(session: Session, reports: Collection[int]) -> dict[Key, str]:
    """Labels of a version are stale when another one is current: the newest one is read anew."""
    found: dict[Key, str] = {}
    chains: dict[str, list[Key]] = {}
    for chunk in chunks(sorted(reports)):
        for run_id, report_id, is_current, identity in session.exec(
            select(Label.run_id, Label.report_id, Report.is_current, Report.report_identity)
            .join(Report, col(Report.id) == col(Label.report_id))
            .where(col(Label.report_id).in_(chunk))
            .distinct()
        ):
            key = Key(Artefact.LABELS, run_id, report_id=report_id)
            found[key] = "" if is_current else Fault.CORRECTED
            if not is_current:
                chains.setdefault(identity, []).append(key)
    for names in chunks(sorted(chains)):
        for identity, status in session.exec(
            select(Report.report_identity, Report.result_status).where(
                col(Report.is_current), col(Report.report_identity).in_(names)
            )
        ):
            if EFFECTS.get(status) in (Effect.WITHDRAW, Effect.RETRACT):
                found.update(dict.fromkeys(chains[identity], Fault.WITHDRAWN))
    return found


def _models(session: Session, members: Iterable[Standing]) -> dict[Key, str]:
    """A model learned from every member of its cohort but those that its training left out."""
    by_cohort: dict[int, list[Standing]] = {}
    for each in members:
        by_cohort.setdefault(each.member.cohort_id, []).append(each)
    found: dict[Key, str] = {}
    for chunk in chunks(sorted(by_cohort)):
        for model_id, cohort_id, metrics in session.exec(
            select(Model.id, TrainingRun.cohort_id, TrainingRun.metrics)
            .join(TrainingRun, col(TrainingRun.id) == col(Model.training_run_id))
            .where(col(TrainingRun.cohort_id).in_(chunk))
        ):
            left_out = {each["study"] for each in metrics.get("left_out", ())}
            for each in by_cohort[cohort_id]:
                member = each.member
                if member.study_instance_uid in left_out:
                    continue
                taints = each.fault is not None and CONSEQUENCES[each.fault].taints
                key = Key(
                    Artefact.MODEL, model_id or 0, member.study_instance_uid, member.report_id or 0
                )
                found[key] = each.fault or "" if taints else ""
    return found


def _predictions(session: Session, studies: Collection[str]) -> dict[Key, str]:
    faults = _study_faults(session)
    seen: dict[tuple[int, str], set[str]] = {}
    for chunk in chunks(sorted(studies)):
        for model_id, uid, digest in session.exec(
            select(Prediction.model_id, Prediction.study_instance_uid, Prediction.study_digest)
            .where(col(Prediction.study_instance_uid).in_(chunk))
            .distinct()
        ):
            seen.setdefault((model_id, uid), set()).add(digest)
    now = {uid: study_digest(session, uid) for uid in {uid for _, uid in seen}}
    return {
        Key(Artefact.PREDICTION, model_id, uid): faults.get(uid, "")
        or _image_fault(now[uid] in digests)
        for (model_id, uid), digests in seen.items()
    }


def _study_faults(session: Session) -> dict[str, str]:
    """Return why whatever was said about the images of a study must wait, by study."""
    frozen = dict.fromkeys(frozen_studies(session), str(Fault.FROZEN))
    return frozen | dict.fromkeys(held_studies(session), str(Fault.REJECTED))


def _image_fault(same: bool) -> str:
    return "" if same else Fault.IMAGES


def _structured_reports(
    session: Session, ground: Ground, studies: Collection[str]
) -> dict[Key, str]:
    """A structured report is stale with its study: other images, another patient, a suspension."""
    faults = _study_faults(session)
    found: dict[Key, str] = {}
    for chunk in chunks(sorted(studies)):
        rows = session.exec(
            select(Transmission, Study, Prediction.study_digest)
            .join(Study, col(Study.study_instance_uid) == col(Transmission.study_instance_uid))
            .outerjoin(
                Prediction, col(Prediction.sop_instance_uid) == col(Transmission.sop_instance_uid)
            )
            .where(col(Transmission.study_instance_uid).in_(chunk))
            .distinct()
        ).all()
        suspended = suspended_studies(session, {row.study_instance_uid for row, _, _ in rows})
        for row, study, digest in rows:
            uid = row.study_instance_uid
            same = digest is None or digest == study_digest(session, uid)
            fault = faults.get(uid, "") or _image_fault(same)
            if not fault and uid in suspended:
                fault = Fault.LINK
            if not fault:
                changed = last_change_of_identity(
                    session, ground.name_of, (study.issuer_of_patient_id, study.patient_id)
                )
                fault = Fault.MOVED if changed is not None and changed > row.created_at else ""
            found[Key(Artefact.STRUCTURED_REPORT, row.id or 0, uid)] = fault
    return found


def cohorts_of(session: Session, notes: Iterable[ImpactNote]) -> list[Cohort]:
    """Return the cohorts that notes speak of."""
    ids = sorted({each.artefact_id for each in notes if each.artefact == Artefact.MEMBER})
    return [
        cohort
        for chunk in chunks(ids)
        for cohort in session.exec(select(Cohort).where(col(Cohort.id).in_(chunk)))
    ]
