"""Tables of what changes made stale: notes, never taken back, and how far changes were read."""

from __future__ import annotations

import datetime as dt

from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class ImpactNote(SQLModel, table=True):
    """A change made something derived stale, or let it stand again.

    The newest note about the same artefact, study and report says whether it stands now. Nothing
    is altered: a cohort keeps its digest, and its notes say which members no longer stand. A note
    stays as it came; that a person closed it is written beside (training.impact_closing).
    """

    __tablename__ = "impact_note"

    id: int | None = Field(default=None, primary_key=True)
    artefact: str  # training.impact.Artefact
    artefact_id: int = Field(index=True)  # of the cohort, model, labeling run or transmission
    study_instance_uid: str = Field(default="", index=True)
    report_id: int | None = Field(default=None, index=True)
    stale: bool = True  # false: stands again
    cause: str = ""  # training.standing.Fault, or "erasure"; empty where it stands again
    grounds: str = ""  # the state of what the cause is about: training.impact_grounds
    count: int = 1  # members, where they can no longer be told one by one
    source: str = ""  # the table of the change that was read then
    source_id: int = 0  # its row
    noted_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
    closed_by: str = ""  # the person who looked at it; empty: it is open
    closed_reason: str = ""
    closed_at: dt.datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class ImpactPosition(SQLModel, table=True):
    """Up to which row of a table changes were read; everything is read where there is none."""

    __tablename__ = "impact_position"

    source: str = Field(primary_key=True)  # the table
    position: int = 0  # the greatest id that was read
