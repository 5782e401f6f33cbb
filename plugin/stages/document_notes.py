"""Rejection notes (IHE RAD IOCM): what each names is noted, and what follows from it is done."""

from __future__ import annotations

import logging

from sqlmodel import Session, col, select

from dicom_node.database import insert_if_absent
from dicom_node.documents.classifying import MOST_REJECTED, Verdict, beyond, doubt
from dicom_node.documents.kinds import Kind, State
from dicom_node.documents.models import DocumentDecision, RejectedInstance
from dicom_node.documents.rejections import named_studies
from dicom_node.models import Study
from plugin.context import Context
from plugin.linking import study_linker
from plugin.stages.document_decisions import STATE_AFTER
from plugin.stages.document_rows import Before, Waiting

_IN_FORCE = (State.HONOURED, State.CONFIRMED, State.RELEASED)

_log = logging.getLogger(__name__)


def note_rejections(
    session: Session, each: Waiting, verdict: Verdict, before: Before
) -> tuple[State, str]:
    """Note what a rejection note names; return its state, and why.

    A note that was honoured stays so, whatever later rules say about it.
    """
    uid = each.study_instance_uid
    why = doubt(verdict, uid)
    digest = each.instance.digest
    named = {name: study for study, name in verdict.rejected if name and study}
    named |= {name: uid for study, name in verdict.rejected if name and study == uid}
    if len(verdict.rejected) <= MOST_REJECTED:
        insert_if_absent(
            session,
            RejectedInstance,
            [
                {"note_digest": digest, "sop_instance_uid": name, "study_instance_uid": study}
                for name, study in named.items()
            ],
        )
    if decided := _decided(session, digest):
        return decided, verdict.why
    if why and before.state != State.HONOURED:
        _log.warning("a rejection note is in doubt: %s", why)
        return State.DOUBTFUL, why
    further = beyond(verdict, uid)
    return State.HONOURED, f"{verdict.why}; {further}" if further else verdict.why


def stays_in_force(verdict: Verdict, before: Before) -> bool:
    """Tell whether a note was in force that is none by what was read now: it stays as it was."""
    return (
        before.kind == Kind.REJECTION
        and before.state in _IN_FORCE
        and verdict.kind is not Kind.REJECTION
    )


def follow_note(context: Context, session: Session, digest: str, study: str) -> set[str]:
    """Decide again about the links of all studies that a note is about; return the studies."""
    session.flush()
    linker = study_linker(context)
    concerned = named_studies(session, digest) | {study}
    for uid in sorted(concerned):
        if (row := session.get(Study, uid)) is not None:
            linker(session, row)
    return concerned


def _decided(session: Session, digest: str) -> State | None:
    """Return the state that a person has given to a rejection note; None: nobody decided."""
    action = session.exec(
        select(DocumentDecision.action)
        .where(DocumentDecision.digest == digest)
        .order_by(col(DocumentDecision.id).desc())
        .limit(1)
    ).first()
    return STATE_AFTER[action] if action else None
