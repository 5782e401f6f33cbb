"""The registry of models: weights by digest, versions by name, stages as events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.database import Clock
from training.errors import Permanent
from training.figures import FIGURES, figures_digest
from training.models import Cohort, Model, TrainingRun
from training.stages import (
    GATE,
    REPLACED,
    TRANSITIONS,
    Stage,
    check_decision,
    move,
    newest_event,
    newest_events,
    record,
    stage_of,
)

__all__ = [
    "TRANSITIONS",
    "Listing",
    "Stage",
    "find",
    "live_model",
    "models",
    "models_at_work",
    "promote",
    "register",
    "retire",
    "silence",
    "stage_of",
]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REFERENCE = re.compile(rf"(?P<name>{_NAME.pattern})(?::(?P<version>[1-9][0-9]{{0,8}}))?")


@dataclass(frozen=True)
class Listing:
    """A model with its stage, who set it and why, and its AUROC on the test fold."""

    model: Model
    stage: Stage
    decided_by: str
    reason: str
    cohort_digest: str
    auroc: dict[str, float | None]  # by observation; empty where the training recorded none

    @property
    def reference(self) -> str:
        """The name that :func:`promote` takes: NAME:VERSION."""
        return self.model.reference


def register(
    session: Session,
    *,
    weights_digest: str,
    name: str,
    training_run: TrainingRun,
    operating_points: Mapping[str, float | None],
    uid_source: Callable[[], str],
    decided_by: str,
    clock: Clock,
) -> Model:
    """Register trained weights as the next version of a name, as a candidate.

    Weights that are registered already give their model back, unchanged.

    Args:
        session: a writing session; the caller commits.
        weights_digest: SHA-256 of the safetensors file, 64 hex digits.
        name: letters, digits and ``_.-``.
        training_run: stored before; its cohort says which label schema the model speaks.
        operating_points: threshold by observation; None where validation gave none.
        uid_source: gives a new Device UID (0018,1002) for these weights.
        decided_by: who registers.
        clock: gives the time.

    Raises:
        Permanent: a value is malformed, the training run is not stored, or the weights are
            registered under another name, schema or operating points.
    """
    _check(weights_digest, name, operating_points)
    cohort = session.get(Cohort, training_run.cohort_id)
    if training_run.id is None or cohort is None:
        raise Permanent("store the training run and its cohort before registering a model")
    points = dict(operating_points)
    known = session.exec(select(Model).where(Model.weights_digest == weights_digest)).first()
    if known is not None:
        same = (known.name, known.schema_digest, known.operating_points)
        if same != (name, cohort.schema_digest, points):
            raise Permanent(f"these weights are {known.reference}, registered otherwise")
        return known
    latest = session.exec(select(func.max(Model.version)).where(Model.name == name)).one()
    model = Model(
        weights_digest=weights_digest,
        name=name,
        version=(latest or 0) + 1,
        training_run_id=training_run.id,
        schema_name=cohort.schema_name,
        schema_digest=cohort.schema_digest,
        device_uid=uid_source(),
        operating_points=points,
        registered_at=clock(),
    )
    session.add(model)
    session.flush()
    figures = {FIGURES: figures_digest(training_run.metrics)}
    record(session, model, Stage.CANDIDATE, decided_by, "registered", clock, figures)
    return model


def find(session: Session, name_or_version: str) -> Model:
    """Return the model NAME:VERSION, or the newest version of NAME.

    Raises:
        Permanent: the registry has no such model.
    """
    asked = _REFERENCE.fullmatch(name_or_version)
    if asked is None:
        raise Permanent("a model is named NAME or NAME:VERSION")
    query = select(Model).where(Model.name == asked["name"]).order_by(col(Model.version).desc())
    if asked["version"]:
        query = query.where(Model.version == int(asked["version"]))
    model = session.exec(query).first()
    if model is None:
        raise Permanent(f"the registry has no model {name_or_version}")
    return model


def promote(
    session: Session,
    name_or_version: str,
    *,
    decided_by: str,
    reason: str,
    clock: Clock,
    details: Mapping[str, Any] | None = None,
) -> Model:
    """Make a model live and retire the earlier live one of its name; harmless when repeated.

    Whether the model may is not asked here: ``training.gate`` judges that. A live model that no
    gate has judged gets another event where ``details`` say what the gate found.

    Args:
        session: a writing session; the caller commits.
        name_or_version: NAME (its newest version) or NAME:VERSION.
        decided_by: the person who decides.
        reason: why.
        clock: gives the time.
        details: what the event keeps beside: what the gate found, or which version was rolled back.

    Raises:
        Permanent: no such model, nobody decides or no reason is given.
    """
    check_decision(decided_by, reason)
    model = find(session, name_or_version)
    newest = newest_event(session, model)
    if newest.stage == Stage.LIVE:
        if GATE in (details or {}) and GATE not in newest.details:
            record(session, model, Stage.LIVE, decided_by, reason, clock, details)
        return model
    earlier = live_model(session, model.name)
    if earlier is not None:
        why = f"replaced by version {model.version}: {reason}"
        replaced = {REPLACED: model.version}
        move(session, earlier, Stage.RETIRED, decided_by, why, clock, replaced)
    move(session, model, Stage.LIVE, decided_by, reason, clock, details)
    return model


def silence(
    session: Session, name_or_version: str, *, decided_by: str, reason: str, clock: Clock
) -> Model:
    """Let a model predict in silence: nothing of it leaves the node. Repeated, it changes nothing.

    A live model falls silent, too; nothing takes its place then.

    Raises:
        Permanent: no such model, nobody decides or no reason is given.
    """
    return _turn(session, name_or_version, Stage.SILENT, decided_by, reason, clock)


def retire(
    session: Session, name_or_version: str, *, decided_by: str, reason: str, clock: Clock
) -> Model:
    """Retire a model: it predicts no more. Harmless when repeated.

    Raises:
        Permanent: no such model, nobody decides or no reason is given.
    """
    return _turn(session, name_or_version, Stage.RETIRED, decided_by, reason, clock)


def _turn(
    session: Session, name: str, stage: Stage, decided_by: str, reason: str, clock: Clock
) -> Model:
    check_decision(decided_by, reason)
    model = find(session, name)
    if stage_of(session, model) is not stage:
        move(session, model, stage, decided_by, reason, clock)
    return model


def live_model(session: Session, name: str) -> Model | None:
    """Return the live model of a name, or None."""
    live = _in_stage(session, name, Stage.LIVE)
    if len(live) > 1:
        raise Permanent(f"more than one model {name} is live; retire all but one")
    return live[0] if live else None


def models_at_work(session: Session, name: str) -> list[Model]:
    """Return the models of a name that predict: the live one, then the silent ones by version."""
    live = live_model(session, name)
    return [*([live] if live else []), *_in_stage(session, name, Stage.SILENT)]


def _in_stage(session: Session, name: str, stage: Stage) -> list[Model]:
    events = newest_events(session, name).values()
    found = [session.get_one(Model, each.model_id) for each in events if each.stage == stage]
    return sorted(found, key=lambda each: each.version)


def models(session: Session) -> list[Listing]:
    """Return every registered model, by name, the newest version first."""
    events = newest_events(session)
    rows = session.exec(
        select(Model, TrainingRun.metrics, Cohort.digest)
        .join(TrainingRun, col(TrainingRun.id) == col(Model.training_run_id))
        .join(Cohort, col(Cohort.id) == col(TrainingRun.cohort_id))
        .order_by(col(Model.name), col(Model.version).desc())
    )
    return [
        Listing(
            model=model,
            stage=Stage(events[model.id].stage),
            decided_by=events[model.id].decided_by,
            reason=events[model.id].reason,
            cohort_digest=digest,
            auroc=_auroc(metrics),
        )
        for model, metrics, digest in rows
    ]


def _auroc(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return AUROC by observation from what ``metrics.evaluate`` said, kept under "test"."""
    observations = (metrics.get("test") or {}).get("observations", {})
    return {name: each["auroc"]["value"] for name, each in observations.items()}


def _check(weights_digest: str, name: str, points: Mapping[str, float | None]) -> None:
    if not _DIGEST.fullmatch(weights_digest):
        raise Permanent("a weights digest is 64 lower-case hex digits")
    if not _NAME.fullmatch(name):
        raise Permanent("a model's name has letters, digits and _.- only, 64 at most")
    if not all(value is None or 0 <= value <= 1 for value in points.values()):
        raise Permanent("an operating point is a probability, or none")
