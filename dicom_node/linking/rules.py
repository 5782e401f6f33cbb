"""Decide which report belongs to which study: evidence in, decision out.

A link is confirmed by two independent agreements: a Study Instance UID or an accession number with
the same issuer, and a patient identifier with the same issuer, after merges. One contradiction (a
patient identifier of the same issuer, birth date, sex, date, name) refuses it. An accession number
without its issuer only proposes; so does a patient whose issuer only one side knows. Names never
make a link. Where candidates belong to different patients, none is linked.

The decisions depend on the report and all its candidates, never on the order in which they came.
There is no score and no nearest match: recall is given up for precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_node.linking.evidence import (
    Match,
    ReportEvidence,
    StudyEvidence,
    compare_birth_date,
    compare_date,
    compare_name,
    compare_patient,
    compare_sex,
)
from dicom_node.linking.identity import Identifier, same_issuer
from dicom_node.settings import LinkingSettings

RULE_VERSION = 1

CONFIRMED = "confirmed"
PROPOSED = "proposed"
REFUSED = "refused"
WITHDRAWN = "withdrawn"
STATES = (CONFIRMED, PROPOSED, REFUSED, WITHDRAWN)

STUDY_UID = "study instance uid"
QUALIFIED_ACCESSION = "accession number with issuer"
BARE_ACCESSION = "accession number"
AMBIGUOUS = "ambiguous"

_AGREEMENT = {
    STUDY_UID: "the report names the study by Study Instance UID, and the patient agrees",
    QUALIFIED_ACCESSION: "accession number, its issuer and the patient agree",
}
_OTHER_STUDIES = "the accession number agrees, but the report names other studies by UID"
_SEVERAL_PATIENTS = "studies of different patients fit this report: none is linked"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided about one study.

    Args:
        study_instance_uid: the study.
        state: ``confirmed``, ``proposed`` or ``refused``.
        rule: which rule brought report and study together, or ``ambiguous``.
        reason: the decision in plain words, without any value of the patient.
        evidence: the outcome of each comparison, by the name of the field.
    """

    study_instance_uid: str
    state: str
    rule: str
    reason: str
    evidence: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Candidate:
    study: StudyEvidence
    rule: str
    doubt: str
    comparisons: dict[str, Match]

    @property
    def strong(self) -> bool:
        return self.rule in _AGREEMENT

    @property
    def contradictions(self) -> list[str]:
        return [name for name, match in self.comparisons.items() if match is Match.UNEQUAL]

    @property
    def patient(self) -> tuple[str, ...]:
        """The patient: the report's own, another one, or one that cannot be told apart."""
        if self.comparisons["patient identifier"] is Match.EQUAL:
            return ()
        who = self.study.patient
        if who.value:
            return (who.value, who.issuer, str(who.issuer_assumed))
        return (self.study.study_instance_uid,)

    def decision(self, state: str, reason: str, rule: str = "") -> Decision:
        found: dict[str, str | int] = {
            name: match.value for name, match in self.comparisons.items()
        }
        found |= {"found by": self.rule, "rule version": RULE_VERSION}
        return Decision(self.study.study_instance_uid, state, rule or self.rule, reason, found)


def decide(
    report: ReportEvidence, studies: Sequence[StudyEvidence], settings: LinkingSettings
) -> list[Decision]:
    """Decide about each study that has something in common with the report.

    Args:
        report: the evidence of one report version.
        studies: the evidence of every study with its accession number or named by it.
        settings: the width of the date window.

    Returns:
        One decision per candidate, ordered by Study Instance UID. Studies that share neither
        UID nor accession number, or whose accession number has another issuer, get none.
    """
    ordered = sorted(studies, key=lambda each: each.study_instance_uid)
    found = [_candidate(report, each, settings) for each in ordered]
    candidates = [each for each in found if each is not None]
    strong = [each for each in candidates if each.strong]
    plausible = [each for each in candidates if not each.strong and not each.contradictions]
    ambiguous = {
        each.study.study_instance_uid
        for group in (strong, plausible)
        if len({member.patient for member in group}) > 1
        for each in group
    }
    return [
        each.decision(REFUSED, _SEVERAL_PATIENTS, AMBIGUOUS)
        if each.study.study_instance_uid in ambiguous
        else _judge(report, each)
        for each in candidates
    ]


def _judge(report: ReportEvidence, candidate: _Candidate) -> Decision:
    if wrong := candidate.contradictions:
        return candidate.decision(REFUSED, f"contradiction in {_listed(wrong)}")
    if not candidate.strong:
        return candidate.decision(PROPOSED, candidate.doubt)
    if candidate.comparisons["patient identifier"] is Match.EQUAL:
        return candidate.decision(CONFIRMED, _AGREEMENT[candidate.rule])
    return candidate.decision(PROPOSED, _patient_doubt(report, candidate.study))


def _candidate(
    report: ReportEvidence, study: StudyEvidence, settings: LinkingSettings
) -> _Candidate | None:
    rule, doubt = _common_key(report, study)
    if not rule:
        return None
    comparisons = {
        "patient identifier": compare_patient(report, study),
        "birth date": compare_birth_date(report, study),
        "sex": compare_sex(report, study),
        "study date": compare_date(report, study, settings.date_window_days),
        "patient name": compare_name(report, study),
    }
    return _Candidate(study, rule, doubt, comparisons)


def _common_key(report: ReportEvidence, study: StudyEvidence) -> tuple[str, str]:
    """Return the rule that makes the study a candidate, and what is doubtful about it."""
    if study.study_instance_uid in report.study_instance_uids:
        return STUDY_UID, ""
    one, other = report.accession, study.accession
    if not one.value or one.value != other.value:
        return "", ""
    known_alike = one.issuer_assumed == other.issuer_assumed
    if one.issuer and other.issuer and known_alike and one.issuer != other.issuer:
        return "", ""
    if report.study_instance_uids:
        return BARE_ACCESSION, _OTHER_STUDIES
    if same_issuer(one, other):
        return QUALIFIED_ACCESSION, ""
    return BARE_ACCESSION, _issuer_doubt("accession number", [one], other)


def _patient_doubt(report: ReportEvidence, study: StudyEvidence) -> str:
    if not study.patient.value or not report.patients:
        return "one side names no patient identifier"
    return _issuer_doubt("patient identifier", sorted(report.patients), study.patient)


def _issuer_doubt(what: str, said: Sequence[Identifier], study: Identifier) -> str:
    """Say why issuers do not agree, and which setting would settle it."""
    setting = {
        "accession number": "issuer_of_accession_number",
        "patient identifier": "issuer_of_patient_id",
    }[what]
    if any(each.issuer == study.issuer and each.issuer for each in said):
        return (
            f"the issuer of the {what} is declared on one side and assumed on the other;"
            " trusted_assumed_issuers in [linking] would settle it"
        )
    report_knows = any(each.issuer for each in said)
    if report_knows and study.issuer:
        return f"report and study name different issuers of the {what}"
    missing = {
        (False, False): "neither side names",
        (True, False): "the study does not name",
        (False, True): "the report does not name",
    }[report_knows, bool(study.issuer)]
    where = {
        (False, False): f"default_{setting} in [dicom] and [hl7]",
        (True, False): f"default_{setting} in [dicom]",
        (False, True): f"default_{setting} in [hl7]",
    }[report_knows, bool(study.issuer)]
    return f"{missing} the issuer of the {what}; {where} would settle it"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
