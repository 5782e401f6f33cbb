"""What is known about a labeler's configuration: its calibration and its qualification.

A configuration is a labeler, its model, its questions and a schema; the newest row holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from labeling.models import Calibration, LabelingRun, Qualification
from labeling.thresholds import UNCALIBRATED, Thresholds


@dataclass(frozen=True)
class Configuration:
    """What reads: entry-point name, and digests of schema, model and questions (SHA-256)."""

    labeler: str
    schema_digest: str
    model_digest: str
    question_digest: str


def configuration_of(run: LabelingRun) -> Configuration:
    """Return the configuration of a run."""
    return Configuration(run.labeler, run.schema_digest, run.model_digest, run.question_digest)


def calibration_of(session: Session, of: Configuration) -> Calibration | None:
    """Return the newest calibration of a configuration, or None where it was never calibrated."""
    query = (
        select(Calibration)
        .where(
            Calibration.labeler == of.labeler,
            Calibration.schema_digest == of.schema_digest,
            Calibration.model_digest == of.model_digest,
            Calibration.question_digest == of.question_digest,
        )
        .order_by(col(Calibration.id).desc())
    )
    return session.exec(query).first()


def thresholds_of(session: Session, of: Configuration) -> Thresholds:
    """Return the thresholds that hold for a configuration; the default where none were fitted."""
    found = calibration_of(session, of)
    return UNCALIBRATED if found is None else Thresholds.from_json(found.thresholds)


def thresholds_with(session: Session, digest: str) -> Thresholds:
    """Return the thresholds of this digest; the default where it is empty or unknown."""
    query = select(Calibration).where(Calibration.digest == digest).limit(1)
    found = session.exec(query).first() if digest else None
    return UNCALIBRATED if found is None else Thresholds.from_json(found.thresholds)


def newest_run(session: Session, labeler: str, schema_digest: str = "") -> LabelingRun | None:
    """Return the newest run of a labeler, under the calibration that holds where it has read by it.

    A calibration that gives the thresholds of an earlier one leads back to an earlier run.

    Args:
        session: any session.
        labeler: entry-point name.
        schema_digest: only runs of this schema; empty: of any.
    """
    query = select(LabelingRun).where(LabelingRun.labeler == labeler)
    if schema_digest:
        query = query.where(LabelingRun.schema_digest == schema_digest)
    newest = session.exec(query.order_by(col(LabelingRun.id).desc())).first()
    if newest is None:
        return None
    holds = calibration_of(session, configuration_of(newest))
    if holds is None or holds.digest == newest.calibration_digest:
        return newest
    decided = query.where(
        LabelingRun.schema_digest == newest.schema_digest,
        LabelingRun.model_digest == newest.model_digest,
        LabelingRun.question_digest == newest.question_digest,
        LabelingRun.calibration_digest == holds.digest,
    )
    return session.exec(decided).first() or newest


def qualification_of(
    session: Session, of: Configuration, calibration_digest: str
) -> Qualification | None:
    """Return the newest verdict on a configuration with this calibration, or None."""
    query = (
        select(Qualification)
        .where(
            Qualification.labeler == of.labeler,
            Qualification.schema_digest == of.schema_digest,
            Qualification.model_digest == of.model_digest,
            Qualification.question_digest == of.question_digest,
            Qualification.calibration_digest == calibration_digest,
        )
        .order_by(col(Qualification.id).desc())
    )
    return session.exec(query).first()
