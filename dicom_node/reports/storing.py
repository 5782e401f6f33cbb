"""A parsed report as JSON, for the table of inputs, and back again.

The bytes of embedded documents are not kept here: the message has them, and their text stands in
its part.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from dicom_node.hl7.parsed import (
    DocumentAction,
    EmbeddedDocument,
    ParsedPatient,
    ParsedReport,
    ReportPart,
    Role,
)
from dicom_node.linking.identifiers import Identifier

_TEXTS = tuple(each.name for each in fields(ParsedReport) if each.type == "str")


def to_json(report: ParsedReport) -> dict[str, Any]:
    """Return the report as values that JSON knows, without what is empty."""
    found: dict[str, Any] = {
        "patient": {
            "identifiers": [_identifier(each) for each in report.patient.identifiers],
            "name": report.patient.name,
            "birth_date": report.patient.birth_date,
            "sex": report.patient.sex,
        },
        "action": str(report.action),
        "placer": _identifier(report.placer),
        "filler": _identifier(report.filler),
        "accessions": [_identifier(each) for each in report.accessions],
        "study_instance_uids": list(report.study_instance_uids),
        "parts": [_part_json(each) for each in report.parts],
    }
    found |= {name: getattr(report, name) for name in _TEXTS}
    return {name: value for name, value in found.items() if value not in ("", [])}


def _identifier(identifier: Identifier) -> dict[str, Any]:
    return {
        "value": identifier.value,
        "issuer": identifier.issuer,
        "issuer_assumed": identifier.issuer_assumed,
    }


def _part_json(part: ReportPart) -> dict[str, Any]:
    found = {
        "text": part.text,
        "status": part.status,
        "role": str(part.role),
        "identifier": part.identifier,
        "sub_id": part.sub_id,
    }
    if part.document is None:
        return found
    return found | {"document": {"media_type": part.document.media_type}}


def from_json(content: dict[str, Any]) -> ParsedReport:
    """Return the report that :func:`to_json` wrote."""
    values = dict(content)
    values["patient"] = _patient(content.get("patient", {}))
    values["action"] = DocumentAction(content["action"])
    for name in ("placer", "filler"):
        values[name] = Identifier(**content[name])
    values["accessions"] = tuple(Identifier(**each) for each in content.get("accessions", ()))
    values["parts"] = tuple(_part(each) for each in content.get("parts", ()))
    values["study_instance_uids"] = tuple(content.get("study_instance_uids", ()))
    return ParsedReport(**values)


def _patient(content: dict[str, Any]) -> ParsedPatient:
    identifiers = tuple(Identifier(**each) for each in content.get("identifiers", ()))
    return ParsedPatient(**{**content, "identifiers": identifiers})


def _part(content: dict[str, Any]) -> ReportPart:
    document = content.get("document")
    kept = EmbeddedDocument(document["media_type"], b"") if document else None
    return ReportPart(**{**content, "role": Role(content["role"]), "document": kept})
