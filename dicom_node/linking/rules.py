"""Decide which report belongs to which study: evidence in, decision out.

A link is confirmed by two independent agreements: a Study Instance UID or an accession number with
the same issuer, said by the report or by its order, and a patient identifier with the same issuer,
after merges. One contradiction refuses it. Where candidates belong to different patients, none is
linked. The first rule of ``RULES`` that applies decides; the last of them confirms.

The decisions depend on the report and all its candidates, never on the order in which they came.
There is no score and no nearest match: recall is given up for precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.linking import doubts
from dicom_node.linking.decision import (
    ACCESSION_VIA_ORDER,
    AMBIGUOUS,
    BARE_ACCESSION,
    CONFIRMED,
    PROPOSED,
    QUALIFIED_ACCESSION,
    REFUSED,
    RULE_VERSION,
    STRONG_KEYS,
    STUDY_UID,
    STUDY_UID_VIA_ORDER,
    SUSPENDED,
    WOULD_CHANGE,
    Decision,
)
from dicom_node.linking.evidence import (
    Match,
    ReportEvidence,
    StudyEvidence,
    clock_is_sound,
    compare_accession,
    compare_birth_date,
    compare_body_part,
    compare_date,
    compare_modality,
    compare_name,
    compare_patient,
    compare_sex,
)
from dicom_node.linking.identifiers import Identifier, same_issuer
from dicom_node.settings import LinkingSettings


@dataclass(slots=True)
class Case:
    """A report and one study that it may belong to, with all comparisons."""

    report: ReportEvidence
    study: StudyEvidence
    key: str
    comparisons: dict[str, Match]
    rivals: tuple[str, ...] = ()  # the candidates, where they belong to different patients

    @property
    def contradictions(self) -> list[str]:
        """The fields in which report and study contradict each other."""
        return [name for name, match in self.comparisons.items() if match is Match.UNEQUAL]

    @property
    def patient_agrees(self) -> bool:
        """Whether both name the same patient."""
        return self.comparisons["patient identifier"] is Match.EQUAL

    @property
    def names_other_studies(self) -> bool:
        """Whether the report itself names studies by UID, and this is not one of them."""
        named = self.report.study_instance_uids
        return bool(named) and self.study.study_instance_uid not in named

    @property
    def patient(self) -> tuple[str, ...]:
        """The patient: the report's own, another one, or one that cannot be told apart."""
        if self.patient_agrees:
            return ()
        who = self.study.patient
        if who.value:
            return (who.value, who.issuer, str(who.issuer_assumed))
        return (self.study.study_instance_uid,)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of decisions.

    Args:
        name: as it is stored with a link; empty: the key by which the study was found.
        requirement: the rule of the safety case that it stands for.
        state: what it makes of the link.
        applies: whether it is about a case.
        words: the reason and what would change it.
    """

    name: str
    requirement: str
    state: str
    applies: Callable[[Case], bool]
    words: Callable[[Case], tuple[str, str]]


RULES = (
    Rule(AMBIGUOUS, "R4", REFUSED, lambda case: bool(case.rivals), lambda case: doubts.AMBIGUOUS),
    Rule(
        "contradiction",
        "R2",
        REFUSED,
        lambda case: Match.UNEQUAL in case.comparisons.values(),
        lambda case: doubts.contradiction(case.contradictions),
    ),
    Rule(
        "report rejected",
        "R6",
        REFUSED,
        lambda case: case.report.rejected,
        lambda _case: doubts.REJECTED,
    ),
    Rule(
        "feed not accepted",
        "R1",
        PROPOSED,
        lambda case: not case.report.feed_accepted,
        lambda case: doubts.FEED,
    ),
    Rule(
        "other studies named",
        "R2",
        PROPOSED,
        lambda case: case.names_other_studies,
        lambda case: doubts.OTHER_STUDIES,
    ),
    Rule(
        BARE_ACCESSION,
        "R1",
        PROPOSED,
        lambda case: case.key not in STRONG_KEYS,
        lambda case: doubts.issuer(
            "accession number", _of_value(case), case.study.accession, "issuer_of_accession_number"
        ),
    ),
    Rule(
        "patient not agreed",
        "R2",
        PROPOSED,
        lambda case: not case.patient_agrees,
        lambda case: doubts.patient(case.report, case.study),
    ),
    Rule(
        "patient suspended",
        "R7",
        SUSPENDED,
        lambda case: bool(case.report.suspended or case.study.suspended),
        lambda case: doubts.suspended(case.report, case.study),
    ),
    Rule(
        "study frozen",
        "R6",
        SUSPENDED,
        lambda case: bool(case.study.frozen),
        lambda case: doubts.frozen(case.study),
    ),
    Rule("", "R2", CONFIRMED, lambda case: True, lambda case: (STRONG_KEYS[case.key], "")),
)
"""The first row that applies decides."""


def decide(
    report: ReportEvidence, studies: Sequence[StudyEvidence], settings: LinkingSettings
) -> list[Decision]:
    """Decide about each study that has something in common with the report.

    Args:
        report: the evidence of one report version.
        studies: the evidence of every study with one of its accession numbers or named by it,
            or by its orders.
        settings: the width of the date window and the tolerance of clocks.

    Returns:
        One decision per candidate, ordered by Study Instance UID. Studies that share neither
        UID nor accession number, or whose accession number has another issuer, get none.
    """
    if len(studies) > 1:
        studies = sorted(studies, key=lambda each: each.study_instance_uid)
    found = (_case(report, each, settings) for each in studies)
    cases = [each for each in found if each is not None]
    if len(cases) > 1:
        _mark_rivals(cases)
    return [_judge(each, settings) for each in cases]


def _judge(case: Case, settings: LinkingSettings) -> Decision:
    rule = next(each for each in RULES if each.applies(case))
    reason, remedy = rule.words(case)
    evidence: dict[str, Any] = {name: match.value for name, match in case.comparisons.items()}
    evidence["found by"] = case.key
    evidence["requirement"] = rule.requirement
    evidence["rule version"] = RULE_VERSION
    if not clock_is_sound(case.report, settings.clock_skew_seconds):
        evidence["clock"] = "not relied on"
    if remedy:
        evidence[WOULD_CHANGE] = remedy
    if case.rivals:
        evidence["candidates"] = list(case.rivals)
    uid = case.study.study_instance_uid
    seen = (case.report, case.study)
    return Decision(uid, rule.state, rule.name or case.key, reason, evidence, "", seen)


def _mark_rivals(cases: Sequence[Case]) -> None:
    """Mark the candidates that belong to different patients (R4).

    A study that merely has the same bare number, and contradicts the report, rivals nobody.
    """
    strong = [each for each in cases if each.key in STRONG_KEYS]
    plausible = [each for each in cases if each.key not in STRONG_KEYS and not each.contradictions]
    for group in (strong, plausible):
        if len({each.patient for each in group}) > 1:
            rivals = tuple(each.study.study_instance_uid for each in group)
            for each in group:
                each.rivals = rivals


def _case(report: ReportEvidence, study: StudyEvidence, settings: LinkingSettings) -> Case | None:
    key = _common_key(report, study)
    if not key:
        return None
    own = compare_accession(report.accessions, study.accession)
    if own is Match.UNKNOWN and report.order_accessions:
        own = compare_accession(report.order_accessions, study.accession)
    skew = settings.clock_skew_seconds
    comparisons = {
        "patient identifier": compare_patient(report, study),
        "accession number": own,
        "birth date": compare_birth_date(report, study),
        "sex": compare_sex(report, study),
        "study date": compare_date(report, study, settings.date_window_days, skew),
        "modality": compare_modality(report, study),
        "body part": compare_body_part(report, study),
        "patient name": compare_name(report, study),
    }
    return Case(report, study, key, comparisons)


def _common_key(report: ReportEvidence, study: StudyEvidence) -> str:
    """Return the strongest thing that makes the study a candidate, or an empty text."""
    uid, accession = study.study_instance_uid, study.accession
    if uid in report.study_instance_uids:
        return STUDY_UID
    if _names(report.accessions, accession):
        return QUALIFIED_ACCESSION
    if uid in report.order_study_instance_uids:
        return STUDY_UID_VIA_ORDER
    if _names(report.order_accessions, accession):
        return ACCESSION_VIA_ORDER
    if any(
        each.value == accession.value and not _elsewhere(each, accession)
        for each in (*report.accessions, *report.order_accessions)
        if each.value
    ):
        return BARE_ACCESSION
    return ""


def _names(said: Sequence[Identifier], accession: Identifier) -> bool:
    return bool(accession.value) and any(
        each.value == accession.value and same_issuer(each, accession) for each in said
    )


def _elsewhere(one: Identifier, other: Identifier) -> bool:
    """Tell whether both issuers are known in the same way, and different."""
    known_alike = one.issuer_assumed == other.issuer_assumed
    return bool(one.issuer and other.issuer) and known_alike and one.issuer != other.issuer


def _of_value(case: Case) -> list[Identifier]:
    said = (*case.report.accessions, *case.report.order_accessions)
    return sorted({each for each in said if each.value == case.study.accession.value})
