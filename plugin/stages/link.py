"""Stage: people look at links and at patients, and decide; every decision is a row of its own."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from dicom_node.linking.decision import STATES
from dicom_node.linking.evidence import evidence_digest
from dicom_node.linking.gathering import gather
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.models import LinkDecision
from dicom_node.linking.people import ACTIONS, CONFIRM, NOT_BY_PEOPLE, PEOPLE_NEEDED
from dicom_node.linking.queries import explain, find_report, in_words, unlinked_reports
from dicom_node.linking.touched import Touched
from dicom_node.models import Link, Report, Study
from plugin.context import Context
from plugin.errors import Permanent


def list_links(session: Session, state: str) -> dict[str, Any]:
    """Return what is not linked and why; or, for one state, the links of current reports in it."""
    if not state:
        return {"unlinked": [_unlinked(session, *each) for each in unlinked_reports(session)]}
    if state not in STATES:
        raise Permanent(f"{state!r} is none of {', '.join(STATES)}")
    rows = session.exec(
        select(Link)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(Link.state == state, col(Report.is_current))
        .order_by(col(Link.report_id), col(Link.study_instance_uid))
    )
    return {
        "links": [
            {
                "report": row.report_id,
                "study_instance_uid": row.study_instance_uid,
                "rule": row.rule,
                "reason": row.reason,
                "decided_by": row.decided_by,
            }
            for row in rows
        ]
    }


def _unlinked(session: Session, number: int, reason: str) -> dict[str, Any]:
    report = session.get(Report, number)
    return {
        "report": number,
        "number": report.report_identity if report is not None else "",
        "accession": report.accession_number if report is not None else "",
        "reason": reason,
    }


def explain_link(session: Session, name: str) -> dict[str, Any]:
    """Tell why a report or a study is or is not linked.

    Args:
        session: any session.
        name: a Study Instance UID, or a report as ``find_report`` takes it.

    Raises:
        Permanent: there is no such report or study, or several reports are meant.
    """
    what: int | str = name if session.get(Study, name) else find_report(session, name)
    found = explain(session, what)
    # First in words; the rest is for those who want to see it all.
    words = [
        {
            ("study" if "study_instance_uid" in each else "report"): each.get(
                "study_instance_uid", each.get("report_id")
            ),
            "in_words": each["in_words"],
        }
        for each in found["links"]
    ]
    standing = {key: value for key, value in found.items() if not isinstance(value, list)}
    values = {key: value for key, value in found.items() if key.endswith("say")}
    return {
        "why": standing,
        "explained": words,
        **values,
        "people": found["people"],
        "history": found["history"],
        "links": found["links"],
    }


def decide_link(
    context: Context, report: str, study_instance_uid: str, action: str, *, by: str, reason: str
) -> dict[str, Any]:
    """Confirm or withdraw a link as a person, or take such a decision back.

    Args:
        context: the open node.
        report: as ``find_report`` takes it; the decision is about all versions of the report.
        study_instance_uid: the study.
        action: ``confirm``, ``withdraw`` or ``revert``.
        by: the person.
        reason: why; kept with the decision.

    Returns:
        What the link is now, in words, and how many more people are needed.

    Raises:
        Permanent: there is nothing to decide about, or people cannot decide this.
    """
    need_words(by, reason)
    if action not in ACTIONS:
        raise Permanent(f"{action!r} is none of {', '.join(ACTIONS)}")
    linking = context.linking()
    with context.database.write() as session:
        row = _current(session, find_report(session, report))
        link = _link(session, row, study_instance_uid)
        if action == CONFIRM:
            _check_confirmable(row, link)
        elif link is None:
            raise Permanent("report and study have nothing in common: there is no link")
        session.add(
            LinkDecision(
                report_identity=row.report_identity,
                study_instance_uid=study_instance_uid,
                action=action,
                evidence_digest=_digest(session, row, study_instance_uid, linking),
                decided_by=by.strip(),
                reason=reason.strip(),
                decided_at=context.clock(),
            )
        )
        touched = Touched(reports={row.id or 0}, studies={study_instance_uid})
        relink(session, touched, linking, context.clock)
        now = _link(session, row, study_instance_uid)
        return _outcome(now, row.id or 0) if now is not None else {"state": "none"}


def _outcome(link: Link, report_id: int) -> dict[str, Any]:
    evidence = link.evidence
    people = evidence.get("confirmed by", [])
    missing = int(evidence.get("people needed", 0)) - len(people)
    return {
        "report": report_id,
        "study_instance_uid": link.study_instance_uid,
        "state": link.state,
        "decided_by": link.decided_by,
        "people_still_needed": max(missing, 0),
        "in_words": in_words(link.model_dump(mode="json")),
    }


def _check_confirmable(report: Report, link: Link | None) -> None:
    if not report.is_current or not report.text:
        raise Permanent("the report has no version with text that could be linked")
    if link is None or link.state not in PEOPLE_NEEDED or not link.evidence.get("found by"):
        raise Permanent(
            "report and study have nothing in common, so there is nothing to confirm: they need"
            " the same accession number, Study Instance UID or order"
        )
    if remedy := NOT_BY_PEOPLE.get(link.rule):
        raise Permanent(remedy)


def _digest(session: Session, report: Report, uid: str, linking: Linking) -> str:
    """Return the digest of the evidence as it is now; empty where there is none to compare."""
    key = report.id or 0
    issuers_of, accepted = linking.issuers_of(), linking.profiles.accepted
    found = gather(session, {key}, {uid}, issuers_of, accepted)
    if key not in found.reports or uid not in found.studies:
        return ""
    return evidence_digest(found.reports[key], found.studies[uid])


def _current(session: Session, report_id: int) -> Report:
    report = session.get_one(Report, report_id)
    if report.is_current:
        return report
    found = session.exec(
        select(Report).where(
            Report.report_identity == report.report_identity, col(Report.is_current)
        )
    ).first()
    return found or report


def _link(session: Session, report: Report, uid: str) -> Link | None:
    if session.get(Study, uid) is None:
        raise Permanent("there is no study with this Study Instance UID")
    return session.exec(
        select(Link)
        .where(Link.report_id == report.id, Link.study_instance_uid == uid)
        .execution_options(populate_existing=True)
    ).first()


def need_words(by: str, reason: str) -> None:
    """Refuse a decision without a person or a reason (R13).

    Raises:
        Permanent: one of them is missing.
    """
    if not by.strip() or not reason.strip():
        raise Permanent("a decision needs the name of a person and a reason")
