"""From the files of the receivers to rows: requests of peers, and archives' reports to us."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from itertools import islice

import sqlalchemy as sa
from sqlmodel import Session, col, func, select

from dicom_node.commitment.information import Information
from dicom_node.commitment.models import (
    AwaitedObject,
    CommitmentInquiry,
    CommitmentReference,
    CommitmentRequest,
    CommitmentTransaction,
)
from dicom_node.commitment.notices import (
    REQUEST,
    Notice,
    mark_full,
    remove_notice,
    waiting_notices,
)
from dicom_node.commitment.vocabulary import (
    MOST_OPEN_REFERENCES,
    MOST_OPEN_REQUESTS,
    PROCESSING_FAILURE,
    reason_in_words,
)
from dicom_node.database import Clock, Database, chunks, insert_if_absent
from dicom_node.repeated_logs import RepeatFilter
from dicom_node.storage import DicomStore

log = logging.getLogger(__name__)
log.addFilter(RepeatFilter())

_AT_A_TIME = 64

QUEUED, ASKED = "queued", "asked"
COMMITTED, FAILED, REFUSED, TIMED_OUT = "committed", "failed", "refused", "timed out"
WAITING, REPORTED, UNDELIVERABLE = "waiting", "reported", "undeliverable"


def file_notices(
    database: Database, store: DicomStore, clock: Clock, titles: Mapping[str, str]
) -> int:
    """File the first of what waits, in order of arrival; return how many files that were.

    Others want to write between two calls; call it again until nothing was filed.

    The rows are committed before the file goes. A crash in between leaves a file whose name its
    row knows, which is then only removed.

    Args:
        database: takes the rows.
        store: whose folder of commitments is read.
        clock: when a report was taken.
        titles: AE title of each archive by its name in the settings.
    """
    filed = 0
    notices = list(islice(waiting_notices(store.folders.commitments), _AT_A_TIME))
    # Looked at after the files: whatever came before one of them is in the spool or in the index.
    spooled = store.spooled_digests() if any(each.kind == REQUEST for each in notices) else set()
    for notice in notices:
        information = notice.information()
        with database.write() as session:
            if notice.kind == REQUEST:
                filing = _file_request(session, notice, information, clock())
                if filing and spooled:
                    _await(session, spooled, filing)
                    spooled = set()  # the later ones of this look wait for the same
            else:
                said = note_report(
                    session, information, notice.sender.calling_ae_title, titles, clock()
                )
                if not said:
                    log.warning("a storage commitment report that nobody asked its sender for")
        remove_notice(store.folders.commitments, notice.name)
        filed += 1
    if filed:
        mark_full_peers(database, store)
    return filed


def mark_full_peers(database: Database, store: DicomStore) -> None:
    """Tell the receivers whose requests they may take: see :func:`notices.mark_full`."""
    query = (
        select(CommitmentRequest.peer)
        .where(CommitmentRequest.state == WAITING)
        .group_by(CommitmentRequest.peer)
        .having(
            sa.or_(
                func.count() >= MOST_OPEN_REQUESTS,
                func.sum(CommitmentRequest.instances) >= MOST_OPEN_REFERENCES,
            )
        )
    )
    with database.read() as session:
        mark_full(store.folders.commitments, list(session.exec(query)))


def forget_old(database: Database, before: dt.datetime) -> None:
    """Delete what only old transactions say: requests and inquiries that ended before a moment.

    What a request that cannot be answered names goes with it. Promises are rows of their own.
    """
    ended = (COMMITTED, FAILED, REFUSED, TIMED_OUT)
    requests = select(CommitmentRequest.id).where(
        col(CommitmentRequest.state) != WAITING, col(CommitmentRequest.due_at) < before
    )
    inquiries = select(CommitmentInquiry.id).where(
        col(CommitmentInquiry.state).in_(ended), col(CommitmentInquiry.due_at) < before
    )
    with database.write() as session:
        for statement in (
            sa.delete(CommitmentReference).where(col(CommitmentReference.request_id).in_(requests)),
            sa.delete(CommitmentRequest).where(
                col(CommitmentRequest.state) != WAITING, col(CommitmentRequest.due_at) < before
            ),
            sa.delete(CommitmentTransaction).where(
                col(CommitmentTransaction.inquiry_id).in_(inquiries)
            ),
        ):
            session.execute(statement)


def _file_request(
    session: Session, notice: Notice, information: Information, now: dt.datetime
) -> int:
    """Write the rows; return the number of the filing, or 0 where it was filed before."""
    sender = notice.sender
    row = session.exec(
        select(CommitmentRequest).where(
            CommitmentRequest.peer == sender.calling_ae_title,
            CommitmentRequest.transaction_uid == information.transaction_uid,
        )
    ).first()
    # A clock that was set back since counts as if the request had just come.
    received_at = min(dt.datetime.fromtimestamp(notice.received_at_ns / 1e9, dt.UTC), now)
    if row is None:
        row = CommitmentRequest(
            peer=sender.calling_ae_title,
            transaction_uid=information.transaction_uid,
            received_at=received_at,
            due_at=now,
        )
    elif row.file == notice.name:
        return 0
    else:
        row.rounds += 1
    row.called_ae_title, row.address = sender.called_ae_title, sender.address
    row.certificate, row.file = sender.certificate, notice.name
    if row.state != WAITING:
        row.attempts = 0  # else a peer that asks again and again would never be given up
    row.state, row.last_error, row.last_status = WAITING, "", None
    row.received_at, row.due_at = received_at, now
    row.filing = _next_filing(session)
    row.judged_at = row.reported_at = None
    row.instances, row.failures = len(information.referenced), ""
    session.add(row)
    session.flush()
    of_request = col(CommitmentReference.request_id) == row.id
    session.execute(sa.delete(CommitmentReference).where(of_request))
    named = [
        {
            "request_id": row.id,
            "sop_class_uid": each.sop_class_uid,
            "sop_instance_uid": each.sop_instance_uid,
        }
        for each in information.referenced
    ]
    session.execute(sa.insert(CommitmentReference), named)
    return row.filing


def _next_filing(session: Session) -> int:
    """Return a number after all that were given: old requests are forgotten, and waits stand."""
    last = session.exec(select(func.max(CommitmentRequest.filing))).one() or 0
    awaited = session.exec(select(func.max(AwaitedObject.since))).one() or 0
    return max(last, awaited) + 1


def _await(session: Session, spooled: set[str], filing: int) -> None:
    """Have this request and later ones wait for what lies in the spool; forget what has left it."""
    known = set(session.exec(select(AwaitedObject.digest)))
    for gone in chunks(sorted(known - spooled)):
        session.execute(sa.delete(AwaitedObject).where(col(AwaitedObject.digest).in_(gone)))
    for new in chunks(sorted(spooled - known)):
        rows = [{"digest": digest, "since": filing} for digest in new]
        insert_if_absent(session, AwaitedObject, rows)


def first_incomplete(session: Session, store: DicomStore) -> int | None:
    """Return the first filing for which an object that may have come before it is not indexed.

    None: every request is about what the index knows.
    """
    awaited = dict(session.exec(select(AwaitedObject.digest, AwaitedObject.since)).all())
    spooled = store.spooled_digests() if awaited else set()
    return min((since for digest, since in awaited.items() if digest in spooled), default=None)


def note_report(
    session: Session,
    information: Information,
    calling_ae_title: str,
    titles: Mapping[str, str],
    now: dt.datetime,
) -> bool:
    """Record what an archive answered; False where this sender was not asked under this UID.

    An instance that was asked about and that the report does not name has failed. An answer to an
    earlier question than the one whose answer counts is taken and changes nothing.
    """
    transaction = session.get(CommitmentTransaction, information.transaction_uid)
    inquiry = session.get(CommitmentInquiry, transaction.inquiry_id) if transaction else None
    if inquiry is None or titles.get(inquiry.peer) != calling_ae_title:
        return False
    if transaction is None or transaction.number < inquiry.settled_by:
        return True
    inquiry.settled_by = transaction.number
    named = (inquiry.sop_class_uid, inquiry.sop_instance_uid)
    failed = {(e.sop_class_uid, e.sop_instance_uid): e.reason for e in information.failed}
    committed = {(e.sop_class_uid, e.sop_instance_uid) for e in information.referenced}
    if named in committed and named not in failed:
        inquiry.state, inquiry.failure_reason, inquiry.last_error = COMMITTED, None, ""
    else:
        reason = failed.get(named, PROCESSING_FAILURE)
        inquiry.state, inquiry.failure_reason = FAILED, reason
        inquiry.last_error = f"the archive did not commit: {reason_in_words(reason)}"
        if named not in failed:
            inquiry.last_error = "the archive's report does not name what was asked"
        log.error("storage commitment inquiry %s failed: %s", inquiry.id, inquiry.last_error)
    inquiry.settled_at = now
    session.add(inquiry)
    return True
