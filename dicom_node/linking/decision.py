"""What can be decided about a report and a study: states, keys, requirements, and a decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dicom_node.linking.evidence import ReportEvidence, StudyEvidence, evidence_digest

RULE_VERSION = 2

CONFIRMED = "confirmed"
SUSPENDED = "suspended"
PROPOSED = "proposed"
REFUSED = "refused"
WITHDRAWN = "withdrawn"
STATES = (CONFIRMED, SUSPENDED, PROPOSED, REFUSED, WITHDRAWN)

STUDY_UID = "study instance uid"
QUALIFIED_ACCESSION = "accession number with issuer"
STUDY_UID_VIA_ORDER = "study instance uid via order"
ACCESSION_VIA_ORDER = "accession number with issuer via order"
BARE_ACCESSION = "accession number"
AMBIGUOUS = "ambiguous"
COPY = "copy of a message"
CONTESTED = "contested"

STRONG_KEYS = {
    STUDY_UID: "the report names the study by Study Instance UID, and the patient agrees",
    QUALIFIED_ACCESSION: "accession number, its issuer and the patient agree",
    STUDY_UID_VIA_ORDER: "via order: an order with number and patient of the report names the"
    " study by Study Instance UID, and the patient agrees",
    ACCESSION_VIA_ORDER: "via order: an order with number and patient of the report has the"
    " accession number of the study with its issuer, and the patient agrees",
}
"""What can make the first of the two agreements, strongest first, and how a link by it reads."""

REQUIREMENTS = {
    "R1": "the key is issuer and identifier; an assumed issuer equals no declared one",
    "R2": "a link needs study and patient, each agreed upon, and no contradiction",
    "R3": "names never make a link, they only veto",
    "R4": "candidates of different patients: no link; several studies of one patient: all link",
    "R5": "every accession number is listed; reports of two patients for one study freeze both",
    "R6": "only confirmed links are used, and they are looked at again when they are",
    "R7": "merges are events; what cannot be trusted suspends the patients concerned",
    "R8": "only the version of a report that holds now is linked",
    "R9": "a withdrawal is appended, and what was derived is excluded",
    "R10": "an unreliable clock or zone confirms nothing and widens nothing",
    "R11": "what is written back copies the stored image's identifiers",
    "R12": "identities are unique by constraint of the database",
    "R13": "a person's decision has a reason, can be reverted, and needs two against the rules",
}
"""The rules of the safety case, to which the rules below and deploy/linking.md refer."""

WOULD_CHANGE = "what would change it"
"""Where the evidence of a decision says what would change it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided about one study.

    Args:
        study_instance_uid: the study.
        state: one of ``STATES``.
        rule: the name of the rule that decided: a key of ``STRONG_KEYS`` where it is confirmed.
        reason: the decision in plain words, without any value of the patient.
        evidence: the outcome of each comparison by the name of the field, by what the study was
            found, the rule's requirement and version, and what would change the decision.
        decided_by: the people who decided; empty for the rules.
        seen: the evidence itself.
    """

    study_instance_uid: str
    state: str
    rule: str
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)
    decided_by: str = ""
    seen: tuple[ReportEvidence, StudyEvidence] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def found_by(self) -> str:
        """By what the study was found; a key of ``STRONG_KEYS``, or the bare accession number."""
        return str(self.evidence.get("found by", ""))

    @property
    def remedy(self) -> str:
        """What would change the decision, in plain words; empty where it is confirmed."""
        return str(self.evidence.get(WOULD_CHANGE, ""))

    @property
    def evidence_digest(self) -> str:
        """What the decision of a person about this study must name (SHA-256)."""
        return evidence_digest(*self.seen) if self.seen else ""
