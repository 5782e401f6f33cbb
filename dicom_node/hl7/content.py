"""What HL7 messages are made of and what is taken from them, apart from how it is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import Envelope
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identity import Identifier
from dicom_node.settings import Hl7Settings

_SEGMENT_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's fields as sent; ``fields[n]`` is XXX-n (for MSH, MSH-2 is ``fields[1]``)."""

    name: str
    fields: tuple[str, ...]

    def __getitem__(self, number: int) -> str:
        return self.fields[number] if number < len(self.fields) else ""


@dataclass(frozen=True, slots=True)
class ParsedPatient:
    """PID: every identifier (PID-3), name as DICOM PN, birth date as DICOM DA, sex."""

    identifiers: tuple[Identifier, ...]
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class ObservationLine:
    """The text of one OBX and its status (OBX-11, table 0085)."""

    text: str
    status: str


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """One OBR with its OBX segments."""

    patient: ParsedPatient
    placer_order_number: str
    filler_order_number: str
    accession: Identifier
    study_instance_uids: tuple[str, ...]
    procedure: str
    modality: str
    observation_date: str
    status_changed_at: str
    message_time: str
    result_status: str
    lines: tuple[ObservationLine, ...]


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """ADT^A40: the prior identity belongs to the surviving one."""

    prior: Identifier
    survivor: Identifier


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """What a message says; ``ignored`` is the reason why nothing is taken from it."""

    envelope: Envelope
    reports: tuple[ParsedReport, ...] = ()
    merges: tuple[PatientMerge, ...] = ()
    ignored: str = ""


def feed_of(sender: str, settings: Hl7Settings) -> FeedProfile:
    """Return the sender's profile, with the general defaults where it is silent."""
    profile = next((feed for feed in settings.feeds if feed.sender == sender), None)
    profile = profile or FeedProfile(sender=sender)
    return profile.model_copy(
        update={
            "issuer_of_patient_id": profile.issuer_of_patient_id
            or settings.default_issuer_of_patient_id,
            "issuer_of_accession_number": profile.issuer_of_accession_number
            or settings.default_issuer_of_accession_number,
            "charset": profile.charset or settings.default_charset,
        }
    )


def split_segments(text: str, separator: str) -> Iterator[Segment]:
    """Yield the segments; they end at CR, or at LF where the message holds no CR.

    Raises:
        ContentFault: a line does not begin with a segment's name.
    """
    lines = text.split("\r") if "\r" in text else text.split("\n")
    for number, line in enumerate(lines, start=1):
        line = line.strip("\n")
        if not line.strip():
            continue
        name, *fields = line.split(separator)
        if not _SEGMENT_NAME.fullmatch(name):
            raise ContentFault("MSH", 0, 100, f"line {number} of the message is no segment")
        yield Segment(name, (name, *fields))


Group = tuple[list[Segment], Segment, list[Segment]]


def order_groups(segments: tuple[Segment, ...]) -> Iterator[Group]:
    """Yield the segments before each OBR, the OBR, and the OBX and Z segments after it."""
    before: list[Segment] = []
    after: list[Segment] = []
    current: Segment | None = None
    for each in segments:
        opens = each.name in ("PID", "ORC", "OBR")
        if opens and current is not None:
            yield before, current, after
            before, after, current = [], [], None
        if each.name == "OBR":
            current = each
        elif current is None:
            before.append(each)
        else:
            after.append(each)
    if current is not None:
        yield before, current, after
