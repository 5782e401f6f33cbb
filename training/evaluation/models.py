"""Tables of evaluation: plans that were frozen, what their test sets held, and who opened them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _json(default: Any) -> Any:
    return Field(default_factory=default, sa_column=Column(JSON, nullable=False))


class EvaluationPlan(SQLModel, table=True):
    """What is to be measured on which test set; frozen before the test set is opened under it."""

    __tablename__ = "evaluation_plan"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # SHA-256 over content
    name: str = Field(index=True)
    cohort_id: int = Field(foreign_key="cohort.id")
    content: dict[str, Any] = _json(dict)  # training.evaluation.plan.Plan.record
    frozen_by: str
    frozen_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)


class EvaluationMember(SQLModel, table=True):
    """A study of a plan's test set, as it was when the plan was frozen."""

    __tablename__ = "evaluation_member"
    __table_args__ = (UniqueConstraint("plan_id", "study_instance_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    plan_id: int = Field(foreign_key="evaluation_plan.id", index=True)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True)
    patient_key: str
    labels_sha256: str  # training.manifest.labels_digest of the reference labels
    images_digest: str


class Opening(SQLModel, table=True):
    """A look at a test set under a plan; stored before the figures are computed."""

    __tablename__ = "test_set_opening"

    id: int | None = Field(default=None, primary_key=True)
    plan_id: int = Field(foreign_key="evaluation_plan.id", index=True)
    test_set_digest: str
    opened_by: str
    opened_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
    software: str
    figures: dict[str, Any] = _json(dict)  # empty: the evaluation was interrupted
