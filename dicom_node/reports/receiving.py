"""Store HL7 messages and make report versions of them; the acknowledgement follows the commit.

One transaction holds the message, the acknowledgement that it gets, what was taken from it, and
the links that follow. So a message that was acknowledged is there with all its effects, and one
that was not can be sent again without harm.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from dicom_node.database import Clock, Database
from dicom_node.hl7.content import ParsedMessage, ParsedReport
from dicom_node.hl7.envelope import Envelope, build_ack, read_envelope
from dicom_node.hl7.messages import parse_message
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identity import note_patients, record_merge
from dicom_node.models import Link, Message, PatientAlias, Quarantined, Report
from dicom_node.reports.status import (
    EFFECTS,
    FINAL_STATUSES,
    WITHOUT_TEXT,
    Effect,
)
from dicom_node.reports.status_old import report_text, result_status
from dicom_node.reports.versions_old import OnReport, ReadReport, add_version
from dicom_node.settings import Hl7Settings

OnMerge = Callable[[Session, PatientAlias], object]

_REFUSED_STREAM = "refused stream"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a message comes to: its disposition, why, and what is to be stored."""

    disposition: str
    reason: str = ""
    fault: ContentFault | None = None
    parsed: ParsedMessage | None = None
    reports: tuple[ReadReport, ...] = ()


def receive_message(
    database: Database,
    content: bytes,
    settings: Hl7Settings,
    clock: Clock,
    on_report: OnReport | None = None,
    on_merge: OnMerge | None = None,
) -> bytes:
    """Store one message with its effects and return its acknowledgement.

    The same bytes under the same control id of the same sender have no second effect and get the
    same acknowledgement. A message whose content is at fault is quarantined and still answered
    AA, with ERR: it is safe, and a sender that gets AE would resend it for ever.

    Args:
        database: where everything is written, in one transaction.
        content: the message as it lay between VT and FS CR.
        settings: feeds, issuers and character sets to assume.
        clock: gives the time of receipt.
        on_report: called in the transaction for each new report version.
        on_merge: called in the transaction for each new merge of patients.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: nothing was stored; the sender must not get AA.
    """
    envelope = read_envelope(content)
    digest = hashlib.sha256(content).hexdigest()
    reading = _read(content, settings)
    ack = build_ack("AA", content, clock(), reading.fault)
    try:
        with database.write() as session:
            if known := _acknowledged(session, envelope, digest):
                return known
            message_id = _store(session, content, digest, envelope, reading, ack, clock)
            for each in reading.reports:
                add_version(session, each, message_id, clock(), on_report)
            _apply_patients(session, reading.parsed, message_id, clock, on_merge)
    except IntegrityError:
        # Another process may have stored the same message between the look and the commit.
        with database.read() as session:
            if known := _acknowledged(session, envelope, digest):
                return known
        raise
    if reading.fault is not None:
        _log.warning("HL7 message %d is quarantined: %s", message_id, reading.reason)
    return ack


def keep_refused(database: Database, content: bytes, reason: str, clock: Clock) -> bytes:
    """Quarantine what arrived of a refused stream and return its negative acknowledgement (AR).

    The bytes are not filed under the sender's control id: the same message, sent again in a
    proper frame, must not be taken for a duplicate of its fragment.
    """
    now = clock()
    ack = build_ack("AR", content, now, ContentFault("MSH", 0, 100, reason))
    digest = hashlib.sha256(content).hexdigest()
    fragment = read_envelope(b"")
    reading = _Reading("quarantined", reason)
    with database.write() as session:
        known = session.exec(
            select(Message.id).where(Message.sender == _REFUSED_STREAM, Message.digest == digest)
        ).first()
        if known is None:
            _store(session, content, digest, fragment, reading, ack, clock, _REFUSED_STREAM)
    return ack


def _acknowledged(session: Session, envelope: Envelope, digest: str) -> bytes | None:
    return session.exec(
        select(Message.acknowledgement).where(
            Message.sender == envelope.sender,
            Message.message_control_id == envelope.control_id,
            Message.digest == digest,
        )
    ).first()


def _read(content: bytes, settings: Hl7Settings) -> _Reading:
    try:
        parsed = parse_message(content, settings)
        if parsed.ignored:
            return _Reading("ignored", parsed.ignored)
        reports, reason = _read_reports(parsed)
        if parsed.reports and not reports:
            return _Reading("ignored", reason)
    except ContentFault as fault:
        where = f"{fault.segment}-{fault.field}" if fault.field else fault.segment
        return _Reading("quarantined", f"{where}: {fault.sentence}", fault)
    return _Reading("accepted", reason, parsed=parsed, reports=reports)


def _read_reports(parsed: ParsedMessage) -> tuple[tuple[ReadReport, ...], str]:
    """Give each report its identity, status and text; say which order groups gave none."""
    found: list[ReadReport] = []
    skipped: list[str] = []
    for each in _by_identity(parsed.reports, parsed.envelope.sender):
        status = result_status(each.parsed.result_status, each.parsed.lines)
        text = "" if status in WITHOUT_TEXT else report_text(each.parsed.lines)
        if EFFECTS[status] is Effect.NO_RESULT:
            skipped.append(f"result status {status} carries no result")
        elif not text and status not in WITHOUT_TEXT:
            skipped.append("an order group holds no text")
        else:
            found.append(replace(each, status=status, text=text))
    if not found and "an order group holds no text" in skipped:
        raise ContentFault("OBX", 5, 101, "no OBX of type TX, FT, ST, CE or CWE holds text")
    return tuple(found), "; ".join(dict.fromkeys(skipped))


def _by_identity(reports: Iterable[ParsedReport], sender: str) -> Iterable[ReadReport]:
    """Join the order groups that belong to one report (same filler order number)."""
    found: dict[str, ParsedReport] = {}
    for each in reports:
        number = each.filler_order_number or each.accession.value
        if not number:
            raise ContentFault("OBR", 3, 101, "neither filler order nor accession number is given")
        identity = f"{sender}|{number}"
        if first := found.get(identity):
            uids = dict.fromkeys(first.study_instance_uids + each.study_instance_uids)
            each = replace(first, lines=first.lines + each.lines, study_instance_uids=tuple(uids))
        found[identity] = each
    return [ReadReport(identity, parsed) for identity, parsed in found.items()]


def _store(
    session: Session,
    content: bytes,
    digest: str,
    envelope: Envelope,
    reading: _Reading,
    ack: bytes,
    clock: Clock,
    sender: str = "",
) -> int:
    now = clock()
    values = {
        "sender": sender or envelope.sender,
        "message_control_id": envelope.control_id,
        "digest": digest,
        "content": content,
        "message_type": envelope.message_type,
        "disposition": reading.disposition,
        "reason": reading.reason,
        "acknowledgement": ack,
        "received_at": now,
    }
    # Core, not the ORM: this runs for every message of a backfill.
    key = session.connection().execute(insert(Message).values(values)).inserted_primary_key
    message_id = int(key[0]) if key is not None else 0
    if reading.disposition == "quarantined":
        row = {
            "digest": digest,
            "reason": reading.reason,
            "sender": sender or envelope.sender,
            "message_id": message_id,
        }
        _quarantine(session, row, now)
    return message_id


def _quarantine(session: Session, row: dict[str, Any], now: dt.datetime) -> None:
    """Add the row; the same bytes, refused as a stream before, are listed already."""
    listed = select(Quarantined.id).where(
        Quarantined.kind == "hl7", Quarantined.digest == row["digest"]
    )
    if session.exec(listed).first() is None:
        session.add(Quarantined(kind="hl7", received_at=now, **row))
        session.flush()


def _apply_patients(
    session: Session,
    parsed: ParsedMessage | None,
    message_id: int,
    clock: Clock,
    on_merge: OnMerge | None,
) -> None:
    if parsed is None:
        return
    for report in parsed.reports:
        note_patients(session, report.patient.identifiers, clock())
    for merge in parsed.merges:
        note_patients(session, (merge.prior, merge.survivor), clock())
        alias = record_merge(session, merge.prior, merge.survivor, message_id, clock())
        if alias is not None and on_merge is not None:
            on_merge(session, alias)


def current_reports(session: Session) -> list[Report]:
    """Return the current version of each report that has text, in order of arrival."""
    return list(
        session.exec(
            select(Report)
            .where(col(Report.is_current), col(Report.result_status).not_in(WITHOUT_TEXT))
            .order_by(col(Report.id))
        )
    )


def final_report_exists(session: Session, study_instance_uid: str) -> bool:
    """Tell whether a final report that is current has a confirmed link to the study."""
    found = session.exec(
        select(Report.id)
        .join(Link, col(Link.report_id) == col(Report.id))
        .where(
            Link.study_instance_uid == study_instance_uid,
            Link.state == "confirmed",
            col(Report.is_current),
            col(Report.result_status).in_(FINAL_STATUSES),
        )
        .limit(1)
    ).first()
    return found is not None
