"""What was asked for of a patient who is erased: which requests go, and what may still come."""

from __future__ import annotations

import datetime as dt

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Study
from dicom_node.retrieval.models import Retrieval
from plugin.stages.erase_whom import Subject


def collect_requested(session: Session, subject: Subject, said: set[str]) -> None:
    """Fill in the studies whose requests are the patient's.

    Args:
        session: the transaction of the erasure.
        subject: the patient.
        said: studies of objects that are not indexed and say that they are the patient's. One that
            is somebody else's in the tables stays that one's.
    """
    others: set[str] = set()
    for chunk in chunks(sorted(said - subject.studies)):
        query = select(Study.study_instance_uid).where(col(Study.study_instance_uid).in_(chunk))
        others |= set(session.exec(query))
    subject.requested = subject.studies | (said - others)
    found = {
        row.study_instance_uid for row in _requests(session, subject) if row.study_instance_uid
    }
    for chunk in chunks(sorted(found - subject.requested)):
        query = select(Study.study_instance_uid).where(col(Study.study_instance_uid).in_(chunk))
        found -= set(session.exec(query)) - subject.studies
    subject.requested |= found


def recently_asked_for(session: Session, subject: Subject, since: dt.datetime) -> set[str]:
    """Return the patient's studies that archives were asked for since a time.

    A time that has not come yet was written while the clock was ahead, and counts.
    """
    return {
        row.study_instance_uid
        for row in _requests(session, subject)
        if row.study_instance_uid and row.asked_at is not None and row.asked_at > since
    } & subject.requested


def _requests(session: Session, subject: Subject) -> list[Retrieval]:
    found: dict[int, Retrieval] = {}
    for column, values in (
        (Retrieval.study_instance_uid, subject.requested),
        (Retrieval.prior_of, subject.requested),
        (Retrieval.accession_number, subject.reference_subjects),
        (Retrieval.patient_id, subject.patient_ids),
    ):
        for chunk in chunks(sorted(values - {""})):
            for row in session.exec(select(Retrieval).where(col(column).in_(chunk))):
                found[row.id or 0] = row
    return list(found.values())
