"""What the links say, in plain words: what is linked or not, why, and what would change it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, func, or_, select

from dicom_node.database import chunks
from dicom_node.errors import Permanent
from dicom_node.linking.decision import (
    CONFIRMED,
    PROPOSED,
    REFUSED,
    STATES,
    SUSPENDED,
    WITHDRAWN,
    WOULD_CHANGE,
)
from dicom_node.linking.doubts import NOT_CURRENT, WITHDRAWALS, listed
from dicom_node.linking.evidence import Match
from dicom_node.linking.models import LinkDecision, LinkEvent
from dicom_node.models import Link, Report, ReportedStudy, Study
from dicom_node.reports.models import ReportedAccession
from dicom_node.reports.status import EFFECTS, WITHOUT_TEXT

_NO_KEY = (
    "the report names neither an accession number nor a Study Instance UID",
    "a corrected report; an order with its number; or accession_number_fields and study_uid_fields"
    " in the profile of the feed",
)
_NO_STUDY = ("no study with {key} has arrived", "the images; or an order with the report's number")
_OTHER_ISSUER = (
    "a study with this accession number has arrived, but the number is of another issuer",
    "the right images; or equivalent_issuers in [linking], if both issuers are one",
)
_NO_REPORT = (
    "no report names this study, or its accession number with the same issuer",
    "a report that does; or an order with the report's number",
)
_OPEN_STATES = (SUSPENDED, PROPOSED, REFUSED, WITHDRAWN)
_SAID = ("state", "rule", "reason", "evidence", "decided_by", "decided_at")


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
    keys = [each.id or 0 for each in reports]
    links = _links_of(session, keys)
    lonely = _Lonely(session, [key for key in keys if not links.get(key)])
    rows = zip(keys, reports, strict=True)
    return [(key, _why_not(each, links.get(key, ()), lonely)[0]) for key, each in rows]


def link_counts(session: Session) -> dict[str, int]:
    """Return the number of links in each state."""
    rows = session.exec(select(Link.state, func.count()).group_by(Link.state)).all()
    return dict.fromkeys(STATES, 0) | dict(rows)


def explain(session: Session, what: int | str) -> dict[str, Any]:
    """Tell why a report or a study is or is not linked, and what would change it.

    Args:
        session: any session.
        what: the number of a report version, or a Study Instance UID.

    Raises:
        Permanent: there is no such report or study.
    """
    if isinstance(what, int):
        return _explain_report(session, what)
    return _explain_study(session, what)


def find_report(session: Session, name: str) -> int:
    """Return the version of a report that is meant by a number, an identity or an order number.

    Args:
        session: any session.
        name: the number of a version, also written ``#4``, or the number of the report at its
            sender, with or without MSH-3 and MSH-4 before it: then its current version is meant.

    Raises:
        Permanent: no report is meant, or several are.
    """
    digits = name.removeprefix("#")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0
    known = session.get(Report, number) is not None
    if name.startswith("#") and known:
        return number
    found = session.exec(
        select(Report.id).where(
            col(Report.is_current),
            or_(
                col(Report.report_identity) == name,
                col(Report.filler_order_number) == name,
                col(Report.report_identity).endswith(f"|{name}", autoescape=True),
            ),
        )
    ).all()
    meant = {each for each in found if each is not None} | ({number} if known else set())
    if not meant:
        raise Permanent("there is no such report")
    if len(meant) > 1:
        numbers = ", ".join(f"#{each}" for each in sorted(meant))
        raise Permanent(f"several reports are meant: say one of {numbers}")
    return meant.pop()


def in_words(link: Mapping[str, Any]) -> str:
    """Tell one link in plain words: its state, why, what was compared, what would change it."""
    evidence = link["evidence"]
    sentences = [f"{link['state']}: {link['reason']}"]
    for match, words in (
        (Match.EQUAL, "equal"),
        (Match.UNEQUAL, "different"),
        (Match.UNKNOWN, "could not be compared"),
    ):
        names = [name for name, outcome in evidence.items() if outcome == match.value]
        if names:
            sentences.append(f"{words}: {listed(names)}")
    if evidence.get("clock"):
        sentences.append("the sender's clock or zone is not known well enough to trust its dates")
    if people := evidence.get("confirmed by"):
        needed = evidence.get("people needed", 2)
        sentences.append(f"{len(people)} of {needed} people have confirmed it")
    if remedy := evidence.get(WOULD_CHANGE):
        sentences.append(f"what would change it: {remedy}")
    return ". ".join(f"{each[:1].upper()}{each[1:]}" for each in sentences) + "."


def _explain_report(session: Session, report_id: int) -> dict[str, Any]:
    report = session.get(Report, report_id)
    if report is None:
        raise Permanent(f"there is no report {report_id}")
    links = _links_of(session, [report_id]).get(report_id, [])
    confirmed = any(link.state == CONFIRMED for link in links)
    lonely = _Lonely(session, [] if links else [report_id])
    reason, remedy = ("", "") if confirmed else _why_not(report, links, lonely)
    return {
        "report_id": report_id,
        "report_identity": report.report_identity,
        "version": report.version,
        "is_current": report.is_current,
        "result_status": report.result_status,
        "linked": confirmed,
        "reason": reason,
        "what_would_change_it": remedy,
        "says": _report_says(report),
        "studies_say": [
            _study_says(study)
            for link in links
            if (study := session.get(Study, link.study_instance_uid)) is not None
        ],
        "links": [_said(link, "study_instance_uid") for link in links],
        "people": _people(session, LinkDecision.report_identity == report.report_identity),
        "history": _history(session, col(LinkEvent.report_id).in_(_versions_of(report))),
    }


def _explain_study(session: Session, uid: str) -> dict[str, Any]:
    study = session.get(Study, uid)
    if study is None:
        raise Permanent("there is no study with this Study Instance UID")
    links = session.exec(
        select(Link)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(Link.study_instance_uid == uid, col(Report.is_current))
        .order_by(col(Link.report_id))
    ).all()
    confirmed = any(link.state == CONFIRMED for link in links)
    reason, remedy = ("", "") if confirmed else _first_open(links) or _NO_REPORT
    return {
        "study_instance_uid": uid,
        "linked": confirmed,
        "reason": reason,
        "what_would_change_it": remedy,
        "says": _study_says(study),
        "reports_say": [
            _report_says(report)
            for link in links
            if (report := session.get(Report, link.report_id)) is not None
        ],
        "links": [_said(link, "report_id") for link in links],
        "people": _people(session, LinkDecision.study_instance_uid == uid),
        "history": _history(session, LinkEvent.study_instance_uid == uid),
    }


def _versions_of(report: Report) -> Any:
    return select(Report.id).where(Report.report_identity == report.report_identity)


def _of(value: str, issuer: str) -> str:
    return f"{value} of {issuer or 'an unknown issuer'}" if value else "none"


def _report_says(report: Report) -> dict[str, Any]:
    """Return what a person must see of a report to decide about it."""
    return {
        "report": report.id,
        "number": report.report_identity,
        "patient": ", ".join(
            _of(each["value"], each["issuer"]) for each in report.patient_identifiers
        ),
        "name": report.patient_name,
        "birth_date": report.patient_birth_date,
        "sex": report.patient_sex,
        "accession": _of(report.accession_number, report.issuer_of_accession_number),
        "date": report.observation_date[:8],
        "modality": report.modality,
        "status": report.result_status,
    }


def _study_says(study: Study) -> dict[str, Any]:
    """Return what a person must see of a study to decide about it."""
    return {
        "study": study.study_instance_uid,
        "patient": _of(study.patient_id, study.issuer_of_patient_id),
        "name": study.patient_name,
        "birth_date": study.patient_birth_date,
        "sex": study.patient_sex,
        "accession": _of(study.accession_number, study.issuer_of_accession_number),
        "date": study.study_date,
        "description": study.study_description,
    }


def _said(link: Link, other: str) -> dict[str, Any]:
    row = link.model_dump(mode="json", include={other, *_SAID})
    return row | {"in_words": in_words(row)}


def _people(session: Session, about: Any) -> list[dict[str, Any]]:
    rows = session.exec(select(LinkDecision).where(about).order_by(col(LinkDecision.id)))
    return [each.model_dump(mode="json", exclude={"evidence_digest"}) for each in rows]


def _history(session: Session, about: Any) -> list[dict[str, Any]]:
    rows = session.exec(select(LinkEvent).where(about).order_by(col(LinkEvent.id)))
    return [each.model_dump(mode="json", exclude={"evidence"}) for each in rows]


def _links_of(session: Session, reports: Sequence[int]) -> dict[int, list[Link]]:
    found: dict[int, list[Link]] = {}
    for part in chunks(reports):
        rows = session.exec(
            select(Link)
            .where(col(Link.report_id).in_(part))
            .order_by(col(Link.report_id), col(Link.study_instance_uid))
        )
        for link in rows:
            found.setdefault(link.report_id, []).append(link)
    return found


def _why_not(report: Report, links: Iterable[Link], lonely: _Lonely) -> tuple[str, str]:
    """Return why a report has no confirmed link, and what would change that."""
    if not report.is_current:
        return NOT_CURRENT, "look at the version that is current"
    effect = EFFECTS.get(report.result_status)
    if effect in WITHDRAWALS:
        return WITHDRAWALS[effect], "a new version by its sender"
    return _first_open(links) or lonely.reason(report.id or 0)


def _first_open(links: Iterable[Link]) -> tuple[str, str] | None:
    found = list(links)
    for state in _OPEN_STATES:
        of_state = [link for link in found if link.state == state]
        if of_state:
            reasons = dict.fromkeys(link.reason for link in of_state)
            remedies = dict.fromkeys(str(link.evidence.get(WOULD_CHANGE, "")) for link in of_state)
            return f"{state}: {'; '.join(reasons)}", "; ".join(filter(None, remedies))
    return None


class _Lonely:
    """Reports that have nothing in common with any study: what they name, and what there is."""

    def __init__(self, session: Session, reports: Collection[int]) -> None:
        self._numbers: dict[int, set[str]] = {}
        self._named: set[int] = set()
        self._there: set[str] = set()
        for part in chunks(sorted(reports)):
            numbers = session.exec(
                select(ReportedAccession.report_id, ReportedAccession.accession_number).where(
                    col(ReportedAccession.report_id).in_(part)
                )
            )
            for key, number in numbers:
                self._numbers.setdefault(key, set()).add(number)
            named = select(ReportedStudy.report_id).where(col(ReportedStudy.report_id).in_(part))
            self._named.update(session.exec(named))
        wanted = {number for some in self._numbers.values() for number in some} - {""}
        for numbers_part in chunks(sorted(wanted)):
            there = select(Study.accession_number).where(
                col(Study.accession_number).in_(numbers_part)
            )
            self._there.update(session.exec(there))

    def reason(self, report_id: int) -> tuple[str, str]:
        """Return why a report without any link has none, and what would change that."""
        numbers = self._numbers.get(report_id, set()) - {""}
        if numbers & self._there:
            return _OTHER_ISSUER
        if not numbers and report_id not in self._named:
            return _NO_KEY
        key = "this accession number" if numbers else "this Study Instance UID"
        reason, remedy = _NO_STUDY
        return reason.format(key=key), remedy
