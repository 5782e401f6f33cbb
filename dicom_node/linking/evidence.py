"""What is compared when a report and a study are linked, and what each comparison says.

Comparisons name fields, never values: reasons are shown and logged.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.linking.identity import NOBODY, Identifier, same_issuer


class Match(StrEnum):
    """The outcome of one comparison."""

    EQUAL = "equal"
    UNEQUAL = "unequal"
    UNKNOWN = "not comparable"


@dataclass(frozen=True, slots=True)
class ReportEvidence:
    """What a report version says about its patient and study; identifiers are after merges."""

    study_instance_uids: frozenset[str] = frozenset()
    accession: Identifier = NOBODY
    patients: frozenset[Identifier] = frozenset()
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    observation_date: str = ""


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """What a study says about itself; the patient identifier is after merges."""

    study_instance_uid: str
    accession: Identifier = NOBODY
    patient: Identifier = NOBODY
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""


def compare_patient(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare identifiers of the same issuer; those of other issuers say nothing."""
    if not study.patient.value:
        return Match.UNKNOWN
    comparable = [each for each in report.patients if same_issuer(each, study.patient)]
    if not comparable:
        return Match.UNKNOWN
    return Match.EQUAL if study.patient in comparable else Match.UNEQUAL


def compare_birth_date(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare dates (YYYYMMDD); a date that is cut short is compared as far as it goes."""
    one, other = report.birth_date.strip(), study.birth_date.strip()
    length = min(len(one), len(other))
    if length < 4 or not (one.isdigit() and other.isdigit()):
        return Match.UNKNOWN
    return Match.EQUAL if one[:length] == other[:length] else Match.UNEQUAL


def compare_sex(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare M and F; other values (other, unknown, ambiguous) contradict nothing."""
    one, other = report.sex.strip().upper(), study.sex.strip().upper()
    if one not in ("M", "F") or other not in ("M", "F"):
        return Match.UNKNOWN
    return Match.EQUAL if one == other else Match.UNEQUAL


def compare_date(report: ReportEvidence, study: StudyEvidence, window_days: int) -> Match:
    """Compare the day of OBR-7 with Study Date (0008,0020) within a window."""
    observed, studied = _day(report.observation_date), _day(study.study_date)
    if observed is None or studied is None:
        return Match.UNKNOWN
    near = abs((observed - studied).days) <= window_days
    return Match.EQUAL if near else Match.UNEQUAL


def compare_name(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare the words of two names in Latin script.

    Names are spelled, married and abbreviated in many ways: one word in common is enough. Only two
    names without any common word contradict each other.
    """
    one, other = _words(report.name), _words(study.name)
    if not one or not other:
        return Match.UNKNOWN
    return Match.EQUAL if one & other else Match.UNEQUAL


def _day(text: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _words(name: str) -> frozenset[str]:
    """The words of a name's alphabetic group, without case and accents; empty if not Latin."""
    alphabetic = name.split("=")[0]
    decomposed = unicodedata.normalize("NFKD", alphabetic).casefold()
    letters = "".join(each for each in decomposed if not unicodedata.combining(each))
    spaced = "".join(each if each.isalpha() else " " for each in letters)
    if any(each.isalpha() and not each.isascii() for each in spaced):
        return frozenset()
    return frozenset(word for word in spaced.split() if len(word) > 1)
