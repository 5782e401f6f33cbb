"""Tables of what changes made stale: notes that are only added, and how far changes were read."""

from __future__ import annotations

import datetime as dt

from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class ImpactNote(SQLModel, table=True):
    """A change made something derived stale, or let it stand again.

    The newest note about the same artefact, study and report says whether it stands now. Nothing
    is altered: a cohort keeps its digest, and its notes say which members no longer stand.
    """

    __tablename__ = "impact_note"

    id: int | None = Field(default=None, primary_key=True)
    artefact: str  # training.impact.Artefact
    artefact_id: int = Field(index=True)  # of the cohort, model, labeling run or transmission
    study_instance_uid: str = Field(default="", index=True)
    report_id: int | None = Field(default=None, index=True)
    stale: bool = True  # false: stands again
    cause: str = ""  # training.standing.Fault, or "erasure"; empty where it stands again
    count: int = 1  # members, where they can no longer be told one by one
    source: str = ""  # the table of the change that was read then
    source_id: int = 0  # its row
    noted_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)


class ImpactPosition(SQLModel, table=True):
    """Up to which row of a table changes were read; everything is read where there is none."""

    __tablename__ = "impact_position"

    source: str = Field(primary_key=True)  # the table
    position: int = 0  # the greatest id that was read
