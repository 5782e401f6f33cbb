"""What the links say: what is not linked and why, how many there are, and one report's story."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.errors import Permanent
from dicom_node.linking.rules import CONFIRMED, PROPOSED, REFUSED, STATES, WITHDRAWN
from dicom_node.models import Link, Report
from dicom_node.reports.status import EFFECTS, WITHOUT_TEXT, Effect

WITHDRAWALS = {
    Effect.WITHDRAW: "the sender declared the report wrong, for example of another patient",
    Effect.RETRACT: "the sender cancelled the report",
}
"""Why a report without text has no links."""


def unlinked_reports(session: Session) -> list[tuple[int, str]]:
    """Return each current report with text and without a confirmed link, and why."""
    confirmed = select(Link.report_id).where(Link.state == CONFIRMED)
    reports = session.exec(
        select(Report)
        .where(
            col(Report.is_current),
            col(Report.result_status).not_in(WITHOUT_TEXT),
            col(Report.id).not_in(confirmed),
        )
        .order_by(col(Report.id))
    ).all()
    open_links = session.exec(
        select(Link)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(col(Report.is_current))
        .order_by(col(Link.study_instance_uid))
    ).all()
    links: dict[int, list[Link]] = {}
    for link in open_links:
        links.setdefault(link.report_id, []).append(link)
    return [(each.id or 0, _why_not(each, links.get(each.id or 0, []))) for each in reports]


def link_counts(session: Session) -> dict[str, int]:
    """Return the number of links in each state."""
    rows = session.exec(select(Link.state, func.count()).group_by(Link.state)).all()
    return dict.fromkeys(STATES, 0) | dict(rows)


def explain(session: Session, report_id: int) -> dict[str, Any]:
    """Tell why a report is or is not linked: its standing and each decision with its evidence.

    Raises:
        Permanent: there is no such report.
    """
    report = session.get(Report, report_id)
    if report is None:
        raise Permanent(f"there is no report {report_id}")
    links = session.exec(
        select(Link).where(Link.report_id == report_id).order_by(col(Link.study_instance_uid))
    ).all()
    confirmed = any(link.state == CONFIRMED for link in links)
    return {
        "report_id": report_id,
        "version": report.version,
        "is_current": report.is_current,
        "result_status": report.result_status,
        "linked": confirmed,
        "reason": "" if confirmed else _why_not(report, links),
        "links": [
            link.model_dump(
                mode="json",
                include={
                    "study_instance_uid",
                    "state",
                    "rule",
                    "reason",
                    "evidence",
                    "decided_by",
                    "decided_at",
                },
            )
            for link in links
        ],
    }


def _why_not(report: Report, links: Iterable[Link]) -> str:
    if not report.is_current:
        return "a later version of the report is current"
    if (effect := EFFECTS.get(report.result_status)) in WITHDRAWALS and effect is not None:
        return WITHDRAWALS[effect]
    for state in (PROPOSED, REFUSED, WITHDRAWN):
        reasons = dict.fromkeys(link.reason for link in links if link.state == state)
        if reasons:
            return f"{state}: {'; '.join(reasons)}"
    if report.accession_number:
        return "no study with this accession number has arrived"
    if report.study_instance_uids:
        return "no study with this Study Instance UID has arrived"
    return "the report names neither an accession number nor a Study Instance UID"
