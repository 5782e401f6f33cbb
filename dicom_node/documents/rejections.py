"""Rejection notes (IHE RAD IOCM) as conditions: which instances are out of use, which studies wait.

A note counts while its bytes are neither superseded nor in quarantine undecided and no person has
released it. Nothing is deleted. What it names in another study than its own is touched only where
that study is of the same patient; this is asked each time, so the study may come later.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.documents.kinds import EXPIRED, REJECTIONS, SAFETY, WORKLIST, Kind, State
from dicom_node.documents.models import DicomDocument, DocumentDecision, RejectedInstance
from dicom_node.models import (
    Instance,
    Message,
    Quarantined,
    Report,
    Series,
    Study,
    SupersededInstance,
)
from dicom_node.quarantine import ACCEPTED, DICOM

HOLDING = (SAFETY, WORKLIST)
"""Titles after which a person decides about the whole study."""


def rejected() -> ColumnElement[bool]:
    """Return the condition on Instance that it was rejected and must not be used.

    Instances whose retention expired at the archive are not meant: what rests on them stands.
    """
    series = aliased(Series)
    return (
        select(RejectedInstance.id)
        .join(DicomDocument, col(DicomDocument.digest) == col(RejectedInstance.note_digest))
        .join(series, col(series.study_instance_uid) == col(RejectedInstance.study_instance_uid))
        .where(
            col(RejectedInstance.sop_instance_uid) == col(Instance.sop_instance_uid),
            col(series.series_instance_uid) == col(Instance.series_instance_uid),
            col(DicomDocument.title) != EXPIRED,
            _counts(),
            _reaches(),
        )
        .correlate(Instance)
        .exists()
    )


def held(study_instance_uid: Any) -> ColumnElement[bool]:
    """Return the condition that a column names a study about which a person must decide."""
    own = select(DicomDocument.digest).where(
        DicomDocument.study_instance_uid == study_instance_uid, _holds()
    )
    named = (
        select(RejectedInstance.id)
        .join(DicomDocument, col(DicomDocument.digest) == col(RejectedInstance.note_digest))
        .where(
            RejectedInstance.study_instance_uid == study_instance_uid,
            _holds(),
            col(DicomDocument.state) == State.HONOURED,
            _reaches(),
        )
    )
    return or_(own.exists(), named.exists())


def held_studies(session: Session, studies: Collection[str] | None = None) -> dict[str, str]:
    """Return the studies of which instances were rejected as unsafe or as another's, with why.

    Args:
        session: any session.
        studies: look at these only; None: at all.
    """
    return _reasons(session, _holds(), State.HONOURED, studies)


def expired_studies(session: Session) -> dict[str, str]:
    """Return the studies of which instances are gone at the archive by its retention, with why."""
    expired = and_(col(DicomDocument.title) == EXPIRED, _counts())
    return _reasons(session, expired, None, None)


def named_studies(session: Session, note_digest: str) -> set[str]:
    """Return the studies of which a note names instances, whether or not they are here."""
    query = select(RejectedInstance.study_instance_uid).where(
        RejectedInstance.note_digest == note_digest
    )
    return set(session.exec(query.distinct()))


def rejected_reports(session: Session, chains: Collection[str]) -> set[str]:
    """Return the reports of which the current version is a structured report that was rejected.

    A version that corrects a rejected one is in force; one that it has replaced never is again.

    Args:
        session: any session.
        chains: identities of reports.
    """
    found: set[str] = set()
    for part in chunks(sorted(chains)):
        query = (
            select(Report.report_identity)
            .join(Message, col(Message.id) == col(Report.message_id))
            .join(Instance, col(Instance.digest) == col(Message.peer))
            .where(col(Report.report_identity).in_(part), col(Report.is_current), rejected())
        )
        found |= set(session.exec(query))
    return found


def any_rejected(session: Session, study_instance_uid: str) -> bool:
    """Tell whether an instance of a study is here and was rejected."""
    query = (
        select(Instance.sop_instance_uid)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(Series.study_instance_uid == study_instance_uid, rejected())
    )
    return session.exec(query.limit(1)).first() is not None


def decisions_about(session: Session, study_instance_uid: str) -> int:
    """Return how many decisions persons made about rejection notes of a study, or that name it."""
    naming = select(RejectedInstance.note_digest).where(
        RejectedInstance.study_instance_uid == study_instance_uid
    )
    query = select(func.count(col(DocumentDecision.id))).where(
        or_(
            col(DocumentDecision.study_instance_uid) == study_instance_uid,
            col(DocumentDecision.digest).in_(naming),
        )
    )
    return session.exec(query).one()


def _reasons(
    session: Session,
    condition: ColumnElement[bool],
    state: State | None,
    studies: Collection[str] | None,
) -> dict[str, str]:
    """Return studies of notes and studies that they name, each with why.

    Args:
        session: any session.
        condition: on the notes.
        state: of notes that reach what they name elsewhere; None: any.
        studies: look at these only; None: at all.
    """
    own = select(DicomDocument.study_instance_uid, DicomDocument.title).where(condition)
    named = (
        select(RejectedInstance.study_instance_uid, DicomDocument.title)
        .join(DicomDocument, col(DicomDocument.digest) == col(RejectedInstance.note_digest))
        .where(condition, _reaches())
        .distinct()
    )
    if state is not None:
        named = named.where(DicomDocument.state == state)
    found: dict[str, str] = {}
    parts = [None] if studies is None else list(chunks(sorted(studies)))
    for query, uid in (
        (named, RejectedInstance.study_instance_uid),
        (own, DicomDocument.study_instance_uid),
    ):
        for part in parts:
            some = query if part is None else query.where(col(uid).in_(part))
            found |= dict(session.exec(some.order_by(col(uid))).all())
    return {uid: f"a rejection note: {REJECTIONS[title]}" for uid, title in found.items()}


def _reaches() -> ColumnElement[bool]:
    """Tell whether a note reaches a study that it names: its own, or one of the same patient."""
    own, other = aliased(Study), aliased(Study)
    same = (
        select(own.study_instance_uid)
        .join(other, col(other.study_instance_uid) == col(RejectedInstance.study_instance_uid))
        .where(
            col(own.study_instance_uid) == col(DicomDocument.study_instance_uid),
            col(own.patient_id) != "",
            col(own.patient_id) == col(other.patient_id),
            col(own.issuer_of_patient_id) == col(other.issuer_of_patient_id),
            col(own.issuer_assumed) == col(other.issuer_assumed),
        )
        .correlate(RejectedInstance, DicomDocument)
    )
    return or_(
        col(RejectedInstance.study_instance_uid) == col(DicomDocument.study_instance_uid),
        same.exists(),
    )


def _holds() -> ColumnElement[bool]:
    """Tell whether a person must decide about a note: one in doubt as well, of its own study."""
    return and_(
        col(DicomDocument.title).in_(HOLDING),
        col(DicomDocument.state).in_((State.HONOURED, State.DOUBTFUL)),
        _in_force(),
    )


def _counts() -> ColumnElement[bool]:
    return and_(
        col(DicomDocument.state).in_((State.HONOURED, State.CONFIRMED)),
        _in_force(),
    )


def _in_force() -> ColumnElement[bool]:
    aside, earlier = aliased(Quarantined), aliased(SupersededInstance)
    digest = col(DicomDocument.digest)
    return and_(
        col(DicomDocument.kind) == Kind.REJECTION,
        digest.not_in(
            select(aside.digest).where(
                col(aside.kind) == DICOM,
                col(aside.state) != ACCEPTED,
                col(aside.digest) == digest,
            )
        ),
        digest.not_in(select(earlier.digest).where(col(earlier.digest) == digest)),
    )
