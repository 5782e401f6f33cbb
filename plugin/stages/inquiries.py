"""Stage: an archive that took a structured report is asked to commit to it (PS3.4 Annex J).

Each attempt has a Transaction UID of its own, and an answer counts under any of them.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, func, select

from dicom_node.archive_settings import PacsPeer
from dicom_node.commitment.asking import Answer, ask
from dicom_node.commitment.filing import (
    ASKED,
    COMMITTED,
    QUEUED,
    REFUSED,
    REPORTED,
    TIMED_OUT,
    WAITING,
    note_report,
)
from dicom_node.commitment.information import Information, Reference
from dicom_node.commitment.models import (
    CommitmentInquiry,
    CommitmentRequest,
    CommitmentTransaction,
)
from dicom_node.database import insert_if_absent
from dicom_node.errors import InvalidSettings, Permanent, Transient
from dicom_node.models import Transmission
from dicom_node.requestor import NothingAccepted
from dicom_node.tls import peer_context
from plugin.context import Context
from plugin.errors import Permanent as NothingToDo
from plugin.stages.commitment_leases import (
    MOST_DOUBLINGS,
    begin_attempt,
    end_attempt,
    first_of_each_peer,
    same_attempt,
)

log = logging.getLogger("radloop")

INQUIRY = "inquiry"
"""The kind of durable work, see :data:`plugin.workflows.Commit`."""

_LONGEST_DELAY_SECONDS = 900.0
_OVERDUE = dt.timedelta(minutes=10)


def queue_inquiry(
    session: Session, transmission: Transmission, peer: PacsPeer, now: dt.datetime
) -> None:
    """Note, with the delivery, that the archive is to be asked; nothing where it is not."""
    if not peer.commitment:
        return
    row = {
        "transmission_id": transmission.id,
        "peer": peer.name,
        "sop_class_uid": transmission.sop_class_uid,
        "sop_instance_uid": transmission.sop_instance_uid,
        "study_instance_uid": transmission.study_instance_uid,
        "created_at": now,
        "due_at": now,
    }
    insert_if_absent(session, CommitmentInquiry, [row])


def waiting_inquiries(context: Context) -> list[CommitmentInquiry]:
    """Return inquiries whose next attempt is due, never asked or without an answer: one a peer."""
    now, due_at = context.clock(), col(CommitmentInquiry.due_at)
    waits = [peer.commitment_wait_seconds for peer in context.settings.pacs]
    # What lies further ahead than any delay was set by a clock that has been set back since.
    longest = dt.timedelta(seconds=max([_LONGEST_DELAY_SECONDS, *waits]))
    query = select(CommitmentInquiry).where(
        col(CommitmentInquiry.state).in_((QUEUED, ASKED)),
        CommitmentInquiry.running == "",
        sa.or_(due_at <= now, due_at > now + longest),
    )
    with context.database.read() as session:
        return first_of_each_peer(session, CommitmentInquiry, query)


def ask_archive(context: Context, inquiry_id: int, round_number: int, attempt: int) -> None:
    """Ask an archive once; the row says what comes next."""
    transaction_uid = f"2.25.{uuid.uuid4().int}"
    try:
        claimed = _claim(context, inquiry_id, round_number, attempt, transaction_uid)
    except Exception as error:
        log.error("storage commitment inquiry %s: %s", inquiry_id, type(error).__name__)
        log.debug("traceback", exc_info=True)
        _count_unclaimed(context, inquiry_id, round_number, attempt, type(error).__name__)
        return
    if claimed is None:
        return
    row, peer = claimed
    try:
        _ask(context, row, peer, transaction_uid)
    except Exception as error:
        # The class only: the text of an unexpected error may name a patient.
        log.error("storage commitment inquiry %s: %s", inquiry_id, type(error).__name__)
        log.debug("traceback", exc_info=True)
        _try_again(context, row, peer, f"an unexpected error ({type(error).__name__})")
    finally:
        end_attempt(context, CommitmentInquiry, row)


def _ask(context: Context, row: CommitmentInquiry, peer: PacsPeer, transaction_uid: str) -> None:
    def take(information: Information) -> bool:
        with context.database.write() as session:
            titles = {peer.name: peer.ae_title}
            return note_report(session, information, peer.ae_title, titles, context.clock())

    try:
        ask(
            peer,
            context.settings.dicom.ae_title,
            Information(transaction_uid, (Reference(row.sop_class_uid, row.sop_instance_uid),)),
            take,
            peer.commitment_linger_seconds,
            tls=peer_context(peer, context.settings.dicom.tls),
            answered=lambda answer: _note_answer(context, row, peer, answer),
        )
    except NothingAccepted as error:
        _end(context, row, REFUSED, str(error))
    except Transient as error:
        _try_again(context, row, peer, str(error))
    except (InvalidSettings, Permanent) as error:
        _end(context, row, REFUSED, str(error))


def _claim(
    context: Context, inquiry_id: int, round_number: int, attempt: int, transaction_uid: str
) -> tuple[CommitmentInquiry, PacsPeer] | None:
    """Count the attempt before it is made, and know its Transaction UID before anybody else."""
    archives = {peer.name: peer for peer in context.settings.pacs}
    with context.database.write() as session:
        row = session.get(CommitmentInquiry, inquiry_id)
        if row is None or row.state not in (QUEUED, ASKED):
            return None
        if (row.rounds, row.attempts, row.running) != (round_number, attempt, ""):
            return None
        peer = archives.get(row.peer)
        if peer is None:
            _close(row, REFUSED, "the settings do not name this archive any more", context)
        elif row.state == ASKED and row.asked >= peer.commitment_attempts:
            _close(row, TIMED_OUT, f"no answer after {row.asked} requests", context)
        else:
            begin_attempt(row)
            row.due_at = context.clock() + _delay(peer, row.attempts - row.asked)
            session.add(
                CommitmentTransaction(
                    transaction_uid=transaction_uid,
                    inquiry_id=inquiry_id,
                    study_instance_uid=row.study_instance_uid,
                    number=_number(session, inquiry_id),
                    asked_at=context.clock(),
                )
            )
        session.add(row)
    return (row, peer) if peer is not None and row.state in (QUEUED, ASKED) else None


def _number(session: Session, inquiry_id: int) -> int:
    of_inquiry = CommitmentTransaction.inquiry_id == inquiry_id
    last = session.exec(select(func.max(CommitmentTransaction.number)).where(of_inquiry)).one()
    return (last or 0) + 1


def _count_unclaimed(
    context: Context, inquiry_id: int, round_number: int, attempt: int, name: str
) -> None:
    """Count an attempt that could not even begin, so that it is not made again and again."""
    with context.database.write() as session:
        row = session.get(CommitmentInquiry, inquiry_id)
        if row is None or (row.rounds, row.attempts) != (round_number, attempt):
            return
        peer = next((each for each in context.settings.pacs if each.name == row.peer), None)
        if row.state not in (QUEUED, ASKED) or peer is None:
            return
        row.attempts += 1
        row.last_error = f"an unexpected error ({name})"
        row.due_at = context.clock() + _delay(peer, row.attempts - row.asked)
        if row.attempts - row.asked >= peer.maximum_attempts:
            _close(row, TIMED_OUT, row.last_error, context)
        session.add(row)


def _delay(peer: PacsPeer, attempts: int) -> dt.timedelta:
    seconds = peer.first_retry_seconds * 2.0 ** min(max(attempts - 1, 0), MOST_DOUBLINGS)
    return dt.timedelta(seconds=min(seconds, _LONGEST_DELAY_SECONDS))


def _close(row: CommitmentInquiry, state: str, reason: str, context: Context) -> None:
    row.state, row.last_error, row.settled_at = state, reason, context.clock()
    log.error("storage commitment inquiry %s is %s: %s", row.id, state, reason)


def _open(session: Session, row: CommitmentInquiry) -> CommitmentInquiry | None:
    """Return the row unless it was answered, tried anew or erased meanwhile."""
    return same_attempt(session, CommitmentInquiry, row)


def _end(context: Context, row: CommitmentInquiry, state: str, reason: str) -> None:
    with context.database.write() as session:
        stored = _open(session, row)
        if stored is not None:
            _close(stored, state, reason, context)
            session.add(stored)


def _try_again(context: Context, row: CommitmentInquiry, peer: PacsPeer, reason: str) -> None:
    if row.attempts - row.asked >= peer.maximum_attempts:
        _end(context, row, TIMED_OUT, reason)
        return
    with context.database.write() as session:
        stored = _open(session, row)
        if stored is not None:
            stored.last_error = reason
            stored.due_at = context.clock() + _delay(peer, row.attempts - row.asked)
            session.add(stored)


def _note_answer(context: Context, row: CommitmentInquiry, peer: PacsPeer, answer: Answer) -> None:
    """Wait for the report, or end, by the status of the N-ACTION response."""
    if answer.may_pass:
        _try_again(context, row, peer, f"the archive answers 0x{answer.status:04X}")
    elif not answer.succeeded:
        _end(context, row, REFUSED, f"the archive refuses the request (0x{answer.status:04X})")
    else:
        with context.database.write() as session:
            stored = _open(session, row)
            if stored is not None:
                stored.state, stored.last_error = ASKED, ""
                stored.asked += 1
                wait = dt.timedelta(seconds=peer.commitment_wait_seconds)
                stored.due_at = context.clock() + wait
                session.add(stored)


def retry_commitment(context: Context, kind: str, key: int) -> dict[str, Any]:
    """Begin a new round of a request that cannot be answered, or of an inquiry that has ended.

    Raises:
        plugin.errors.Permanent: there is no such row, or it is neither at its end nor overdue.
    """
    with context.database.write() as session:
        row: CommitmentRequest | CommitmentInquiry | None
        if kind == "request":
            row = session.get(CommitmentRequest, key)
        else:
            row = session.get(CommitmentInquiry, key)
        if row is None or not (_has_failed(row) or _is_overdue(row, context.clock())):
            raise NothingToDo(
                f"there is no {kind} {key} that has ended without success or is overdue"
            )
        if isinstance(row, CommitmentRequest):
            row.state = WAITING
        else:
            row.state, row.asked, row.settled_at = QUEUED, 0, None
        row.rounds, row.attempts, row.last_error = row.rounds + 1, 0, ""
        row.due_at = context.clock()
        session.add(row)
    return {"queued": 1}


def _has_failed(row: CommitmentRequest | CommitmentInquiry) -> bool:
    return row.state not in (WAITING, QUEUED, ASKED, REPORTED, COMMITTED)


def _is_overdue(row: CommitmentRequest | CommitmentInquiry, now: dt.datetime) -> bool:
    return row.state in (WAITING, QUEUED) and row.due_at <= now - _OVERDUE
