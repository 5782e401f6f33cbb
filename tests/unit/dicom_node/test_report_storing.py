"""A parsed report goes into JSON and comes back, embedded documents included."""

from __future__ import annotations

import json

from dicom_node.hl7.parsed import EmbeddedDocument, ParsedPatient, ParsedReport, ReportPart
from dicom_node.linking.identifiers import Identifier
from dicom_node.reports.storing import from_json, to_json


def test_a_report_with_an_embedded_document_is_kept_without_its_bytes() -> None:
    part = ReportPart("its text", "F", document=EmbeddedDocument("application/pdf", b"%PDF-"))
    patient = ParsedPatient((Identifier("1", "H"),), "DOE^JANE")
    stored = json.loads(json.dumps(to_json(ParsedReport(patient, "R1", parts=(part,)))))
    back = from_json(stored)
    assert back.patient == patient
    assert back.parts[0].text == "its text"
    assert back.parts[0].document == EmbeddedDocument("application/pdf", b"")
