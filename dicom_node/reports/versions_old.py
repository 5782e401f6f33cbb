"""The version chain of a report: what was sent when, and which version holds now.

Messages arrive late, twice and out of order. The version that holds is the latest by the time of
its status (OBR-22), then of its message (MSH-7), then of arrival; an older version that comes late
is kept and never becomes current.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from dicom_node.hl7.content import ParsedReport
from dicom_node.models import Report, ReportedStudy
from dicom_node.reports.status import EFFECTS, Effect

OnReport = Callable[[Session, Report], object]

_TIME = re.compile(r"(\d{4,14})(?:\.(\d{1,6}))?([+-]\d{4})?")


@dataclass(frozen=True, slots=True)
class ReadReport:
    """A parsed report with its identity (sender and order number), status and text."""

    identity: str
    parsed: ParsedReport
    status: str = ""
    text: str = ""


def add_version(
    session: Session,
    read: ReadReport,
    message_id: int,
    now: dt.datetime,
    on_report: OnReport | None = None,
) -> Report:
    """Append a version, decide which one is current, and call ``on_report`` for it.

    A version with status U gets the text that stood before it and becomes final; where that text
    arrives later, it is promoted then.
    """
    versions = list(
        session.exec(
            select(Report)
            .where(Report.report_identity == read.identity)
            .order_by(col(Report.version))
        )
    )
    added = _row(read, message_id, len(versions) + 1, now)
    if EFFECTS[read.status] is Effect.PROMOTE:
        _promote(added, versions)
    _insert(session, added, versions)
    if on_report is not None:
        on_report(session, added)
    waiting = _current(versions)
    if added.is_current or waiting.result_status != "U" or not added.text:
        return added
    promoted = _copy(waiting, version=len(versions) + 1, now=now)
    _promote(promoted, versions)
    _insert(session, promoted, versions)
    if on_report is not None:
        on_report(session, promoted)
    return promoted


def _row(read: ReadReport, message_id: int, version: int, now: dt.datetime) -> Report:
    parsed = read.parsed
    patient = parsed.patient
    first = patient.identifiers[0] if patient.identifiers else None
    return Report(
        report_identity=read.identity,
        version=version,
        message_id=message_id,
        text=read.text,
        result_status=read.status,
        accession_number=parsed.accession.value,
        issuer_of_accession_number=parsed.accession.issuer,
        accession_issuer_assumed=parsed.accession.issuer_assumed,
        placer_order_number=parsed.placer_order_number,
        filler_order_number=parsed.filler_order_number,
        study_instance_uids=list(parsed.study_instance_uids),
        patient_id=first.value if first else "",
        issuer_of_patient_id=first.issuer if first else "",
        issuer_assumed=first.issuer_assumed if first else False,
        patient_identifiers=[asdict(each) for each in patient.identifiers],
        patient_name=patient.name,
        patient_birth_date=patient.birth_date,
        patient_sex=patient.sex,
        modality=parsed.modality,
        procedure=parsed.procedure,
        observation_date=parsed.observation_date,
        status_changed_at=parsed.status_changed_at,
        message_time=parsed.message_time,
        received_at=now,
    )


def _copy(report: Report, version: int, now: dt.datetime) -> Report:
    values = report.model_dump(exclude={"id", "version", "received_at", "supersedes_id"})
    return Report(**values, version=version, received_at=now)


def _promote(added: Report, versions: list[Report]) -> None:
    """Give a version of status U the latest text before it; without one it keeps waiting."""
    before = [each for each in versions if each.text and _order(each) < _order(added)]
    if before:
        added.text = max(before, key=_order).text
        added.result_status = "F"


def _insert(session: Session, added: Report, versions: list[Report]) -> None:
    previous = _current(versions) if versions else None
    added.is_current = previous is None or _order(added) > _order(previous)
    if previous is not None and added.is_current:
        previous.is_current = False
        added.supersedes_id = previous.id
        session.add(previous)
    session.add(added)
    session.flush()
    versions.append(added)
    for uid in added.study_instance_uids:
        session.add(ReportedStudy(report_id=added.id or 0, study_instance_uid=uid))
    session.flush()


def _current(versions: list[Report]) -> Report:
    return max(versions, key=_order)


def _order(report: Report) -> tuple[str, str, int]:
    message_time = comparable_time(report.message_time)
    changed = comparable_time(report.status_changed_at)
    return changed or message_time, message_time, report.version


def comparable_time(text: str) -> str:
    """Turn an HL7 time (TS, DTM) into text whose order is the order of time.

    A time with a zone is brought to UTC; one without is taken as it stands. Text that is no time
    gives the empty string, which is before all times.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return ""
    digits, fraction, zone = match.groups()
    padded = digits.ljust(14, "0")
    if zone and len(digits) >= 12:
        try:
            moment = dt.datetime.strptime(padded + zone, "%Y%m%d%H%M%S%z")
        except ValueError:
            return ""
        padded = moment.astimezone(dt.UTC).strftime("%Y%m%d%H%M%S")
    return f"{padded}.{(fraction or '').ljust(6, '0')}"
