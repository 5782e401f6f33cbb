"""What filed messages left in the tables about a patient: inputs, orders, events, decisions.

A message may speak of several patients. Its row then stays for the others without its bytes, and
with nothing that names it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import String, cast
from sqlmodel import Session, col, or_, select

from dicom_node.database import chunks
from dicom_node.history.models import ImportedFile
from dicom_node.linking.models import ImagingOrder, LinkDecision, PatientEvent, PatientReview
from dicom_node.models import Message, Report, Study
from dicom_node.reports.models import ReportInput
from plugin.stages.erase_whom import Subject, has_own_rows
from training.folds import Identity

ERASED = "erased"
"""Stands for what named the patient in a row that stays."""

WORDS = re.compile(r"[^\W_]+")
_SHORTEST = 3  # shorter words name nobody


def collect_filed(session: Session, subject: Subject) -> None:
    """Fill in which rows of filed messages are the patient's."""
    subject.inputs = _inputs(session, subject)
    subject.orders = _orders(session, subject)
    subject.events = _events(session, subject)
    subject.reviews = _reviews(session, subject)
    subject.decisions = _decisions(session, subject)


def collect_with_messages(session: Session, subject: Subject) -> None:
    """Fill in what only the messages tell, and which of these speak of others too."""
    subject.events |= _events_of_messages(session, subject)
    others: set[int] = set()
    for table, own in ((ReportInput, subject.inputs), (ImagingOrder, subject.orders)):
        for chunk in chunks(sorted(subject.messages)):
            rows = session.exec(
                select(table.message_id, table.id).where(col(table.message_id).in_(chunk))
            )
            others |= {message for message, key in rows if key not in own}
    subject.shared_messages = others
    subject.own_messages = subject.messages - others


def messages_of(session: Session, subject: Subject) -> set[int]:
    """Return the messages from which the patient's inputs, orders and events were read."""
    found: set[int] = set()
    for table, own in (
        (ReportInput, subject.inputs),
        (ImagingOrder, subject.orders),
        (PatientEvent, subject.events),
    ):
        for chunk in chunks(sorted(own)):
            rows = session.exec(select(table.message_id).where(col(table.id).in_(chunk)))
            found |= {key for key in rows if key is not None}
    return found


def blank_shared(session: Session, subject: Subject) -> None:
    """Take the bytes, and whatever names them, out of messages that others' rows came from."""
    for chunk in chunks(sorted(subject.shared_messages)):
        for message in session.exec(select(Message).where(col(Message.id).in_(chunk))):
            message.content = message.acknowledgement = b""
            message.message_control_id = ERASED
            message.digest = hashlib.sha256(f"{ERASED} {message.id}".encode()).hexdigest()
            session.add(message)
    session.flush()


def mend_lists(session: Session, subject: Subject) -> None:
    """Take the patient's studies out of what others' messages listed."""
    for uid in sorted(subject.studies):
        for each in session.exec(select(ReportInput).where(_holds(ReportInput.content, uid))):
            named = each.content.get("study_instance_uids", [])
            kept = [name for name in named if name not in subject.studies]
            each.content = {**each.content, "study_instance_uids": kept}
            session.add(each)
        session.flush()


def words_of(session: Session, subject: Subject) -> set[str]:
    """Return the words of the patient's names and identifiers, without case; no short ones."""
    names = set(subject.patient_ids) | subject.reference_subjects
    for column, key, values in (
        (Study.patient_name, Study.study_instance_uid, subject.studies),
        (Report.patient_name, Report.id, subject.reports),
        (PatientEvent.patient_name, PatientEvent.id, subject.events),
    ):
        for chunk in chunks(sorted(values)):
            names |= set(session.exec(select(column).where(col(key).in_(chunk))))
    words = {word for name in names for word in WORDS.findall(name.casefold())}
    return {word for word in words if len(word) >= _SHORTEST}


def mend_imports(session: Session, subject: Subject) -> None:
    """Take names of imported files that name the patient out of the lists of imports."""
    words = words_of(session, subject)
    for row in session.exec(select(ImportedFile)):
        if words.isdisjoint(WORDS.findall(row.name.casefold())):
            continue
        for message in session.exec(select(Message).where(Message.peer == row.name)):
            message.peer = ERASED
            session.add(message)
        row.name = ERASED
        session.add(row)
    session.flush()


def _inputs(session: Session, subject: Subject) -> set[int]:
    found = _ids(
        session, Report.input_id, (col(Report.id).in_(chunk) for chunk in chunks(subject.reports))
    )
    for value in _values(subject):
        for row in session.exec(select(ReportInput).where(_holds(ReportInput.content, value))):
            if row.id is not None and _about(_patients_of(row.content), subject):
                found.add(row.id)
    for uid in sorted(subject.studies):
        for row in session.exec(select(ReportInput).where(_holds(ReportInput.content, uid))):
            if row.id is not None and not _patients_of(row.content):
                found.add(row.id)
    return found


def _orders(session: Session, subject: Subject) -> set[int]:
    found: set[int] = set()
    for value in _values(subject):
        rows = session.exec(
            select(ImagingOrder).where(_holds(ImagingOrder.patient_identifiers, value))
        )
        found |= {row.id or 0 for row in rows if _about(_named(row.patient_identifiers), subject)}
    for chunk in chunks(sorted(subject.studies)):
        rows = session.exec(
            select(ImagingOrder).where(col(ImagingOrder.study_instance_uid).in_(chunk))
        )
        found |= {row.id or 0 for row in rows if not row.patient_identifiers}
    return found


def _events(session: Session, subject: Subject) -> set[int]:
    found: set[int] = set()
    for value in _values(subject):
        rows = session.exec(
            select(PatientEvent).where(
                or_(PatientEvent.patient_id == value, PatientEvent.prior_patient_id == value)
            )
        )
        found |= {row.id or 0 for row in rows if _about(_whom(row), subject)}
    return found


def _events_of_messages(session: Session, subject: Subject) -> set[int]:
    """Return events of the patient's messages about identities that nothing else is known of."""
    found: set[int] = set()
    for chunk in chunks(sorted(subject.messages)):
        rows = session.exec(select(PatientEvent).where(col(PatientEvent.message_id).in_(chunk)))
        found |= {
            row.id or 0
            for row in rows
            if not any(has_own_rows(session, each) for each in _whom(row) - subject.identities)
        }
    return found


def _reviews(session: Session, subject: Subject) -> set[int]:
    rows = session.exec(
        select(PatientReview).where(col(PatientReview.patient_id).in_(subject.patient_ids))
    )
    return {row.id or 0 for row in rows if (row.issuer, row.patient_id) in subject.identities}


def _decisions(session: Session, subject: Subject) -> set[int]:
    """Return decisions about the patient's studies, and about reports of nobody else."""
    chains: set[str] = set()
    for chunk in chunks(sorted(subject.reports)):
        chains |= set(session.exec(select(Report.report_identity).where(col(Report.id).in_(chunk))))
    others: set[str] = set()
    for names in chunks(sorted(chains)):
        rows = session.exec(
            select(Report.report_identity, Report.id).where(col(Report.report_identity).in_(names))
        )
        others |= {name for name, key in rows if key not in subject.reports}
    wanted = (
        *(
            col(LinkDecision.report_identity).in_(names)
            for names in chunks(sorted(chains - others))
        ),
        *(
            col(LinkDecision.study_instance_uid).in_(uids)
            for uids in chunks(sorted(subject.studies))
        ),
    )
    return _ids(session, LinkDecision.id, wanted)


def _ids(session: Session, column: Any, conditions: Iterable[Any]) -> set[int]:
    found: set[int] = set()
    for condition in conditions:
        found |= {key for key in session.exec(select(column).where(condition)) if key is not None}
    return found


def _values(subject: Subject) -> list[str]:
    return sorted(value for value in subject.patient_ids if value)


def _holds(column: Any, value: str) -> Any:
    """Return the condition that a JSON column has the value somewhere, as a whole string."""
    return cast(col(column), String).contains(json.dumps(value), autoescape=True)


def _patients_of(content: dict[str, Any]) -> set[Identity]:
    return _named(content.get("patient", {}).get("identifiers", ()))


def _named(identifiers: Iterable[dict[str, Any]]) -> set[Identity]:
    return {(each.get("issuer", ""), each.get("value", "")) for each in identifiers}


def _whom(event: PatientEvent) -> set[Identity]:
    both = (event.issuer, event.patient_id), (event.prior_issuer, event.prior_patient_id)
    return {identity for identity in both if identity[1]}


def _about(named: set[Identity], subject: Subject) -> bool:
    return not named.isdisjoint(subject.identities)
