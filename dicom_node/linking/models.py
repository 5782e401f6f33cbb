"""Tables of linking: events of identities, orders, what people decided, and every change of a link.

All are append-only. What holds now is computed from them in the order of the events' own times.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _json(default: Any) -> Any:
    return Field(default_factory=default, sa_column=Column(JSON, nullable=False))


def _time() -> Any:
    return Field(sa_type=UtcDateTime, nullable=False)


class PatientEvent(SQLModel, table=True):
    """What an ADT message, or a person, said about identities (see hl7.parsed.PatientAction)."""

    __tablename__ = "patient_event"
    __table_args__ = (UniqueConstraint("message_id", "place", "reading"),)

    id: int | None = Field(default=None, primary_key=True)
    message_id: int | None = Field(default=None, foreign_key="message.id")
    place: int = 0  # in its message
    reading: int = 1
    holds: bool = True  # false: the message was read again, or a person took the event back
    action: str  # hl7.parsed.PatientAction
    event_time: str = ""  # comparable text: reports.times.comparable
    prior_patient_id: str = Field(default="", index=True)
    prior_issuer: str = ""
    prior_issuer_assumed: bool = False
    patient_id: str = Field(default="", index=True)  # the surviving, or the updated one
    issuer: str = ""
    issuer_assumed: bool = False
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    decided_by: str = ""  # a person; empty: a message
    reason: str = ""
    recorded_at: dt.datetime = _time()


class PatientReview(SQLModel, table=True):
    """A person looked at an identity whose links were suspended, and let them stand."""

    __tablename__ = "patient_review"

    id: int | None = Field(default=None, primary_key=True)
    patient_id: str = Field(index=True)
    issuer: str
    issuer_assumed: bool = False
    reviewed: str = ""  # digest of the suspensions that were seen: a new one suspends again
    decided_by: str
    reason: str
    decided_at: dt.datetime = _time()


class ImagingOrder(SQLModel, table=True):
    """An imaging order (ORM^O01, OMI^O23): order numbers, accession number, Study Instance UID."""

    __tablename__ = "imaging_order"
    __table_args__ = (UniqueConstraint("message_id", "place", "reading"),)

    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="message.id")
    place: int = 0
    reading: int = 1
    holds: bool = True
    sender: str = ""
    placer_order_number: str = Field(default="", index=True)
    placer_issuer: str = ""
    filler_order_number: str = Field(default="", index=True)
    filler_issuer: str = ""
    accession_number: str = Field(default="", index=True)
    accession_issuer: str = ""
    accession_issuer_assumed: bool = False
    study_instance_uid: str = Field(default="", index=True)  # a row for each that the order names
    patient_identifiers: list[dict[str, Any]] = _json(list)
    modality: str = ""
    cancelled: bool = False
    ordered_at: str = ""  # comparable text
    received_at: dt.datetime = _time()


class LinkDecision(SQLModel, table=True):
    """What a person decided about a report and a study; the newest that was not reverted counts.

    A decision holds for the evidence that the person saw. Overriding a contradiction takes the same
    decision of two people.
    """

    __tablename__ = "link_decision"

    id: int | None = Field(default=None, primary_key=True)
    report_identity: str = Field(index=True)
    study_instance_uid: str = Field(index=True)
    action: str  # "confirm", "withdraw", "revert" (to what the rules say)
    evidence_digest: str = ""  # of linking.rules.evidence_digest when it was decided
    decided_by: str
    reason: str
    decided_at: dt.datetime = _time()


class LinkEvent(SQLModel, table=True):
    """One change of a link: never altered, so that every state can be told again."""

    __tablename__ = "link_event"

    id: int | None = Field(default=None, primary_key=True)
    report_id: int = Field(foreign_key="report.id", index=True)
    study_instance_uid: str = Field(index=True)
    state: str
    rule: str
    reason: str
    evidence: dict[str, Any] = _json(dict)
    rule_version: int = 0
    decided_by: str = "radloop"
    decided_at: dt.datetime = _time()
