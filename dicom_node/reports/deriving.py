"""Versions of reports from what was sent: the chains that a change touched are computed again.

A version that says something new becomes a row; one that was there before keeps its row, so that
labels stay with the text that they were read from. No row is altered but for which one is current.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from sqlalchemy import insert, update
from sqlalchemy import select as plain_select
from sqlmodel import Session, col

from dicom_node.database import Clock, chunks
from dicom_node.linking.touched import Touched
from dicom_node.models import Message, Report, ReportedStudy
from dicom_node.reports.models import ReportedAccession, ReportedPatient, ReportInput
from dicom_node.reports.storing import from_json
from dicom_node.reports.versions import Input, Version, fold

_DIGESTED = (
    "text",
    "sections",
    "result_status",
    "accessions",
    "placer_order_number",
    "filler_order_number",
    "study_instance_uids",
    "patient_identifiers",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "modality",
    "body_part",
    "procedure",
    "observation_date",
    "status_changed_at",
    "message_time",
)
"""What makes two versions of one input different."""


def derive_chains(session: Session, identities: Collection[str], clock: Clock) -> Touched:
    """Compute the versions of these reports again; return the versions whose links must follow.

    Args:
        session: a writing session.
        identities: report identities; one of which nothing holds any more ends without a current
            version.
        clock: gives the time at which a version was made.
    """
    touched = Touched()
    for part in chunks(sorted(identities)):
        sent, known = _inputs(session, part), _versions(session, part)
        made: list[dict[str, Any]] = []
        marks: list[dict[str, Any]] = []
        for identity in part:
            rows = _rows(identity, sent.get(identity, ()), clock())
            before = known.get(identity, ())
            new = list(_new(rows, before))
            holds = (rows[-1]["input_id"], rows[-1]["content_digest"]) if rows else None
            changed = list(_marks(before, new, holds))
            if new or changed:
                touched.reports.update(each.id for each in before)
            made.extend(new)
            marks.extend(changed)
        touched.reports.update(_insert(session, made))
        if marks:
            session.execute(update(Report), marks)
    return touched


class _Sent(NamedTuple):
    """An input as it was sent, and by whom."""

    input: Input
    message_id: int
    sender: str
    imported: bool


class _Known(NamedTuple):
    """A version that is there already."""

    id: int
    identity: str
    version: int
    key: tuple[int | None, str]
    is_current: bool


def _inputs(session: Session, identities: Sequence[str]) -> dict[str, list[_Sent]]:
    rows = session.execute(
        plain_select(
            col(ReportInput.id),
            col(ReportInput.report_identity),
            col(ReportInput.received_at),
            col(ReportInput.content),
            col(ReportInput.message_id),
            col(Message.sender),
            col(Message.source),
        )
        .join(Message, col(Message.id) == col(ReportInput.message_id))
        .where(col(ReportInput.report_identity).in_(identities), col(ReportInput.holds))
        .order_by(col(ReportInput.id))
    )
    found: dict[str, list[_Sent]] = {}
    for key, identity, received_at, content, message_id, sender, source in rows:
        sent = Input(key, received_at.isoformat(), from_json(content))
        each = _Sent(sent, message_id, sender, source == "import")
        found.setdefault(identity, []).append(each)
    return found


def _versions(session: Session, identities: Sequence[str]) -> dict[str, list[_Known]]:
    rows = session.execute(
        plain_select(
            col(Report.id),
            col(Report.report_identity),
            col(Report.version),
            col(Report.input_id),
            col(Report.content_digest),
            col(Report.is_current),
        )
        .where(col(Report.report_identity).in_(identities))
        .order_by(col(Report.id))
    )
    found: dict[str, list[_Known]] = {}
    for key, identity, version, input_id, digest, is_current in rows:
        each = _Known(key, identity, version, (input_id, digest), is_current)
        found.setdefault(identity, []).append(each)
    return found


def _rows(identity: str, sent: Sequence[_Sent], now: dt.datetime) -> list[dict[str, Any]]:
    origin = {each.input.key: each for each in sent}
    versions = fold([each.input for each in sent])
    return [_row(identity, version, origin[version.input_key], now) for version in versions]


def _row(identity: str, version: Version, sent: _Sent, now: dt.datetime) -> dict[str, Any]:
    report = version.report
    patient = report.patient
    first = patient.identifiers[0] if patient.identifiers else None
    accession = report.accessions[0] if report.accessions else None
    row: dict[str, Any] = {
        "report_identity": identity,
        "input_id": version.input_key,
        "message_id": sent.message_id,
        "sender": sent.sender,
        "history": sent.imported,
        "text": version.text,
        "sections": [_section(each) for each in version.sections],
        "result_status": version.status,
        "accessions": [asdict(each) for each in report.accessions],
        "accession_number": accession.value if accession else "",
        "issuer_of_accession_number": accession.issuer if accession else "",
        "accession_issuer_assumed": accession.issuer_assumed if accession else False,
        "placer_order_number": report.placer.value,
        "filler_order_number": report.filler.value,
        "study_instance_uids": list(report.study_instance_uids),
        "patient_id": first.value if first else "",
        "issuer_of_patient_id": first.issuer if first else "",
        "issuer_assumed": first.issuer_assumed if first else False,
        "patient_identifiers": [asdict(each) for each in patient.identifiers],
        "patient_name": patient.name,
        "patient_birth_date": patient.birth_date,
        "patient_sex": patient.sex,
        "modality": report.modality,
        "body_part": report.body_part,
        "procedure": report.procedure,
        "interpreter": report.interpreter,
        "observation_date": report.observation_date,
        "status_changed_at": report.status_changed_at,
        "message_time": report.message_time,
        "received_at": now,
    }
    said = json.dumps([row[name] for name in _DIGESTED], sort_keys=True, ensure_ascii=True)
    row["content_digest"] = hashlib.sha256(said.encode("ascii")).hexdigest()
    return row


def _section(section: Any) -> dict[str, Any]:
    return {
        "kind": str(section.kind),
        "start": section.start,
        "end": section.end,
        "body": section.body,
    }


def _new(rows: Sequence[dict[str, Any]], known: Sequence[_Known]) -> Iterator[dict[str, Any]]:
    """Yield the rows that are not there yet, each with its version number."""
    present = {each.key for each in known}
    version = max((each.version for each in known), default=0)
    for number, row in enumerate(rows, start=1):
        if (row["input_id"], row["content_digest"]) in present:
            continue
        version += 1
        before = [each.id for each in known if each.is_current]
        last = number == len(rows)
        yield row | {
            "version": version,
            "is_current": last,
            "supersedes_id": before[-1] if last and before else None,
        }


def _marks(
    known: Sequence[_Known],
    new: Sequence[dict[str, Any]],
    holds: tuple[int | None, str] | None,
) -> Iterator[dict[str, Any]]:
    """Yield what changes about earlier versions: which of them holds now."""
    chosen = [each.id for each in known if each.key == holds][-1:]
    if any(row["is_current"] for row in new):
        chosen = []
    for each in known:
        if each.is_current != (each.id in chosen):
            yield {"id": each.id, "is_current": each.id in chosen}


def _insert(session: Session, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert versions and what they name; return their ids."""
    if not rows:
        return []
    plain = [{key: value for key, value in row.items() if key != "accessions"} for row in rows]
    statement = insert(Report).returning(col(Report.id), sort_by_parameter_order=True)
    ids = [int(row[0]) for row in session.execute(statement, plain)]
    named = list(zip(ids, rows, strict=True))
    studies = [
        {"report_id": key, "study_instance_uid": uid}
        for key, row in named
        for uid in dict.fromkeys(row["study_instance_uids"])
    ]
    accessions = [
        {"report_id": key, "accession_number": value, "issuer": issuer, "issuer_assumed": assumed}
        for key, row in named
        for value, issuer, assumed in _distinct(row["accessions"])
    ]
    patients = [
        {"report_id": key, "patient_id": value, "issuer": issuer, "issuer_assumed": assumed}
        for key, row in named
        for value, issuer, assumed in _distinct(row["patient_identifiers"])
    ]
    _insert_named(session, ReportedStudy, studies)
    _insert_named(session, ReportedAccession, accessions)
    _insert_named(session, ReportedPatient, patients)
    return ids


def _insert_named(session: Session, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(table), rows)


def _distinct(identifiers: Iterable[dict[str, Any]]) -> Iterable[tuple[str, str, bool]]:
    return dict.fromkeys(
        (each["value"], each["issuer"], each["issuer_assumed"]) for each in identifiers
    )
