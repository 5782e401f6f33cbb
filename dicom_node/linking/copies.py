"""The same report by two ways: one that came as a document beside one that came as a message.

Where both are linked to one study and say the same, the message holds, and the document is a copy.
What makes them the same is asked each time, so neither has to come first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select as plain_select
from sqlmodel import Session, col

from dicom_node.database import chunks
from dicom_node.feeds.registry import STRUCTURED_REPORTS
from dicom_node.linking import doubts
from dicom_node.linking.decision import CONFIRMED, COPY, REFUSED, WOULD_CHANGE, Decision
from dicom_node.linking.evidence import ReportEvidence
from dicom_node.models import Report
from dicom_node.reports.status import EFFECTS, Effect


@dataclass(frozen=True, slots=True)
class _Said:
    """What a report version says, without headings, spaces and case."""

    is_document: bool
    words: str
    status: str


def set_copies_aside(
    session: Session,
    decided: Mapping[int, list[Decision]],
    reports: Mapping[int, ReportEvidence],
) -> dict[int, list[Decision]]:
    """Refuse the links of documents of which the message is linked to the same study.

    Accession numbers must not differ, nor may the message be less final. What a person has
    decided stays.

    Args:
        session: any session.
        decided: the decisions about each report version.
        reports: the evidence of the reports.
    """
    linked: dict[str, list[int]] = {}
    for key, decisions in decided.items():
        for each in decisions:
            if each.state == CONFIRMED:
                linked.setdefault(each.study_instance_uid, []).append(key)
    several = {uid: keys for uid, keys in linked.items() if len(keys) > 1}
    said = _said(session, {key for keys in several.values() for key in keys})
    found = {key: list(decisions) for key, decisions in decided.items()}
    for uid, keys in several.items():
        for key in keys:
            if any(_is_copy(key, other, said, reports) for other in keys):
                found[key] = [_aside(each, uid) for each in found[key]]
    return found


def _is_copy(
    key: int, other: int, said: Mapping[int, _Said], reports: Mapping[int, ReportEvidence]
) -> bool:
    one, message = said[key], said[other]
    if not one.is_document or message.is_document or not one.words or one.words != message.words:
        return False
    numbers = [{each.value for each in reports[each].accessions} - {""} for each in (key, other)]
    if all(numbers) and not numbers[0] & numbers[1]:
        return False
    return message.status == one.status or EFFECTS.get(message.status) is Effect.FINAL


def _aside(decision: Decision, uid: str) -> Decision:
    if decision.study_instance_uid != uid or decision.decided_by:
        return decision
    reason, remedy = doubts.COPIED
    evidence = decision.evidence | {"requirement": "R8", WOULD_CHANGE: remedy}
    return replace(decision, state=REFUSED, rule=COPY, reason=reason, evidence=evidence)


def _said(session: Session, keys: Collection[int]) -> dict[int, _Said]:
    found: dict[int, _Said] = {}
    for part in chunks(sorted(keys)):
        rows = session.execute(
            plain_select(
                col(Report.id),
                col(Report.sender),
                col(Report.text),
                col(Report.sections),
                col(Report.result_status),
            ).where(col(Report.id).in_(part))
        )
        for key, sender, text, sections, status in rows:
            is_document = sender.startswith(f"{STRUCTURED_REPORTS}|")
            found[key or 0] = _Said(is_document, _words(text, sections), status)
    return found


def _words(text: str, sections: list[dict[str, Any]]) -> str:
    bodies = [text[each["body"] : each["end"]] for each in sections] or [text]
    return " ".join(" ".join(bodies).split()).casefold()
