"""What one message says, as rows: inputs of reports, orders, events of patients.

Rows are added. A message that is read again, under another profile, gets new ones with the next
number of its reading; the earlier ones hold no more and stay.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, insert, update
from sqlmodel import Session, SQLModel, col, select

from dicom_node.database import Clock, chunks, insert_if_absent
from dicom_node.hl7.parsed import (
    ParsedMessage,
    ParsedOrder,
    ParsedPatientEvent,
    ParsedReport,
    PatientAction,
)
from dicom_node.hl7.times import comparable
from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.models import ImagingOrder, PatientEvent
from dicom_node.linking.touched import Touched
from dicom_node.models import Patient
from dicom_node.reports.models import ReportInput
from dicom_node.reports.storing import from_json, to_json
from dicom_node.reports.versions import chain_identity

_READ: tuple[type[ReportInput] | type[ImagingOrder] | type[PatientEvent], ...] = (
    ReportInput,
    ImagingOrder,
    PatientEvent,
)


Content = list[tuple[type[SQLModel], dict[str, Any]]]
"""What one message says: tables and their rows, without what differs from reading to reading."""


def content_of(parsed: ParsedMessage) -> Content:
    """Return what a message says as rows; those of reports know no chain yet."""
    sender = parsed.envelope.sender
    found: Content = [
        (ReportInput, {"place": place, **_report_row(report, sender)})
        for place, report in enumerate(parsed.reports)
    ]
    orders = [row for order in parsed.orders for row in _order_rows(order, sender)]
    events = [row for event in parsed.patient_events for row in _event_rows(event)]
    found.extend((ImagingOrder, {"place": place, **row}) for place, row in enumerate(orders))
    found.extend((PatientEvent, {"place": place, **row}) for place, row in enumerate(events))
    return found


def holds_already(session: Session, message_id: int, content: Content) -> bool:
    """Tell whether exactly this was read from a message before and still holds."""
    wanted = [(table, dict(row)) for table, row in content]
    for table in _READ:
        rows = session.exec(_holding(table, [message_id]).order_by(table.place)).all()
        expected = [row for each, row in wanted if each is table]
        if len(rows) != len(expected):
            return False
        for row, values in zip(rows, expected, strict=True):
            if any(_plain(getattr(row, name)) != _plain(value) for name, value in values.items()):
                return False
    return True


def _plain(value: Any) -> Any:
    """Return a value as it comes back from a column of JSON."""
    return json.loads(json.dumps(value)) if isinstance(value, dict | list | tuple) else value


class MessageRows:
    """Collects the rows of a batch of messages and writes them together.

    Args:
        session: a writing session.
        clock: gives the time at which events of patients are recorded.
    """

    def __init__(self, session: Session, clock: Clock) -> None:
        self.touched = Touched()
        self._session = session
        self._clock = clock
        self._rows: dict[type[SQLModel], list[dict[str, Any]]] = {}
        self._patients: dict[Identifier, dt.datetime] = {}
        self._chains: dict[str, str | None] = {}

    def expect(self, messages: Iterable[ParsedMessage]) -> None:
        """Look up at once what the reports of a batch may belong to."""
        named = {
            f"{message.envelope.sender}|{number}"
            for message in messages
            for report in message.reports
            for number in (report.number, report.parent_number)
        }
        for part in chunks(sorted(named)):
            rows = self._session.exec(
                select(ReportInput.document_identity, ReportInput.report_identity)
                .where(col(ReportInput.document_identity).in_(part), col(ReportInput.holds))
                .order_by(col(ReportInput.id).desc())
            )
            self._chains.update(dict.fromkeys(part) | dict(rows.all()))

    def add(
        self, parsed: ParsedMessage, message_id: int, received_at: dt.datetime, reading: int = 1
    ) -> None:
        """Take what one message says."""
        common = {"message_id": message_id, "reading": reading, "holds": True}
        reports = iter(parsed.reports)
        for table, row in content_of(parsed):
            if table is ReportInput:
                report, values = next(reports), row | common | {"received_at": received_at}
                self._add_report(report, parsed.envelope.sender, values)
            elif table is ImagingOrder:
                self._add(table, row | common | {"received_at": received_at})
            else:
                self._add(table, row | common | {"recorded_at": self._clock()})
        for order in parsed.orders:
            self.touched.order_numbers |= {order.placer.value, order.filler.value} - {""}
        for event in parsed.patient_events:
            self.touched.patients |= _whom(event)
        self._note_patients(parsed, received_at)

    def write(self) -> None:
        """Write what was collected."""
        for table, rows in self._rows.items():
            self._session.execute(insert(table), rows)
        self._rows.clear()
        insert_if_absent(
            self._session,
            Patient,
            [
                {"issuer_of_patient_id": each.issuer, "patient_id": each.value, "first_seen_at": at}
                for each, at in sorted(self._patients.items())
            ],
        )
        self._patients.clear()

    def _add(self, table: type[SQLModel], row: dict[str, Any]) -> None:
        self._rows.setdefault(table, []).append(row)

    def _add_report(self, report: ParsedReport, sender: str, row: dict[str, Any]) -> None:
        own = row["document_identity"]
        identity = chain_identity(sender, report, self._known)
        self._add(ReportInput, row | {"report_identity": identity})
        self._chains[own] = self._chains.get(own) or identity
        self.touched.chains |= {identity}
        if own != identity:
            self._follow(own, identity)

    def _follow(self, own: str, identity: str) -> None:
        """Bring what was appended to a document before it arrived to the root as well."""
        self.write()
        self._session.execute(
            update(ReportInput)
            .where(col(ReportInput.report_identity) == own)
            .values(report_identity=identity)
        )
        moved = {each: identity for each, chain in self._chains.items() if chain == own}
        self._chains.update(moved)
        self.touched.chains |= {own}

    def _known(self, document_identity: str) -> str | None:
        """Return the chain of a document that was sent before."""
        if document_identity not in self._chains:
            self.write()
            self._chains[document_identity] = self._session.exec(
                select(ReportInput.report_identity)
                .where(
                    col(ReportInput.document_identity) == document_identity, col(ReportInput.holds)
                )
                .order_by(col(ReportInput.id))
            ).first()
        return self._chains[document_identity]

    def _note_patients(self, parsed: ParsedMessage, now: dt.datetime) -> None:
        """Note each identity that a message declares (unique by issuer and identifier)."""
        patients = [report.patient for report in parsed.reports]
        patients += [order.patient for order in parsed.orders]
        patients += [event.patient for event in parsed.patient_events]
        for patient in patients:
            for identifier in patient.identifiers:
                self._note(identifier, now)
        for event in parsed.patient_events:
            self._note(event.prior, now)

    def _note(self, identifier: Identifier, now: dt.datetime) -> None:
        if identifier.qualified and not identifier.issuer_assumed:
            self._patients.setdefault(identifier, now)


def drop_content(session: Session, message_ids: Sequence[int]) -> Touched:
    """Let nothing that was read from these messages hold any more; return what that touches."""
    touched = Touched()
    for part in chunks(sorted(message_ids)):
        for input_ in session.exec(_holding(ReportInput, part)):
            touched.chains.add(input_.report_identity)
        for order in session.exec(_holding(ImagingOrder, part)):
            numbers = {order.placer_order_number, order.filler_order_number}
            touched.order_numbers |= numbers - {""}
        for event in session.exec(_holding(PatientEvent, part)):
            touched.patients |= {
                Identifier(event.patient_id, event.issuer, event.issuer_assumed),
                Identifier(event.prior_patient_id, event.prior_issuer, event.prior_issuer_assumed),
            }
        for table in _READ:
            session.execute(
                update(table).where(col(table.message_id).in_(part)).values(holds=False)
            )
    return touched


def part_chains(session: Session, chains: Iterable[str]) -> Touched:
    """Part again what only a message joined that holds no more; return the chains that changed."""
    touched = Touched()
    held: list[ReportInput] = []
    for part in chunks(sorted(chains)):
        query = select(ReportInput).where(
            col(ReportInput.report_identity).in_(part), col(ReportInput.holds)
        )
        held.extend(session.exec(query))
    held.sort(key=lambda row: row.id or 0)
    known: dict[str, str] = {}
    found: list[str] = []
    for each in held:
        report, own = from_json(each.content), each.document_identity
        identity = chain_identity(own.removesuffix(f"|{report.number}"), report, known.get)
        found.append(identity)
        known.setdefault(own, identity)
        if own != identity:
            found = [identity if chain == own else chain for chain in found]
            known = {name: identity if chain == own else chain for name, chain in known.items()}
    for each, identity in zip(held, found, strict=True):
        if each.report_identity != identity:
            touched.chains |= {each.report_identity, identity}
            each.report_identity = identity
            session.add(each)
    session.flush()
    return touched


def last_reading(session: Session, message_id: int) -> int:
    """Return how often rows were made of a message."""
    found = (
        session.exec(select(func.max(table.reading)).where(table.message_id == message_id)).first()
        for table in _READ
    )
    return max((int(each) for each in found if each is not None), default=0)


def _holding(table: Any, message_ids: Iterable[int]) -> Any:
    return select(table).where(col(table.message_id).in_(message_ids), col(table.holds))


def _report_row(report: ParsedReport, sender: str) -> dict[str, Any]:
    return {"document_identity": f"{sender}|{report.number}", "content": to_json(report)}


def _order_rows(order: ParsedOrder, sender: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each study that the order names, or one."""
    for uid in order.study_instance_uids or ("",):
        yield {
            "sender": sender,
            "placer_order_number": order.placer.value,
            "placer_issuer": order.placer.issuer,
            "filler_order_number": order.filler.value,
            "filler_issuer": order.filler.issuer,
            "accession_number": order.accession.value,
            "accession_issuer": order.accession.issuer,
            "accession_issuer_assumed": order.accession.issuer_assumed,
            "study_instance_uid": uid,
            "patient_identifiers": [asdict(each) for each in order.patient.identifiers],
            "modality": order.modality,
            "cancelled": order.cancelled,
            "ordered_at": comparable(order.ordered_at) or comparable(order.message_time),
        }


def _event_rows(event: ParsedPatientEvent) -> Iterator[dict[str, Any]]:
    """Yield a row for each identifier that the event is about."""
    patient = event.patient
    survivors = [event.survivor] if event.survivor.value else list(patient.identifiers)
    for survivor in survivors if event.action is PatientAction.UPDATE else survivors[:1]:
        yield {
            "action": str(event.action),
            "event_time": comparable(event.event_time) or comparable(event.message_time),
            "prior_patient_id": event.prior.value,
            "prior_issuer": event.prior.issuer,
            "prior_issuer_assumed": event.prior.issuer_assumed,
            "patient_id": survivor.value,
            "issuer": survivor.issuer,
            "issuer_assumed": survivor.issuer_assumed,
            "patient_name": patient.name,
            "patient_birth_date": patient.birth_date,
            "patient_sex": patient.sex,
            "decided_by": "",
            "reason": "",
        }


def _whom(event: ParsedPatientEvent) -> set[Identifier]:
    return {
        each for each in (event.prior, event.survivor, *event.patient.identifiers) if each.value
    }
