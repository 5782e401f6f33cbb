"""Tables of the node: what arrived, from whom, and which report belongs to which study.

Rows are added, not overwritten: a corrected report is a new version, a merge is an event. A
study's progress is a query over the tables, never a stored status.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _time(*, nullable: bool = False, index: bool = False) -> Any:
    return Field(
        default=None if nullable else ...,
        sa_type=UtcDateTime,
        nullable=nullable,
        index=index,
    )


class Study(SQLModel, table=True):
    """A study as its instances describe it (PS3.3 C.7.2.1).

    It was first and last received at the least and the greatest ``received_at`` of its instances,
    superseded ones included.
    """

    __tablename__ = "study"

    study_instance_uid: str = Field(primary_key=True)
    patient_id: str = Field(default="", index=True)
    issuer_of_patient_id: str = ""
    issuer_assumed: bool = False
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    accession_number: str = Field(default="", index=True)
    issuer_of_accession_number: str = ""
    accession_issuer_assumed: bool = False
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    calling_ae_title: str = ""
    first_received_at: dt.datetime = _time()
    last_received_at: dt.datetime = _time(index=True)


class Series(SQLModel, table=True):
    """A series (PS3.3 C.7.3.1)."""

    __tablename__ = "series"

    series_instance_uid: str = Field(primary_key=True)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True)
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    body_part_examined: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    institution_name: str = ""  # (0008,0080)


class Instance(SQLModel, table=True):
    """A stored composite instance; ``digest`` names its file in the archive."""

    __tablename__ = "instance"

    sop_instance_uid: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    series_instance_uid: str = Field(foreign_key="series.series_instance_uid", index=True)
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str = ""
    size: int
    calling_ae_title: str = ""
    called_ae_title: str = ""
    declared_identity: str = ""  # dicom_node.arrivals.declared_identity of its header
    way: str = ""  # how it came: dicom_node.file_meta
    received_at: dt.datetime = _time()


class SupersededInstance(SQLModel, table=True):
    """An earlier version of an instance; its file stays in the archive."""

    __tablename__ = "superseded_instance"

    digest: str = Field(primary_key=True)
    sop_instance_uid: str = Field(index=True)
    series_instance_uid: str
    study_instance_uid: str = Field(index=True)
    superseded_by: str = Field(index=True)  # digest
    reason: str
    way: str = ""  # how it came: dicom_node.file_meta
    received_at: dt.datetime = _time()


class Quarantined(SQLModel, table=True):
    """Bytes that were kept but must not be used, with the reason; ``digest`` names the file.

    While an object of a study is open here, the study is frozen.
    """

    __tablename__ = "quarantined"
    __table_args__ = (UniqueConstraint("kind", "digest"),)

    id: int | None = Field(default=None, primary_key=True)
    kind: str  # "dicom" or "hl7"
    digest: str
    reason: str
    cause: str = ""  # dicom_node.quarantine.CAUSES; empty for messages
    state: str = "open"  # "open", "accepted" or "rejected" by a person
    sender: str = ""
    sop_instance_uid: str = Field(default="", index=True)
    series_instance_uid: str = ""
    study_instance_uid: str = Field(default="", index=True)
    other_study_instance_uid: str = Field(default="", index=True)  # where it is in conflict with
    declared_identity: str = ""  # dicom_node.arrivals.declared_identity of its header
    message_id: int | None = None
    received_at: dt.datetime = _time()


class QuarantineDecision(SQLModel, table=True):
    """What a person decided about a quarantined object; the last decision is in force."""

    __tablename__ = "quarantine_decision"
    __table_args__ = (UniqueConstraint("digest", "decided_at"),)

    id: int | None = Field(default=None, primary_key=True)
    digest: str
    action: str  # "accept" or "reject"
    decided_by: str
    reason: str
    decided_at: dt.datetime = _time()


class DecodedContent(SQLModel, table=True):
    """What an object shows, as a digest; kept so that nothing is decoded twice."""

    __tablename__ = "decoded_content"

    digest: str = Field(primary_key=True)
    content_digest: str


class MisplacedFile(SQLModel, table=True):
    """A file whose place must still follow its rows; the row goes when the file has moved."""

    __tablename__ = "misplaced_file"

    digest: str = Field(primary_key=True)


class Message(SQLModel, table=True):
    """An HL7 v2 message: the bytes as received and the acknowledgement that was given."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("sender", "message_control_id", "digest"),
        Index("ix_message_sender_profile", "sender", "profile_digest"),
    )

    id: int | None = Field(default=None, primary_key=True)
    sender: str  # MSH-3 and MSH-4, joined with "|"
    message_control_id: str = Field(index=True)
    digest: str = Field(index=True)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    message_type: str = ""
    disposition: str  # "accepted", "ignored" or "quarantined"
    reason: str = ""
    note: str = ""  # what was odd and did no harm, for example a control id used again
    source: str = "mllp"  # or "import", or "dicom": a structured report that was stored
    peer: str = ""  # address of the sender, name of the imported file, or digest of the document
    profile_digest: str = ""  # of the feed profile under which it was read
    acknowledgement: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at: dt.datetime = _time()


class FiledPosition(SQLModel, table=True):
    """Up to where the journal of messages was filed; committed together with the rows."""

    __tablename__ = "filed_position"

    id: int = Field(default=1, primary_key=True)
    segment: int
    offset: int


class Patient(SQLModel, table=True):
    """A patient identity; the key is issuer and identifier together, never the bare identifier."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("issuer_of_patient_id", "patient_id"),)

    id: int | None = Field(default=None, primary_key=True)
    issuer_of_patient_id: str
    patient_id: str
    first_seen_at: dt.datetime = _time()


class Report(SQLModel, table=True):
    """One version of a radiology report (HL7 ORU^R01); a correction is a new version."""

    __tablename__ = "report"
    __table_args__ = (UniqueConstraint("report_identity", "version"),)

    id: int | None = Field(default=None, primary_key=True)
    report_identity: str = Field(index=True)  # sender and filler order number or accession number
    version: int  # 1, 2, ... in order of making
    input_id: int | None = Field(default=None, index=True)  # report_input.id
    sender: str = ""  # MSH-3 and MSH-4, joined with "|"
    content_digest: str = ""  # of everything that the version says
    is_current: bool = True  # latest by OBR-22, MSH-7, arrival
    supersedes_id: int | None = Field(default=None, foreign_key="report.id")
    message_id: int | None = Field(default=None, foreign_key="message.id", index=True)
    text: str = Field(sa_column=Column(Text, nullable=False))
    sections: list[dict[str, Any]] = Field(  # kind, start, end, body: offsets into text
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    history: bool = False  # imported: it may train and is never answered
    result_status: str = ""  # OBR-25, table 0123
    accession_number: str = Field(default="", index=True)
    issuer_of_accession_number: str = ""
    accession_issuer_assumed: bool = False
    placer_order_number: str = Field(default="", index=True)
    filler_order_number: str = Field(default="", index=True)
    study_instance_uids: list[str] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    patient_id: str = Field(default="", index=True)
    issuer_of_patient_id: str = ""
    issuer_assumed: bool = False
    patient_identifiers: list[dict[str, Any]] = Field(  # every repetition of PID-3
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    modality: str = ""
    body_part: str = ""
    procedure: str = ""
    interpreter: str = ""  # OBR-32
    observation_date: str = ""  # OBR-7, digits as sent
    status_changed_at: str = ""  # OBR-22, digits as sent
    message_time: str = ""  # MSH-7, digits as sent
    received_at: dt.datetime = _time()


class ReportedStudy(SQLModel, table=True):
    """A Study Instance UID that a report version names (ZDS-1, OBX 113014 or 110180)."""

    __tablename__ = "reported_study"

    report_id: int = Field(primary_key=True, foreign_key="report.id")
    study_instance_uid: str = Field(primary_key=True, index=True)


class Link(SQLModel, table=True):
    """The decision that a report version belongs to a study, or must not, and why."""

    __tablename__ = "link"
    __table_args__ = (
        UniqueConstraint("report_id", "study_instance_uid"),
        Index("ix_link_study_state", "study_instance_uid", "state"),
    )

    id: int | None = Field(default=None, primary_key=True)
    report_id: int = Field(foreign_key="report.id")
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid")
    state: str  # "confirmed", "suspended", "proposed", "refused", "withdrawn"
    rule: str
    reason: str
    evidence: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    decided_by: str = "radloop"
    decided_at: dt.datetime = _time()


class Transmission(SQLModel, table=True):
    """What was sent to which peer and what the peer answered."""

    __tablename__ = "transmission"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "peer"),)

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str = Field(index=True)
    peer: str  # the peer's name in the settings
    path: str  # relative to the data folder
    state: str = Field(default="queued", index=True)  # "queued", "delivered", "failed"
    attempts: int = 0
    rounds: int = 0  # how often a person asked to try again
    last_status: int | None = None  # the C-STORE status (PS3.4 B.2.3)
    last_error: str = ""
    created_at: dt.datetime = _time()
    delivered_at: dt.datetime | None = _time(nullable=True)
