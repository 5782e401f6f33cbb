"""What is known about a labeler's configuration: its calibration and its qualification.

A configuration is a labeler, its model, its questions and a schema; the newest row holds. Which
configuration of a labeler is in force is what it read by last (``put_in_force``).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from dicom_node.database import Clock
from labeling.models import Calibration, LabelingRun, Qualification, RunInForce
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


def put_in_force(session: Session, run: LabelingRun, clock: Clock) -> None:
    """Note that its labeler reads by this run from now on, where it did not already."""
    latest = (
        select(RunInForce.run_id)
        .join(LabelingRun, col(LabelingRun.id) == col(RunInForce.run_id))
        .where(LabelingRun.labeler == run.labeler)
        .order_by(col(RunInForce.id).desc())
        .limit(1)
    )
    if run.id is not None and session.exec(latest).first() != run.id:
        session.add(RunInForce(run_id=run.id, since=clock()))
        session.flush()


def newest_run(session: Session, labeler: str, schema_digest: str = "") -> LabelingRun | None:
    """Return the run by which a labeler reads: of its configuration in force, as calibrated now.

    Its configuration in force is the one that it read by last; a calibration that gives the
    thresholds of an earlier one leads back to an earlier run.

    Args:
        session: any session.
        labeler: entry-point name.
        schema_digest: only runs of this schema; empty: of any.
    """
    query = select(LabelingRun).where(LabelingRun.labeler == labeler)
    if schema_digest:
        query = query.where(LabelingRun.schema_digest == schema_digest)
    began = (
        select(func.max(RunInForce.id)).where(RunInForce.run_id == LabelingRun.id).scalar_subquery()
    )
    # Runs that nothing was noted of are older than all others.
    newest = session.exec(
        query.order_by(func.coalesce(began, 0).desc(), col(LabelingRun.id).desc())
    ).first()
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
