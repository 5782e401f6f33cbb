"""PID and MRG: who a message is about, and what an ADT message says about identities.

ADT^A04, A08, A31 update (ITI-30); A34 and A40 merge, A47 changes, A43 moves an identifier, A37
undoes a merge (HL7 2.5.1 section 3.3; IHE RAD-12).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from dicom_node.hl7.fields import cut_identifier, read_cx
from dicom_node.hl7.parsed import (
    ParsedMessage,
    ParsedPatient,
    ParsedPatientEvent,
    PatientAction,
)
from dicom_node.hl7.segments import Reading, Segment, part
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier, same_issuer

# Table 0001 and its words; what is neither here nor in the profile says nothing.
_SEXES = {
    "m": "M",
    "male": "M",
    "f": "F",
    "female": "F",
    "o": "O",
    "other": "O",
    "a": "O",
    "u": "U",
    "unknown": "U",
    "n": "U",
}
_LONGEST_MATCHED = 256  # characters of a value that a profile's pattern is tried on

EVENTS = {
    "A04": PatientAction.UPDATE,
    "A08": PatientAction.UPDATE,
    "A31": PatientAction.UPDATE,
    "A34": PatientAction.MERGE,
    "A40": PatientAction.MERGE,
    "A47": PatientAction.CHANGE,
    "A43": PatientAction.MOVE,
    "A37": PatientAction.UNLINK,
}
"""Events of table 0003 that are read, and what they do."""


def read_patient(reading: Reading, pid: Segment) -> ParsedPatient:
    """Read PID-3, PID-5, PID-7 and PID-8."""
    names = reading.repetitions(pid, 5)
    parts = reading.components(names[0]) if names else []
    ordered = [part(parts, number) for number in (1, 2, 3, 5, 4)]  # PN puts the prefix first
    return ParsedPatient(
        identifiers=_patient_identifiers(reading, pid),
        name="^".join(ordered).rstrip("^"),
        birth_date=_date(reading.first(pid[7])),
        sex=_sex(reading, reading.first(pid[8])),
    )


def is_test_patient(reading: Reading, patient: ParsedPatient) -> bool:
    """Tell whether the profile's patterns find an identifier or the name of the patient."""
    values = (*(each.value for each in patient.identifiers), patient.name)
    return any(
        pattern.search(value[:_LONGEST_MATCHED])
        for pattern in reading.rules.test_patients
        for value in values
        if value
    )


def read_patient_events(reading: Reading) -> ParsedMessage:
    """Read an ADT message; ADT_A39 may hold several patients, each with its own MRG.

    Raises:
        ContentFault: a patient is missing or not identified, or is merged with itself.
    """
    action = EVENTS[reading.envelope.message_type.partition("^")[2]]
    evn = next((each for each in reading.segments if each.name == "EVN"), Segment("EVN", []))
    event_time = reading.time(reading.first(evn[2])) or reading.message_time
    if action is PatientAction.UPDATE:
        found = list(_updates(reading, event_time))
    else:
        pairs = _unlinked(reading) if action is PatientAction.UNLINK else _merged(reading)
        found = [
            ParsedPatientEvent(action, patient, prior, survivor, event_time, reading.message_time)
            for patient, prior, survivor in pairs
        ]
    if any(is_test_patient(reading, each.patient) for each in found):
        return ParsedMessage(reading.envelope, ignored="a test patient of the feed")
    return ParsedMessage(reading.envelope, patient_events=tuple(found))


def _updates(reading: Reading, event_time: str) -> Iterator[ParsedPatientEvent]:
    pids = [each for each in reading.segments if each.name == "PID"]
    if not pids:
        raise ContentFault("PID", 0, 100, "the message has no PID segment")
    for pid in pids:
        patient = read_patient(reading, pid)
        if not patient.identifiers:
            raise ContentFault("PID", 3, 101, "the patient has no identifier that counts")
        yield ParsedPatientEvent(
            PatientAction.UPDATE,
            patient,
            event_time=event_time,
            message_time=reading.message_time,
        )


Pair = tuple[ParsedPatient, Identifier, Identifier]


def _merged(reading: Reading) -> list[Pair]:
    """Pair each identifier of MRG-1 with one of PID-3 of the PID before it."""
    found: list[Pair] = []
    patient: ParsedPatient | None = None
    for segment in reading.segments:
        if segment.name == "PID":
            patient = read_patient(reading, segment)
        elif segment.name == "MRG" and patient is not None:
            priors = _identifiers(reading, segment, 1)
            found += _paired(patient, priors, segment.name)
    if not found:
        raise ContentFault("MRG", 1, 101, "the merge names no prior or no surviving patient")
    return found


def _unlinked(reading: Reading) -> list[Pair]:
    """A37 names two patients, one PID each; the second is what the first is parted from."""
    patients = [read_patient(reading, each) for each in reading.segments if each.name == "PID"]
    if len(patients) != 2 or not all(each.identifiers for each in patients):
        raise ContentFault("PID", 3, 101, "the message does not name the two patients to unlink")
    return _paired(patients[0], patients[1].identifiers, "PID")


def _paired(patient: ParsedPatient, priors: tuple[Identifier, ...], segment: str) -> list[Pair]:
    """Pair by issuer, else with the first; what both hold alike is no merge.

    Raises:
        ContentFault: both are the same patient, or one of them has no issuer.
    """
    survivors = patient.identifiers
    if not priors or not survivors:
        return []
    pairs = [
        (prior, next((each for each in survivors if same_issuer(each, prior)), survivors[0]))
        for prior in priors
    ]
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    field = 1 if segment == "MRG" else 3
    if not differing:
        raise ContentFault(segment, field, 205, "prior and surviving patient are the same")
    if not all(prior.qualified and survivor.qualified for prior, survivor in differing):
        raise ContentFault(segment, field, 204, "a patient id of the merge has no issuer")
    return [(patient, prior, survivor) for prior, survivor in differing]


def _patient_identifiers(reading: Reading, pid: Segment) -> tuple[Identifier, ...]:
    """Read the first field of the profile that holds an identifier; usually PID-3."""
    for path in reading.rules.patient_id:
        if found := _identifiers(reading, pid, path.field):
            return found
    return ()


def _identifiers(reading: Reading, segment: Segment, number: int) -> tuple[Identifier, ...]:
    """Read CX repetitions; of PID-3, those of the types that the profile counts.

    MRG-1 often holds no type; then its identifiers count.
    """
    issuer, types = reading.profile.issuer_of_patient_id, reading.rules.patient_id_types
    pattern = reading.rules.patient_id_pattern
    found: dict[Identifier, None] = {}
    for raw in reading.repetitions(segment, number):
        if types:
            kind = part(reading.components(raw), 5)
            if kind not in types and (kind or segment.name != "MRG"):
                continue
        identifier = read_cx(reading, raw, issuer)
        if pattern is not None:
            identifier = cut_identifier(identifier, pattern)
        if identifier.value:
            found[identifier] = None
    return tuple(found)


def _date(text: str) -> str:
    """Return a whole date as DICOM DA; a part of one, or what is none, says nothing."""
    day = text[:8]
    if len(day) != 8 or not (day.isascii() and day.isdigit()):
        return ""
    try:
        dt.date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return ""
    return day


def _sex(reading: Reading, value: str) -> str:
    word = value.casefold()
    return reading.rules.sexes.get(word) or _SEXES.get(word, "")
