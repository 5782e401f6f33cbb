"""What people decided about links (R13), and what reports of different patients do to one (R5).

A person's word is needed once where the rules only propose, and that of two different people where
the rules see a contradiction. A confirmation holds for the evidence that was seen; a withdrawal
holds until it is reverted, because it can make no wrong link.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dicom_node.linking import doubts
from dicom_node.linking.decision import (
    CONFIRMED,
    CONTESTED,
    PROPOSED,
    REFUSED,
    STRONG_KEYS,
    SUSPENDED,
    WITHDRAWN,
    WOULD_CHANGE,
    Decision,
)
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier, same_issuer

CONFIRM = "confirm"
WITHDRAW = "withdraw"
REVERT = "revert"
ACTIONS = (CONFIRM, WITHDRAW, REVERT)

PERSON = "person"

Key = TypeVar("Key", bound=Hashable)
"""What names a report: the id of a version, or its identity."""

PEOPLE_NEEDED = {CONFIRMED: 1, PROPOSED: 1, SUSPENDED: 2, REFUSED: 2, WITHDRAWN: 2}
"""How many different people it takes to confirm a link that the rules leave in a state."""

NOT_BY_PEOPLE = {
    "feed not accepted": "accept the profile of the feed first: radloop feed accept",
    "report rejected": "release the rejection note first: radloop documents release",
    "study frozen": "decide about the rejection note first: radloop documents confirm, or release",
}
"""Rules that no confirmation overrides, and what to do instead."""


@dataclass(frozen=True, slots=True)
class HumanDecision:
    """What a person decided about a report and a study.

    Args:
        study_instance_uid: the study.
        action: one of ``ACTIONS``.
        evidence_digest: of what the person saw (``Decision.evidence_digest``).
        decided_by: the person.
        reason: why.
    """

    study_instance_uid: str
    action: str
    evidence_digest: str
    decided_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the decisions of people about one report and study come to.

    Args:
        action: ``confirm``, ``withdraw``, or empty where nothing is in force.
        people: who is for it, in the order of their decisions, without repetition.
    """

    action: str = ""
    people: tuple[str, ...] = ()


def standing(human: Iterable[HumanDecision], study_instance_uid: str, digest: str) -> Standing:
    """Return what people decided about a study, on the evidence of ``digest``.

    Args:
        human: in the order in which it was decided.
        study_instance_uid: the study.
        digest: of the evidence as it is now.
    """
    found = Standing()
    for each in human:
        if each.study_instance_uid != study_instance_uid:
            continue
        if each.action == CONFIRM:
            # A confirmation on other evidence holds no more; it still ends a withdrawal.
            before = found.people if found.action == CONFIRM else ()
            people = _with(before, each.decided_by) if each.evidence_digest == digest else before
            found = Standing(CONFIRM, people) if people else Standing()
        elif each.action == WITHDRAW:
            found = Standing(WITHDRAW, (each.decided_by,))
        else:
            found = Standing()
    return found


def apply_people(decisions: Sequence[Decision], human: Sequence[HumanDecision]) -> list[Decision]:
    """Let the decisions of people about one report override those of the rules.

    Args:
        decisions: what the rules, and :func:`contested`, say about the report's candidates.
        human: all decisions of people about the report, in the order in which they were taken.
    """
    if not human:
        return list(decisions)
    return [_apply(each, human) for each in decisions]


def _apply(decision: Decision, human: Sequence[HumanDecision]) -> Decision:
    found = standing(human, decision.study_instance_uid, decision.evidence_digest)
    if not found.action:
        return decision
    by = ", ".join(found.people)
    evidence = decision.evidence | {"the rules said": decision.state, "people": list(found.people)}
    if found.action == WITHDRAW:
        reason = "a person withdrew the link"
        return replace(
            decision, state=WITHDRAWN, rule=PERSON, reason=reason, evidence=evidence, decided_by=by
        )
    if decision.state == CONFIRMED or decision.rule in NOT_BY_PEOPLE:
        return decision
    needed = PEOPLE_NEEDED[decision.state]
    if len(found.people) < needed:
        waiting = decision.evidence | {"confirmed by": list(found.people), "people needed": needed}
        return replace(decision, evidence=waiting)
    reason = f"confirmed by {'two people' if needed == 2 else 'a person'}: {decision.reason}"
    return replace(
        decision,
        state=CONFIRMED,
        rule=PERSON,
        reason=reason,
        evidence=_settled(evidence),
        decided_by=by,
    )


def _settled(evidence: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evidence.items() if name != WOULD_CHANGE}


def _with(people: tuple[str, ...], one: str) -> tuple[str, ...]:
    known = {each.strip().casefold() for each in people}
    return people if one.strip().casefold() in known else (*people, one.strip())


def contested(claims: Mapping[Key, Decision]) -> dict[Key, Decision]:
    """Suspend the links of a study that reports of different patients claim (R5).

    Only claims by Study Instance UID or qualified accession number count, of accepted feeds. One
    of the reports is about another study, or the study has the wrong patient: only a person can
    tell which.

    Args:
        claims: what the rules decided about one study, for each report; without those that a
            person withdrew.

    Returns:
        The new decisions; reports that keep theirs are left out.
    """
    serious = {key: each.seen[0] for key, each in claims.items() if each.seen and _is_serious(each)}
    if len(serious) < 2:
        return {}
    return {
        key: _contest(claims[key])
        for key, report in serious.items()
        if claims[key].state in (CONFIRMED, SUSPENDED)
        and any(different_patients(report.patients, each.patients) for each in serious.values())
    }


def settle(
    decided: Mapping[Key, Sequence[Decision]],
    reports: Mapping[Key, ReportEvidence],
    studies: Mapping[str, StudyEvidence],
    human: Mapping[Key, Sequence[HumanDecision]],
) -> dict[Key, list[Decision]]:
    """Apply to the decisions of the rules what stands above one report: R5, then people.

    Args:
        decided: what the linker says about each report.
        reports: the evidence of the reports.
        studies: the evidence of the studies, by Study Instance UID.
        human: what people decided about each report, in the order in which they did.
    """
    found: dict[Key, dict[str, Decision]] = {}
    claims: dict[str, dict[Key, Decision]] = {}
    for key, decisions in decided.items():
        found[key] = {}
        for each in decisions:
            uid = each.study_instance_uid
            if each.seen is None:
                each = replace(each, seen=(reports[key], studies[uid]))
            found[key][uid] = each
            if standing(human.get(key, ()), uid, "").action != WITHDRAW:
                claims.setdefault(uid, {})[key] = each
    for uid, of_study in claims.items():
        if len(of_study) > 1:
            for key, changed in contested(of_study).items():
                found[key][uid] = changed
    return {
        key: apply_people(list(each.values()), human.get(key, ())) for key, each in found.items()
    }


def different_patients(one: Iterable[Identifier], other: Iterable[Identifier]) -> bool:
    """Tell whether two sets of identifiers share an issuer, and no identifier of any such issuer.

    Sets without a common issuer cannot be told apart, and are not known to differ.
    """
    second = [each for each in other if each.value]
    comparable = [
        (each, rival) for each in one if each.value for rival in second if same_issuer(each, rival)
    ]
    return bool(comparable) and all(each != rival for each, rival in comparable)


def _is_serious(decision: Decision) -> bool:
    accepted = decision.seen is not None and decision.seen[0].feed_accepted
    return accepted and decision.found_by in STRONG_KEYS


def _contest(decision: Decision) -> Decision:
    reason, remedy = doubts.CONTESTED
    evidence = decision.evidence | {"requirement": "R5", WOULD_CHANGE: remedy}
    return replace(decision, state=SUSPENDED, rule=CONTESTED, reason=reason, evidence=evidence)
