"""Stage: what peers asked us to commit to is judged, and they are told, on an association of ours.

Every attempt judges anew, so that a report that is late still says the truth of when it is sent.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.commitment.addresses import report_address
from dicom_node.commitment.asking import send_report
from dicom_node.commitment.filing import (
    REPORTED,
    UNDELIVERABLE,
    WAITING,
    file_notices,
    first_incomplete,
    forget_old,
    mark_full_peers,
)
from dicom_node.commitment.information import Information, Reference
from dicom_node.commitment.judging import Judged, judge, promise
from dicom_node.commitment.models import CommitmentReference, CommitmentRequest
from dicom_node.commitment.vocabulary import reason_in_words
from dicom_node.database import chunks
from dicom_node.dimse import SUCCESS
from dicom_node.errors import InvalidSettings, Permanent, Transient
from dicom_node.life_models import Erasure
from dicom_node.models import Study
from dicom_node.storage import DicomStore
from dicom_node.tls import peer_context
from plugin.context import Context
from plugin.stages.commitment_leases import (
    MOST_DOUBLINGS,
    begin_attempt,
    end_attempt,
    first_of_each_peer,
    same_attempt,
)
from training.folds import patient_key

log = logging.getLogger("radloop")

REQUEST = "request"
"""The kind of durable work, see :data:`plugin.workflows.Commit`."""

_LONGEST_DELAY_SECONDS = 3600.0
_UPKEEP_SECONDS = 3600.0
_MARK_SECONDS = 5.0
_KEPT_DAYS = 90.0


def file_commitments(context: Context) -> int:
    """File the first requests and reports that receivers have acknowledged; return how many."""
    titles = {peer.name: peer.ae_title for peer in context.settings.pacs}
    store = DicomStore(context.folder.root)
    return file_notices(context.database, store, context.clock, titles)


class CommitmentUpkeep:
    """Tells receivers which peers are full, and forgets once an hour what is old."""

    def __init__(self, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._monotonic = monotonic
        self._marked = self._forgot = -_UPKEEP_SECONDS

    def attend(self) -> None:
        """Do what is due."""
        context, now = self._context, self._monotonic()
        if now - self._marked >= _MARK_SECONDS:
            self._marked = now
            mark_full_peers(context.database, DicomStore(context.folder.root))
        if now - self._forgot >= _UPKEEP_SECONDS:
            self._forgot = now
            forget_old(context.database, context.clock() - dt.timedelta(days=_KEPT_DAYS))


def waiting_requests(context: Context) -> list[CommitmentRequest]:
    """Return the requests whose next attempt to judge and report is due now: one for each peer.

    One waits until everything that was received before it is indexed, but not for ever. A peer to
    which an attempt is being made has its turn after it.
    """
    now = context.clock()
    with context.database.read() as session:
        if session.exec(_due(now).limit(1)).first() is None:
            return []  # the spool need not be looked at
        # Before the rows are read: a request that is filed meanwhile waits for the next look.
        first = first_incomplete(session, DicomStore(context.folder.root))
    due = _due(now)
    if first is not None:
        patience = dt.timedelta(seconds=context.settings.commitment.index_wait_seconds)
        asked_at = col(CommitmentRequest.received_at)
        over = sa.or_(asked_at <= now - patience, asked_at > now)
        due = due.where(sa.or_(col(CommitmentRequest.filing) < first, over))
    with context.database.read() as session:
        return first_of_each_peer(session, CommitmentRequest, due)


def _due(now: dt.datetime) -> SelectOfScalar[CommitmentRequest]:
    # What lies further ahead than any delay was set by a clock that has been set back since.
    due_at, longest = col(CommitmentRequest.due_at), dt.timedelta(seconds=_LONGEST_DELAY_SECONDS)
    return select(CommitmentRequest).where(
        CommitmentRequest.state == WAITING,
        CommitmentRequest.running == "",
        sa.or_(due_at <= now, due_at > now + longest),
    )


def report_commitment(context: Context, request_id: int, round_number: int, attempt: int) -> None:
    """Judge what a request names and report once; the row says what comes next."""
    try:
        claimed = _claim(context, request_id, round_number, attempt)
    except Exception as error:
        log.error("storage commitment request %s: %s", request_id, type(error).__name__)
        log.debug("traceback", exc_info=True)
        _count_unclaimed(context, request_id, round_number, attempt, type(error).__name__)
        return
    if claimed is None:
        return
    row, references = claimed
    try:
        _report(context, row, references)
    except Exception as error:
        # The class only: the text of an unexpected error may name a patient.
        log.error("storage commitment request %s: %s", request_id, type(error).__name__)
        log.debug("traceback", exc_info=True)
        _try_again(context, row, f"an unexpected error ({type(error).__name__})")
    finally:
        end_attempt(context, CommitmentRequest, row)


def _report(
    context: Context, row: CommitmentRequest, references: Sequence[CommitmentReference]
) -> None:
    try:
        peer = report_address(row, context.settings.dicom, context.settings.pacs)
        tls = peer_context(peer, context.settings.dicom.tls)
    except InvalidSettings as error:
        _settle(context, row, UNDELIVERABLE, str(error))
        return
    except Transient as error:
        _try_again(context, row, str(error))
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
        if row.running:
            return None
        begin_attempt(row)
        row.due_at = context.clock() + _delay(context, row.attempts)
        session.add(row)
        return row, list(session.exec(_references(request_id)))


def _count_unclaimed(
    context: Context, request_id: int, round_number: int, attempt: int, name: str
) -> None:
    """Count an attempt that could not even begin, so that it is not made again and again."""
    with context.database.write() as session:
        row = session.get(CommitmentRequest, request_id)
        if row is None or (row.state, row.rounds, row.attempts) != (WAITING, round_number, attempt):
            return
        row.attempts += 1
        row.last_error = f"an unexpected error ({name})"
        row.due_at = context.clock() + _delay(context, row.attempts)
        if row.attempts >= context.settings.commitment.maximum_attempts:
            row.state = UNDELIVERABLE
        session.add(row)


def _references(request_id: int) -> SelectOfScalar[CommitmentReference]:
    return (
        select(CommitmentReference)
        .where(CommitmentReference.request_id == request_id)
        .order_by(col(CommitmentReference.id))
    )


def _delay(context: Context, attempts: int) -> dt.timedelta:
    first = context.settings.commitment.first_retry_seconds
    doubled = first * 2.0 ** min(max(attempts - 1, 0), MOST_DOUBLINGS)
    return dt.timedelta(seconds=min(doubled, _LONGEST_DELAY_SECONDS))


def _judge(
    context: Context, row: CommitmentRequest, references: Sequence[CommitmentReference]
) -> Information | None:
    """Judge and promise; None where no answer is to be sent, or none about all that was asked."""
    store = DicomStore(context.folder.root)
    with context.database.read() as session:
        first = first_incomplete(session, store)
    asked = [Reference(each.sop_class_uid, each.sop_instance_uid) for each in references]
    complete = first is None or row.filing < first
    judged = judge(context.database, store, asked, complete=complete)
    now = context.clock()
    days = context.settings.commitment.minimum_retention_days
    with context.database.write() as session:
        stored = same_attempt(session, CommitmentRequest, row)
        if stored is None:
            return None  # asked anew, or this attempt is no longer the one that counts
        rows = list(session.exec(_references(row.id or 0)))
        final: list[Judged] = []
        if len(rows) == len(judged) == row.instances:
            barred = _kept_out(context, session, judged)
            final = promise(session, judged, now + dt.timedelta(days=days), barred)
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


def _kept_out(context: Context, session: Session, judged: Sequence[Judged]) -> set[str]:
    """Return the studies that are about to be erased again, because their patient was erased."""
    if not context.settings.erasure.keep_out:
        return set()
    erased = {key for keys in session.exec(select(Erasure.patient_keys)) for key in keys}
    if not erased:
        return set()
    salt = context.folder.patient_key_salt()
    found = set()
    for chunk in chunks({each.study_instance_uid for each in judged}):
        for study in session.exec(select(Study).where(col(Study.study_instance_uid).in_(chunk))):
            if patient_key(study.issuer_of_patient_id, study.patient_id, salt) in erased:
                found.add(study.study_instance_uid)
    return found


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
        stored = same_attempt(session, CommitmentRequest, row)
        if stored is not None:
            stored.last_error, stored.last_status = reason, status
            stored.due_at = context.clock() + _delay(context, row.attempts)
            session.add(stored)


def _settle(
    context: Context, row: CommitmentRequest, state: str, reason: str, status: int | None = None
) -> None:
    """End a round, which is over for good where the peer has its report."""
    with context.database.write() as session:
        stored = same_attempt(session, CommitmentRequest, row)
        if stored is None:
            return
        stored.state, stored.last_error, stored.last_status = state, reason, status
        if state == REPORTED:
            stored.reported_at = context.clock()
            of_request = col(CommitmentReference.request_id) == row.id
            session.execute(sa.delete(CommitmentReference).where(of_request))
        session.add(stored)
    if state == UNDELIVERABLE:
        log.error("storage commitment request %s cannot be answered: %s", row.id, reason)
