"""What is compared when a report and a study are linked, and what each comparison says.

Comparisons name fields, never values: reasons are shown and logged.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from dicom_node.linking.identifiers import NOBODY, Identifier, same_issuer
from dicom_node.linking.names import alike
from dicom_node.linking.vocabulary import family, regions


class Match(StrEnum):
    """The outcome of one comparison."""

    EQUAL = "equal"
    UNEQUAL = "unequal"
    UNKNOWN = "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEvidence:
    """What a report version says about its patient and studies.

    Identifiers are under the one name of their issuer, patients after merges.

    Args:
        feed_accepted: whether a person accepted the profile of its sender.
        study_instance_uids: the studies that the report names itself.
        accessions: every accession number that it names itself.
        patients: every identifier of its patient.
        name: DICOM PN.
        birth_date: DICOM DA, or the beginning of one.
        sex: M, F, O or U.
        modality: a DICOM modality, or whatever was sent.
        body_part: in any words.
        observation_date: OBR-7, as sent, with the zone of the feed where it had none.
        zone_known: whether that time has a zone.
        clock_skew_seconds: between MSH-7 and receipt; None where it cannot be known.
        order_accessions: those of the orders whose numbers the report has and whose patient agrees.
        order_study_instance_uids: the studies that these orders name.
        suspended: why links of the patient are suspended (``Identities.suspended``).
        rejected: whether it came as a structured report that a rejection note names.
    """

    feed_accepted: bool
    study_instance_uids: frozenset[str] = frozenset()
    accessions: tuple[Identifier, ...] = ()
    patients: frozenset[Identifier] = frozenset()
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    modality: str = ""
    body_part: str = ""
    observation_date: str = ""
    zone_known: bool = False
    clock_skew_seconds: float | None = None
    order_accessions: tuple[Identifier, ...] = ()
    order_study_instance_uids: frozenset[str] = frozenset()
    suspended: str = ""
    rejected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvidence:
    """What a study says about itself; identifiers as in :class:`ReportEvidence`.

    Args:
        study_instance_uid: (0020,000D).
        accession: (0008,0050) with its issuer (0008,0051).
        patient: (0010,0020) with its issuer (0010,0021), after merges.
        name: (0010,0010).
        birth_date: (0010,0030).
        sex: (0010,0040).
        study_date: (0008,0020).
        modalities: of its series (0008,0060).
        body_parts: of its series (0018,0015).
        frozen: why the study must not be used: a note that rejects its images.
        suspended: why links of its patient are suspended.
    """

    study_instance_uid: str
    accession: Identifier = NOBODY
    patient: Identifier = NOBODY
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""
    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    frozen: str = ""
    suspended: str = ""


def evidence_digest(report: ReportEvidence, study: StudyEvidence) -> str:
    """Return what a person saw of a report and a study as SHA-256: a decision holds for it alone.

    The clock of the sender and the states of feed and study are left out: they change without
    changing what report and study say about each other.
    """
    said = (
        sorted(report.study_instance_uids),
        sorted(report.accessions),
        sorted(report.patients),
        (report.name, report.birth_date, report.sex),
        (report.modality, report.body_part, report.observation_date),
        sorted(report.order_accessions),
        sorted(report.order_study_instance_uids),
        (study.study_instance_uid, study.accession, study.patient),
        (study.name, study.birth_date, study.sex, study.study_date),
        sorted(study.modalities),
        sorted(study.body_parts),
        (report.suspended, study.suspended),
    )
    return hashlib.sha256(repr(said).encode()).hexdigest()


def compare_accession(said: Sequence[Identifier], study: Identifier) -> Match:
    """Compare accession numbers of the same issuer; those of other issuers say nothing."""
    if not study.value:
        return Match.UNKNOWN
    found = Match.UNKNOWN
    for each in said:
        if each.value and same_issuer(each, study):
            if each.value == study.value:
                return Match.EQUAL
            found = Match.UNEQUAL
    return found


def compare_patient(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare identifiers of the same issuer; those of other issuers say nothing.

    A report that names two patients of one issuer says nothing either, if one of them is right.
    """
    if not study.patient.value:
        return Match.UNKNOWN
    comparable = [
        each for each in report.patients if each.value and same_issuer(each, study.patient)
    ]
    if not comparable:
        return Match.UNKNOWN
    if study.patient not in comparable:
        return Match.UNEQUAL
    return Match.EQUAL if len(comparable) == 1 else Match.UNKNOWN


def compare_birth_date(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare dates (YYYYMMDD); a date that is cut short is compared as far as it goes."""
    one, other = report.birth_date.strip(), study.birth_date.strip()
    length = min(len(one), len(other), 8)
    if length < 4 or not (_is_digits(one[:length]) and _is_digits(other[:length])):
        return Match.UNKNOWN
    return _match(one[:length] == other[:length])


def compare_sex(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare M and F; other values (other, unknown, ambiguous) contradict nothing."""
    one, other = report.sex.strip().upper(), study.sex.strip().upper()
    if one not in ("M", "F") or other not in ("M", "F"):
        return Match.UNKNOWN
    return _match(one == other)


def compare_date(
    report: ReportEvidence, study: StudyEvidence, window_days: int, clock_skew_seconds: float
) -> Match:
    """Compare the day of OBR-7 with Study Date (0008,0020) within a window (R10).

    Without a zone, or where the clock of the sender is off by more than ``clock_skew_seconds``, a
    date may still contradict, but it agrees with nothing.
    """
    observed, studied = _day(report.observation_date[:8]), _day(study.study_date.strip())
    if observed is None or studied is None:
        return Match.UNKNOWN
    if abs(observed - studied) > window_days:
        return Match.UNEQUAL
    return Match.EQUAL if clock_is_sound(report, clock_skew_seconds) else Match.UNKNOWN


def clock_is_sound(report: ReportEvidence, clock_skew_seconds: float) -> bool:
    """Tell whether the times of a report can be relied on."""
    skew = report.clock_skew_seconds
    return report.zone_known and skew is not None and abs(skew) <= clock_skew_seconds


def compare_modality(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare the modality of the report with those of the images; documents do not count."""
    said = family(report.modality)
    found = {family(each) for each in study.modalities} - {""}
    if not said or not found:
        return Match.UNKNOWN
    return _match(said in found)


def compare_body_part(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare the regions of the body that both sides name in words that are known."""
    said = regions(report.body_part)
    if not said or not study.body_parts:
        return Match.UNKNOWN
    found = [regions(each) for each in study.body_parts if each]
    if not found or not all(found):
        return Match.UNKNOWN if said.isdisjoint(_union(found)) else Match.EQUAL
    return _match(not said.isdisjoint(_union(found)))


def compare_name(report: ReportEvidence, study: StudyEvidence) -> Match:
    """Compare two names (R3): they never make a link, they only contradict."""
    if report.name == study.name:
        return Match.EQUAL if report.name else Match.UNKNOWN
    found = alike(report.name, study.name)
    return Match.UNKNOWN if found is None else _match(found)


def _match(equal: bool) -> Match:
    return Match.EQUAL if equal else Match.UNEQUAL


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset(each for some in sets for each in some)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


@lru_cache(maxsize=8192)
def _day(text: str) -> int | None:
    """Return the number of a day (YYYYMMDD), or None."""
    if len(text) != 8 or not _is_digits(text):
        return None
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()
    except ValueError:
        return None
