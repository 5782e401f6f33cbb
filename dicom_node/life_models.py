"""Tables of a study's life: when it was complete, what has expired, who was erased.

Completions, tombstones and erasures are only added to. None of these tables is derived from files:
``radloop reindex`` leaves them as they are.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _time(*, nullable: bool = False) -> Any:
    return Field(default=None if nullable else ..., sa_type=UtcDateTime, nullable=nullable)


def _json(default: Any) -> Any:
    return Field(default_factory=default, sa_column=Column(JSON, nullable=False))


class StudyCompletion(SQLModel, table=True):
    """A content of a study that was taken for the whole of it; later images make another one."""

    __tablename__ = "study_completion"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "number"),
        UniqueConstraint("study_instance_uid", "study_digest"),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(index=True)
    number: int  # 1, 2, ...; every one after the first ends a re-opening
    study_digest: str  # dicom_node.studies.study_digest at that moment
    images: int
    last_received_at: dt.datetime = _time()  # of the study, at that moment
    cause: str  # "quiet time", "required series" or "forced"
    decided_by: str = "radloop"
    reason: str = ""
    completed_at: dt.datetime = _time()


class Tombstone(SQLModel, table=True):
    """An instance that was received, acknowledged and deleted by a rule of retention.

    The keys are salted digests: they answer a question about a known UID and tell none.
    """

    __tablename__ = "tombstone"

    id: int | None = Field(default=None, primary_key=True)
    instance_key: str = Field(index=True)  # of SOP Instance UID
    study_key: str = Field(index=True)  # of Study Instance UID
    rule: str
    expired_at: dt.datetime = _time()


class ExpiredStudy(SQLModel, table=True):
    """A study whose images expired while a link, a cohort or a prediction still refers to it."""

    __tablename__ = "expired_study"

    study_instance_uid: str = Field(primary_key=True)
    rule: str
    expired_at: dt.datetime = _time()


class SolicitedStudy(SQLModel, table=True):
    """A study that is here because this node asked for it; it is never answered."""

    __tablename__ = "solicited_study"

    study_instance_uid: str = Field(primary_key=True)
    way: str  # "retrieved" or "imported"
    reason: str
    asked_at: dt.datetime = _time()


class PendingDeletion(SQLModel, table=True):
    """A file whose rows are gone already; the row goes when the file has."""

    __tablename__ = "pending_deletion"

    path: str = Field(primary_key=True)  # relative to the data folder
    recorded_at: dt.datetime = _time()


class Erasure(SQLModel, table=True):
    """A patient who was erased: what remains to say so, without saying who it was."""

    __tablename__ = "erasure"

    id: int | None = Field(default=None, primary_key=True)
    patient_keys: list[str] = _json(list)  # training.folds.patient_key of every identity
    decided_by: str
    reason: str
    counts: dict[str, int] = _json(dict)  # rows by table, files by folder
    cohorts: list[dict[str, Any]] = _json(list)  # id, digest before and after
    models: list[dict[str, Any]] = _json(list)  # trained on data of an erased patient
    journal_segment: int = 0  # it and the segments before it must be gone (mllp.journal)
    started_at: dt.datetime = _time()
    finished_at: dt.datetime | None = _time(nullable=True)  # None: files or pages still hold it
