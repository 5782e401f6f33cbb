"""Narrative structured reports (DICOM SR) as old reports; they are parsed in a confined process.

Taken are documents that a person observed: what a device measured or an algorithm found is no
report of a radiologist, and must not come back as truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.headers import Elements, Header, Unreadable
from dicom_node.history.rows import HistoricReport, Section, UnusableRow, clean_text
from dicom_node.history.sr_tree import items_of, observers_of, one, references
from dicom_node.sandbox import Sandbox

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR Storage",
}
"""SOP classes of documents that may be a narrative report."""

KEYWORDS = (
    "AuthorObserverSequence",
    "ConceptNameCodeSequence",
    "CompletionFlag",
    "ContentDate",
    "ContentTime",
    "ContentSequence",
    "PredecessorDocumentsSequence",
    "PreliminaryFlag",
    "ReferencedRequestSequence",
    "VerificationFlag",
    "VerifyingObserverSequence",
)
"""Elements that :func:`report_of_elements` reads."""


def report_of_document(path: Path, parser: Sandbox) -> HistoricReport:
    """Return what the structured report in a file says; see :func:`report_of_elements`.

    Args:
        path: a DICOM file.
        parser: reads it in a confined process.

    Raises:
        UnusableRow: it cannot be read, is no narrative report, or no person made it.
        OSError: the disk cannot be read.
    """
    (header,) = parser.headers([path])
    if isinstance(header, Unreadable):
        raise UnusableRow("document", str(header))
    if header.sop_class_uid not in SOP_CLASSES:
        raise UnusableRow("document", "its SOP class is not one of text reports")
    try:
        document = parser.elements(path, KEYWORDS)
    except Unreadable as error:
        raise UnusableRow("document", str(error)) from None
    if observers_of(document).is_of_a_device:
        raise UnusableRow("document", "a device or an algorithm made it, no person")
    # A file says nothing about whose report another one is: only its own study is believed.
    own = ("", header.study_instance_uid)
    before = references(document, "PredecessorDocumentsSequence")
    number = next((uid for study, uid in before if uid and study in own), header.sop_instance_uid)
    return report_of_elements(header, document, number)


def report_of_elements(header: Header, document: Elements, number: str) -> HistoricReport:
    """Return what a narrative report of a person says.

    Verified or final documents (VerificationFlag, PreliminaryFlag) are final reports; others are
    provisional. A document that replaces another (Predecessor Documents) is a version of it.

    Args:
        header: of the object.
        document: its elements of :data:`KEYWORDS`.
        number: the SOP Instance UID of its first version.

    Raises:
        UnusableRow: it names no patient, has no text, or is nested too deeply.
    """
    if not header.patient_id:
        raise UnusableRow("patient_id", "it is empty")
    sections = tuple(_sections(document))
    if not sections:
        raise UnusableRow("text", "there is no text")
    first, *others = _accessions(header, document) or [("", "")]
    return HistoricReport(
        number=number,
        status=_status(document),
        patient_id=header.patient_id,
        issuer_of_patient_id=header.issuer_of_patient_id,
        patient_name=header.patient_name,
        birth_date=header.patient_birth_date,
        sex=header.patient_sex if header.patient_sex in ("M", "F", "O") else "",
        accession_number=first[0],
        issuer_of_accession_number=first[1],
        further_accessions=tuple(others),
        study_instance_uids=_studies(header, document),
        study_date=header.study_date,
        report_date=_report_date(document),
        procedure=header.study_description[:200],
        sections=sections,
    )


def _status(document: Elements) -> str:
    if one(document, "CompletionFlag") == "PARTIAL":
        return "P"
    preliminary = one(document, "PreliminaryFlag")
    verified = one(document, "VerificationFlag") == "VERIFIED"
    final = preliminary == "FINAL" or (verified and preliminary != "PRELIMINARY")
    return "F" if final else "P"


def _report_date(document: Elements) -> str:
    moments = [
        one(item, "VerificationDateTime")[:14]
        for item in document.get("VerifyingObserverSequence", ())
    ]
    written = one(document, "ContentDate") + one(document, "ContentTime")[:6]
    return max(filter(None, moments), default=written)


def _studies(header: Header, document: Elements) -> tuple[str, ...]:
    requested = [
        one(item, "StudyInstanceUID") for item in document.get("ReferencedRequestSequence", ())
    ]
    return tuple(dict.fromkeys(filter(None, (header.study_instance_uid, *requested))))


def _accessions(header: Header, document: Elements) -> list[tuple[str, str]]:
    """Return accession numbers with their issuers: of the header and of the requests answered."""
    found = [(header.accession_number, header.issuer_of_accession_number)]
    for request in document.get("ReferencedRequestSequence", ()):
        issuers = request.get("IssuerOfAccessionNumberSequence") or [{}]
        issuer = one(issuers[0], "LocalNamespaceEntityID") or one(issuers[0], "UniversalEntityID")
        found.append((one(request, "AccessionNumber"), issuer))
    known = dict.fromkeys(each for each in found if each[0])
    # One without an issuer that also stands there with one is the same number.
    named = {number for number, issuer in known if issuer}
    return [each for each in known if each[1] or each[0] not in named]


def _sections(document: Elements) -> Iterator[Section]:
    """Join the texts below each heading, in the order of the document."""
    heading = "REPORT"
    lines: list[str] = []
    for each in items_of(document):
        text = each.narrative
        if not text:
            continue
        found = each.heading or "REPORT"
        if found != heading and lines:
            yield Section(heading, clean_text("\n".join(lines)))
            lines = []
        heading = found
        lines.append(text)
    if lines:
        yield Section(heading, clean_text("\n".join(lines)))
