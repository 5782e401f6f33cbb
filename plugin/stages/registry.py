"""Stage: a person decides about a model, and the gate says whether it may go live."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages.impact import note_changes
from plugin.stages.monitor import Evidence, newest_seen, silent_evidence
from plugin.stages.weights import check_weights
from training.gate import Need, Verdict, asked_of, judge, needs_of
from training.gate_record import record_of
from training.impact import Artefact
from training.impact_closing import close_note, open_notes
from training.impact_models import ImpactNote
from training.models import Model, ModelEvent, TrainingRun
from training.monitoring.drift import WATCHED
from training.registry import find, models, promote, retire, silence
from training.rollback import history, rollback, target_of
from training.stages import (
    GATE,
    REPLACED,
    ROLLED_BACK,
    Stage,
    check_decision,
    newest_event,
    unspoken,
)


def promote_model(
    context: Context, model: str, by: str, reason: str, accept: Collection[str] = ()
) -> dict[str, Any]:
    """Make a model live where the gate lets it; the earlier live one of its name retires.

    A model that is live and that no gate has judged is judged, and stays live where it passes.

    Args:
        context: the open node.
        model: NAME (its newest version) or NAME:VERSION.
        by: the person who decides.
        reason: why.
        accept: needs of the gate that the person waives (``training.gate.Need``).

    Returns:
        ``model``, ``stage``, the observations that are ``spoken`` and ``not_spoken``, what is
        ``missing`` in sentences, ``remarks``, and what was ``accepted``.

    Raises:
        Permanent: no such model, its weights cannot be used, the gate refuses (the numbers are in
            the sentence), nobody decides or no reason is given.
    """
    check_decision(by, reason)
    waived = needs_of(accept)
    with context.database.read() as session:
        chosen = find(session, model)
        if _is_judged(newest_event(session, chosen)):
            return {"model": chosen.reference, "stage": "live", **_UNCHANGED, **_LIVE_ALREADY}
    ready = _prepared(context, chosen)
    with context.database.write() as session:
        note_changes(context, session)  # what came in the last second counts, too
        verdict = _judged(context, session, ready, waived, "promoted")
        live = promote(
            session,
            chosen.reference,
            decided_by=by,
            reason=reason,
            clock=context.clock,
            details={GATE: verdict.details()},
        )
        return {"model": live.reference, "stage": "live", **_told(verdict)}


_UNCHANGED = {"unchanged": True, "note": "it was so before: nothing was recorded"}
_LIVE_ALREADY = {
    "note": "it is live, and a gate has judged it: nothing was recorded; silence it first to have "
    "it judged anew"
}


def _is_judged(event: ModelEvent) -> bool:
    return event.stage == Stage.LIVE and GATE in event.details


@dataclass(frozen=True)
class _Ready:
    """What took time and was found before the transaction in which a decision is made."""

    model: Model
    domain: str
    evidence: Evidence


_LOOKS = 3  # at the evidence, while predictions and labels keep coming in


def _prepared(context: Context, model: Model) -> _Ready:
    """Load a model's weights and ask the monitor about it, while nobody has to wait.

    What came in meanwhile is looked at anew, but not for ever: on a busy node there is always one
    prediction more.
    """
    with context.database.read() as session:
        run = session.get_one(TrainingRun, model.training_run_id)
    domain = check_weights(context, model, run)
    for _ in range(_LOOKS):
        with context.database.read() as session:
            evidence = silent_evidence(context.settings, session, model)
        with context.database.read() as session:
            if newest_seen(session, model) == evidence.seen:
                break
    return _Ready(model, domain, evidence)


def _judged(
    context: Context, session: Session, ready: _Ready, waived: Collection[Need], what: str
) -> Verdict:
    """Return the verdict of the gate on what is so in this transaction; Permanent where it refuses.

    Notes, figures, readers' labels and days of silence are asked anew.
    """
    evidence = ready.evidence
    remarks = [] if evidence.state == WATCHED else [f"drift was not watched: {evidence.state}"]
    if newest_seen(session, ready.model) != evidence.seen:
        remarks.append(
            "the monitor was asked up to prediction {} and label {}; later ones came in "
            "meanwhile".format(*evidence.seen)
        )
    record = record_of(
        session,
        ready.model,
        context.clock(),
        silent_studies=evidence.silent_studies,
        drifts=evidence.alarms,
        domain=ready.domain,
        remarks=remarks,
    )
    verdict = judge(record, context.settings.gate, waived)
    if verdict.refusal:
        raise Permanent(f"{ready.model.reference} is not {what}: {verdict.refusal}")
    return verdict


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "spoken": list(verdict.spoken),
        "not_spoken": [each for each in verdict.shown if each not in verdict.spoken],
        "missing": [each.why for each in verdict.lacks],
        "remarks": list(verdict.remarks),
        "accepted": [each.value for each in verdict.accepted],
    }


def silence_model(context: Context, model: str, by: str, reason: str) -> dict[str, Any]:
    """Let a model predict in silence from now on.

    Raises:
        Permanent: no such model, its weights cannot be used, nobody decides or no reason is given.
    """
    check_decision(by, reason)
    with context.database.read() as session:
        chosen = find(session, model)
        run = session.get_one(TrainingRun, chosen.training_run_id)
    check_weights(context, chosen, run)
    model = chosen.reference
    with context.database.write() as session:
        before = newest_event(session, find(session, model)).id
        found = silence(session, model, decided_by=by, reason=reason, clock=context.clock)
        return {"model": found.reference, "stage": "silent", **_change(session, found, before)}


def retire_model(context: Context, model: str, by: str, reason: str) -> dict[str, Any]:
    """Retire a model: it predicts no more."""
    with context.database.write() as session:
        before = newest_event(session, find(session, model)).id
        found = retire(session, model, decided_by=by, reason=reason, clock=context.clock)
        return {"model": found.reference, "stage": "retired", **_change(session, found, before)}


def _change(session: Session, model: Model, before: int | None) -> dict[str, Any]:
    return dict(_UNCHANGED) if newest_event(session, model).id == before else {}


def rollback_model(
    context: Context, name: str, by: str, reason: str, accept: Collection[str] = ()
) -> dict[str, Any]:
    """Make the version of a name live that was live before.

    The gate does not stand in the way of going back to what it has judged; notes that are open
    about that version are told. A version that was live before there was a gate is judged now.

    Args:
        context: the open node.
        name: of the models, without a version.
        by: the person who decides.
        reason: why.
        accept: needs of the gate that the person waives, where it judges.

    Raises:
        Permanent: there is no version to go back to, its weights cannot be used, the gate refuses
            one that it had not judged, nobody decides or no reason is given.
    """
    check_decision(by, reason)
    waived = needs_of(accept)
    with context.database.read() as session:
        target = target_of(session, name)
        run = session.get_one(TrainingRun, target.model.training_run_id)
    ready = None
    if target.gate is None:
        ready = _prepared(context, target.model)
    else:
        check_weights(context, target.model, run)
    with context.database.write() as session:
        note_changes(context, session)
        if target_of(session, name).model.id != target.model.id:
            raise Permanent(f"the models {name} were changed meanwhile; look, and ask again")
        gate = target.gate
        if ready is not None:
            gate = _judged(context, session, ready, waived, "restored").details()
        live, before = rollback(
            session, name, decided_by=by, reason=reason, clock=context.clock, gate=gate
        )
        return {
            "model": live.reference,
            "stage": "live",
            "in_place_of": before.reference if before else "",
            "not_spoken": sorted(unspoken(session, live)),
            "open_notes": len(open_notes(session, Artefact.MODEL, live.id or 0)),
        }


def close_impact_note(context: Context, note: int, by: str, reason: str) -> dict[str, Any]:
    """Record that a person looked at an impact note, and why it does not stand in the way."""
    with context.database.write() as session:
        closed = close_note(session, note, decided_by=by, reason=reason, clock=context.clock)
        return {"note": closed.id, "about": f"{closed.artefact} {closed.artefact_id}"}


def list_models(session: Session) -> dict[str, Any]:
    """Return every registered model with its stage, and what it does not speak of."""
    return {
        "models": [
            {
                "model": each.reference,
                "stage": str(each.stage),
                **{f"AUROC {name}": value for name, value in each.auroc.items()},
                "not_spoken": sorted(unspoken(session, each.model)),
                "open_notes": len(open_notes(session, Artefact.MODEL, each.model.id or 0)),
                "cohort": each.cohort_digest,
                "weights": each.model.weights_digest,
                "decided_by": each.decided_by,
                "reason": each.reason,
            }
            for each in models(session)
        ]
    }


def history_of(session: Session, name: str) -> dict[str, Any]:
    """Return every event of the models of a name, and the impact notes about them.

    Raises:
        Permanent: the registry has no such model.
    """
    name = find(session, name).name
    rows = history(session, name)
    versions = {model.id: model.reference for model, _ in rows}
    notes = session.exec(
        select(ImpactNote)
        .where(
            ImpactNote.artefact == str(Artefact.MODEL), col(ImpactNote.artefact_id).in_(versions)
        )
        .order_by(col(ImpactNote.id))
    )
    standing = {
        note.id for key in versions for note in open_notes(session, Artefact.MODEL, key or 0)
    }
    return {
        "name": name,
        "events": [_event(model, event) for model, event in rows],
        "notes": [
            {
                "note": each.id,
                "model": versions[each.artefact_id],
                "at": each.noted_at.isoformat(timespec="seconds"),
                "said": each.cause if each.stale else "stands again",
                "open": each.id in standing,
                "closed_by": each.closed_by,
                "closed_reason": each.closed_reason,
            }
            for each in notes
        ],
    }


def _event(model: Model, event: ModelEvent) -> dict[str, Any]:
    gate = event.details.get(GATE, {})
    judged = gate.get("observations", {})
    back = event.details.get(ROLLED_BACK)
    return {
        "at": event.decided_at.isoformat(timespec="seconds"),
        "model": model.reference,
        "stage": event.stage,
        "by": event.decided_by,
        "reason": event.reason,
        "accepted": gate.get("accepted", []),
        "not_spoken": [name for name, each in judged.items() if not each["spoken"]],
        "asked": asked_of(gate),
        "how": _how(event, back),
    }


def _how(event: ModelEvent, back: int | None) -> str:
    if back is not None:
        return f"rollback from version {back}" if back else "rollback"
    return "replaced" if REPLACED in event.details else ""
