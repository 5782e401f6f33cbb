"""Tables of what was asked of archives: durable before asking, so that a stop loses nothing."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _time(*, nullable: bool = False) -> Any:
    return Field(default=None if nullable else ..., sa_type=UtcDateTime, nullable=nullable)


class Task(StrEnum):
    """What a row of retrieval asks for."""

    STUDY = "study"
    PRIOR = "prior"
    PRIORS = "priors"  # of a study that is here: which there are


class State(StrEnum):
    """How far a row of retrieval has come."""

    WAITING = "waiting"
    ARRIVING = "arriving"  # the archive says that it has sent; not all of it is indexed
    FETCHED = "fetched"
    PRESENT = "here already"
    SEARCHED = "searched"  # for priors
    UNKNOWN = "unknown to the PACS"
    SEVERAL = "several studies"
    TOO_LARGE = "too large"
    REFUSED = "refused"
    INCOMPLETE = "incomplete"  # fewer objects came than the archive says it has
    FAILED = "failed"


OPEN = frozenset({State.WAITING, State.ARRIVING})
DONE = frozenset({State.FETCHED, State.PRESENT, State.SEARCHED})
MISSING = frozenset(State) - OPEN - DONE
"""What a person may want to look at, or ask for once more."""


class Backfill(SQLModel, table=True):
    """A list of studies to fetch from one archive."""

    __tablename__ = "backfill"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    peer: str  # its name in the settings
    priors: int = 0  # that are fetched with each study
    on_arrival: bool = False  # true: priors of what arrives, for a model that wants them
    stopped: bool = False  # by a person
    created_at: dt.datetime = _time()


class Retrieval(SQLModel, table=True):
    """One study to fetch, or one search for priors."""

    __tablename__ = "retrieval"

    id: int | None = Field(default=None, primary_key=True)
    backfill_id: int = Field(foreign_key="backfill.id", index=True)
    task: str = Task.STUDY.value
    line: int = 0  # of the file; 0: none
    accession_number: str = Field(default="", index=True)
    issuer_of_accession_number: str = ""  # empty: whoever's
    patient_id: str = Field(default="", index=True)  # needed by archives with Patient Root alone
    study_instance_uid: str = Field(default="", index=True)  # asked for, or found
    prior_of: str = Field(default="", index=True)  # Study Instance UID
    state: str = Field(default=State.WAITING.value, index=True)
    detail: str = ""
    attempts: int = 0
    expected: int | None = None  # instances that the archive has
    arrived: int = 0  # of these, at the last look
    completed: int = 0  # sub-operations, as the archive counts them
    failed: int = 0
    warning: int = 0
    remaining: int = 0
    failed_uids: list[str] = Field(  # Failed SOP Instance UID List, the first of them
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    wanted_uids: list[str] = Field(  # SOP Instance UIDs that the archive names, while they arrive
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    lacked: str = ""  # what was missing when it was last asked for, to tell whether asking helped
    next_at: dt.datetime = _time()
    asked_at: dt.datetime | None = Field(
        default=None, sa_type=UtcDateTime, nullable=True, index=True
    )
    finished_at: dt.datetime | None = _time(nullable=True)


class Asking(SQLModel, table=True):
    """One asking of an archive for a study, in the last hour: what the rate is counted by."""

    __tablename__ = "retrieval_asking"

    id: int | None = Field(default=None, primary_key=True)
    asked_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False, index=True)


class PriorStudy(SQLModel, table=True):
    """An earlier study of the same patient that was fetched for a study."""

    __tablename__ = "prior_study"

    study_instance_uid: str = Field(primary_key=True)
    prior_instance_uid: str = Field(primary_key=True, index=True)  # Study Instance UID
    found_at: dt.datetime = _time()


class PacsDifference(SQLModel, table=True):
    """A study became different in an archive, or is the same again; only added to."""

    __tablename__ = "pacs_difference"

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(index=True)
    peer: str  # the archive's name in the settings
    kind: str  # dicom_node.retrieval.comparing.Difference
    attributes: str = ""  # keywords of what differs; never values
    found_at: dt.datetime = _time()
