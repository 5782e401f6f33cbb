"""Builders of parsed reports, for tests of what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dicom_node.hl7.parsed import DocumentAction, ParsedPatient, ParsedReport, ReportPart, Role
from dicom_node.linking.identifiers import Identifier
from dicom_node.reports.versions import Input, Version, fold

JANE = ParsedPatient((Identifier("P1", "HOSP"),), "DOE^JANE", "19700101", "F")
TEXT = "FINDINGS: disc narrowed."


def part(text: str = "", status: str = "", role: Role = Role.TEXT, **named: str) -> ReportPart:
    """One OBX; its code is GDT unless another is given."""
    return ReportPart(text, status, role, **{"identifier": "GDT", **named})


def sent(
    parts: Iterable[ReportPart] | str = (),
    status: str = "F",
    *,
    day: int = 1,
    number: str = "F1",
    parent: str = "",
    action: DocumentAction = DocumentAction.STATUS,
    accessions: Iterable[str] = ("A1",),
    patient: ParsedPatient = JANE,
    changed: str | None = None,
    message_time: str | None = None,
    **more: Any,
) -> ParsedReport:
    """A report of a day of March; text stands for one OBX without a status."""
    moment = f"202603{day:02}120000" if day else ""
    return ParsedReport(
        patient=patient,
        number=number,
        parent_number=parent,
        action=action,
        accessions=tuple(Identifier(each, "SITE") for each in accessions),
        status_changed_at=moment if changed is None else changed,
        message_time=moment if message_time is None else message_time,
        result_status=status,
        parts=(part(parts),) if isinstance(parts, str) else tuple(parts),
        **more,
    )


def inputs(*reports: ParsedReport) -> list[Input]:
    """What arrived, in this order."""
    return [
        Input(key, f"2026-04-01T00:00:00.{key:06}", report)
        for key, report in enumerate(reports, start=1)
    ]


def current(*reports: ParsedReport) -> Version:
    """The version that holds after reports arrived in this order."""
    return fold(inputs(*reports))[-1]
