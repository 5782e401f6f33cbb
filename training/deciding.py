"""From what is known of a study to a row of a cohort: a member, or an exclusion with its reason."""

from __future__ import annotations

from labeling.vocabulary import WHOLE, State
from training.evidence import Evidence, States
from training.models import CohortMember
from training.query import CohortQuery
from training.selection import LinkedReport, final_reports
from training.targets import Targets, target, targets_of, usable
from training.typed_targets import Details, details_of


def decided(uid: str, evidence: Evidence, query: CohortQuery) -> CohortMember:
    """Decide on one study: a member with fold and targets, or an exclusion with its reason."""
    test = evidence.fold == "test"
    states = evidence.reference if test else evidence.labels
    # A reader's "uncertain" is never turned into truth for a test.
    policy = "mask" if test else query.uncertain_policy or "mask"
    targets = targets_of(
        states or {}, query.schema, policy, evidence.probabilities, own_policies=not test
    )
    reason = _exclusion(evidence, targets, query)
    return CohortMember(
        cohort_id=0,
        study_instance_uid=uid,
        patient_key=evidence.key,
        report_id=evidence.report.report_id if evidence.report and not reason else None,
        images_digest="" if reason else evidence.images_digest,
        fold="" if reason or evidence.fold is None else evidence.fold,
        targets={} if reason else targets,
        details={} if reason or test else _details(evidence, query),
        exclusion_reason=reason,
    )


def _exclusion(evidence: Evidence, targets: Targets, query: CohortQuery) -> str:
    """Return the first reason that keeps a study out, or an empty text."""
    test = evidence.fold == "test"
    needs_report = not test or not query.include_reference_only_tests
    reasons = (
        (not evidence.key, "no patient id with its issuer"),
        (bool(evidence.refusal), evidence.refusal),
        (evidence.frozen, "study frozen: an object of it is in quarantine"),
        (not evidence.complete, "study not complete"),
        (not evidence.images_digest, _no_images(evidence)),
        (
            test and evidence.other_reference,
            "reference labels that were not sampled, blinded and adjudicated",
        ),
        (test and not evidence.reference, "test patient without reference labels"),
        (needs_report and evidence.report is None, _report_fault(evidence.links)),
        (_unreviewed(evidence, query), "link not reviewed by a person"),
        (not test and not evidence.labels, "report not labelled by this run"),
        (not test and _failed(evidence.labels), "label failed"),
        (not usable(targets), "no usable target"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _details(evidence: Evidence, query: CohortQuery) -> Details:
    states = evidence.labels or {}
    presence = {
        each.id: target(
            states.get((each.id, WHOLE)),
            each.uncertain_policy or query.uncertain_policy or "mask",
            evidence.probabilities.get((each.id, WHOLE)),
        )
        for each in query.schema.observations
        if any(site != WHOLE for site in each.sites)
    }
    return details_of(states, evidence.said, query.schema, presence)


def _no_images(evidence: Evidence) -> str:
    reason = "no image series that fits"
    return f"{reason}: {evidence.no_images}" if evidence.no_images else reason


def _unreviewed(evidence: Evidence, query: CohortQuery) -> bool:
    if query.minimum_link != "reviewed" or evidence.report is None:
        return False
    return not evidence.report.reviewed


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
