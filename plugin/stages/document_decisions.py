"""Documents for a person: what there is, and decisions about rejection notes.

A decision is a row that stays. It cannot be derived from files: a database that is lost loses it,
and the rejection holds again.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.documents.kinds import Kind, State
from dicom_node.documents.models import DicomDocument, DocumentDecision, RejectedInstance
from dicom_node.documents.rejections import named_studies
from dicom_node.linking import doubts
from dicom_node.linking.decision import COPY
from dicom_node.models import Link, Message, Report, Study
from plugin.context import Context
from plugin.errors import Permanent
from plugin.linking import study_linker

RELEASE, CONFIRM = "release", "confirm"
STATE_AFTER = {RELEASE: State.RELEASED, CONFIRM: State.CONFIRMED}
"""The state of a rejection note after the last decision about it."""

_LISTED = 200
_SHORTEST_NAME = 8
_HEX = frozenset("0123456789abcdef")

_log = logging.getLogger(__name__)


def list_documents(session: Session, kind: str = "") -> dict[str, Any]:
    """Return the newest documents, of one kind or of all, and how many there are of each.

    Raises:
        Permanent: there is no such kind.
    """
    if kind and kind not in set(Kind):
        raise Permanent(f"{kind!r} is none of {', '.join(Kind)}")
    query = select(DicomDocument).order_by(
        col(DicomDocument.received_at).desc(), col(DicomDocument.digest)
    )
    if kind:
        query = query.where(DicomDocument.kind == kind)
    counted = session.exec(
        select(DicomDocument.kind, func.count()).group_by(DicomDocument.kind)
    ).all()
    rows = session.exec(query.limit(_LISTED)).all()
    return {"documents": [_row(session, each) for each in rows], "all": dict(sorted(counted))}


def decide_document(
    context: Context, digest: str, action: str, *, by: str, reason: str
) -> dict[str, Any]:
    """Release what a rejection note rejected, or confirm that it stays out of use.

    Either ends the hold on the studies, and either can be decided again. A note that was in doubt
    is honoured when it is confirmed, as far as it names what is here.

    Args:
        context: the open node.
        digest: of the rejection note, or its beginning.
        action: ``release`` or ``confirm``.
        by: who decides.
        reason: why.

    Raises:
        Permanent: there is no such note, it names nothing that could be confirmed, or that was
            decided before.
    """
    if not by.strip() or not reason.strip():
        raise Permanent("a decision needs who decides and why")
    if action not in STATE_AFTER:
        raise Permanent(f"a decision is one of {', '.join(STATE_AFTER)}")
    with context.database.write() as session:
        note = _find(session, digest)
        if note.state == STATE_AFTER[action]:
            raise Permanent(f"this note is {note.state} already")
        named = named_studies(session, note.digest)
        if action == CONFIRM and not named:
            raise Permanent(
                "no instance is known that this note rejects: release it, or ask for another"
            )
        session.add(
            DocumentDecision(
                digest=note.digest,
                study_instance_uid=note.study_instance_uid,
                action=action,
                decided_by=by,
                reason=reason,
                decided_at=context.clock(),
            )
        )
        note.state = str(STATE_AFTER[action])
        session.add(note)
        session.flush()
        for uid in sorted(named | {note.study_instance_uid}):
            if (study := session.get(Study, uid)) is not None:
                study_linker(context)(session, study)
        _log.info("a person decided about a rejection note: %s", action)
        return _row(session, note)


def _row(session: Session, each: DicomDocument) -> dict[str, Any]:
    found = {
        "digest": each.digest,
        "kind": each.kind,
        "state": each.state,
        "why": each.why,
        "title": each.title,
        "study_instance_uid": each.study_instance_uid,
        "sop_instance_uid": each.sop_instance_uid,
        "sender": each.calling_ae_title,
        "refers_to": each.refers_to,
        "verified": each.verified,
        "observers": each.observers,
        "received_at": each.received_at.isoformat(),
    }
    if each.state == State.FILED and _is_copy(session, each):
        found |= {"state": "copy", "why": doubts.COPIED[0]}
    if each.kind == Kind.REJECTION:
        found["rejects"] = session.exec(
            select(func.count(col(RejectedInstance.id))).where(
                RejectedInstance.note_digest == each.digest
            )
        ).one()
        found["decisions"] = [
            f"{row.action} by {row.decided_by}: {row.reason}"
            for row in session.exec(
                select(DocumentDecision)
                .where(DocumentDecision.digest == each.digest)
                .order_by(col(DocumentDecision.id))
            )
        ]
    return found


def _is_copy(session: Session, each: DicomDocument) -> bool:
    """Tell whether the message of the same report is linked in place of a document."""
    query = (
        select(Link.id)
        .join(Report, col(Report.id) == col(Link.report_id))
        .join(Message, col(Message.id) == col(Report.message_id))
        .where(
            Report.report_identity == f"{each.sender}|{each.number}",
            col(Report.is_current),
            Message.peer == each.digest,
            Link.rule == COPY,
        )
    )
    return session.exec(query.limit(1)).first() is not None


def _find(session: Session, name: str) -> DicomDocument:
    if len(name) < _SHORTEST_NAME or not _HEX.issuperset(name):
        raise Permanent(f"a digest has 64 hexadecimal digits; at least {_SHORTEST_NAME} are needed")
    rows = session.exec(
        select(DicomDocument)
        .where(DicomDocument.kind == Kind.REJECTION, col(DicomDocument.digest).startswith(name))
        .limit(2)
    ).all()
    if len(rows) != 1:
        many = "several rejection notes begin so" if rows else "no rejection note has it"
        raise Permanent(f"digest {name}: {many}")
    return rows[0]
