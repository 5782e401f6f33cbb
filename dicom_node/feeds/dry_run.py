"""Try a profile on a folder of messages: what would be read, what not, and why.

Nothing is written. The messages are read by the reader that the node uses, so what is told here is
what would happen; only the values that no map knows are looked for in the messages themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.sample import Sampled, messages_of, split_message
from dicom_node.feeds.vocabulary import (
    MODALITIES,
    OBSERVATION_STATUS_CODES,
    RESULT_STATUS_CODES,
    SEX_CODES,
    SEX_WORDS,
)
from dicom_node.hl7.parsed import ParsedMessage, ParsedReport
from dicom_node.hl7.text import ContentFault
from dicom_node.message_reading import ACCEPTED, DocumentText, read_stored

NO_MESSAGE = "it does not begin with an MSH segment"


@dataclass(slots=True)
class Trial:
    """What became of the messages of a folder under a profile.

    Args:
        sender: whose messages were read.
        dispositions: how many were ``accepted``, ``ignored`` or ``quarantined``.
        reasons: why messages were not accepted, with how many.
        examples: for each reason the file of the first message that it is about.
        fills: for each value of a report how many reports have it.
        unmapped: for each map of the profile the values that it does not know.
        other_senders: messages that are not of this sender, and were left aside.
        unreadable: files, or parts of files, that hold no message, with the reason.
        accepted: the messages that would be taken, as they stand.
    """

    sender: str
    messages: int = 0
    reports: int = 0
    orders: int = 0
    patient_events: int = 0
    dispositions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    fills: dict[str, int] = field(default_factory=dict)
    unmapped: dict[str, Counter[str]] = field(default_factory=dict)
    other_senders: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    accepted: list[bytes] = field(default_factory=list)


FILLS: dict[str, Callable[[ParsedReport], bool]] = {
    "report number": lambda report: bool(report.number),
    "text": lambda report: any(part.text or part.document for part in report.parts),
    "status": lambda report: bool(report.result_status) or any(p.status for p in report.parts),
    "accession number": lambda report: bool(report.accessions),
    "accession number with issuer": lambda report: any(a.qualified for a in report.accessions),
    "patient id": lambda report: bool(report.patient.identifiers),
    "patient id with issuer": lambda report: any(i.qualified for i in report.patient.identifiers),
    "Study Instance UID": lambda report: bool(report.study_instance_uids),
    "can link": lambda report: can_link(report),
    "patient name": lambda report: bool(report.patient.name),
    "birth date": lambda report: bool(report.patient.birth_date),
    "sex": lambda report: bool(report.patient.sex),
    "modality": lambda report: report.modality in MODALITIES,
    "date of imaging": lambda report: bool(report.observation_date),
    "time of status": lambda report: bool(report.status_changed_at),
    "interpreter": lambda report: bool(report.interpreter),
}
"""What a report should have; each is counted."""


def can_link(report: ParsedReport) -> bool:
    """Tell whether a report holds the two agreements that a link needs."""
    patient = any(each.qualified for each in report.patient.identifiers)
    study = bool(report.study_instance_uids) or any(each.qualified for each in report.accessions)
    return patient and study


def try_profile(
    profile: FeedProfile,
    folder: Path,
    document_text: DocumentText | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Read every message of a folder that is of the profile's sender, and count.

    Args:
        profile: with the general defaults filled in.
        folder: files in any form that the node reads, or one file.
        document_text: takes the text out of embedded documents; None: they count as text unread.
        progress: told now and then how far it is.

    Raises:
        OSError: there is no such folder.
    """
    trial = Trial(profile.sender, fills=dict.fromkeys(FILLS, 0))
    for number, (name, content) in enumerate(messages_of(folder, trial.unreadable), start=1):
        _try_message(trial, profile, name, content, document_text or _undisclosed)
        if number % 1000 == 0:
            progress(f"{number} messages read")
    return trial


def _undisclosed(_: object) -> str:
    return " "


def _try_message(
    trial: Trial, profile: FeedProfile, name: str, content: bytes, document_text: DocumentText
) -> None:
    try:
        sampled = split_message(content)
    except ContentFault as fault:
        trial.unreadable.setdefault(name, fault.sentence)
        return
    sender = sampled.envelope.sender
    if sender != profile.sender:
        trial.other_senders[sender] += 1
        return
    trial.messages += 1
    for key, value in _unmapped(sampled, profile):
        trial.unmapped.setdefault(key, Counter())[value] += 1
    reading = read_stored(content, lambda _: profile, document_text)
    trial.dispositions[reading.disposition] += 1
    if reading.disposition == ACCEPTED and reading.parsed is not None:
        trial.accepted.append(content)
        _count(trial, reading.parsed)
    else:
        trial.reasons[reading.reason] += 1
        trial.examples.setdefault(reading.reason, name)


def _count(trial: Trial, parsed: ParsedMessage) -> None:
    trial.reports += len(parsed.reports)
    trial.orders += len(parsed.orders)
    trial.patient_events += len(parsed.patient_events)
    for report in parsed.reports:
        for name, holds in FILLS.items():
            trial.fills[name] += holds(report)


def _unmapped(message: Sampled, profile: FeedProfile) -> Iterator[tuple[str, str]]:
    """Yield what stands in a field with a map and is neither in the map nor in the table."""
    looked = (
        ("result_statuses", profile.result_status_fields, RESULT_STATUS_CODES),
        ("modalities", profile.modality_fields, MODALITIES),
        ("sexes", ("PID-8",), SEX_CODES | set(SEX_WORDS)),
    )
    for key, paths, codes in looked:
        value = _first(message, paths)
        if value and value.upper() not in codes and not _is_mapped(profile, key, value):
            yield key, value
    for value in set(message.values("OBX-11")):
        code = value.upper()
        mapped = _is_mapped(profile, "observation_statuses", value)
        if code not in OBSERVATION_STATUS_CODES and not mapped:
            yield "observation_statuses", value


def _is_mapped(profile: FeedProfile, key: str, value: str) -> bool:
    words: Iterable[str] = getattr(profile, key)
    return any(word.strip().casefold() == value.casefold() for word in words)


def _first(message: Sampled, paths: Iterable[str]) -> str:
    return next((value for path in paths if (value := message.first(path))), "")
