"""Tables of labeling: runs of a labeler, the labels they gave, and human reference labels."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _time() -> Any:
    return Field(sa_type=UtcDateTime, nullable=False)


class LabelingRun(SQLModel, table=True):
    """One configuration of one labeler; the digests say exactly what read the reports."""

    __tablename__ = "labeling_run"
    __table_args__ = (
        UniqueConstraint("labeler", "schema_digest", "model_digest", "prompt_digest"),
    )

    id: int | None = Field(default=None, primary_key=True)
    labeler: str  # entry-point name
    schema_name: str
    schema_digest: str
    model_digest: str = ""  # SHA-256 of the weights; of the rules' source for the rule labeler
    prompt_digest: str = ""
    started_at: dt.datetime = _time()


class Label(SQLModel, table=True):
    """What a labeler says about one observation at one site of one report version."""

    __tablename__ = "label"
    __table_args__ = (UniqueConstraint("run_id", "report_id", "observation", "site"),)

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="labeling_run.id", index=True)
    report_id: int = Field(foreign_key="report.id", index=True)
    observation: str
    site: str  # a site of the schema, or "whole" for the whole report
    state: str  # labeling.vocabulary.State
    probability: float | None = None
    margin: float | None = None  # logit("yes") - logit("no"), uncalibrated
    evidence_start: int | None = None  # character offsets into report.text
    evidence_end: int | None = None
    detail: str = ""
    provisional: bool = False  # of a report that was not final: never in a cohort
    created_at: dt.datetime = _time()


class ReferenceLabel(SQLModel, table=True):
    """A human reader's truth, at report level or at image level."""

    __tablename__ = "reference_label"
    __table_args__ = (UniqueConstraint("level", "subject", "observation", "site", "reader"),)

    id: int | None = Field(default=None, primary_key=True)
    level: str  # "report" or "image"
    subject: str = Field(index=True)  # accession number (report) or Study Instance UID (image)
    observation: str
    site: str
    reader: str
    state: str
    source_digest: str = ""  # SHA-256 of the imported file
    imported_at: dt.datetime = _time()
