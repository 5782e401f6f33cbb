"""Whom an erasure concerns: from one identity to everything in the tables that is about them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import String, cast
from sqlmodel import Session, col, or_, select

from dicom_node.database import chunks
from dicom_node.deletion import salted_key
from dicom_node.linking.decision import CONFIRMED, PROPOSED
from dicom_node.linking.gathering import IssuersOf, load_identities
from dicom_node.linking.identifiers import Identifier, Issuers
from dicom_node.linking.models import PatientEvent
from dicom_node.linking.scope import related_patients
from dicom_node.models import (
    Instance,
    Link,
    Patient,
    Quarantined,
    Report,
    ReportedStudy,
    Series,
    Study,
)
from dicom_node.reports.models import ReportedPatient
from training.folds import Identity, patient_key


@dataclass
class Subject:
    """Everything by which rows and files are known to be about one patient.

    ``identities`` are pairs of issuer and Patient ID, by every name that the issuer has in rows;
    ``issuers_of`` tells which names mean one issuer, by sender; ``companions`` are identities that
    messages give to the same person and that have studies or reports of their own: they are left
    alone.
    """

    identities: set[Identity]
    issuers_of: IssuersOf = lambda _: Issuers()
    companions: set[Identity] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    # Studies, and those that only objects in the spool and requests say to be the patient's.
    requested: set[str] = field(default_factory=set)
    series: set[str] = field(default_factory=set)
    instances: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    reports: set[int] = field(default_factory=set)
    messages: set[int] = field(default_factory=set)
    patients: set[int] = field(default_factory=set)
    reference_subjects: set[str] = field(default_factory=set)
    patient_keys: set[str] = field(default_factory=set)
    study_keys: set[str] = field(default_factory=set)
    # Rows of filed messages: see plugin.stages.erase_filed.
    inputs: set[int] = field(default_factory=set)
    orders: set[int] = field(default_factory=set)
    events: set[int] = field(default_factory=set)
    reviews: set[int] = field(default_factory=set)
    decisions: set[int] = field(default_factory=set)
    own_messages: set[int] = field(default_factory=set)
    shared_messages: set[int] = field(default_factory=set)

    @property
    def patient_ids(self) -> set[str]:
        """The bare identifiers."""
        return {value for _, value in self.identities}


def find_subject(
    session: Session,
    issuer: str,
    patient_id: str,
    salt: bytes,
    issuers_of: IssuersOf = lambda _: Issuers(),
) -> Subject:
    """Return the patient with this identity, merges followed in both directions.

    A merge that was undone, or was never one (``linking.identity``), is not followed: nobody is
    erased for a mistake that was taken back.

    An issuer that the settings assumed counts like a declared one: the site says that the sender's
    patients are that issuer's.
    """
    subject = Subject({(issuer, patient_id)}, issuers_of)
    subject.identities = _merged(session, subject, {(issuer, patient_id)})
    while True:
        before = len(subject.identities), len(subject.studies), len(subject.reports)
        subject.reports |= set(_reports_of(session, subject.identities))
        subject.studies |= _studies_of(session, subject.identities)
        subject.studies |= _unnamed_studies(session, subject)
        subject.reports |= _unnamed_reports(session, subject)
        _follow_companions(session, subject)
        if before == (len(subject.identities), len(subject.studies), len(subject.reports)):
            break
    _collect(session, subject, salt)
    return subject


def _merged(session: Session, subject: Subject, identities: set[Identity]) -> set[Identity]:
    """Return every identity that events make one patient with one of these."""
    found: set[Identity] = set()
    waiting = set(identities)
    while waiting:
        found |= waiting
        reached = _by_events(session, subject, waiting)
        waiting = reached - found
    return found


def _by_events(session: Session, subject: Subject, identities: set[Identity]) -> set[Identity]:
    """Return the identities, as rows name them, that are one patient with these after all events.

    Whether an issuer was declared or only assumed makes no difference here.
    """
    values = related_patients(session, {value for _, value in identities if value})
    if not values:
        return set()
    known = load_identities(session, values, subject.issuers_of)
    plain = subject.issuers_of("")
    same = {
        (each.issuer, each.value)
        for issuer, value in identities
        for assumed in (False, True)
        for each in known.same(plain.normal(Identifier(value, issuer, assumed)))
    }
    return {
        (issuer, value)
        for issuer, value in _as_named(session, values)
        if (plain.normal(Identifier(value, issuer)).issuer, value) in same
    }


def _as_named(session: Session, values: Iterable[str]) -> set[Identity]:
    """Return every pair of issuer and identifier that a row has for these identifiers."""
    found: set[Identity] = set()
    for chunk in chunks(sorted(values)):
        for issuer, value in (
            (Study.issuer_of_patient_id, Study.patient_id),
            (Patient.issuer_of_patient_id, Patient.patient_id),
            (Report.issuer_of_patient_id, Report.patient_id),
            (ReportedPatient.issuer, ReportedPatient.patient_id),
            (PatientEvent.issuer, PatientEvent.patient_id),
            (PatientEvent.prior_issuer, PatientEvent.prior_patient_id),
        ):
            found |= set(session.exec(select(issuer, value).where(col(value).in_(chunk))))
    return found


def _studies_of(session: Session, identities: Iterable[Identity]) -> set[str]:
    found: set[str] = set()
    for issuer, value in identities:
        found |= set(
            session.exec(
                select(Study.study_instance_uid).where(
                    Study.patient_id == value, Study.issuer_of_patient_id == issuer
                )
            )
        )
    return found


def _reports_of(session: Session, identities: Collection[Identity]) -> Iterator[int]:
    for _, value in identities:
        quoted = json.dumps(value)
        rows = session.exec(
            select(Report).where(
                or_(
                    Report.patient_id == value,
                    cast(col(Report.patient_identifiers), String).contains(quoted, autoescape=True),
                )
            )
        )
        for report in rows:
            if report.id is not None and not identities_of(report).isdisjoint(identities):
                yield report.id


def identities_of(report: Report) -> set[Identity]:
    """Return every identity that a report version gives to its patient (PID-3)."""
    found = {(each["issuer"], each["value"]) for each in report.patient_identifiers}
    if report.patient_id:
        found.add((report.issuer_of_patient_id, report.patient_id))
    return found


def _unnamed_studies(session: Session, subject: Subject) -> set[str]:
    """Return studies without an issuer that a confirmed link ties to a report of the patient."""
    rows = session.exec(
        select(Study.study_instance_uid, Study.patient_id, Link.report_id)
        .join(Link, col(Link.study_instance_uid) == col(Study.study_instance_uid))
        .where(Link.state == CONFIRMED, Study.issuer_of_patient_id == "")
    )
    known = {"", *subject.patient_ids}
    return {uid for uid, value, report in rows if report in subject.reports and value in known}


def _unnamed_reports(session: Session, subject: Subject) -> set[int]:
    """Return reports without any patient that are about a study of the patient."""
    about = select(Link.report_id).where(
        col(Link.state).in_((CONFIRMED, PROPOSED)),
        col(Link.study_instance_uid).in_(subject.studies),
    )
    named = select(ReportedStudy.report_id).where(
        col(ReportedStudy.study_instance_uid).in_(subject.studies)
    )
    accessions = set(
        session.exec(
            select(Study.accession_number, Study.issuer_of_accession_number).where(
                col(Study.study_instance_uid).in_(subject.studies), Study.accession_number != ""
            )
        )
    )
    tied = {*session.exec(about), *session.exec(named)}
    unnamed = session.exec(select(Report).where(Report.patient_id == ""))
    return {
        report.id or 0
        for report in unnamed
        if not report.patient_identifiers
        and (
            report.id in tied
            or (report.accession_number, report.issuer_of_accession_number) in accessions
        )
    }


def has_own_rows(session: Session, identity: Identity) -> bool:
    """Tell whether a study or a report stands for this identity."""
    return bool(_studies_of(session, {identity})) or any(_reports_of(session, {identity}))


def _follow_companions(session: Session, subject: Subject) -> None:
    """Take in identities that occur only in this patient's messages; note the others."""
    rows = session.exec(select(Report).where(col(Report.id).in_(subject.reports)))
    beside = {identity for report in rows for identity in identities_of(report)}
    subject.companions = set()
    for identity in sorted(beside - subject.identities):
        person = _merged(session, subject, {identity})
        own = _studies_of(session, person) <= subject.studies
        if own and set(_reports_of(session, person)) <= subject.reports:
            subject.identities |= person
        else:
            subject.companions.add(identity)


def _collect(session: Session, subject: Subject, salt: bytes) -> None:
    """Fill in what follows from identities, studies and reports."""
    for chunk in chunks(sorted(subject.studies)):
        subject.series |= set(
            session.exec(
                select(Series.series_instance_uid).where(col(Series.study_instance_uid).in_(chunk))
            )
        )
    for chunk in chunks(sorted(subject.series)):
        for uid, digest in session.exec(
            select(Instance.sop_instance_uid, Instance.digest).where(
                col(Instance.series_instance_uid).in_(chunk)
            )
        ):
            subject.instances.add(uid)
            subject.digests.add(digest)
    for issuer, value in subject.identities:
        rows = session.exec(
            select(Patient).where(
                Patient.patient_id == value, Patient.issuer_of_patient_id == issuer
            )
        )
        subject.patients |= {row.id or 0 for row in rows}
    subject.patient_keys = {
        patient_key(issuer, value, salt) for issuer, value in subject.identities if value
    }
    subject.study_keys = {salted_key(uid, salt) for uid in subject.studies}
    subject.reference_subjects = subject.studies | _own_accession_numbers(session, subject)
    subject.digests |= _quarantined_digests(session, subject)


def _own_accession_numbers(session: Session, subject: Subject) -> set[str]:
    """Return the patient's accession numbers that nobody else's study or report has as well."""
    own: set[str] = set()
    others: set[str] = set()
    for uid, number in session.exec(select(Study.study_instance_uid, Study.accession_number)):
        (own if uid in subject.studies else others).add(number)
    for key, number in session.exec(select(Report.id, Report.accession_number)):
        (own if key in subject.reports else others).add(number)
    return own - others - {""}


def _quarantined_digests(session: Session, subject: Subject) -> set[str]:
    rows = session.exec(select(Quarantined).where(Quarantined.kind == "dicom"))
    return {
        row.digest
        for row in rows
        if row.study_instance_uid in subject.studies or row.sop_instance_uid in subject.instances
    }
