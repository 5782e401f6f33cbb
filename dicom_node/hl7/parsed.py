"""What a message says, whatever its form: the values that the reader hands on.

Times are as the sender wrote them (TS, DTM: ``YYYYMMDDHHMMSS.ffffff+ZZZZ``, cut short at will),
with the zone of the feed profile appended where the sender gave none and the profile has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.hl7.envelope import Envelope
from dicom_node.linking.identifiers import NOBODY, Identifier


@dataclass(frozen=True, slots=True)
class ParsedPatient:
    """PID: every identifier (PID-3), name as DICOM PN, birth date as DICOM DA, sex (M, F, O, U)."""

    identifiers: tuple[Identifier, ...] = ()
    name: str = ""
    birth_date: str = ""
    sex: str = ""


class Role(StrEnum):
    """What an OBX is for, by its identifier, its suffix or its place."""

    TEXT = "text"
    IMPRESSION = "impression"  # suffix &IMP, LOINC 19005-8
    ADDENDUM = "addendum"  # suffix &ADT, LOINC 55107-7, DCM 121078, a child OBR, MDM^T06


@dataclass(frozen=True, slots=True)
class EmbeddedDocument:
    """An ED value as sent: its text is taken out later, away from the acknowledgement."""

    media_type: str  # "application/pdf", "text/xml" (CDA), "text/plain", "application/rtf", ...
    data: bytes  # Base64 or hexadecimal undone


@dataclass(frozen=True, slots=True)
class ReportPart:
    """One OBX with text: repetitions of OBX-5 joined by line feeds, escapes undone.

    ``status`` is a code of table 0085, mapped by the feed profile; empty where none was sent.
    """

    text: str
    status: str = ""
    role: Role = Role.TEXT
    identifier: str = ""  # OBX-3.1
    sub_id: str = ""  # OBX-4
    document: EmbeddedDocument | None = None


class DocumentAction(StrEnum):
    """What an MDM message does to its document; ORU^R01 is always ``STATUS``: its codes decide."""

    STATUS = "as the status says"
    ADD = "T02, or T04: an original document"
    ADDENDUM = "T06: appended to its parent"
    EDIT = "T08: another text of the same document"
    REPLACE = "T10: a new document in place of its parent"
    CANCEL = "T11, or availability CA or OB (TXA-19): taken back"


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """One report of a message: an OBR with its OBX segments (ORU), or a TXA with its (MDM).

    Order groups without text belong to the group with text beside them: their accession numbers and
    Study Instance UIDs are listed here too (one report for several studies).
    """

    patient: ParsedPatient
    number: str  # what names the report at its sender: OBR-3, else accession; TXA-12
    parent_number: str = ""  # of the report that this one belongs to: OBR-29, OBR-26, TXA-13
    action: DocumentAction = DocumentAction.STATUS
    placer: Identifier = NOBODY
    filler: Identifier = NOBODY
    accessions: tuple[Identifier, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    procedure: str = ""
    modality: str = ""  # a DICOM modality where the profile maps it, else as sent
    body_part: str = ""
    observation_date: str = ""  # OBR-7
    status_changed_at: str = ""  # OBR-22; TXA-22, else TXA-6
    message_time: str = ""  # MSH-7
    result_status: str = ""  # a code of table 0123 (MDM: P, F, C or X by TXA-17); empty: none given
    interpreter: str = ""  # OBR-32, TXA-9
    parts: tuple[ReportPart, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedOrder:
    """ORM^O01, OMI^O23 (and OMG^O19): the bridge from order numbers to accession and study UID."""

    patient: ParsedPatient
    placer: Identifier = NOBODY
    filler: Identifier = NOBODY
    accession: Identifier = NOBODY
    study_instance_uids: tuple[str, ...] = ()
    procedure: str = ""
    modality: str = ""
    cancelled: bool = False  # ORC-1 CA, OC, DC, OD, CR, or ORC-5 CA, DC
    ordered_at: str = ""  # ORC-9, else MSH-7
    message_time: str = ""


class PatientAction(StrEnum):
    """What an ADT message says about identities."""

    UPDATE = "update"  # A04, A08, A31: demographics as they are now
    MERGE = "merge"  # A40, A34: the prior identity belongs to the surviving one
    CHANGE = "change"  # A47: the identifier was changed
    MOVE = "move"  # A43: one identifier moved to another patient
    UNLINK = "unlink"  # A37: an earlier merge is undone


@dataclass(frozen=True, slots=True)
class ParsedPatientEvent:
    """One PID (and its MRG) of an ADT message; ``prior`` is empty for an update."""

    action: PatientAction
    patient: ParsedPatient
    prior: Identifier = NOBODY
    survivor: Identifier = NOBODY  # the identifier of ``patient`` that pairs with ``prior``
    event_time: str = ""  # EVN-2, else MSH-7
    message_time: str = ""


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """All that a message says; ``ignored`` is the reason why nothing is taken from it."""

    envelope: Envelope
    reports: tuple[ParsedReport, ...] = ()
    orders: tuple[ParsedOrder, ...] = ()
    patient_events: tuple[ParsedPatientEvent, ...] = ()
    ignored: str = ""
