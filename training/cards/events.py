"""Where the model stands, who decided it, and what changed under it since."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlmodel import col, func, select

from dicom_node.life_models import Erasure
from training.cards.subject import FreeText, Subject
from training.gate import asked_of
from training.impact import Artefact, notes_of
from training.impact_closing import open_notes
from training.impact_models import ImpactNote
from training.membership import standing_of
from training.models import ModelEvent, Prediction
from training.stages import GATE
from training.standing import Fault, counted


def stages(subject: Subject) -> dict[str, Any]:
    """Return every change of stage with who and why, oldest first, and what it has predicted."""
    session, key = subject.session, subject.model.id
    events = session.exec(
        select(ModelEvent).where(ModelEvent.model_id == key).order_by(col(ModelEvent.id))
    ).all()
    predicted = session.exec(
        select(func.count(func.distinct(Prediction.study_instance_uid))).where(
            Prediction.model_id == key
        )
    ).one()
    return {
        "now": events[-1].stage if events else None,
        "studies_predicted": predicted,
        "events": [
            {
                "stage": each.stage,
                "decided_by": each.decided_by,
                "reason": FreeText(each.reason),
                "gate": _waived(each),
                "at": each.decided_at.isoformat(),
            }
            for each in events
        ],
    }


def since_training(subject: Subject) -> dict[str, Any]:
    """Return open impact notes by cause, members that stand no more, and who was taken out.

    Notes follow a change after a moment; standing, erasures and opt-outs are those of now.
    """
    session, cohort, key = subject.session, subject.cohort, subject.model.id or 0
    faults = counted(standing_of(session, subject.ground, cohort))
    return {
        "open_impact_notes": _counted(open_notes(session, Artefact.MODEL, key)),
        "closed_impact_notes": [
            {
                "cause": each.cause,
                "members": each.count,
                "closed_by": FreeText(each.closed_by),
                "reason": FreeText(each.closed_reason),
                "at": each.closed_at.isoformat() if each.closed_at else None,
            }
            for each in notes_of(session, Artefact.MODEL, key)
            if each.closed_by
        ],
        "superseded_members": [
            {"cause": str(fault), "members": number} for fault, number in faults.items()
        ],
        "members": len(subject.members),
        "erased_members": sum(
            each["members"]
            for row in session.exec(select(Erasure))
            for each in row.cohorts
            if each["cohort"] == cohort.id
        ),
        "opted_out_members": faults.get(Fault.OPTED_OUT, 0),
    }


def _counted(notes: list[ImpactNote]) -> list[dict[str, Any]]:
    counts: Counter[str] = Counter()
    for each in notes:
        counts[each.cause] += each.count
    return [
        {"cause": cause, "members": number}
        for cause, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _waived(event: ModelEvent) -> list[str]:
    """Return what the gate asked, what a person let pass, and of what the model does not speak."""
    judged = event.details.get(GATE, {})
    silent = [name for name, each in judged.get("observations", {}).items() if not each["spoken"]]
    asked = asked_of(judged)
    return (
        ([f"asked: {asked}"] if asked else [])
        + [f"waived: {each}" for each in judged.get("accepted", [])]
        + [f"not spoken of: {each.replace('_', ' ')}" for each in silent]
    )
