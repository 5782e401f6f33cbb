"""Order groups of one message that are one report: one number, each with a part of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dicom_node.hl7.parsed import DocumentAction, ParsedReport
from dicom_node.reports.status import Action, least_final, result_meaning


def join_orders(reports: Sequence[ParsedReport]) -> tuple[ParsedReport, ...]:
    """Join the reports of one message that have the same number and patient, in their order.

    Apart they would be versions, of which the last replaces the text of the others. Each part keeps
    the status of its own order, so the report is as final as the least final of them. What takes
    back, promotes, appends, or brings no result stays apart: it is no text to be joined.

    Args:
        reports: those of one message and of no other.
    """
    found: list[ParsedReport] = []
    for report in reports:
        at = next((n for n, each in enumerate(found) if _is_one(each, report)), None)
        if at is None:
            found.append(report)
        else:
            found[at] = _joined(found[at], report)
    return tuple(found)


def _is_one(one: ParsedReport, other: ParsedReport) -> bool:
    return (
        bool(one.number)
        and (one.number, one.parent_number) == (other.number, other.parent_number)
        and one.patient == other.patient
        and all(_is_text(each) for each in (one, other))
    )


def _is_text(report: ParsedReport) -> bool:
    stated = result_meaning(report.result_status).action is Action.STATE
    return stated and report.action is DocumentAction.STATUS and bool(report.parts)


def _joined(one: ParsedReport, other: ParsedReport) -> ParsedReport:
    status, parts = one.result_status, (*one.parts, *other.parts)
    if status != other.result_status:
        parts = tuple(
            replace(part, status=part.status or report.result_status)
            for report in (one, other)
            for part in report.parts
        )
        status = least_final(filter(None, (status, other.result_status)))
    uids = dict.fromkeys((*one.study_instance_uids, *other.study_instance_uids))
    return replace(
        one,
        accessions=tuple(dict.fromkeys((*one.accessions, *other.accessions))),
        study_instance_uids=tuple(uids),
        status_changed_at=one.status_changed_at or other.status_changed_at,
        result_status=status,
        parts=parts,
    )
