"""Table of feeds: which profile of a sender was accepted, by whom and why."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class FeedAcceptance(SQLModel, table=True):
    """A profile that a person accepted, or withdrew; the newest of a sender counts."""

    __tablename__ = "feed_acceptance"

    id: int | None = Field(default=None, primary_key=True)
    sender: str = Field(index=True)  # MSH-3 and MSH-4, joined with "|"
    action: str  # "accept" or "withdraw"
    profile: str = Field(sa_column=Column(Text, nullable=False))  # TOML
    profile_digest: str
    decided_by: str
    reason: str
    decided_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
