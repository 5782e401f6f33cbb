"""Tables of documents: what each one is, which instances were rejected, what persons decided."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class DicomDocument(SQLModel, table=True):
    """A stored object that is no image, and what it was taken for; ``digest`` names its file."""

    __tablename__ = "dicom_document"

    digest: str = Field(primary_key=True)
    sop_instance_uid: str = Field(index=True)
    sop_class_uid: str
    study_instance_uid: str = Field(index=True)
    calling_ae_title: str = ""
    kind: str = Field(index=True)  # dicom_node.documents.classifying.Kind
    why: str = ""  # in plain words, without a value of the document
    title: str = ""  # code value and scheme of the document title
    refers_to: list[str] = Field(  # SOP Instance UIDs of ours
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    verified: bool = False  # VERIFIED (0040,A493), with a verifying observer
    observers: list[str] = Field(  # persons who observed or verified; never logged
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    state: str = Field(default="", index=True)  # classifying.State; empty: there is none
    number: str = Field(
        default="", index=True
    )  # of a report: SOP Instance UID of its first version
    sender: str = ""  # of a report: under which it is filed, MSH-3 and MSH-4
    dated: str = ""  # of a report: when it was written, comparable
    filed_dated: str = ""  # of a report: the time under which it is filed, comparable
    patient_id: str = ""  # (0010,0020)
    rule_version: int = Field(index=True)  # 0: something it depends on is known now, read it again
    received_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
    read_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)


class DocumentReference(SQLModel, table=True):
    """What a document names, whether or not it is here; of images the first ones alone."""

    __tablename__ = "document_reference"
    __table_args__ = (UniqueConstraint("digest", "sop_instance_uid", "is_predecessor"),)

    id: int | None = Field(default=None, primary_key=True)
    digest: str  # of the document that names it
    sop_instance_uid: str = Field(index=True)
    study_instance_uid: str = ""  # as it is stated
    is_predecessor: bool = False  # it is replaced (0040,A360)


class RejectedInstance(SQLModel, table=True):
    """An instance that a rejection note names; the note's row says whether it is in force."""

    __tablename__ = "rejected_instance"
    __table_args__ = (UniqueConstraint("note_digest", "sop_instance_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    note_digest: str  # of the rejection note
    sop_instance_uid: str = Field(index=True)
    study_instance_uid: str = Field(index=True)  # of the note, in which the instance must be


class DocumentDecision(SQLModel, table=True):
    """What a person decided about a rejection note; the last decision is in force."""

    __tablename__ = "document_decision"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(index=True)
    study_instance_uid: str = Field(index=True)
    action: str  # "release" or "confirm"
    decided_by: str
    reason: str
    decided_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
