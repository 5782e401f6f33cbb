"""Build the HL7 v2 messages of a simulated report system: ORU^R01 and ADT^A40.

A report declares what it belongs to in one of two ways that are both found in hospitals: the
Study Instance UID in an OBX beside a bare accession number in OBR-18 (RAD-128 of IHE Radiology),
or the accession number as an entity identifier with its issuer in OBR-3 and nothing in OBR-18,
a string that cannot name an issuer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from plugin.simulation.identity import SimulatedPatient, Site

_ESCAPES = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\n": "\\.br\\"}
)
_PROCEDURE = "MRLSPINE^MRI lumbar spine^L"
_REPORT = "18748-4^Diagnostic imaging study^LN"
_STUDY_UID = "113014^DICOM Study^DCM"
_OBX_STATUS = {"P": "P", "F": "F", "C": "C"}  # OBR-25 to OBX-11
_ORDER_STATUS = {"P": "IP", "F": "CM", "C": "CM"}  # OBR-25 to ORC-5


@dataclass(frozen=True)
class Order:
    """An imaging order: its numbers and the time of the examination."""

    accession_number: str
    placer_order_number: str
    performed_at: dt.datetime
    study_instance_uid: str


def escape(text: str) -> str:
    """Escape delimiters and line ends in a text (HL7 v2.5.1, chapter 2.7)."""
    return text.translate(_ESCAPES)


def report_message(
    site: Site,
    patient: SimulatedPatient,
    order: Order,
    text: str,
    *,
    control_id: str,
    result_status: str,
    sent_at: dt.datetime,
) -> bytes:
    """Return an ORU^R01 with a report, encoded in the site's character set.

    Version 2.5.1 sends a TX segment for each line, 2.3.1 one FT segment for the whole text.

    Args:
        site: the sender.
        patient: as PID names it.
        order: what was examined.
        text: the report; lines are separated by newlines.
        control_id: MSH-10.
        result_status: OBR-25: "P", "F" or "C".
        sent_at: MSH-7 and OBR-22, local time without a zone.
    """
    segments = [
        _header(site, "ORU^R01", "ORU_R01", control_id, sent_at),
        _identification(patient),
        f"PV1|1|O|RAD^^^{site.sending_facility}",
        _common_order(site, order, result_status),
        _observation_request(site, order, result_status, sent_at),
    ]
    results = _results(site, text, result_status)
    if site.declares_study_uid:
        results.insert(0, ("ST", _STUDY_UID, order.study_instance_uid, "O"))
    segments += [
        f"OBX|{i}|{kind}|{identifier}|1|{value}||||||{status}"
        for i, (kind, identifier, value, status) in enumerate(results, start=1)
    ]
    return _encoded(site, segments)


def merge_message(
    site: Site,
    surviving: SimulatedPatient,
    prior_patient_id: str,
    *,
    control_id: str,
    sent_at: dt.datetime,
) -> bytes:
    """Return an ADT^A40 (structure ADT_A39): the prior id now belongs to the surviving patient."""
    return _encoded(
        site,
        [
            _header(site, "ADT^A40", "ADT_A39", control_id, sent_at),
            f"EVN|A40|{_stamp(sent_at)}",
            _identification(surviving),
            f"MRG|{_identifier(prior_patient_id, surviving.issuer_of_patient_id)}",
        ],
    )


def _header(
    site: Site, message_type: str, structure: str, control_id: str, sent_at: dt.datetime
) -> str:
    kind = f"{message_type}^{structure}" if site.hl7_version == "2.5.1" else message_type
    return (
        f"MSH|^~\\&|{site.sending_application}|{site.sending_facility}|RADLOOP|RESEARCH|"
        f"{_stamp(sent_at)}||{kind}|{control_id}|P|{site.hl7_version}||||||{site.hl7_charset}"
    )


def _identification(patient: SimulatedPatient) -> str:
    identifier = _identifier(patient.patient_id, patient.issuer_of_patient_id)
    name = f"{escape(patient.family_name)}^{escape(patient.given_name)}"
    return f"PID|1||{identifier}||{name}||{patient.birth_date:%Y%m%d}|{patient.sex}"


def _identifier(patient_id: str, issuer: str) -> str:
    return f"{escape(patient_id)}^^^{escape(issuer)}^MR"


def _filler(site: Site, order: Order) -> str:
    return f"{escape(order.accession_number)}^{escape(site.issuer_of_accession_number)}"


def _common_order(site: Site, order: Order, result_status: str) -> str:
    status = _ORDER_STATUS[result_status]
    return f"ORC|RE|{escape(order.placer_order_number)}|{_filler(site, order)}||{status}"


def _observation_request(site: Site, order: Order, result_status: str, sent_at: dt.datetime) -> str:
    fields = [""] * 26
    fields[0] = "OBR"
    fields[1] = "1"
    fields[2] = escape(order.placer_order_number)
    fields[3] = _filler(site, order)
    fields[4] = _PROCEDURE
    fields[7] = _stamp(order.performed_at)
    fields[18] = escape(order.accession_number) if site.fills_accession_field else ""
    fields[22] = _stamp(sent_at)
    fields[24] = "MR"
    fields[25] = result_status
    return "|".join(fields)


def _results(site: Site, text: str, result_status: str) -> list[tuple[str, str, str, str]]:
    status = _OBX_STATUS[result_status]
    if site.hl7_version == "2.5.1":
        return [("TX", _REPORT, escape(line), status) for line in text.split("\n")]
    return [("FT", _REPORT, escape(text), status)]


def _stamp(time: dt.datetime) -> str:
    return f"{time:%Y%m%d%H%M%S}"


def _encoded(site: Site, segments: list[str]) -> bytes:
    return "".join(f"{segment}\r" for segment in segments).encode(site.encoding)
