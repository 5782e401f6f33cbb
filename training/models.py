"""Tables of training: frozen cohorts, training runs, models, predictions."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _time() -> Any:
    return Field(sa_type=UtcDateTime, nullable=False)


def _json(default: Any) -> Any:
    return Field(default_factory=default, sa_column=Column(JSON, nullable=False))


class Cohort(SQLModel, table=True):
    """A frozen selection of studies with targets; ``digest`` covers every member and target."""

    __tablename__ = "cohort"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    name: str = Field(index=True)
    schema_name: str
    schema_digest: str
    labeling_run_id: int = Field(foreign_key="labeling_run.id")
    query: dict[str, Any] = _json(dict)
    provenance: dict[str, Any] = _json(dict)  # code, calibration, what leak tests saw
    frozen_at: dt.datetime = _time()


class CohortMember(SQLModel, table=True):
    """A study's membership: its fold and targets, or the reason of its exclusion."""

    __tablename__ = "cohort_member"
    __table_args__ = (UniqueConstraint("cohort_id", "study_instance_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    cohort_id: int = Field(foreign_key="cohort.id", index=True)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True)
    patient_key: str  # salted digest of the surviving patient identity
    report_id: int | None = Field(default=None, foreign_key="report.id")
    images_digest: str = ""  # SHA-256 over the digests of the images in the series that fit
    fold: str = ""  # "train", "validation", "test"; empty when excluded
    targets: dict[str, Any] = _json(dict)  # training.targets.Targets
    details: dict[str, Any] = _json(dict)  # training.typed_targets.Details
    exclusion_reason: str = ""
    report_sha256: str = ""  # of the text of the report version
    labels_sha256: str = ""  # training.manifest.labels_digest of what the targets were made of
    images: list[str] = _json(list)  # digests of the instances in the series that fit


class SeriesPicture(SQLModel, table=True):
    """What was seen of a series' images: the fingerprint of the middle one, texts in headers.

    Kept so that freezing again decodes nothing twice.
    """

    __tablename__ = "series_picture"

    series_digest: str = Field(primary_key=True)  # training.pictures.series_digest
    digest: str = Field(index=True)  # of the instance in the middle
    method: str  # training.fingerprints.METHOD
    fingerprint: str = ""  # hexadecimal; empty: there is none
    reason: str = ""  # why there is none
    texts: list[str] = _json(list)  # Image Comments (0020,4000) of all images
    marks: list[str] = _json(list)  # what Image Type and Burned In Annotation say of text


class OptOut(SQLModel, table=True):
    """A patient does not want to take part in research, or takes that back; the newest row holds.

    It stays when the patient is erased, and tells nobody who it was.
    """

    __tablename__ = "opt_out"

    id: int | None = Field(default=None, primary_key=True)
    patient_key: str = Field(index=True)  # training.folds.patient_key of one identity
    revoked: bool = False
    decided_by: str
    reason: str
    decided_at: dt.datetime = _time()


class TrainingRun(SQLModel, table=True):
    """One training: cohort, seed, code version, learning curve and metrics."""

    __tablename__ = "training_run"

    id: int | None = Field(default=None, primary_key=True)
    cohort_id: int = Field(foreign_key="cohort.id", index=True)
    classifier: str  # entry-point name
    seed: int
    code_version: str
    curve: list[Any] = _json(list)
    metrics: dict[str, Any] = _json(dict)
    started_at: dt.datetime = _time()
    finished_at: dt.datetime = _time()


class Model(SQLModel, table=True):
    """Trained weights in the registry, addressed by digest."""

    __tablename__ = "model"

    id: int | None = Field(default=None, primary_key=True)
    weights_digest: str = Field(unique=True)  # SHA-256 of the safetensors file
    name: str = Field(index=True)
    version: int
    training_run_id: int = Field(foreign_key="training_run.id")
    schema_name: str
    schema_digest: str
    device_uid: str  # DICOM Device UID (0018,1002), new with every training
    operating_points: dict[str, Any] = _json(dict)  # {observation: threshold on probability}
    registered_at: dt.datetime = _time()

    @property
    def reference(self) -> str:
        """The name that people and commands use: NAME:VERSION."""
        return f"{self.name}:{self.version}"


class ModelEvent(SQLModel, table=True):
    """A change of a model's stage, with who and why; the newest event is the stage."""

    __tablename__ = "model_event"

    id: int | None = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id", index=True)
    stage: str  # training.stages.Stage
    decided_by: str
    reason: str
    details: dict[str, Any] = _json(dict)  # training.stages: what the gate found, what was replaced
    decided_at: dt.datetime = _time()


class Prediction(SQLModel, table=True):
    """A model's probability for one observation at one site of one study."""

    __tablename__ = "prediction"
    __table_args__ = (
        UniqueConstraint("model_id", "study_instance_uid", "study_digest", "observation", "site"),
    )

    id: int | None = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id", index=True)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True)
    study_digest: str  # over the digests of the instances that were analysed
    observation: str
    site: str
    probability: float | None = None  # None: not evaluated
    threshold: float | None = None
    reason: str = ""  # why a site was not evaluated
    stage: str = "live"  # "silent": by a silent model, or of what a live one does not speak of
    sop_instance_uid: str = Field(default="", index=True)  # the SR that carries it
    scanner: str = ""  # manufacturer and model, as the images told when they were predicted
    house: str = ""  # of which hospital or sender: training.evaluation.attributes
    predicted_at: dt.datetime = _time()
