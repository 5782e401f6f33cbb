"""The text of a person's structured report is filed as the message that an import would make of it.

Under which number, sender and time follows from its line (:mod:`dicom_node.documents.lines`). Where
a line changes, the message is replaced.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from dicom_node.documents.lines import Filing, Member, file_line, sender_of
from dicom_node.documents.models import DicomDocument
from dicom_node.durable import StorageFailed
from dicom_node.errors import Transient
from dicom_node.file_meta import IMPORTED
from dicom_node.history.messages import UNDATED, message_of
from dicom_node.history.rows import HistoricReport
from dicom_node.hl7.times import comparable
from dicom_node.messages import file_records
from dicom_node.mllp.journal import Record
from dicom_node.models import Instance, Message
from dicom_node.replaced_messages import replace_messages
from dicom_node.reports.models import ReportInput
from plugin.context import Context
from plugin.stages.document_rows import Gone, Waiting, check_current

COMMON_FAILURES = (Transient, StorageFailed, OperationalError, OSError, MemoryError)
"""What no single document is to blame for: all of them wait."""

_log = logging.getLogger(__name__)

Put = Callable[[Session, DicomDocument], None]


@dataclass(frozen=True)
class Filed:
    """A report as it is to be filed: its message, and by what its line says so."""

    content: bytes
    filing: Filing


def dated(report: HistoricReport) -> str:
    """Return when a report was written, comparable; never empty."""
    said = comparable(report.report_date) or comparable(report.study_date)
    return said or comparable(UNDATED)


def filed(context: Context, report: HistoricReport, row: DicomDocument, line: Member) -> Filed:
    """Return the message that a report becomes.

    Raises:
        UnusableRow: a value of the report cannot stand in a message.
    """
    context.profiles.reload_if_changed()
    with context.database.read() as session:
        filing = file_line(session, line, context.profiles.accepted)[row.sop_instance_uid]
    report = replace(report, number=filing.number)
    if filing.dated != row.dated:
        # Later than what it replaces, whatever the clocks of two workstations said.
        report = replace(report, report_date=f"{filing.dated[:14]}.{filing.dated[14:18]}")
    return Filed(message_of(report, filing.sender), filing)


def file_report(
    context: Context, each: Waiting, row: DicomDocument, found: Filed, put: Put
) -> None:
    """File a report together with the row of its document.

    Args:
        context: the open node.
        each: the document.
        row: about it; number, sender and time are entered here.
        found: what is filed.
        put: writes the row.

    Raises:
        Gone: the document is not there any more; nothing is filed.
        Transient, StorageFailed, OperationalError, OSError, MemoryError: nothing is filed yet.
    """
    row.number, row.sender = found.filing.number, found.filing.sender
    row.filed_dated = found.filing.dated
    row.why = "; ".join(filter(None, (row.why, found.filing.remark)))
    try:
        _file(context, each, row, found, put)
    except (*COMMON_FAILURES, Gone):
        raise
    except Exception as error:  # noqa: BLE001 - a linker may come from anywhere
        # The class only: the text of an unexpected error may name a patient.
        name = type(error).__name__
        _log.critical("a structured report cannot be filed and is quarantined: %s", name)
        row.why = f"it could not be filed ({name}): radloop hl7 replay"
        _file(context, each, row, found, put, unread=row.why)


def _file(
    context: Context, each: Waiting, row: DicomDocument, found: Filed, put: Put, *, unread: str = ""
) -> None:
    instance = each.instance
    record = Record("message", found.content, instance.received_at, peer=instance.digest)

    def inside(session: Session) -> None:
        check_current(session, each)
        identity = f"{row.sender}|{row.number}"
        digest = hashlib.sha256(found.content).hexdigest()
        stale = _stale(session, row.sop_instance_uid, row.digest, identity, digest)
        put(session, row)
        _adopt(session, digest, row.digest)
        if stale:
            replace_messages(session, stale, context.linking(), context.clock, identity)

    file_records(
        context.database,
        [record],
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
        source="import" if instance.way == IMPORTED else "dicom",
        inside=inside,
        unread=unread,
    )


def drop_report(context: Context, session: Session, row: DicomDocument) -> None:
    """Let the text of a document count no more that is no report now."""
    if stale := _stale(session, row.sop_instance_uid, row.digest, "", ""):
        replace_messages(session, stale, context.linking(), context.clock)


def _stale(
    session: Session, sop_instance_uid: str, digest: str, identity: str, content: str
) -> list[int]:
    """Return the messages that were made of a document and do not stand for it now.

    What was made of earlier bytes of it stays an earlier version of the same report.

    Args:
        session: any session.
        sop_instance_uid: of the document.
        digest: of its bytes.
        identity: of the report that it is now.
        content: digest of its message now.
    """
    rows = session.exec(
        select(DicomDocument).where(DicomDocument.sop_instance_uid == sop_instance_uid)
    )
    found: set[int] = set()
    for row in rows:
        known = f"{row.sender or sender_of(row.calling_ae_title)}|{row.number}"
        if not row.number or (row.digest != digest and known == identity):
            continue
        query = (
            select(Message.id)
            .join(ReportInput, col(ReportInput.message_id) == col(Message.id))
            .where(
                ReportInput.report_identity == known,
                col(ReportInput.holds),
                Message.peer == row.digest,
                Message.digest != content,
            )
        )
        found |= {each for each in session.exec(query) if each is not None}
    return sorted(found)


def _adopt(session: Session, content: str, digest: str) -> None:
    """Have a message that was filed before stand for the bytes that say the same now."""
    for message in session.exec(select(Message).where(Message.digest == content)):
        current = select(Instance.digest).where(Instance.digest == message.peer)
        if message.peer != digest and session.exec(current).first() is None:
            message.peer = digest
            session.add(message)
    session.flush()
