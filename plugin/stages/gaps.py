"""Stage: studies without reports and reports without studies, each with why."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.linking.decision import CONFIRMED, PROPOSED, REFUSED, SUSPENDED, WITHDRAWN
from dicom_node.linking.queries import unlinked_reports
from dicom_node.models import Instance, Link, Report, Series, Study
from dicom_node.reports.models import ReportedAccession
from dicom_node.reports.status import WITHOUT_TEXT
from dicom_node.solicited import solicited_studies
from dicom_node.studies import complete_studies, documents_only, studies_with_images
from plugin.errors import Permanent

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

# Of the links of a study or a report the one that is nearest to being confirmed says why.
_WHY = {
    SUSPENDED: "link suspended",
    PROPOSED: "link proposed",
    REFUSED: "link refused",
    WITHDRAWN: "link withdrawn",
}
NO_ACCESSION = "no accession number"
UNKNOWN_ACCESSION = "no report with this accession number"
UNKNOWN_STUDY = "no study with this accession number or UID"
OTHER_ISSUER = "accession number of another issuer"
NO_ISSUER = "nobody says whose accession number it is"
NOT_LINKED = "a report with this accession number is not linked"
WAITING = "waiting: images still come"
TAKEN_BACK = "the report was withdrawn or has no text"


def find_gaps(session: Session, since: str, name_of: Callable[[str], str] = str) -> dict[str, Any]:
    """Return studies without a confirmed link to a current report, and reports without one.

    Args:
        session: any session.
        since: the first Study Date, and day of a report's observation or else arrival, that counts,
            as YYYY-MM-DD; empty: all.
        name_of: one name for all names of an issuer.

    Returns:
        ``studies`` and ``reports`` with ``why``, and their numbers by modality, month and why in
        ``counts``.

    Raises:
        Permanent: ``since`` is no day.
    """
    first = _day(since)
    studies = _studies(session, first, name_of)
    reports = _reports(session, first)
    return {"counts": _counts(studies, reports), "studies": studies, "reports": reports}


def _day(text: str) -> str:
    if not text:
        return ""
    try:
        if _DAY.fullmatch(text) is None:
            raise ValueError(text)
        return f"{dt.date.fromisoformat(text):%Y%m%d}"
    except ValueError:
        raise Permanent("--since is a day such as 2026-01-31") from None


def _studies(session: Session, first: str, name_of: Callable[[str], str]) -> list[dict[str, Any]]:
    confirmed = set(
        session.exec(
            select(Link.study_instance_uid)
            .join(Report, col(Report.id) == col(Link.report_id))
            .where(
                Link.state == CONFIRMED,
                col(Report.is_current),
                col(Report.result_status).not_in(WITHOUT_TEXT),
            )
        )
    )
    lonely = [uid for uid in studies_with_images(session) if uid not in confirmed]
    states = _states(session, lonely)
    complete, asked = set(complete_studies(session)), solicited_studies(session, lonely)
    reported = _reported(session, name_of)
    modalities = _modalities(session, lonely)
    found = []
    for part in chunks(lonely):
        rows = session.exec(select(Study).where(col(Study.study_instance_uid).in_(part)))
        for study in rows:
            uid = study.study_instance_uid
            if (study.study_date or "99999999") < first:
                continue
            found.append(
                {
                    "study_instance_uid": uid,
                    "accession": study.accession_number,
                    "date": study.study_date,
                    "modality": modalities.get(uid, ""),
                    "asked_for": uid in asked,
                    "why": _why_study(study, states.get(uid, set()), complete, reported, name_of),
                }
            )
    return sorted(found, key=lambda each: (each["date"], each["study_instance_uid"]))


def _reported(session: Session, name_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Return whose the accession numbers of current reports with text are; empty: nobody says."""
    found: dict[str, set[str]] = {}
    rows = session.exec(
        select(ReportedAccession.accession_number, ReportedAccession.issuer)
        .join(Report, col(Report.id) == col(ReportedAccession.report_id))
        .where(col(Report.is_current), col(Report.result_status).not_in(WITHOUT_TEXT))
    )
    for number, issuer in rows:
        found.setdefault(number, set()).add(name_of(issuer) if issuer else "")
    return found


def _why_study(
    study: Study,
    states: set[str],
    complete: set[str],
    reported: dict[str, set[str]],
    name_of: Callable[[str], str],
) -> str:
    if known := next((why for state, why in _WHY.items() if state in states), ""):
        return known
    if CONFIRMED in states:
        return TAKEN_BACK
    if not study.accession_number:
        return NO_ACCESSION
    if issuers := reported.get(study.accession_number):
        issuer = study.issuer_of_accession_number
        if issuer and name_of(issuer) in issuers:
            return NOT_LINKED
        return NO_ISSUER if not issuer or "" in issuers else OTHER_ISSUER
    return UNKNOWN_ACCESSION if study.study_instance_uid in complete else WAITING


def _states(session: Session, studies: Iterable[str]) -> dict[str, set[str]]:
    """Return the states of the links to current reports, by study."""
    found: dict[str, set[str]] = {}
    for part in chunks(studies):
        rows = session.exec(
            select(Link.study_instance_uid, Link.state)
            .join(Report, col(Report.id) == col(Link.report_id))
            .where(col(Link.study_instance_uid).in_(part), col(Report.is_current))
        )
        for uid, state in rows:
            found.setdefault(uid, set()).add(state)
    return found


def _modalities(session: Session, studies: Iterable[str]) -> dict[str, str]:
    """Return the modalities of the images of studies; documents beside them say nothing."""
    found: dict[str, set[str]] = {}
    for part in chunks(studies):
        rows = session.exec(
            select(Series.study_instance_uid, Series.modality)
            .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
            .where(col(Series.study_instance_uid).in_(part), ~documents_only())
            .distinct()
        )
        for uid, modality in rows:
            found.setdefault(uid, set()).add(modality)
    return {uid: "/".join(sorted(some - {""})) for uid, some in found.items()}


def _reports(session: Session, first: str) -> list[dict[str, Any]]:
    found = []
    for number, reason in unlinked_reports(session):
        report = session.get_one(Report, number)
        date = report.observation_date[:8] or f"{report.received_at:%Y%m%d}"
        if date < first:
            continue
        found.append(
            {
                "report": number,
                "number": report.report_identity,
                "accession": report.accession_number,
                "date": date,
                "modality": report.modality,
                "why": _why_report(reason),
                "reason": reason,
            }
        )
    return sorted(found, key=lambda each: (each["date"], each["report"]))


def _why_report(reason: str) -> str:
    """Return the kind of a reason of :func:`unlinked_reports`, which says more in words."""
    for state, why in _WHY.items():
        if reason.startswith(f"{state}:"):
            return why
    if "neither an accession number" in reason:
        return NO_ACCESSION
    if "of another issuer" in reason:
        return OTHER_ISSUER
    return UNKNOWN_STUDY


def _counts(studies: list[dict[str, Any]], reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    numbers: Counter[tuple[str, str, str, str]] = Counter()
    for what, rows in (("study without report", studies), ("report without study", reports)):
        for row in rows:
            month = f"{row['date'][:4]}-{row['date'][4:6]}" if row["date"] else ""
            numbers[what, row["modality"], month, row["why"]] += 1
    return [
        {"gap": what, "modality": modality, "month": month, "why": why, "number": number}
        for (what, modality, month, why), number in sorted(numbers.items())
    ]
