"""Tables of reports: what was sent (inputs), and what the versions made of it name."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class ReportInput(SQLModel, table=True):
    """One report of one message as it was read: what the versions of a report are made from.

    ``reading`` counts how often the message was read again, under another profile; the greatest one
    of a message holds.
    """

    __tablename__ = "report_input"
    __table_args__ = (UniqueConstraint("message_id", "place", "reading"),)

    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="message.id")
    place: int = 0  # of the report in its message
    reading: int = 1
    holds: bool = Field(default=True, index=True)  # false: read again, or not a report any more
    report_identity: str = Field(index=True)  # sender and the number of the report or its parent
    document_identity: str = Field(default="", index=True)  # sender and its own number
    content: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    received_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)


class ReportedAccession(SQLModel, table=True):
    """An accession number that a report version names, with the issuer that is meant."""

    __tablename__ = "reported_accession"

    report_id: int = Field(primary_key=True, foreign_key="report.id")
    accession_number: str = Field(primary_key=True, index=True)
    issuer: str = Field(default="", primary_key=True)
    issuer_assumed: bool = Field(default=False, primary_key=True)


class ReportedPatient(SQLModel, table=True):
    """A patient identifier that a report version names (every repetition of PID-3)."""

    __tablename__ = "reported_patient"

    report_id: int = Field(primary_key=True, foreign_key="report.id")
    patient_id: str = Field(primary_key=True, index=True)
    issuer: str = Field(default="", primary_key=True)
    issuer_assumed: bool = Field(default=False, primary_key=True)
