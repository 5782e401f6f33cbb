"""How far a change reaches: which reports must be decided about again, and against which studies.

The decisions about a report depend on all its candidates, and a study that reports of different
patients claim is no one's. So the scope of a change is closed: with a report come all studies that
it may belong to, and with those studies every other report that claims one of them. What an
earlier version of a report claimed counts too: it may claim it no more. So do the patients whom a
report or study names and about whom something was said: what is seen of them may put all their
links in doubt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.models import ImagingOrder, PatientEvent
from dicom_node.linking.touched import Touched
from dicom_node.models import Link, Report, ReportedStudy, Study
from dicom_node.reports.models import ReportedAccession, ReportedPatient


@dataclass(frozen=True, slots=True)
class Scope:
    """What is decided again.

    Args:
        reports: current versions that are decided about whole.
        studies: the studies that these reports may belong to.
        neighbours: other current versions that claim one of these studies; what is decided about
            them holds for these studies only.
        gone: versions that are not current, whose links go.
    """

    reports: frozenset[int] = frozenset()
    studies: frozenset[str] = frozenset()
    neighbours: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Keys:
    """By what reports and studies find each other."""

    uids: set[str] = field(default_factory=set)
    accession_numbers: set[str] = field(default_factory=set)
    order_numbers: set[str] = field(default_factory=set)


def find_scope(session: Session, touched: Touched) -> Scope:
    """Return the scope of a change."""
    current, gone = _versions(session, touched.reports)
    patients = {each.value for each in touched.patients} - {""}
    patients |= _patients_told_of(session, touched)
    studies = set(touched.studies)
    if patients:
        patients = related_patients(session, patients)
        current |= _reports_of_patients(session, patients)
        studies |= _studies_of_patients(session, patients)
    current |= _reports_by_order(session, touched.order_numbers)
    current |= claimants(session, studies)
    found = candidates(session, current | gone) | studies
    neighbours = claimants(session, found) - current
    return Scope(frozenset(current), frozenset(found), frozenset(neighbours), frozenset(gone))


def related_patients(session: Session, values: Iterable[str]) -> set[str]:
    """Return the patient ids that events connect with the given ones, these included."""
    found: set[str] = set()
    waiting = set(values)
    while waiting:
        found |= waiting
        reached: set[str] = set()
        for part in chunks(sorted(waiting)):
            for one, other in (
                (PatientEvent.patient_id, PatientEvent.prior_patient_id),
                (PatientEvent.prior_patient_id, PatientEvent.patient_id),
            ):
                query = select(other).where(col(one).in_(part), col(other) != "")
                reached.update(session.exec(query))
        waiting = reached - found
    return found


def _patients_told_of(session: Session, touched: Touched) -> set[str]:
    """Return the patient ids that reports and studies name and about whom there are events."""
    named: set[str] = set()
    for reports in chunks(sorted(touched.reports)):
        query = select(ReportedPatient.patient_id).where(
            col(ReportedPatient.report_id).in_(reports)
        )
        named.update(session.exec(query))
    for studies in chunks(sorted(touched.studies)):
        query = select(Study.patient_id).where(col(Study.study_instance_uid).in_(studies))
        named.update(session.exec(query))
    told: set[str] = set()
    for part in chunks(sorted(named - {""})):
        for whom in (PatientEvent.patient_id, PatientEvent.prior_patient_id):
            told.update(session.exec(select(whom).where(col(whom).in_(part)).distinct()))
    return told


def candidates(session: Session, reports: Collection[int]) -> set[str]:
    """Return the studies that share a UID, an accession number or an order with the reports."""
    keys = _keys_of_reports(session, reports)
    _follow_orders(session, keys)
    found: set[str] = set()
    for part in chunks(sorted(keys.uids)):
        query = select(Study.study_instance_uid).where(col(Study.study_instance_uid).in_(part))
        found.update(session.exec(query))
    for part in chunks(sorted(keys.accession_numbers)):
        query = select(Study.study_instance_uid).where(col(Study.accession_number).in_(part))
        found.update(session.exec(query))
    return found


def claimants(session: Session, studies: Collection[str]) -> set[int]:
    """Return the current reports that share a UID, an accession number or an order with studies."""
    if not studies:
        return set()
    found: set[int] = set()
    accession_numbers: set[str] = set()
    for part in chunks(sorted(studies)):
        accession_numbers.update(
            session.exec(
                select(Study.accession_number).where(
                    col(Study.study_instance_uid).in_(part), col(Study.accession_number) != ""
                )
            )
        )
        named = select(ReportedStudy.report_id).where(
            col(ReportedStudy.study_instance_uid).in_(part)
        )
        linked = select(Link.report_id).where(col(Link.study_instance_uid).in_(part))
        found.update(session.exec(named))
        found.update(session.exec(linked))
    for part in chunks(sorted(accession_numbers)):
        query = select(ReportedAccession.report_id).where(
            col(ReportedAccession.accession_number).in_(part)
        )
        found.update(session.exec(query))
    numbers = _orders_of_studies(session, studies, accession_numbers)
    return _versions(session, found)[0] | _reports_by_order(session, numbers)


def _versions(session: Session, reports: Collection[int]) -> tuple[set[int], set[int]]:
    """Tell the current versions among these from the others."""
    current: set[int] = set()
    for part in chunks(sorted(reports)):
        query = select(Report.id).where(col(Report.id).in_(part), col(Report.is_current))
        current.update(each for each in session.exec(query) if each is not None)
    return current, set(reports) - current


def _reports_of_patients(session: Session, values: Collection[str]) -> set[int]:
    found: set[int] = set()
    for part in chunks(sorted(values)):
        query = (
            select(ReportedPatient.report_id)
            .join(Report, col(Report.id) == col(ReportedPatient.report_id))
            .where(col(ReportedPatient.patient_id).in_(part), col(Report.is_current))
        )
        found.update(session.exec(query))
    return found


def _studies_of_patients(session: Session, values: Collection[str]) -> set[str]:
    found: set[str] = set()
    for part in chunks(sorted(values)):
        found.update(
            session.exec(select(Study.study_instance_uid).where(col(Study.patient_id).in_(part)))
        )
    return found


def _reports_by_order(session: Session, numbers: Collection[str]) -> set[int]:
    found: set[int] = set()
    for part in chunks(sorted(numbers)):
        for column in (Report.placer_order_number, Report.filler_order_number):
            query = select(Report.id).where(col(column).in_(part), col(Report.is_current))
            found.update(each for each in session.exec(query) if each is not None)
    return found


def _keys_of_reports(session: Session, reports: Collection[int]) -> _Keys:
    keys = _Keys()
    for part in chunks(sorted(reports)):
        rows = session.exec(
            select(Report.placer_order_number, Report.filler_order_number).where(
                col(Report.id).in_(part)
            )
        )
        for numbers in rows:
            keys.order_numbers |= set(numbers) - {""}
        keys.uids.update(
            session.exec(
                select(ReportedStudy.study_instance_uid).where(
                    col(ReportedStudy.report_id).in_(part)
                )
            )
        )
        keys.accession_numbers.update(
            session.exec(
                select(ReportedAccession.accession_number).where(
                    col(ReportedAccession.report_id).in_(part)
                )
            )
        )
        keys.uids.update(
            session.exec(select(Link.study_instance_uid).where(col(Link.report_id).in_(part)))
        )
    keys.accession_numbers.discard("")
    return keys


def _follow_orders(session: Session, keys: _Keys) -> None:
    """Add what orders with the same numbers say."""
    for part in chunks(sorted(keys.order_numbers)):
        for column in (ImagingOrder.placer_order_number, ImagingOrder.filler_order_number):
            rows = session.exec(
                select(ImagingOrder.accession_number, ImagingOrder.study_instance_uid).where(
                    col(column).in_(part), col(ImagingOrder.holds)
                )
            )
            for accession_number, uid in rows:
                keys.accession_numbers |= {accession_number} - {""}
                keys.uids |= {uid} - {""}


def _orders_of_studies(
    session: Session, studies: Collection[str], accession_numbers: Collection[str]
) -> set[str]:
    """Return the numbers of the orders that name these studies or their accession numbers."""
    found: set[str] = set()
    for column, values in (
        (ImagingOrder.study_instance_uid, studies),
        (ImagingOrder.accession_number, accession_numbers),
    ):
        for part in chunks(sorted(values)):
            rows = session.exec(
                select(ImagingOrder.placer_order_number, ImagingOrder.filler_order_number).where(
                    col(column).in_(part), col(ImagingOrder.holds)
                )
            )
            for numbers in rows:
                found |= set(numbers) - {""}
    return found
