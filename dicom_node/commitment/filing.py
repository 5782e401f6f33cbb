"""From the files of the receivers to rows: requests of peers, and archives' reports to us."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from itertools import islice

import sqlalchemy as sa
from sqlmodel import Session, col, select

from dicom_node.commitment.information import Information
from dicom_node.commitment.models import (
    CommitmentInquiry,
    CommitmentReference,
    CommitmentRequest,
    CommitmentTransaction,
)
from dicom_node.commitment.notices import REQUEST, Notice, remove_notice, waiting_notices
from dicom_node.commitment.vocabulary import PROCESSING_FAILURE, reason_in_words
from dicom_node.database import Clock, Database
from dicom_node.storage import DicomStore

log = logging.getLogger(__name__)

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
    for notice in islice(waiting_notices(store.folders.commitments), _AT_A_TIME):
        information = notice.information()
        with database.write() as session:
            if notice.kind == REQUEST:
                _file_request(session, notice, information, clock())
            else:
                said = note_report(
                    session, information, notice.sender.calling_ae_title, titles, clock()
                )
                if not said:
                    log.warning("a storage commitment report that nobody asked its sender for")
        remove_notice(store.folders.commitments, notice.name)
        filed += 1
    return filed


def _file_request(
    session: Session, notice: Notice, information: Information, now: dt.datetime
) -> None:
    sender = notice.sender
    row = session.exec(
        select(CommitmentRequest).where(
            CommitmentRequest.peer == sender.calling_ae_title,
            CommitmentRequest.transaction_uid == information.transaction_uid,
        )
    ).first()
    received_at = dt.datetime.fromtimestamp(notice.received_at_ns / 1e9, dt.UTC)
    if row is None:
        row = CommitmentRequest(
            peer=sender.calling_ae_title,
            transaction_uid=information.transaction_uid,
            received_at=received_at,
            due_at=now,
        )
    elif row.file == notice.name:
        return
    else:
        row.rounds += 1
    row.called_ae_title, row.address = sender.called_ae_title, sender.address
    row.certificate, row.file = sender.certificate, notice.name
    row.state, row.attempts, row.last_error, row.last_status = WAITING, 0, "", None
    row.received_at, row.due_at = received_at, now
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


def note_report(
    session: Session,
    information: Information,
    calling_ae_title: str,
    titles: Mapping[str, str],
    now: dt.datetime,
) -> bool:
    """Record what an archive answered; False where this sender was not asked under this UID.

    An instance that was asked about and that the report does not name has failed.
    """
    transaction = session.get(CommitmentTransaction, information.transaction_uid)
    inquiry = session.get(CommitmentInquiry, transaction.inquiry_id) if transaction else None
    if inquiry is None or titles.get(inquiry.peer) != calling_ae_title:
        return False
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
