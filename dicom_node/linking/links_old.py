"""Link reports to studies: gather the evidence, let the linker decide, keep the decision.

Whichever of the two comes later brings them together. A new report version takes over from the
older ones, whose links are withdrawn. A decision of a person is never overwritten.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from dicom_node.database import Clock
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identity import Identifier, merged_with, surviving
from dicom_node.linking.queries import WITHDRAWALS, explain, link_counts, unlinked_reports
from dicom_node.linking.rules import WITHDRAWN, Decision, decide
from dicom_node.models import Link, PatientAlias, Report, ReportedStudy, Study
from dicom_node.reports.status import EFFECTS, WITHOUT_TEXT, Effect
from dicom_node.settings import LinkingSettings

__all__ = [
    "Decision",
    "Linker",
    "ReportEvidence",
    "StudyEvidence",
    "decide",
    "explain",
    "link_counts",
    "link_patient",
    "link_report",
    "link_study",
    "unlinked_reports",
    "withdraw_links",
]

Linker = Callable[[ReportEvidence, Sequence[StudyEvidence], LinkingSettings], list[Decision]]
"""What stands behind the entry point group ``radloop.linkers``."""

_AUTOMATIC = "radloop"


def link_report(
    session: Session,
    report: Report,
    settings: LinkingSettings,
    clock: Clock,
    linker: Linker = decide,
) -> list[Link]:
    """Decide about every study that has something in common with a report version.

    Links of the other versions of the report are withdrawn. A version that is not current, or
    that has no text (withdrawn, cancelled), gets none.

    Returns:
        The links of this version, changed or not.
    """
    session.flush()
    if not report.is_current:
        return []
    _withdraw_others(session, report, clock)
    if report.result_status in WITHOUT_TEXT:
        return []
    studies = [_study_evidence(session, each, settings) for each in _candidates(session, report)]
    decisions = linker(_report_evidence(session, report, settings), studies, settings)
    return _keep(session, report, decisions, clock)


def link_study(
    session: Session,
    study: Study,
    settings: LinkingSettings,
    clock: Clock,
    linker: Linker = decide,
) -> list[Link]:
    """Decide again about every current report that has something in common with a study."""
    session.flush()
    uid = study.study_instance_uid
    named = select(ReportedStudy.report_id).where(ReportedStudy.study_instance_uid == uid)
    linked = select(Link.report_id).where(Link.study_instance_uid == uid)
    ways: list[ColumnElement[bool]] = [col(Report.id).in_(named), col(Report.id).in_(linked)]
    if study.accession_number:
        ways.append(col(Report.accession_number) == study.accession_number)
    reports = session.exec(
        select(Report).where(col(Report.is_current), or_(*ways)).order_by(col(Report.id))
    ).all()
    found = [
        link for each in reports for link in link_report(session, each, settings, clock, linker)
    ]
    return [link for link in found if link.study_instance_uid == uid]


def link_patient(
    session: Session,
    alias: PatientAlias,
    settings: LinkingSettings,
    clock: Clock,
    linker: Linker = decide,
) -> None:
    """Decide again about the reports and studies of two patients that were merged."""
    session.flush()
    prior = Identifier(alias.prior_patient_id, alias.prior_issuer, alias.prior_issuer_assumed)
    values = {each.value for each in merged_with(session, prior)}
    reports = session.exec(
        select(Report).where(col(Report.is_current), col(Report.patient_id).in_(values))
    ).all()
    for report in reports:
        link_report(session, report, settings, clock, linker)
    for study in session.exec(select(Study).where(col(Study.patient_id).in_(values))).all():
        link_study(session, study, settings, clock, linker)


def withdraw_links(
    session: Session, study_instance_uid: str, reason: str, now: dt.datetime
) -> None:
    """Withdraw every link of a study, those that a person decided included."""
    session.flush()
    links = session.exec(
        select(Link).where(Link.study_instance_uid == study_instance_uid, Link.state != WITHDRAWN)
    ).all()
    for link in links:
        _withdraw(session, link, reason, lambda: now)


def _candidates(session: Session, report: Report) -> list[Study]:
    ways: list[ColumnElement[bool]] = [
        col(Study.study_instance_uid).in_(report.study_instance_uids)
    ]
    if report.accession_number:
        ways.append(col(Study.accession_number) == report.accession_number)
    return list(session.exec(select(Study).where(or_(*ways))))


def _patient(session: Session, identifier: Identifier, settings: LinkingSettings) -> Identifier:
    """Follow merges, first as the identifier stands, then with its trusted issuer."""
    survivor = surviving(session, identifier)
    trusted = survivor.trusted(settings.trusted_assumed_issuers)
    return survivor if trusted == survivor else surviving(session, trusted)


def _report_evidence(session: Session, report: Report, settings: LinkingSettings) -> ReportEvidence:
    patients = (Identifier(**each) for each in report.patient_identifiers)
    return ReportEvidence(
        study_instance_uids=frozenset(report.study_instance_uids),
        feed_accepted=True,
        accessions=(
            Identifier(
                report.accession_number,
                report.issuer_of_accession_number,
                report.accession_issuer_assumed,
            ).trusted(settings.trusted_assumed_issuers),
        ),
        patients=frozenset(_patient(session, each, settings) for each in patients),
        name=report.patient_name,
        birth_date=report.patient_birth_date,
        sex=report.patient_sex,
        observation_date=report.observation_date,
    )


def _study_evidence(session: Session, study: Study, settings: LinkingSettings) -> StudyEvidence:
    patient = Identifier(study.patient_id, study.issuer_of_patient_id, study.issuer_assumed)
    return StudyEvidence(
        study_instance_uid=study.study_instance_uid,
        accession=Identifier(
            study.accession_number,
            study.issuer_of_accession_number,
            study.accession_issuer_assumed,
        ).trusted(settings.trusted_assumed_issuers),
        patient=_patient(session, patient, settings),
        name=study.patient_name,
        birth_date=study.patient_birth_date,
        sex=study.patient_sex,
        study_date=study.study_date,
    )


def _withdraw_others(session: Session, report: Report, clock: Clock) -> None:
    """Withdraw the links of the other versions, and of this one where it has no text."""
    effect = EFFECTS.get(report.result_status, Effect.FINAL)
    reason = WITHDRAWALS.get(effect, f"superseded by version {report.version} of the report")
    links = session.exec(
        select(Link)
        .join(Report, col(Report.id) == col(Link.report_id))
        .where(
            Report.report_identity == report.report_identity,
            Link.state != WITHDRAWN,
            or_(col(Report.id) != report.id, col(Report.result_status).in_(WITHOUT_TEXT)),
        )
    ).all()
    for link in links:
        _withdraw(session, link, reason, clock)


def _withdraw(session: Session, link: Link, reason: str, clock: Clock) -> None:
    link.state, link.reason, link.decided_at = WITHDRAWN, reason, clock()
    link.decided_by = _AUTOMATIC
    session.add(link)


def _keep(
    session: Session, report: Report, decisions: Iterable[Decision], clock: Clock
) -> list[Link]:
    """Write the decisions that are new or changed; leave those of a person alone."""
    rows = session.exec(select(Link).where(Link.report_id == report.id)).all()
    known = {link.study_instance_uid: link for link in rows}
    for decision in decisions:
        uid = decision.study_instance_uid
        link = known.pop(uid, None) or Link(
            report_id=report.id or 0,
            study_instance_uid=uid,
            state="",
            rule="",
            reason="",
            decided_at=clock(),
        )
        _apply(session, link, decision, clock)
    for link in known.values():
        if link.decided_by == _AUTOMATIC and link.state != WITHDRAWN:
            _withdraw(session, link, "the study has nothing in common with the report now", clock)
    session.flush()
    return list(session.exec(select(Link).where(Link.report_id == report.id)))


def _apply(session: Session, link: Link, decision: Decision, clock: Clock) -> None:
    said = (decision.state, decision.rule, decision.reason, decision.evidence)
    if link.decided_by != _AUTOMATIC or said == (link.state, link.rule, link.reason, link.evidence):
        return
    link.state, link.rule, link.reason, link.evidence = said
    link.decided_at = clock()
    session.add(link)
