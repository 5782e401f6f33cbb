"""The only door to hl7apy: HL7 v2 messages become reports and patient merges.

Messages are parsed from the stored bytes. hl7apy takes apart the composite fields that identify
patient and order (CX, XPN, EI, CE) by the tables of the message's own version; it is given only
those, because a whole report takes it seconds and it does not undo escape sequences. Values are
read before hl7apy writes them out again, which would alter some.

Fields read: IHE RAD TF-2 RAD-28 and RAD-128 (ORU^R01), RAD-12 (ADT^A40).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hl7apy import SUPPORTED_LIBRARIES
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_field

from dicom_node.hl7.content import (
    ObservationLine,
    ParsedMessage,
    ParsedPatient,
    ParsedReport,
    PatientMerge,
    Segment,
    feed_of,
    order_groups,
    split_segments,
)
from dicom_node.hl7.envelope import Envelope, read_envelope
from dicom_node.hl7.text import ContentFault, Delimiters, codec_name, decode, undo_escapes
from dicom_node.linking.identity import Identifier, same_issuer
from dicom_node.settings import Hl7Settings

_DEFAULT_VERSION = "2.5.1"
# hl7apy needs about a millisecond for a repetition, and a peer may send as many as it likes.
_MAXIMUM_REPETITIONS = 50
_MAXIMUM_FIELD = 10_000
_NULL = '""'  # HL7 v2: the value is to be deleted; here it means that there is none
_UID = re.compile(r"[0-9.]{1,64}")
_UID_IDENTIFIER = re.compile(r"^(113014|110180|112002)\b|(study|series|sr) instance uid", re.I)
_TEXT_TYPES = ("TX", "FT", "ST", "CE", "CWE")
_CODED_TYPES = ("CE", "CWE")
_TYPE_NAME = re.compile(r"[A-Z0-9]{3}(\^[A-Z0-9]{3})?")

Components = tuple[tuple[str, ...], ...]
"""A field's components, each a tuple of its subcomponents, escapes undone; index 0 is .1."""


def parse_message(content: bytes, settings: Hl7Settings) -> ParsedMessage:
    """Parse a message as received.

    ORU^R01 gives reports, ADT^A40 gives merges; other types, and messages sent for training or
    debugging (MSH-11 T or D), are ignored with a reason.

    Raises:
        ContentFault: the message cannot be used; the fault says where and why.
    """
    envelope = read_envelope(content)
    if not envelope.is_hl7:
        raise ContentFault("MSH", 0, 100, "the message does not begin with an MSH segment")
    if not envelope.control_id:
        raise ContentFault("MSH", 10, 101, "the message control id is missing")
    if not _TYPE_NAME.fullmatch(envelope.message_type):
        raise ContentFault("MSH", 9, 101, "the message type is missing or malformed")
    if envelope.processing_id in ("T", "D"):
        return ParsedMessage(envelope, ignored="sent for training or debugging (MSH-11)")
    read = _READERS.get(envelope.message_type)
    if read is None:
        return ParsedMessage(envelope, ignored=f"{envelope.message_type} is not used")
    return read(_Reader(content, envelope, settings))


class _Reader:
    """One message's text, delimiters, version and feed profile."""

    def __init__(self, content: bytes, envelope: Envelope, settings: Hl7Settings) -> None:
        self.envelope = envelope
        self.feed = feed_of(envelope.sender, settings)
        self.codec = codec_name(envelope.text(18), self.feed.charset)
        text = decode(content, self.codec)
        self.delimiters = Delimiters.of(text)
        self.segments = tuple(split_segments(text, self.delimiters.field))
        self.header = self.segments[0]
        version = envelope.text(12).split(self.delimiters.component)[0]
        supported = version in SUPPORTED_LIBRARIES and version >= "2.3"
        self.version = version if supported else _DEFAULT_VERSION
        self._encoding = {
            "GROUP": "\r",
            "SEGMENT": "\r",
            "FIELD": self.delimiters.field,
            "COMPONENT": self.delimiters.component,
            "SUBCOMPONENT": self.delimiters.subcomponent,
            "REPETITION": self.delimiters.repetition,
            "ESCAPE": self.delimiters.escape,
        }

    def plain(self, value: str) -> str:
        """Undo escapes; HL7's explicit null is no value."""
        return undo_escapes("" if value == _NULL else value, self.delimiters, self.codec)

    def first(self, value: str) -> str:
        """The first component of a field's first repetition, as text."""
        head = value.split(self.delimiters.repetition)[0].split(self.delimiters.component)[0]
        return self.plain(head.split(self.delimiters.subcomponent)[0]).strip()

    def repetitions(self, segment: Segment, number: int) -> list[Components]:
        """Take a composite field apart with hl7apy, by the tables of the message's version.

        Raises:
            ContentFault: hl7apy cannot read the field.
        """
        name = f"{segment.name}_{number}"
        texts = segment[number].split(self.delimiters.repetition)
        if len(texts) > _MAXIMUM_REPETITIONS or len(segment[number]) > _MAXIMUM_FIELD:
            raise ContentFault(segment.name, number, 102, "the field is far too long")
        try:
            return [self._components(text, name) for text in texts if text and text != _NULL]
        except (HL7apyException, ValueError, LookupError, AttributeError, TypeError) as error:
            raise ContentFault(
                segment.name, number, 102, "the field does not have its type's form"
            ) from error

    def _components(self, text: str, name: str) -> Components:
        marks = (self.delimiters.component, self.delimiters.subcomponent)
        if not any(mark in text for mark in marks):
            return ((self.plain(text).strip(),),)
        field = parse_field(text, name, self.version, self._encoding, VALIDATION_LEVEL.TOLERANT)
        found: dict[int, tuple[str, ...]] = {}
        for place, child in enumerate(field.children, start=1):
            found[_number(child, place)] = self._subcomponents(child)
        return tuple(found.get(number, ()) for number in range(1, max(found, default=0) + 1))

    def _subcomponents(self, component: Any) -> tuple[str, ...]:
        found: dict[int, str] = {}
        for place, child in enumerate(component.children, start=1):
            value = getattr(child.value, "value", child.value)
            found[_number(child, place)] = self.plain(str(value or "")).strip()
        return tuple(found.get(number, "") for number in range(1, max(found, default=0) + 1))

    def identifiers(
        self, segment: Segment, number: int, issuer_at: int, default: str
    ) -> list[Identifier]:
        """Read CX or EI repetitions with their issuer, which the feed supplies where absent."""
        found = (
            _identifier(each, issuer_at, default) for each in self.repetitions(segment, number)
        )
        return [each for each in found if each.value]


def _number(element: Any, place: int) -> int:
    """hl7apy names parts CX_4 or HD_1; a part outside the tables has only its place."""
    digits = (element.name or "").rpartition("_")[2]
    return int(digits) if digits.isdigit() else place


def _part(components: Components, number: int, sub: int = 1) -> str:
    subs = components[number - 1] if number <= len(components) else ()
    return subs[sub - 1] if sub <= len(subs) else ""


def _identifier(components: Components, issuer_at: int, default: str) -> Identifier:
    """EI spreads its issuer over components 2-4; CX holds an HD in component 4."""
    universal = _part(components, 3) if issuer_at == 2 else _part(components, issuer_at, 2)
    declared = _part(components, issuer_at) or universal
    if declared:
        return Identifier(_part(components, 1), declared)
    return Identifier(_part(components, 1), default, issuer_assumed=bool(default))


def _patient(reader: _Reader, pid: Segment) -> ParsedPatient:
    identifiers = reader.identifiers(pid, 3, 4, reader.feed.issuer_of_patient_id)
    names = reader.repetitions(pid, 5)
    parts = [_part(names[0], number) for number in (1, 2, 3, 5, 4)] if names else []
    return ParsedPatient(
        identifiers=tuple(dict.fromkeys(identifiers)),
        name="^".join(parts).rstrip("^"),
        birth_date=reader.first(pid[7])[:8],
        sex=reader.first(pid[8])[:1].upper(),
    )


def _read_merges(reader: _Reader) -> ParsedMessage:
    """ADT^A40: PID-3 survives, MRG-1 is prior; they pair up by issuer, else with the first.

    The message may hold several patients (ADT_A39): an MRG belongs to the PID before it.
    """
    default = reader.feed.issuer_of_patient_id
    merges: list[PatientMerge] = []
    survivors: list[Identifier] = []
    for segment in reader.segments:
        if segment.name == "PID":
            survivors = reader.identifiers(segment, 3, 4, default)
        if segment.name != "MRG":
            continue
        for prior in reader.identifiers(segment, 1, 4, default):
            matching = [each for each in survivors if same_issuer(each, prior)]
            merges.extend(PatientMerge(prior, each) for each in (matching or survivors)[:1])
    if not merges:
        raise ContentFault("MRG", 1, 101, "the merge names no prior or no surviving patient")
    for merge in merges:
        if merge.prior == merge.survivor:
            raise ContentFault("MRG", 1, 205, "prior and surviving patient are the same")
        if not (merge.prior.qualified and merge.survivor.qualified):
            raise ContentFault("MRG", 1, 204, "a patient id of the merge has no issuer")
    return ParsedMessage(reader.envelope, merges=tuple(merges))


def _read_reports(reader: _Reader) -> ParsedMessage:
    """ORU^R01: each OBR with what precedes (PID, ORC) and follows it (OBX, ZDS)."""
    patient: ParsedPatient | None = None
    reports: list[ParsedReport] = []
    for before, obr, after in order_groups(reader.segments):
        if pid := next((each for each in before if each.name == "PID"), None):
            patient = _patient(reader, pid)
        if patient is None:
            raise ContentFault("PID", 0, 100, "no PID segment stands before the first OBR")
        orc = next((each for each in before if each.name == "ORC"), Segment("ORC", ()))
        reports.append(_report(reader, patient, orc, obr, after))
    if not reports:
        raise ContentFault("OBR", 0, 100, "the message has no OBR segment")
    return ParsedMessage(reader.envelope, reports=tuple(reports))


def _report(
    reader: _Reader, patient: ParsedPatient, orc: Segment, obr: Segment, after: list[Segment]
) -> ParsedReport:
    """Read one order group. ORC-2 and ORC-3 stand in for an empty OBR-2 and OBR-3."""
    placer = reader.first(obr[2]) or reader.first(orc[2])
    filler = obr if obr[3] else Segment("OBR", ("OBR", "", "", orc[3]))
    names = reader.repetitions(obr, 4)
    return ParsedReport(
        patient=patient,
        placer_order_number=placer,
        filler_order_number=reader.first(filler[3]),
        accession=_accession(reader, obr, filler),
        study_instance_uids=_study_uids(reader, after),
        procedure=(_part(names[0], 2) or _part(names[0], 1)) if names else "",
        modality=reader.first(obr[24]),
        observation_date=reader.first(obr[7]),
        status_changed_at=reader.first(obr[22]),
        message_time=reader.first(reader.header[6]),
        result_status=reader.first(obr[25]),
        lines=tuple(_lines(reader, after)),
    )


def _accession(reader: _Reader, obr: Segment, filler: Segment) -> Identifier:
    """Read the accession number: OBR-18 (RAD-128), else OBR-3, unless the feed says which.

    OBR-18 is a string (ST) without an authority; some systems send ``number^authority`` in it,
    which is read like an EI. OBR-3 is an EI, with the authority in components 2 to 4.
    """
    default = reader.feed.issuer_of_accession_number
    fields = reader.feed.accession_number_fields
    if fields == ("OBR-18",) or ("OBR-18" in fields and reader.first(obr[18])):
        placed = Segment("OBR", ("OBR", "", "", obr[18]))
    else:
        placed = filler
    found = reader.identifiers(placed, 3, 2, default)
    return found[0] if found else Identifier("")


def _study_uids(reader: _Reader, segments: list[Segment]) -> tuple[str, ...]:
    """Read OBX with DCM 113014 or 110180 (or the RAD-28 text) and ZDS-1."""
    found: list[str] = []
    for each in segments:
        number = 5 if _names_study(reader, each) else 1 if each.name == "ZDS" else 0
        for value in each[number].split(reader.delimiters.repetition) if number else ():
            uid = reader.first(value)
            if uid and not _UID.fullmatch(uid):
                raise ContentFault(each.name, number, 102, "the Study Instance UID is no UID")
            found.extend([uid] if uid else [])
    return tuple(dict.fromkeys(found))


def _names_study(reader: _Reader, segment: Segment) -> bool:
    return segment.name == "OBX" and (
        reader.first(segment[3]) in ("113014", "110180")
        or "study instance uid" in segment[3].casefold()
    )


def _lines(reader: _Reader, segments: list[Segment]) -> Iterator[ObservationLine]:
    """Yield the text of each OBX in order; repetitions of OBX-5 are lines of their own."""
    for obx in (each for each in segments if each.name == "OBX"):
        if obx[2] not in _TEXT_TYPES or _UID_IDENTIFIER.search(obx[3]):
            continue
        parts = obx[5].split(reader.delimiters.repetition)
        if obx[2] in _CODED_TYPES:
            parts = [_meaning(part, reader.delimiters.component) for part in parts]
        text = "\n".join(reader.plain(part) for part in parts)
        yield ObservationLine(text=text, status=reader.first(obx[11]))


def _meaning(coded: str, separator: str) -> str:
    """CE and CWE: the text in component 2, else 9 (original text), else the code."""
    parts = coded.split(separator)
    choices = (parts[number] for number in (1, 8, 0) if number < len(parts))
    return next((each for each in choices if each), "")


_READERS: dict[str, Callable[[_Reader], ParsedMessage]] = {
    "ORU^R01": _read_reports,
    "ADT^A40": _read_merges,
}
