"""Freezing a cohort: who is in, with which targets and fold, and why everybody else is not.

A training or validation member has a confirmed link to one current, final report that the given
labeling run has read. A test member's targets come from image-level reference labels of human
readers and from nothing else: those that were sampled, blinded and adjudicated, unless a person
accepted others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from dicom_node.models import Report
from labeling.models import LabelingRun
from training.deciding import decided
from training.errors import Permanent
from training.evidence import Evidence, gather
from training.folds import check_folds
from training.guard import guarded
from training.impact import ERASURE, Artefact, notes_of
from training.manifest import content, digest_of, labels_digest, text_digest
from training.models import Cohort, CohortMember
from training.patients import NameOfIssuer
from training.query import CohortQuery
from training.selection import image_digests
from training.settings import TrainingSettings
from training.soft import need_probabilities
from training.standing import Fault

__all__ = [
    "CohortQuery",
    "draft",
    "exclusions",
    "freeze",
    "manifest",
    "members_of",
    "superseded",
    "withdrawn",
]


def freeze(
    session: Session,
    query: CohortQuery,
    settings: TrainingSettings,
    clock: Clock,
    salt: bytes,
    complete_study_uids: Collection[str] | None = None,
    name_of: NameOfIssuer = str,
    code: Mapping[str, str] | None = None,
) -> Cohort:
    """Freeze the cohort of a query: one row a study, a member or an exclusion with its reason.

    The same content frozen twice by the same code is one cohort: the earlier row is returned.

    Args:
        session: a writing session, so that no link changes meanwhile; the caller commits.
        query: what the cohort is made of.
        settings: shares of the folds, and the uncertain policy where the query has none.
        clock: gives the time of freezing.
        salt: the secret of the patient keys; another salt gives other keys and folds.
        complete_study_uids: studies that are complete; None: do not ask.
        name_of: the one name of an issuer that has several.
        code: what the cohort says of the code that made it: ``version`` and ``source_sha256``.

    Raises:
        Permanent: the labeling run is unknown or used another schema, has no probabilities where
            the policy "soft" needs them, the salt is empty, or a patient would be in two folds.
        LeakFound: a person or a picture may be on two sides (``training.leaks``).
    """
    query = _with_settings(query, settings)
    run = _run_of(session, query)
    without = need_probabilities(session, run, query.schema, query.uncertain_policy or "mask")
    gathered = gather(session, query, settings, salt, complete_study_uids, name_of)
    rows = _drafted(gathered, query)
    seen = guarded(session, rows, query, name_of)
    members = [each for each in rows if not each.exclusion_reason]
    check_folds((each.patient_key, each.fold) for each in members)
    _say_what_of(session, query, members, gathered, seen.texts)
    record = query.record(settings, salt, name_of)
    cohort = Cohort(
        digest="",
        name=query.name,
        schema_name=query.schema.name,
        schema_digest=query.schema.digest,
        labeling_run_id=query.run_id,
        query={**record, **({"masked_without_probability": list(without)} if without else {})},
        provenance={
            "labeling_run": {
                "question_digest": run.question_digest,
                "calibration_digest": run.calibration_digest,
                "model_name": run.model_name,
            },
            "leak_tests": seen.record,
            **({"code": dict(code)} if code else {}),
        },
        frozen_at=clock(),
    )
    cohort.digest = digest_of(content(cohort, run, rows))
    return _store(session, cohort, rows)


def draft(
    session: Session,
    query: CohortQuery,
    settings: TrainingSettings,
    salt: bytes,
    complete_study_uids: Collection[str] | None = None,
    name_of: NameOfIssuer = str,
) -> list[CohortMember]:
    """Return the members that a freeze would begin with, before its leak tests; nothing is stored.

    The arguments are those of :func:`freeze`.
    """
    query = _with_settings(query, settings)
    _run_of(session, query)
    gathered = gather(session, query, settings, salt, complete_study_uids, name_of)
    return [each for each in _drafted(gathered, query) if not each.exclusion_reason]


def _with_settings(query: CohortQuery, settings: TrainingSettings) -> CohortQuery:
    return replace(
        query,
        uncertain_policy=query.uncertain_policy or settings.uncertain_policy,
        reports_after_delivery=query.reports_after_delivery or settings.reports_after_delivery,
    )


def _run_of(session: Session, query: CohortQuery) -> LabelingRun:
    run = session.get(LabelingRun, query.run_id)
    if run is None:
        raise Permanent("there is no labeling run with this id")
    if run.schema_digest != query.schema.digest:
        raise Permanent("the labeling run used another version of the label schema")
    return run


def _drafted(gathered: Mapping[str, Evidence], query: CohortQuery) -> list[CohortMember]:
    return [decided(uid, each, query) for uid, each in gathered.items()]


def _say_what_of(
    session: Session,
    query: CohortQuery,
    members: Collection[CohortMember],
    gathered: Mapping[str, Evidence],
    texts: Mapping[int, str],
) -> None:
    """Write into members the digests of their report, their labels and each of their images."""
    images = image_digests(session, query.rule, {each.study_instance_uid for each in members})
    for each in members:
        evidence = gathered[each.study_instance_uid]
        test = each.fold == "test"
        each.images = images[each.study_instance_uid]
        each.report_sha256 = texts.get(each.report_id or 0, "")
        each.labels_sha256 = labels_digest(
            (evidence.reference if test else evidence.labels) or {},
            {} if test else evidence.probabilities,
            {} if test else evidence.said,
        )


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

    ``superseded`` tells which members no longer stand, ``withdrawn`` how many patients' members
    were erased or have opted out, and nothing else about them; the digest covers neither.

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
        .where(CohortMember.cohort_id == cohort.id, CohortMember.report_sha256 == "")
    )
    # Earlier cohorts did not keep them.
    reports = {str(key): text_digest(text) for key, text in texts}
    reports |= {str(each.report_id): each.report_sha256 for each in members if each.report_sha256}
    return {
        "digest": cohort.digest,
        "frozen_at": cohort.frozen_at.isoformat(),
        "superseded": superseded(session, cohort),
        "withdrawn": withdrawn(session, cohort),
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


def withdrawn(session: Session, cohort: Cohort) -> list[dict[str, Any]]:
    """Return how many members were erased or belong to patients who have opted out since, and when.

    These are the tombstones of a manifest: they name nobody.
    """
    found: dict[tuple[str, str], int] = {}
    for each in superseded(session, cohort):
        if each["cause"] in (ERASURE, Fault.OPTED_OUT):
            key = str(each["cause"]), str(each["noted_at"])
            found[key] = found.get(key, 0) + int(each["members"])
    return [
        {"cause": cause, "members": number, "noted_at": noted_at}
        for (cause, noted_at), number in sorted(found.items(), key=lambda item: item[0][::-1])
    ]


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
