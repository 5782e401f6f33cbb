"""Narrative structured reports (DICOM SR) as old reports; they are parsed in a confined process.

Taken are documents that a person observed: what a device measured or an algorithm found is no
report of a radiologist, and must not come back as truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.headers import Elements, Header, Unreadable
from dicom_node.history.rows import HistoricReport, Section, UnusableRow, clean_text
from dicom_node.sandbox import Sandbox
from dicom_node.sr_content import PRIVATE_SCHEME

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR Storage",
}
"""SOP classes of documents that may be a narrative report."""

HEADINGS = {
    "11329-0": "HISTORY",  # LOINC
    "121060": "HISTORY",  # DCM
    "18834-2": "COMPARISON",
    "121068": "COMPARISON",
    "121069": "COMPARISON",
    "55111-9": "TECHNIQUE",
    "121064": "TECHNIQUE",
    "121065": "TECHNIQUE",
    "18782-3": "FINDINGS",
    "59776-5": "FINDINGS",
    "121070": "FINDINGS",
    "121071": "FINDINGS",
    "19005-8": "IMPRESSION",
    "121072": "IMPRESSION",
    "121073": "IMPRESSION",
    "121076": "IMPRESSION",
    "121077": "IMPRESSION",
    "55107-7": "ADDENDUM",
    "121078": "ADDENDUM",
}
"""Concept names of sections (PS3.16 CID 7001, 7002) and the heading that they become."""

_KEYWORDS = (
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
_DEEPEST = 4  # level of items that the parser hands out; what is below a container there is lost
_OBSERVER_TYPE, _DEVICE, _ALGORITHM_NAME = "121005", "121007", "111001"


def report_of_document(path: Path, parser: Sandbox) -> HistoricReport:
    """Return what a structured report says.

    Verified or final documents (VerificationFlag, PreliminaryFlag) are final reports; others are
    provisional. A document that replaces another (Predecessor Documents) is a version of it.

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
        document = parser.elements(path, _KEYWORDS)
    except Unreadable as error:
        raise UnusableRow("document", str(error)) from None
    if _is_of_a_device(document):
        raise UnusableRow("document", "a device or an algorithm made it, no person")
    if not header.patient_id:
        raise UnusableRow("patient_id", "it is empty")
    sections = tuple(_sections(document))
    if not sections:
        raise UnusableRow("text", "there is no text")
    return HistoricReport(
        number=_first_version(document) or header.sop_instance_uid,
        status=_status(document),
        patient_id=header.patient_id,
        issuer_of_patient_id=header.issuer_of_patient_id,
        patient_name=header.patient_name,
        birth_date=header.patient_birth_date,
        sex=header.patient_sex if header.patient_sex in ("M", "F", "O") else "",
        accession_number=header.accession_number,
        issuer_of_accession_number=header.issuer_of_accession_number,
        study_instance_uids=_studies(header, document),
        study_date=header.study_date,
        report_date=_report_date(document),
        procedure=header.study_description[:200],
        sections=sections,
    )


def _status(document: Elements) -> str:
    if _one(document, "CompletionFlag") == "PARTIAL":
        return "P"
    preliminary = _one(document, "PreliminaryFlag")
    verified = _one(document, "VerificationFlag") == "VERIFIED"
    final = preliminary == "FINAL" or (verified and preliminary != "PRELIMINARY")
    return "F" if final else "P"


def _report_date(document: Elements) -> str:
    moments = [
        _one(item, "VerificationDateTime")[:14]
        for item in document.get("VerifyingObserverSequence", ())
    ]
    written = _one(document, "ContentDate") + _one(document, "ContentTime")[:6]
    return max(filter(None, moments), default=written)


def _studies(header: Header, document: Elements) -> tuple[str, ...]:
    requested = [
        _one(item, "StudyInstanceUID") for item in document.get("ReferencedRequestSequence", ())
    ]
    return tuple(dict.fromkeys(filter(None, (header.study_instance_uid, *requested))))


def _first_version(document: Elements) -> str:
    """Return the SOP Instance UID of the document that this one replaces."""
    for study in document.get("PredecessorDocumentsSequence", ()):
        for series in study.get("ReferencedSeriesSequence", ()):
            for instance in series.get("ReferencedSOPSequence", ()):
                return _one(instance, "ReferencedSOPInstanceUID")
    return ""


def _is_of_a_device(document: Elements) -> bool:
    title = _code(document)
    if title[1] == PRIVATE_SCHEME:
        return True
    for item, _ in _items(document):
        name = _code(item)[0]
        if name == _ALGORITHM_NAME:
            return True
        if name == _OBSERVER_TYPE and _coded_value(item) == _DEVICE:
            return True
    return False


def _sections(document: Elements) -> Iterator[Section]:
    """Join the texts below each heading, in the order of the document."""
    heading = "REPORT"
    lines: list[str] = []
    for item, above in _items(document):
        text = _one(item, "TextValue")
        if _one(item, "ValueType") != "TEXT" or not text:
            continue
        found = HEADINGS.get(_code(item)[0]) or above or "REPORT"
        if found != heading and lines:
            yield Section(heading, clean_text("\n".join(lines)))
            lines = []
        heading = found
        lines.append(text)
    if lines:
        yield Section(heading, clean_text("\n".join(lines)))


def _items(item: Elements, above: str = "", level: int = 1) -> Iterator[tuple[Elements, str]]:
    for child in item.get("ContentSequence", ()):
        if level == _DEEPEST and _one(child, "ValueType") == "CONTAINER":
            raise UnusableRow("text", "it is nested deeper than it can be read")
        yield child, above
        yield from _items(child, HEADINGS.get(_code(child)[0]) or above, level + 1)


def _code(item: Elements) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence") or [{}]
    return _one(names[0], "CodeValue"), _one(names[0], "CodingSchemeDesignator")


def _coded_value(item: Elements) -> str:
    values = item.get("ConceptCodeSequence") or [{}]
    return _one(values[0], "CodeValue")


def _one(item: Elements, keyword: str) -> str:
    values = item.get(keyword) or [""]
    return str(values[0]).strip()
