"""Old reports as HL7 v2.5.1 messages (ORU^R01), in the form of IHE RAD-128, in UTF-8.

The same report gives the same bytes: control id and times come from what it says, so a row that is
imported again is the same message.
"""

from __future__ import annotations

import base64
import hashlib

from dicom_node.history.mapping import ImportMapping
from dicom_node.history.rows import HistoricReport, UnusableRow
from dicom_node.hl7.building import NotBuildable, ReportContent, build_oru
from dicom_node.linking.identifiers import Identifier

LARGEST_MESSAGE = 16 * 2**20
"""Bytes; the same limit as of the listener by default."""

UNDATED = "19000101"
"""MSH-7 must hold something, and never the time of the import."""

_CONTROL_ID = 20  # characters: the longest MSH-10 of HL7 2.5.1


def oru_of(report: HistoricReport, mapping: ImportMapping, document: bytes = b"") -> bytes:
    """Return the message that an old report becomes; see :func:`message_of`.

    Args:
        report: what the row or document says.
        mapping: names the sender.
        document: a PDF that belongs to it; empty: none.
    """
    return message_of(report, mapping.sender, document)


def message_of(report: HistoricReport, sender: str, document: bytes = b"") -> bytes:
    """Return the message that a report becomes which came in another form than HL7.

    Args:
        report: what it says.
        sender: MSH-3 and MSH-4, joined with ``|``.
        document: a PDF that belongs to it; empty: none.

    Raises:
        UnusableRow: a value cannot stand in a message, or the message would be too large.
    """
    said = hashlib.sha256(report.digest().encode() + document).hexdigest()
    try:
        content = build_oru(
            _content(report),
            sender=sender,
            control_id=said[:_CONTROL_ID],
            message_time=report.report_date or report.study_date or UNDATED,
        )
    except NotBuildable as error:
        raise UnusableRow("message", str(error)) from None
    if document:
        content += _embedded(document, report.status)
    if len(content) > LARGEST_MESSAGE:
        raise UnusableRow("message", f"it would be larger than {LARGEST_MESSAGE} bytes")
    return content


def text_of(report: HistoricReport) -> str:
    """Return the sections of a report as one text, each below its heading."""
    return "\n".join(
        each.text if each.heading == "REPORT" else f"{each.heading}:\n{each.text}"
        for each in report.sections
    )


def _content(report: HistoricReport) -> ReportContent:
    patient = Identifier(report.patient_id, report.issuer_of_patient_id)
    accessions = (
        (report.accession_number, report.issuer_of_accession_number),
        *report.further_accessions,
    )
    return ReportContent(
        identifiers=[patient],
        number=report.number,
        text=text_of(report),
        status=report.status,
        # The alphabetic group: those in other scripts are not compared.
        name=report.patient_name.partition("=")[0],
        birth_date=report.birth_date,
        sex=report.sex,
        accessions=[Identifier(*each) for each in accessions if each[0]],
        study_instance_uids=report.study_instance_uids,
        procedure=report.procedure,
        modality=report.modality,
        observed_at=report.study_date,
        changed_at=report.report_date,
        interpreter=report.interpreter,
    )


def _embedded(document: bytes, status: str) -> bytes:
    """OBX of a PDF (ED, Base64), behind those of the only order."""
    packed = base64.b64encode(document)
    value = b"^Application^PDF^Base64^" + packed
    return b"|".join((b"OBX", b"9999", b"ED", b"PDF^Report", b"", value, *[b""] * 5)) + (
        b"|" + status.encode() + b"\r"
    )
