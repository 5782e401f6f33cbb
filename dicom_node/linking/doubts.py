"""Why a link is not confirmed and what would change it, in plain words without any value."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.identifiers import Identifier, same_issuer
from dicom_node.reports.status import Effect

Words = tuple[str, str]
"""The reason, and what would change it."""

WITHDRAWALS = {
    Effect.WITHDRAW: "the sender declared the report wrong, for example of another patient",
    Effect.RETRACT: "the sender cancelled the report",
}
"""Why a report without text has no links."""

NOT_CURRENT = "a later version of the report is current"

_CORRECTED = "a corrected report or corrected images; or two people who confirm it"

AMBIGUOUS: Words = (
    "studies of different patients fit this report: none is linked",
    "a report that names its study by Study Instance UID; corrected images; a merge of the"
    " patients; or two people who confirm it",
)
FEED: Words = (
    "the profile of the report's feed is not accepted",
    "radloop feed accept, after radloop feed dry-run",
)
REJECTED: Words = (
    "a rejection note names the structured report that the text came in",
    "radloop documents release",
)
COPIED: Words = (
    "the same report came by HL7, and its message is linked to this study",
    "a correction of either; nothing is missing",
)
OTHER_STUDIES: Words = (
    "the accession number agrees, but the report names other studies by UID",
    "a corrected report; or a person who confirms it",
)
CONTESTED: Words = (
    "reports of different patients claim this study",
    "a withdrawal of the wrong report, by its sender or by a person; or two people who confirm it",
)


def contradiction(fields: Sequence[str]) -> Words:
    """Say in which fields report and study contradict each other."""
    return f"contradiction in {listed(fields)}", _CORRECTED


def suspended(report: ReportEvidence, study: StudyEvidence) -> Words:
    """Say why the patient's links wait."""
    reasons = dict.fromkeys(each for each in (report.suspended, study.suspended) if each)
    return (
        f"the patient is under review: {'; '.join(reasons)}",
        "radloop patient review, or radloop patient unmerge",
    )


def frozen(study: StudyEvidence) -> Words:
    """Say why the study must not be used."""
    return f"the study is frozen: {study.frozen}", "radloop documents confirm, or release"


def patient(report: ReportEvidence, study: StudyEvidence) -> Words:
    """Say why it is not known that report and study are of one patient."""
    said = sorted(each for each in report.patients if each.value)
    if not study.patient.value or not said:
        return (
            "one side names no patient identifier",
            "a report and images that both name it; or a person who confirms it",
        )
    if sum(same_issuer(each, study.patient) for each in said) > 1:
        return (
            "the report names several patient identifiers of one issuer",
            "patient_id_types in the profile of the feed; a merge of these patients; or a person"
            " who confirms it",
        )
    return issuer("patient identifier", said, study.patient, "issuer_of_patient_id")


def issuer(what: str, said: Sequence[Identifier], study: Identifier, setting: str) -> Words:
    """Say why issuers do not agree, and which setting would settle it."""
    if any(each.issuer and each.issuer == study.issuer for each in said):
        return (
            f"the issuer of the {what} is declared on one side and assumed on the other",
            "trusted_assumed_issuers in [linking]; or a person who confirms it",
        )
    report_knows = any(each.issuer for each in said)
    if report_knows and study.issuer:
        return (
            f"report and study name different issuers of the {what}",
            "equivalent_issuers in [linking], if both are one; or a person who confirms it",
        )
    if report_knows:
        return _unknown("the study does not name", what, f"default_{setting} in [dicom]")
    if study.issuer:
        return _unknown("the report does not name", what, f"default_{setting} in [hl7]")
    return _unknown("neither side names", what, f"default_{setting} in [dicom] and [hl7]")


def _unknown(who: str, what: str, setting: str) -> Words:
    return (
        f"{who} the issuer of the {what}",
        f"{setting}, for what arrives after it was set; or a person who confirms it",
    )


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
