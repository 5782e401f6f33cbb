"""Freezing a cohort: who is in, with which targets and fold, and why everybody else is not.

A training or validation member has a confirmed link to one current, final report that the given
labeling run has read. A test member's targets come from image-level reference labels of human
readers and from nothing else: those that were sampled, blinded and adjudicated, unless a person
accepted others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from dicom_node.models import Report
from dicom_node.reports.status import FINAL_STATUSES
from labeling.models import LabelingRun
from labeling.vocabulary import State
from training.errors import Permanent
from training.evidence import CohortQuery, Evidence, States, gather
from training.folds import check_folds
from training.impact import ERASURE, Artefact, notes_of
from training.manifest import content, digest_of
from training.models import Cohort, CohortMember
from training.patients import NameOfIssuer
from training.selection import LinkedReport, final_reports
from training.settings import TrainingSettings
from training.targets import Targets, targets_of, usable

__all__ = ["CohortQuery", "exclusions", "freeze", "manifest", "members_of", "superseded"]


def freeze(
    session: Session,
    query: CohortQuery,
    settings: TrainingSettings,
    clock: Clock,
    salt: bytes,
    complete_study_uids: Collection[str] | None = None,
    name_of: NameOfIssuer = str,
) -> Cohort:
    """Freeze the cohort of a query: one row a study, a member or an exclusion with its reason.

    The same content frozen twice is one cohort: the earlier row is returned.

    Args:
        session: a writing session, so that no link changes meanwhile; the caller commits.
        query: what the cohort is made of.
        settings: shares of the folds, and the uncertain policy where the query has none.
        clock: gives the time of freezing.
        salt: the secret of the patient keys; another salt gives other keys and folds.
        complete_study_uids: studies that are complete; None: do not ask.
        name_of: the one name of an issuer that has several.

    Raises:
        Permanent: the labeling run is unknown or used another schema, the salt is empty, or a
            patient would be in two folds.
    """
    run = session.get(LabelingRun, query.run_id)
    if run is None:
        raise Permanent("there is no labeling run with this id")
    if run.schema_digest != query.schema.digest:
        raise Permanent("the labeling run used another version of the label schema")
    query = replace(query, uncertain_policy=query.uncertain_policy or settings.uncertain_policy)
    gathered = gather(session, query, settings, salt, complete_study_uids, name_of)
    members = [_member(uid, each, query) for uid, each in gathered.items()]
    check_folds((each.patient_key, each.fold) for each in members if each.fold)
    cohort = Cohort(
        digest="",
        name=query.name,
        schema_name=query.schema.name,
        schema_digest=query.schema.digest,
        labeling_run_id=query.run_id,
        query=_query_record(query, settings),
        frozen_at=clock(),
    )
    cohort.digest = digest_of(content(cohort, run, members))
    return _store(session, cohort, members)


def members_of(session: Session, cohort: Cohort) -> list[CohortMember]:
    """Return the rows of a cohort, members and exclusions, by Study Instance UID."""
    rows = session.exec(
        select(CohortMember)
        .where(CohortMember.cohort_id == cohort.id)
        .order_by(col(CohortMember.study_instance_uid))
    )
    return list(rows)


def exclusions(session: Session, cohort: Cohort) -> dict[str, int]:
    """Return how many studies each reason kept out, the most frequent first."""
    counts: dict[str, int] = {}
    for member in members_of(session, cohort):
        if member.exclusion_reason:
            counts[member.exclusion_reason] = counts.get(member.exclusion_reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def manifest(session: Session, cohort: Cohort) -> dict[str, Any]:
    """Return the cohort as a dict for JSON: what the digest covers, and digests of the reports.

    ``superseded`` tells which members no longer stand; the digest does not cover it.

    Raises:
        Permanent: the rows no longer give the cohort's digest: they were changed after freezing.
    """
    run = session.get(LabelingRun, cohort.labeling_run_id)
    members = members_of(session, cohort)
    if run is None or digest_of(content(cohort, run, members)) != cohort.digest:
        raise Permanent("the rows of this cohort no longer match its digest")
    texts = session.exec(
        select(Report.id, Report.text)
        .join(CohortMember, col(CohortMember.report_id) == col(Report.id))
        .where(CohortMember.cohort_id == cohort.id)
    )
    reports = {str(key): hashlib.sha256(text.encode()).hexdigest() for key, text in texts}
    return {
        "digest": cohort.digest,
        "frozen_at": cohort.frozen_at.isoformat(),
        "superseded": superseded(session, cohort),
        "report_sha256": reports,
        **content(cohort, run, members),
    }


def superseded(session: Session, cohort: Cohort) -> list[dict[str, Any]]:
    """Return what was noted about members that no longer stand, and how many were erased."""
    newest = {
        (each.study_instance_uid, each.source_id if each.cause == ERASURE else 0): each
        for each in notes_of(session, Artefact.MEMBER, cohort.id or 0)
    }
    return [
        {
            "study_instance_uid": each.study_instance_uid,
            "members": each.count,
            "cause": each.cause,
            "noted_at": each.noted_at.isoformat(),
        }
        for _, each in sorted(newest.items())
        if each.stale
    ]


def _member(uid: str, evidence: Evidence, query: CohortQuery) -> CohortMember:
    """Decide on one study: a member with fold and targets, or an exclusion with its reason."""
    test = evidence.fold == "test"
    states = evidence.reference if test else evidence.labels
    # A reader's "uncertain" is never turned into truth for a test.
    policy = "mask" if test else query.uncertain_policy or "mask"
    targets = targets_of(states or {}, query.schema, policy)
    reason = _exclusion(evidence, targets, query)
    return CohortMember(
        cohort_id=0,
        study_instance_uid=uid,
        patient_key=evidence.key,
        report_id=evidence.report.report_id if evidence.report and not reason else None,
        images_digest="" if reason else evidence.images_digest,
        fold="" if reason or evidence.fold is None else evidence.fold,
        targets={} if reason else targets,
        exclusion_reason=reason,
    )


def _exclusion(evidence: Evidence, targets: Targets, query: CohortQuery) -> str:
    """Return the first reason that keeps a study out, or an empty text."""
    test = evidence.fold == "test"
    needs_report = not test or not query.include_reference_only_tests
    reasons = (
        (not evidence.key, "no patient id with its issuer"),
        (evidence.frozen, "study frozen: an object of it is in quarantine"),
        (not evidence.complete, "study not complete"),
        (not evidence.images_digest, "no image series that fits"),
        (
            test and evidence.other_reference,
            "reference labels that were not sampled, blinded and adjudicated",
        ),
        (test and not evidence.reference, "test patient without reference labels"),
        (needs_report and evidence.report is None, _report_fault(evidence.links)),
        (not test and not evidence.labels, "report not labelled by this run"),
        (not test and _failed(evidence.labels), "label failed"),
        (not usable(targets), "no usable target"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _report_fault(links: tuple[LinkedReport, ...]) -> str:
    reasons = (
        (not links, "no linked report"),
        (not any(each.confirmed for each in links), "link not confirmed"),
        (not final_reports(links), "report not final"),
        (len(final_reports(links)) > 1, "several final reports"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _failed(labels: States | None) -> bool:
    return bool(labels) and all(state is State.FAILED for state in (labels or {}).values())


def _query_record(query: CohortQuery, settings: TrainingSettings) -> dict[str, Any]:
    return {
        "modality": query.modality,
        "body_parts": list(query.body_parts),
        "series_description": query.series_description,
        "uncertain_policy": query.uncertain_policy,
        "include_reference_only_tests": query.include_reference_only_tests,
        "lock_reference_patients": query.lock_reference_patients,
        "validation_share": settings.validation_share,
        "test_share": settings.test_share,
        "result_statuses": sorted(FINAL_STATUSES),
        # Only where there is something to say: earlier cohorts keep their digests.
        **({"accepted": sorted(query.accepted)} if query.accepted else {}),
        **({"uncalibrated": sorted(query.uncalibrated)} if query.uncalibrated else {}),
        **({"unjudged": sorted(query.unjudged)} if query.unjudged else {}),
    }


def _store(session: Session, cohort: Cohort, members: list[CohortMember]) -> Cohort:
    known = session.exec(select(Cohort).where(Cohort.digest == cohort.digest)).first()
    if known is not None:
        return known
    session.add(cohort)
    session.flush()
    if cohort.id is None:
        raise Permanent("the database gave the cohort no id")
    for member in members:
        member.cohort_id = cohort.id
    session.add_all(members)
    session.flush()
    return cohort
