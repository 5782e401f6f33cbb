"""Stage: what peers asked us to commit to is judged, and they are told, on an association of ours.

Every attempt judges anew, so that a report that is late still says the truth of when it is sent.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.commitment.addresses import report_address
from dicom_node.commitment.asking import send_report
from dicom_node.commitment.filing import REPORTED, UNDELIVERABLE, WAITING, file_notices
from dicom_node.commitment.information import Information, Reference
from dicom_node.commitment.judging import Judged, judge, promise
from dicom_node.commitment.models import CommitmentReference, CommitmentRequest
from dicom_node.commitment.vocabulary import reason_in_words
from dicom_node.dimse import SUCCESS
from dicom_node.errors import InvalidSettings, Permanent, Transient
from dicom_node.storage import DicomStore
from dicom_node.tls import peer_context
from plugin.context import Context

log = logging.getLogger("radloop")

REQUEST = "request"
"""The kind of durable work, see :data:`plugin.workflows.Commit`."""

_LONGEST_DELAY_SECONDS = 3600.0
_AT_A_TIME = 64


def file_commitments(context: Context) -> int:
    """File the first requests and reports that receivers have acknowledged; return how many."""
    titles = {peer.name: peer.ae_title for peer in context.settings.pacs}
    store = DicomStore(context.folder.root)
    return file_notices(context.database, store, context.clock, titles)


def waiting_requests(context: Context) -> list[CommitmentRequest]:
    """Return requests whose next attempt to judge and report is due now.

    One waits until everything that was received before it is indexed, but not for ever.
    """
    now = context.clock()
    due = (
        select(CommitmentRequest)
        .where(CommitmentRequest.state == WAITING, col(CommitmentRequest.due_at) <= now)
        .order_by(col(CommitmentRequest.due_at), col(CommitmentRequest.id))
        .limit(_AT_A_TIME)
    )
    with context.database.read() as session:
        if session.exec(due.limit(1)).first() is None:
            return []  # the spool need not be looked at
    # Looked at before the rows are read: a request that is filed meanwhile waits for the next look.
    oldest = _oldest_spooled(DicomStore(context.folder.root))
    if oldest is not None:
        patience = dt.timedelta(seconds=context.settings.commitment.index_wait_seconds)
        asked_at = col(CommitmentRequest.received_at)
        due = due.where(sa.or_(asked_at < oldest, asked_at <= now - patience))
    with context.database.read() as session:
        return list(session.exec(due))


def _oldest_spooled(store: DicomStore) -> dt.datetime | None:
    """Return when the first object came that is not indexed yet."""
    for path in store.spooled():
        try:
            return dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
        except FileNotFoundError:
            continue  # indexed meanwhile
    return None


def report_commitment(context: Context, request_id: int, round_number: int, attempt: int) -> None:
    """Judge what a request names and report once; the row says what comes next."""
    claimed = _claim(context, request_id, round_number, attempt)
    if claimed is None:
        return
    row, references = claimed
    try:
        peer = report_address(row, context.settings.dicom, context.settings.pacs)
        tls = peer_context(peer, context.settings.dicom.tls)
    except InvalidSettings as error:
        _settle(context, row, UNDELIVERABLE, str(error))
        return
    information = _judge(context, row, references)
    if information is None:
        return
    try:
        answer = send_report(peer, context.settings.dicom.ae_title, information, tls=tls)
    except (Transient, Permanent) as error:
        _try_again(context, row, str(error))
        return
    if answer.succeeded:
        _settle(context, row, REPORTED, "", SUCCESS)
    elif answer.may_pass:
        _try_again(context, row, f"the peer answers 0x{answer.status:04X}", answer.status)
    else:
        reason = f"the peer refuses the report (0x{answer.status:04X})"
        _settle(context, row, UNDELIVERABLE, reason, answer.status)


def _claim(
    context: Context, request_id: int, round_number: int, attempt: int
) -> tuple[CommitmentRequest, list[CommitmentReference]] | None:
    """Count the attempt before it is made: one that a crash ends is followed by the next."""
    with context.database.write() as session:
        row = session.get(CommitmentRequest, request_id)
        if row is None or (row.state, row.rounds, row.attempts) != (WAITING, round_number, attempt):
            return None
        row.attempts += 1
        row.due_at = context.clock() + _delay(context, row.attempts)
        session.add(row)
        return row, list(session.exec(_references(request_id)))


def _references(request_id: int) -> SelectOfScalar[CommitmentReference]:
    return (
        select(CommitmentReference)
        .where(CommitmentReference.request_id == request_id)
        .order_by(col(CommitmentReference.id))
    )


def _delay(context: Context, attempts: int) -> dt.timedelta:
    first = context.settings.commitment.first_retry_seconds
    return dt.timedelta(seconds=min(first * 2.0 ** (attempts - 1), _LONGEST_DELAY_SECONDS))


def _judge(
    context: Context, row: CommitmentRequest, references: Sequence[CommitmentReference]
) -> Information | None:
    """Judge and promise; None where an answer would not be about all that was asked."""
    store = DicomStore(context.folder.root)
    oldest = _oldest_spooled(store)
    asked = [Reference(each.sop_class_uid, each.sop_instance_uid) for each in references]
    complete = oldest is None or oldest > row.received_at
    judged = judge(context.database, store, asked, complete=complete)
    now = context.clock()
    days = context.settings.commitment.minimum_retention_days
    with context.database.write() as session:
        rows = list(session.exec(_references(row.id or 0)))
        stored = session.get(CommitmentRequest, row.id)
        is_whole = len(rows) == len(judged) == row.instances
        if stored is None or stored.rounds != row.rounds or not is_whole:
            final: list[Judged] = []
        else:
            final = promise(session, judged, now + dt.timedelta(days=days))
            stored.judged_at = now
            stored.failures = _in_words(final)
            session.add(stored)
            said = [
                {
                    "id": each.id,
                    "study_instance_uid": found.study_instance_uid,
                    "failure_reason": found.reference.reason,
                }
                for each, found in zip(rows, final, strict=True)
            ]
            session.execute(sa.update(CommitmentReference), said)
    if not final:
        reason = "instances that it names were erased before the answer; the peer has to ask again"
        _settle(context, row, UNDELIVERABLE, reason)
        return None
    return Information(
        row.transaction_uid,
        referenced=tuple(each.reference for each in final if not each.reference.reason),
        failed=tuple(each.reference for each in final if each.reference.reason),
    )


def _in_words(judged: Sequence[Judged]) -> str:
    """Return how many instances failed by reason, or nothing."""
    counts = Counter(each.reference.reason for each in judged if each.reference.reason)
    return ", ".join(f"{n} {reason_in_words(reason)}" for reason, n in sorted(counts.items()))


def _try_again(
    context: Context, row: CommitmentRequest, reason: str, status: int | None = None
) -> None:
    if row.attempts >= context.settings.commitment.maximum_attempts:
        _settle(context, row, UNDELIVERABLE, reason, status)
        return
    with context.database.write() as session:
        stored = _same_round(session, row)
        if stored is not None:
            stored.last_error, stored.last_status = reason, status
            session.add(stored)


def _settle(
    context: Context, row: CommitmentRequest, state: str, reason: str, status: int | None = None
) -> None:
    """End a round, which is over for good where the peer has its report."""
    if state == UNDELIVERABLE:
        log.error("storage commitment request %s cannot be answered: %s", row.id, reason)
    with context.database.write() as session:
        stored = _same_round(session, row)
        if stored is None:
            return
        stored.state, stored.last_error, stored.last_status = state, reason, status
        if state == REPORTED:
            stored.reported_at = context.clock()
            of_request = col(CommitmentReference.request_id) == row.id
            session.execute(sa.delete(CommitmentReference).where(of_request))
        session.add(stored)


def _same_round(session: Session, row: CommitmentRequest) -> CommitmentRequest | None:
    """Return the request unless it was asked anew meanwhile: then the new round answers."""
    stored = session.get(CommitmentRequest, row.id)
    return stored if stored is not None and stored.rounds == row.rounds else None
