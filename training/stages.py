"""Where a model stands: the stages, which may follow which, and the events that tell."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.database import Clock
from training.errors import Permanent
from training.models import Model, ModelEvent


class Stage(StrEnum):
    """Where a model stands."""

    CANDIDATE = "candidate"  # registered; it does not work
    SILENT = "silent"  # predicts on what arrives; nothing of it leaves the node
    LIVE = "live"  # predicts, and its structured reports are sent
    RETIRED = "retired"  # works no more


TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.CANDIDATE: frozenset({Stage.SILENT, Stage.LIVE, Stage.RETIRED}),
    Stage.SILENT: frozenset({Stage.LIVE, Stage.RETIRED}),
    Stage.LIVE: frozenset({Stage.SILENT, Stage.RETIRED}),
    Stage.RETIRED: frozenset({Stage.SILENT, Stage.LIVE}),  # going back to an earlier version
}
"""From each stage to the stages that may follow it; every model starts as a candidate."""

AT_WORK = (Stage.LIVE, Stage.SILENT)
"""The stages in which a model predicts."""

# Keys of ModelEvent.details.
GATE = "gate"  # what the gate found when the model went live: training.gate
REPLACED = "replaced_by"  # retired because another version went live; its version
ROLLED_BACK = "rolled_back"  # live again by a rollback; the version that it took the place of


def newest_events(session: Session, name: str | None = None) -> dict[int | None, ModelEvent]:
    """Return the event that tells each model's stage, by id of the model."""
    newest = select(func.max(ModelEvent.id)).group_by(col(ModelEvent.model_id))
    query = select(ModelEvent).where(col(ModelEvent.id).in_(newest))
    if name is not None:
        query = query.join(Model, col(Model.id) == col(ModelEvent.model_id))
        query = query.where(Model.name == name)
    return {each.model_id: each for each in session.exec(query)}


def newest_event(session: Session, model: Model) -> ModelEvent:
    """Return the event that tells a model's stage.

    Raises:
        Permanent: it has none.
    """
    event = newest_events(session, model.name).get(model.id)
    if event is None:
        raise Permanent(f"model {model.reference} has no stage")
    return event


def stage_of(session: Session, model: Model) -> Stage:
    """Return the stage that a model's newest event gave it."""
    return Stage(newest_event(session, model).stage)


def unspoken(session: Session, model: Model) -> frozenset[str]:
    """Return the observations that a live model does not speak of: they did not pass the gate."""
    return unspoken_by(newest_event(session, model))


def unspoken_by(event: ModelEvent) -> frozenset[str]:
    """Return the observations of which a model does not speak while an event is its newest."""
    if event.stage != Stage.LIVE:
        return frozenset()
    judged = event.details.get(GATE, {}).get("observations", {})
    return frozenset(name for name, each in judged.items() if not each["spoken"])


def move(
    session: Session,
    model: Model,
    stage: Stage,
    decided_by: str,
    reason: str,
    clock: Clock,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Give a model another stage.

    Raises:
        Permanent: the table of transitions forbids it, nobody decides or no reason is given.
    """
    now = stage_of(session, model)
    if stage not in TRANSITIONS[now]:
        raise Permanent(f"{model.reference} is {now} and cannot become {stage}")
    record(session, model, stage, decided_by, reason, clock, details)


def record(
    session: Session,
    model: Model,
    stage: Stage,
    decided_by: str,
    reason: str,
    clock: Clock,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add the event, whatever the model's stage is now; arguments as of :func:`move`."""
    if model.id is None:
        raise Permanent("a model must be stored before its stage changes")
    check_decision(decided_by, reason)
    session.add(
        ModelEvent(
            model_id=model.id,
            stage=stage.value,
            decided_by=decided_by,
            reason=reason,
            details=dict(details or {}),
            decided_at=clock(),
        )
    )
    session.flush()


def check_decision(decided_by: str, reason: str) -> None:
    """Refuse a decision that names nobody or no reason."""
    if not decided_by.strip() or not reason.strip():
        raise Permanent("a change of stage needs who decided and why")
