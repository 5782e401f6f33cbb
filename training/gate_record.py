"""What the tables say of a model that somebody wants live: figures, reference, notes, silence."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlmodel import Session, col, select

from labeling.reference import reader_labels
from training.errors import Permanent
from training.figures import FIGURES, figures_digest
from training.gate import Record, Shown
from training.impact import Artefact
from training.impact_closing import open_notes
from training.models import CohortMember, Model, ModelEvent, TrainingRun
from training.stages import Stage


def record_of(
    session: Session,
    model: Model,
    now: dt.datetime,
    *,
    silent_studies: int = 0,
    drifts: Sequence[str] = (),
    domain: str = "",
    remarks: Sequence[str] = (),
) -> Record:
    """Return what is known of a model now.

    Args:
        session: any session.
        model: a registered model; the observations with an operating point are judged.
        now: the time until which silence counts.
        silent_studies: compared with a report, as the monitor counted them.
        drifts: alarms of the monitor.
        domain: what the weights lack to know what the model was made for.
        remarks: what else is to be kept with a promotion.

    Raises:
        Permanent: the figures are not those with which the model was registered.
    """
    run = session.get_one(TrainingRun, model.training_run_id)
    figures: Mapping[str, Any] = (run.metrics.get("test") or {}).get("observations", {})
    referenced, read = _references(session, run.cohort_id)
    remarks = [*remarks, *_unbound(session, model, run)]
    notes = open_notes(session, Artefact.MODEL, model.id or 0)
    return Record(
        observations={
            name: replace(_shown(figures.get(name)), referenced=referenced[name], read=read[name])
            for name in model.operating_points
        },
        notes={each.id or 0: f"note {each.id}: {each.cause}" for each in notes},
        silent_days=silent_days(session, model, now),
        silent_studies=silent_studies,
        drifts=drifts,
        domain=domain,
        remarks=remarks,
    )


def _unbound(session: Session, model: Model, run: TrainingRun) -> list[str]:
    """Return a remark where nothing tells whether figures are those of the registration."""
    first = session.exec(
        select(ModelEvent).where(ModelEvent.model_id == model.id).order_by(col(ModelEvent.id))
    ).first()
    bound = first.details.get(FIGURES) if first is not None else None
    if bound is None:
        return [
            "the model was registered by an earlier version, which kept no digest of its figures: "
            "nothing tells whether they are still the same"
        ]
    if bound != figures_digest(run.metrics):
        raise Permanent(
            f"the recorded figures of {model.reference} are not those with which it was registered"
        )
    return []


def _shown(figures: Mapping[str, Any] | None) -> Shown:
    if figures is None:
        return Shown(None, None, 0, 0, 0)
    auroc = figures["auroc"]
    return Shown(
        auroc=auroc["value"],
        low=auroc.get("low"),
        positives=figures.get("positives", 0),
        n=figures.get("n", 0),
        referenced=0,
        read=0,
        reason=auroc.get("reason", ""),
    )


def _references(session: Session, cohort_id: int) -> tuple[Counter[str], Counter[str]]:
    """Count by observation the test studies with labels that deserve to test, and with any."""
    members = session.exec(
        select(CohortMember.study_instance_uid).where(
            CohortMember.cohort_id == cohort_id,
            CohortMember.fold == "test",
            CohortMember.exclusion_reason == "",
        )
    ).all()
    referenced: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for places in (reader_labels(session, "image", members) if members else {}).values():
        read.update({observation for observation, _ in places})
        deserving = {observation for (observation, _), each in places.items() if not each.lacks}
        referenced.update(deserving)
    return referenced, read


def silent_days(session: Session, model: Model, now: dt.datetime) -> float | None:
    """Return how many days a model has been silent in all; None where it never was."""
    events = session.exec(
        select(ModelEvent).where(ModelEvent.model_id == model.id).order_by(col(ModelEvent.id))
    ).all()
    ends = [*(each.decided_at for each in events[1:]), now]
    spans = [
        (end - event.decided_at).total_seconds() / 86400
        for event, end in zip(events, ends, strict=True)
        if event.stage == Stage.SILENT
    ]
    return sum(spans) if spans else None
