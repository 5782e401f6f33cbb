"""The evidence of reports and studies, gathered from the tables for many of them at once.

Identifiers come out under the one name of their issuer and after all merges, so that the rules
compare plain values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select as plain_select
from sqlmodel import Session, col, or_, select

from dicom_node.database import chunks
from dicom_node.documents.rejections import held_studies, rejected_reports
from dicom_node.hl7.times import comparable
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier, Issuers
from dicom_node.linking.identity import Identities
from dicom_node.linking.identity_fold import SEEN, Event
from dicom_node.linking.models import ImagingOrder, PatientEvent, PatientReview
from dicom_node.linking.scope import related_patients
from dicom_node.models import Message, Report, ReportedStudy, Series, Study
from dicom_node.reports.models import ReportedAccession, ReportedPatient

IssuersOf = Callable[[str], Issuers]
"""Issuers as a sender's profile names them; of an empty sender, as images and settings do."""

_ZONE = re.compile(r"\d[+-]\d{4}$")


@dataclass(slots=True)
class Gathered:
    """Everything that the rules need about some reports and studies.

    Args:
        reports: evidence by report version.
        studies: evidence by Study Instance UID.
        identities: report identity by report version, for what people decided about it.
        candidates: by report version, the studies among those asked for that share a key with it.
    """

    reports: dict[int, ReportEvidence] = field(default_factory=dict)
    studies: dict[str, StudyEvidence] = field(default_factory=dict)
    identities: dict[int, str] = field(default_factory=dict)
    candidates: dict[int, list[str]] = field(default_factory=dict)


def gather(
    session: Session,
    reports: Collection[int],
    studies: Collection[str],
    issuers_of: IssuersOf,
    accepted: Callable[[str], bool],
) -> Gathered:
    """Gather the evidence on these reports and studies.

    Args:
        session: any session.
        reports: ids of report versions.
        studies: Study Instance UIDs.
        issuers_of: which names mean one issuer.
        accepted: whether a person accepted the profile of a sender.
    """
    said = _Reports(session, reports)
    seen = _Studies(session, studies)
    named = {each.value for found in said.patients.values() for each in found}
    named |= {row.patient_id for row in seen.rows.values()}
    identities = load_identities(session, named - {""}, issuers_of)
    orders = _Orders(session, said.rows.values(), issuers_of)
    rejected = rejected_reports(session, {row.report_identity for row in said.rows.values()})
    found = Gathered(identities={key: row.report_identity for key, row in said.rows.items()})
    for key, row in said.rows.items():
        own = issuers_of(row.sender)
        patients = frozenset(
            identities.surviving(own.normal(each)) for each in said.patients.get(key, ())
        )
        accessions, uids = orders.bridge(row, patients, identities)
        found.reports[key] = ReportEvidence(
            feed_accepted=accepted(row.sender),
            study_instance_uids=frozenset(said.uids.get(key, ())),
            accessions=tuple(own.normal(each) for each in said.accessions.get(key, ())),
            patients=patients,
            name=row.patient_name,
            birth_date=row.patient_birth_date,
            sex=row.patient_sex,
            modality=row.modality,
            body_part=row.body_part,
            observation_date=row.observation_date,
            zone_known=_ZONE.search(row.observation_date) is not None,
            order_accessions=accessions,
            order_study_instance_uids=uids,
            suspended=_suspended(identities, patients),
            rejected=row.report_identity in rejected,
        )
    plain = issuers_of("")
    held = held_studies(session, seen.rows.keys())
    for uid, study in seen.rows.items():
        patient = identities.surviving(
            plain.normal(
                Identifier(study.patient_id, study.issuer_of_patient_id, study.issuer_assumed)
            )
        )
        found.studies[uid] = StudyEvidence(
            study_instance_uid=uid,
            accession=plain.normal(
                Identifier(
                    study.accession_number,
                    study.issuer_of_accession_number,
                    study.accession_issuer_assumed,
                )
            ),
            patient=patient,
            name=study.patient_name,
            birth_date=study.patient_birth_date,
            sex=study.patient_sex,
            study_date=study.study_date,
            modalities=frozenset(seen.modalities.get(uid, ())),
            body_parts=frozenset(seen.body_parts.get(uid, ())),
            frozen=held.get(uid, ""),
            suspended=identities.suspended(patient),
        )
    found.candidates = _candidates(found)
    return found


def load_identities(
    session: Session, patient_ids: Collection[str], issuers_of: IssuersOf
) -> Identities:
    """Return who is one patient with whom, as far as these patient ids are concerned."""
    values = related_patients(session, patient_ids)
    rows: list[PatientEvent] = []
    for part in chunks(sorted(values)):
        query = select(PatientEvent).where(
            col(PatientEvent.patient_id).in_(part), col(PatientEvent.holds)
        )
        rows.extend(session.exec(query))
    if not rows:
        return Identities(())
    senders = _senders(session, (each.message_id for each in rows))
    events = [_event(each, issuers_of(senders.get(each.message_id, ""))) for each in rows]
    told = {each.patient_id for each in rows} | {each.prior_patient_id for each in rows}
    events.extend(_seen(session, told - {""}, issuers_of))
    return Identities(events, _reviewed(session, values))


def _event(row: PatientEvent, issuers: Issuers) -> Event:
    return Event(
        action=row.action,
        time=row.event_time,
        patient=issuers.normal(Identifier(row.patient_id, row.issuer, row.issuer_assumed)),
        prior=issuers.normal(
            Identifier(row.prior_patient_id, row.prior_issuer, row.prior_issuer_assumed)
        ),
        name=row.patient_name,
        birth_date=row.patient_birth_date,
        sex=row.patient_sex,
        decided_by=row.decided_by,
    )


def _seen(session: Session, values: Collection[str], issuers_of: IssuersOf) -> Iterable[Event]:
    """Yield what images and current reports say about the patients."""
    for part in chunks(sorted(values)):
        reports = session.execute(
            plain_select(
                col(Report.sender),
                col(Report.message_time),
                col(Report.patient_name),
                col(Report.patient_birth_date),
                col(Report.patient_sex),
                col(ReportedPatient.patient_id),
                col(ReportedPatient.issuer),
                col(ReportedPatient.issuer_assumed),
            )
            .join(Report, col(Report.id) == col(ReportedPatient.report_id))
            .where(col(ReportedPatient.patient_id).in_(part), col(Report.is_current))
        )
        for sender, time, name, birth_date, sex, value, issuer, assumed in reports:
            patient = issuers_of(sender).normal(Identifier(value, issuer, assumed))
            yield Event(SEEN, comparable(time), patient, name=name, birth_date=birth_date, sex=sex)
        studies = session.execute(
            plain_select(
                col(Study.study_date),
                col(Study.study_time),
                col(Study.patient_name),
                col(Study.patient_birth_date),
                col(Study.patient_sex),
                col(Study.patient_id),
                col(Study.issuer_of_patient_id),
                col(Study.issuer_assumed),
            ).where(col(Study.patient_id).in_(part))
        )
        for date, time, name, birth_date, sex, value, issuer, assumed in studies:
            patient = issuers_of("").normal(Identifier(value, issuer, assumed))
            taken = comparable(date + time[:6]) or comparable(date)
            yield Event(SEEN, taken, patient, name=name, birth_date=birth_date, sex=sex)


def _reviewed(session: Session, values: Collection[str]) -> set[str]:
    found: set[str] = set()
    for part in chunks(sorted(values)):
        query = select(PatientReview.reviewed).where(col(PatientReview.patient_id).in_(part))
        found.update(session.exec(query))
    return found


def _suspended(identities: Identities, patients: Iterable[Identifier]) -> str:
    reasons = (identities.suspended(each) for each in sorted(patients))
    return "; ".join(dict.fromkeys(each for each in reasons if each))


def _senders(session: Session, message_ids: Iterable[int | None]) -> dict[int | None, str]:
    found: dict[int | None, str] = {}
    for part in chunks(sorted({each for each in message_ids if each is not None})):
        rows = session.exec(select(Message.id, Message.sender).where(col(Message.id).in_(part)))
        found.update((key, sender) for key, sender in rows)
    return found


class _Reports:
    """Report versions and what they name."""

    def __init__(self, session: Session, reports: Collection[int]) -> None:
        self.rows: dict[int, Any] = {}
        self.uids: dict[int, list[str]] = {}
        self.accessions: dict[int, list[Identifier]] = {}
        self.patients: dict[int, list[Identifier]] = {}
        for part in chunks(sorted(reports)):
            rows = session.execute(
                plain_select(
                    col(Report.id),
                    col(Report.report_identity),
                    col(Report.sender),
                    col(Report.placer_order_number),
                    col(Report.filler_order_number),
                    col(Report.patient_name),
                    col(Report.patient_birth_date),
                    col(Report.patient_sex),
                    col(Report.modality),
                    col(Report.body_part),
                    col(Report.observation_date),
                ).where(col(Report.id).in_(part))
            )
            self.rows.update((row.id, row) for row in rows)
            self._read_names(session, part)

    def _read_names(self, session: Session, part: list[int]) -> None:
        studies = session.exec(
            select(ReportedStudy.report_id, ReportedStudy.study_instance_uid).where(
                col(ReportedStudy.report_id).in_(part)
            )
        )
        for key, uid in studies:
            self.uids.setdefault(key, []).append(uid)
        accessions = session.exec(
            select(ReportedAccession)
            .where(col(ReportedAccession.report_id).in_(part))
            .order_by(col(ReportedAccession.accession_number), col(ReportedAccession.issuer))
        )
        for accession in accessions:
            named = Identifier(
                accession.accession_number, accession.issuer, accession.issuer_assumed
            )
            self.accessions.setdefault(accession.report_id, []).append(named)
        patients = session.exec(
            select(ReportedPatient).where(col(ReportedPatient.report_id).in_(part))
        )
        for patient in patients:
            who = Identifier(patient.patient_id, patient.issuer, patient.issuer_assumed)
            self.patients.setdefault(patient.report_id, []).append(who)


class _Studies:
    """Studies with modality and body part of their series."""

    def __init__(self, session: Session, studies: Collection[str]) -> None:
        self.rows: dict[str, Study] = {}
        self.modalities: dict[str, set[str]] = {}
        self.body_parts: dict[str, set[str]] = {}
        for part in chunks(sorted(studies)):
            rows = session.exec(select(Study).where(col(Study.study_instance_uid).in_(part)))
            self.rows.update((each.study_instance_uid, each) for each in rows)
            series = session.exec(
                select(Series.study_instance_uid, Series.modality, Series.body_part_examined).where(
                    col(Series.study_instance_uid).in_(part)
                )
            )
            for uid, modality, body_part in series:
                self.modalities.setdefault(uid, set()).add(modality)
                self.body_parts.setdefault(uid, set()).add(body_part)


class _Orders:
    """Orders that have a placer or filler order number of the reports."""

    def __init__(self, session: Session, reports: Iterable[Any], issuers_of: IssuersOf) -> None:
        self._issuers_of = issuers_of
        self._placed: dict[str, list[ImagingOrder]] = {}
        self._filled: dict[str, list[ImagingOrder]] = {}
        numbers = {
            number
            for row in reports
            for number in (row.placer_order_number, row.filler_order_number)
            if number
        }
        for part in chunks(sorted(numbers)):
            either = or_(
                col(ImagingOrder.placer_order_number).in_(part),
                col(ImagingOrder.filler_order_number).in_(part),
            )
            for order in session.exec(select(ImagingOrder).where(either, col(ImagingOrder.holds))):
                self._placed.setdefault(order.placer_order_number, []).append(order)
                self._filled.setdefault(order.filler_order_number, []).append(order)

    def bridge(
        self, report: Any, patients: Collection[Identifier], identities: Identities
    ) -> tuple[tuple[Identifier, ...], frozenset[str]]:
        """Return accession numbers and studies of the report's orders, if the patient agrees.

        Of each order number the newest word holds; one that was cancelled says nothing.
        """
        accessions: set[Identifier] = set()
        uids: set[str] = set()
        for number, orders in (
            (report.placer_order_number, self._placed),
            (report.filler_order_number, self._filled),
        ):
            fitting = orders.get(number, ()) if number else ()
            for order in self._newest(fitting, report.sender):
                if order.cancelled or not self._agrees(order, patients, identities):
                    continue
                issuers = self._issuers_of(order.sender)
                accession = Identifier(
                    order.accession_number, order.accession_issuer, order.accession_issuer_assumed
                )
                accessions |= {issuers.normal(accession)} if accession.value else set()
                uids |= {order.study_instance_uid} - {""}
        return tuple(sorted(accessions)), frozenset(uids)

    @staticmethod
    def _newest(orders: Iterable[ImagingOrder], sender: str) -> list[ImagingOrder]:
        """Return the last word on an order number: numbers mean something in one facility only."""
        facility = sender.partition("|")[2]
        fitting = [each for each in orders if each.sender.partition("|")[2] == facility]
        newest = max((each.ordered_at for each in fitting), default="")
        return [each for each in fitting if each.ordered_at == newest]

    def _agrees(
        self, order: ImagingOrder, patients: Collection[Identifier], identities: Identities
    ) -> bool:
        issuers = self._issuers_of(order.sender)
        ordered = (
            identities.surviving(issuers.normal(Identifier(**each)))
            for each in order.patient_identifiers
        )
        return any(each.qualified and each in patients for each in ordered)


def _candidates(found: Gathered) -> dict[int, list[str]]:
    """Return for each report the studies that share a UID or an accession number with it."""
    by_accession: dict[str, list[str]] = {}
    for uid, study in found.studies.items():
        if study.accession.value:
            by_accession.setdefault(study.accession.value, []).append(uid)
    candidates: dict[int, list[str]] = {}
    for key, report in found.reports.items():
        uids = set(report.study_instance_uids | report.order_study_instance_uids)
        uids &= found.studies.keys()
        for accession in (*report.accessions, *report.order_accessions):
            uids.update(by_accession.get(accession.value, ()))
        candidates[key] = sorted(uids)
    return candidates
