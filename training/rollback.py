"""Back to the version that was live before, and the history that says which one it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from training.errors import Permanent
from training.models import Model, ModelEvent
from training.registry import find, live_model, promote
from training.stages import GATE, REPLACED, ROLLED_BACK, Stage, check_decision, move


def history(session: Session, name: str) -> list[tuple[Model, ModelEvent]]:
    """Return every event of the models of a name, the oldest first."""
    rows = session.exec(
        select(Model, ModelEvent)
        .join(ModelEvent, col(ModelEvent.model_id) == col(Model.id))
        .where(Model.name == name)
        .order_by(col(ModelEvent.id))
    )
    return [(model, event) for model, event in rows]


@dataclass(frozen=True)
class Target:
    """To which version a rollback goes.

    Attributes:
        model: that becomes live.
        gate: what the gate found when it was live last; None: it was live before there was one.
        now: the version that is live now, or None.
    """

    model: Model
    gate: Mapping[str, Any] | None
    now: Model | None


def target_of(session: Session, name: str) -> Target:
    """Return to which version of a name a rollback goes.

    Raises:
        Permanent: no such model, or no earlier version was live.
    """
    if find(session, name).name != name:
        raise Permanent("a rollback takes the name of a model, without a version")
    events = history(session, name)
    now = live_model(session, name)
    before = [version for version in once_live(events) if now is None or version != now.version]
    if not before:
        raise Permanent(f"no earlier version of {name} was live that nobody has retired")
    gates = [
        event.details.get(GATE)
        for model, event in events
        if event.stage == Stage.LIVE and model.version == before[-1]
    ]
    return Target(find(session, f"{name}:{before[-1]}"), gates[-1], now)


def rollback(
    session: Session,
    name: str,
    *,
    decided_by: str,
    reason: str,
    clock: Clock,
    gate: Mapping[str, Any] | None = None,
) -> tuple[Model, Model | None]:
    """Make the version live that was live before, with what the gate said of it then.

    Versions that a person retired or silenced are passed over, and a rollback is never undone by
    another one: the second goes one version further back.

    Args:
        session: a writing session; the caller commits.
        name: of the models, without a version.
        decided_by: the person who decides.
        reason: why.
        clock: gives the time.
        gate: what the gate finds now, for a version that was live before there was one.

    Returns:
        The version that is live now, and the one that it took the place of; None where none was.

    Raises:
        Permanent: no such model, no earlier version was live, the gate has not judged it, nobody
            decides, no reason is given.
    """
    check_decision(decided_by, reason)
    found = target_of(session, name)
    gate = found.gate or gate
    if gate is None:
        raise Permanent(
            f"{found.model.reference} was live before there was a gate, and nothing has judged it"
        )
    now = found.now
    if now is not None:
        # Not "replaced": who goes back does not want it to be gone back to.
        move(session, now, Stage.RETIRED, decided_by, f"rolled back: {reason}", clock)
    details = {GATE: dict(gate), ROLLED_BACK: now.version if now is not None else 0}
    restored = promote(
        session,
        found.model.reference,
        decided_by=decided_by,
        reason=reason,
        clock=clock,
        details=details,
    )
    return restored, now


def once_live(events: Iterable[tuple[Model, ModelEvent]]) -> list[int]:
    """Return the versions that a rollback may go back to, and the live one, the latest last.

    A version that was retired or silenced by a decision about itself is none of them, nor is one
    in whose place an earlier version was put: that was a going back, by whatever command.
    """
    stack: list[int] = []
    for model, event in events:
        if event.stage == Stage.LIVE:
            stack = [*(each for each in stack if each < model.version), model.version]
        elif REPLACED not in event.details:
            stack = [each for each in stack if each != model.version]
    return stack
