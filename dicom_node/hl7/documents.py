"""MDM: documents that are added, edited, replaced and cancelled (HL7 2.5.1 chapter 9)."""

from __future__ import annotations

from dicom_node.hl7.fields import Group, first_identifier
from dicom_node.hl7.observations import (
    RESULT_STATUSES,
    ObservationIds,
    mapped_status,
    read_parts,
)
from dicom_node.hl7.parsed import (
    DocumentAction,
    ParsedMessage,
    ParsedReport,
    ReportPart,
    Role,
)
from dicom_node.hl7.patients import is_test_patient, read_patient
from dicom_node.hl7.results import (
    SharedStudy,
    accessions_of,
    body_part_of,
    coded_text,
    mapped_modality,
    person,
    study_uids_of,
)
from dicom_node.hl7.rules import Path
from dicom_node.hl7.segments import Reading, part
from dicom_node.hl7.text import ContentFault

EVENTS = {
    "T02": DocumentAction.ADD,
    "T03": DocumentAction.STATUS,
    "T04": DocumentAction.ADD,
    "T06": DocumentAction.ADDENDUM,
    "T08": DocumentAction.EDIT,
    "T10": DocumentAction.REPLACE,
    "T11": DocumentAction.CANCEL,
}
"""Events that are read, and what they do; T03 tells a status and T11 a cancellation, no text."""

ANNOUNCED = frozenset(("T05", "T07", "T09"))
"""Events that say that another text exists and do not carry it: a person must fetch it."""

COMPLETED = frozenset(("AU", "LA"))
"""TXA-17 (table 0271): authenticated, legally authenticated."""

INCOMPLETE = frozenset(("DI", "DO", "IN", "IP", "PA"))
"""TXA-17: dictated, documented, incomplete, in progress, pre-authenticated."""

WITHDRAWN = frozenset(("CA", "OB"))
"""TXA-19 (table 0273): cancelled, obsolete."""

_PLACER, _FILLER = Path("TXA", 14), Path("TXA", 15)
_PARENT_NEEDED = (DocumentAction.ADDENDUM, DocumentAction.REPLACE)


def read_document_message(reading: Reading) -> ParsedMessage:
    """Read the TXA with the orders before it and the OBX behind it.

    Raises:
        ContentFault: patient, document number, parent or status is missing or not understood, or
            the message announces a text that it does not carry.
    """
    event = reading.envelope.message_type.partition("^")[2]
    group, ids = Group(reading, reading.segments), ObservationIds(reading)
    if "PID" not in group.by_name:
        raise ContentFault("PID", 0, 100, "the message has no PID segment")
    if len(group.by_name.get("TXA", ())) != 1:
        raise ContentFault("TXA", 0, 100, "the message does not have one TXA segment")
    patient = read_patient(reading, group.segment("PID"))
    if is_test_patient(reading, patient):
        return ParsedMessage(reading.envelope, ignored="a test patient of the feed")
    if event in ANNOUNCED:
        raise ContentFault("TXA", 0, 200, "the message announces a text that it does not carry")
    txa = group.segment("TXA")
    action, issuer = EVENTS[event], reading.profile.issuer_of_order_numbers
    if reading.first(txa[19]).upper() in WITHDRAWN:
        action = DocumentAction.CANCEL
    parent = _document_number(reading, group, 13)
    if action in _PARENT_NEEDED and not parent:
        raise ContentFault("TXA", 13, 101, "the document that it belongs to is missing")
    number = _document_number(reading, group, 12)
    if not number:
        raise ContentFault("TXA", 12, 101, "the document number is missing")
    status = _status(reading, group, action)
    accessions = accessions_of(group) or group.identifiers(
        (_FILLER,), reading.profile.issuer_of_accession_number, reading.rules.accession_pattern
    )
    rules = reading.rules
    report = ParsedReport(
        patient=patient,
        number=number,
        parent_number=parent,
        action=action,
        placer=first_identifier(group.identifiers((_PLACER, Path("OBR", 2)), issuer)),
        filler=first_identifier(group.identifiers((_FILLER, Path("OBR", 3)), issuer)),
        accessions=accessions,
        study_instance_uids=tuple(study_uids_of(group, ids, SharedStudy(), accessions)),
        procedure=coded_text(group, "OBR", 4) or coded_text(group, "TXA", 2),
        modality=mapped_modality(group),
        body_part=body_part_of(group),
        observation_date=reading.time(group.text((*rules.observation_date, Path("TXA", 4)))),
        status_changed_at=_authenticated_at(reading, group) or reading.time(reading.first(txa[6])),
        message_time=reading.message_time,
        result_status=status,
        interpreter=person(reading, txa, 9),
        parts=_parts(group, ids, action, status),
    )
    return ParsedMessage(reading.envelope, reports=(report,))


def _document_number(reading: Reading, group: Group, field: int) -> str:
    """TXA-12 or TXA-13 (EI): its component 1, or 3 where systems leave that empty."""
    found = reading.repetitions(group.segment("TXA"), field)
    components = reading.components(found[0]) if found else []
    return part(components, 1) or part(components, 3)


def _status(reading: Reading, group: Group, action: DocumentAction) -> str:
    """Return the code of table 0123 that TXA-17 amounts to.

    A cancelled document needs none: X. An edited or replacing one that is complete is a
    correction: C.
    """
    if action is DocumentAction.CANCEL:
        return "X"
    value = reading.first(group.segment("TXA")[17])
    if not value:
        raise ContentFault("TXA", 17, 101, "the completion status is missing")
    if value.upper() in INCOMPLETE:
        return "P"
    if value.upper() in COMPLETED:
        edited = action in (DocumentAction.EDIT, DocumentAction.REPLACE)
        return "C" if edited else "F"
    return mapped_status(value, reading.rules.result_statuses, RESULT_STATUSES, "TXA", 17)


def _authenticated_at(reading: Reading, group: Group) -> str:
    """TXA-22 (PPN): the latest time in component 15."""
    found = [
        part(reading.components(raw), 15) for raw in reading.repetitions(group.segment("TXA"), 22)
    ]
    return max((reading.time(each) for each in found if each), default="")


def _parts(
    group: Group, ids: ObservationIds, action: DocumentAction, status: str
) -> tuple[ReportPart, ...]:
    """Return the text; a status alone (T03) that says complete completes the text sent before."""
    role = Role.ADDENDUM if action is DocumentAction.ADDENDUM else Role.TEXT
    found = tuple(read_parts(group.reading, group.observations, ids, role))
    if action is DocumentAction.STATUS and not found and status == "F":
        return (ReportPart("", "U"),)
    return found
