"""Tables of labeling: runs of a labeler, the labels they gave, and human reference labels."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
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
    prompt_digest: str = ""  # of the questions, and of the calibration where there is one
    question_digest: str = ""  # what was asked and by which settings, without the calibration
    calibration_digest: str = ""  # empty: uncalibrated
    model_name: str = ""  # of the model store or the server; digests decide, names are for people
    started_at: dt.datetime = _time()


class RunInForce(SQLModel, table=True):
    """A labeler began to read by this run; its newest row says which configuration is in force.

    A model that comes back leads to the run that it had before, which is not the newest one.
    """

    __tablename__ = "run_in_force"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="labeling_run.id", index=True)
    since: dt.datetime = _time()


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
    own_state: str = ""  # what the labeler decided before thresholds, evidence and parents did
    probability: float | None = None
    margin: float | None = None  # logit("yes") - logit("no"), uncalibrated
    mention_margin: float | None = None  # of the question whether it is mentioned at all
    evidence_start: int | None = None  # character offsets into report.text: the strongest span
    evidence_end: int | None = None
    more_evidence: list[list[int]] = Field(default_factory=list, sa_type=JSON)  # further spans
    severity: str = ""  # id of the observation's scale
    locations: list[str] = Field(default_factory=list, sa_type=JSON)  # ids of the schema
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
    severity: str = ""
    quote: str = ""  # words of the report that the reader rests on
    blinded: str = ""  # "yes": the reader saw no machine's label; "no"; empty: not said
    sampling: str = ""  # how the report came to be read: "random", "stratified", ...
    role: str = ""  # "adjudicator": settles what readers dispute; empty: a reader
    sample_digest: str = ""  # reference_sample.digest; empty: of no sample, whatever the file says
    source_digest: str = ""  # SHA-256 of the imported file
    imported_at: dt.datetime = _time()


class ReferenceSample(SQLModel, table=True):
    """A sample of reports or studies that was drawn for human readers, before anybody read it."""

    __tablename__ = "reference_sample"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # SHA-256 over the draw and every subject with its probability
    level: str  # "report", "image" or "file"
    design: str  # "random" or "stratified"
    seed: int
    frame_size: int  # subjects that could have been drawn
    frame: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # what was in it, what not
    n: int
    readers: int  # who must agree where nobody adjudicates; 1: one reader suffices by design
    strata: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)  # name, size, drawn
    planning: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # how n was computed
    places: list[list[str]] = Field(default_factory=list, sa_type=JSON)  # [observation, site], read
    drawn_by: str = ""
    drawn_at: dt.datetime = _time()


class SampledSubject(SQLModel, table=True):
    """A subject of a sample, with the probability with which it came into it."""

    __tablename__ = "reference_sample_subject"
    __table_args__ = (UniqueConstraint("sample_id", "subject"),)

    id: int | None = Field(default=None, primary_key=True)
    sample_id: int = Field(foreign_key="reference_sample.id", index=True)
    subject: str = Field(index=True)  # as reference_label.subject
    stratum: str
    probability: float  # of inclusion, in (0, 1]


class Calibration(SQLModel, table=True):
    """Thresholds fitted on reference labels, for one labeler, model, questions and schema.

    The newest row of a configuration is the one that holds.
    """

    __tablename__ = "calibration"

    id: int | None = Field(default=None, primary_key=True)
    labeler: str
    schema_digest: str
    model_digest: str
    question_digest: str
    thresholds: str  # labeling.thresholds.Thresholds as JSON
    digest: str = Field(index=True)
    n_reports: int
    reference_digest: str  # SHA-256 over the reference labels that it rests on
    summary: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    fitted_by: str = ""
    fitted_at: dt.datetime = _time()


class Qualification(SQLModel, table=True):
    """A verdict on a labeler's configuration, measured on reference labels; the newest holds."""

    __tablename__ = "qualification"

    id: int | None = Field(default=None, primary_key=True)
    labeler: str
    schema_digest: str
    model_digest: str
    question_digest: str
    calibration_digest: str
    qualified: bool
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    criteria: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    failings: list[str] = Field(default_factory=list, sa_type=JSON)  # why not, in sentences
    measured_by: str = ""
    measured_at: dt.datetime = _time()


class Disagreement(SQLModel, table=True):
    """Two runs that say different things of one report; only ever added."""

    __tablename__ = "label_disagreement"
    __table_args__ = (
        UniqueConstraint("run_id", "other_run_id", "report_id", "observation", "site"),
    )

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="labeling_run.id", index=True)
    other_run_id: int = Field(foreign_key="labeling_run.id")
    report_id: int = Field(foreign_key="report.id", index=True)
    observation: str
    site: str
    state: str
    other_state: str
    found_at: dt.datetime = _time()
