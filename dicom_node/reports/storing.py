"""A parsed report as JSON, for the table of inputs, and back again.

The bytes of embedded documents are not kept here: the message has them, and their text stands in
its part.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from dicom_node.hl7.parsed import (
    DocumentAction,
    EmbeddedDocument,
    ParsedPatient,
    ParsedReport,
    ReportPart,
    Role,
)
from dicom_node.linking.identity import Identifier

_LISTS_OF_TEXT = ("study_instance_uids",)


def to_json(report: ParsedReport) -> dict[str, Any]:
    """Return the report as values that JSON knows, without what is empty."""
    bare = replace(report, parts=tuple(_without_bytes(part) for part in report.parts))
    found = asdict(bare)
    for part in found["parts"]:
        if part["document"] is not None:
            del part["document"]["data"]  # bytes, if only none, are nothing that JSON knows
    return {name: value for name, value in found.items() if value not in ("", (), None)}


def from_json(content: dict[str, Any]) -> ParsedReport:
    """Return the report that :func:`to_json` wrote."""
    values = dict(content)
    values["patient"] = _patient(content.get("patient", {}))
    values["action"] = DocumentAction(content["action"])
    for name in ("placer", "filler"):
        values[name] = Identifier(**content[name])
    values["accessions"] = tuple(Identifier(**each) for each in content.get("accessions", ()))
    values["parts"] = tuple(_part(each) for each in content.get("parts", ()))
    for name in _LISTS_OF_TEXT:
        values[name] = tuple(content.get(name, ()))
    return ParsedReport(**values)


def _without_bytes(part: ReportPart) -> ReportPart:
    if part.document is None:
        return part
    return replace(part, document=EmbeddedDocument(part.document.media_type, b""))


def _patient(content: dict[str, Any]) -> ParsedPatient:
    identifiers = tuple(Identifier(**each) for each in content.get("identifiers", ()))
    return ParsedPatient(**{**content, "identifiers": identifiers})


def _part(content: dict[str, Any]) -> ReportPart:
    document = content.get("document")
    kept = EmbeddedDocument(document["media_type"], b"") if document else None
    return ReportPart(**{**content, "role": Role(content["role"]), "document": kept})
