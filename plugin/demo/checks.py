"""What the node made of the simulated hospital, held against the truth that the plan knows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.models import Link, Message, Report
from labeling.models import Label
from labeling.standing import newest_run
from labeling.vocabulary import WHOLE, State
from plugin.simulation.hospital import HospitalPlan

# The states that the texts can have; "stable" does not occur in these reports.
_STATES = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED)


@dataclass(frozen=True)
class LinkCheck:
    """How the links compare with what belongs together.

    Attributes:
        confirmed: pairs of report and study that the node holds for linked.
        wrong: those among them that do not belong together.
        missing: final reports whose study was not linked to them.
        unlinked_expected: reports that must not be linked and are not.
    """

    confirmed: int
    wrong: int
    missing: int
    unlinked_expected: int


def check_links(session: Session, plan: HospitalPlan) -> LinkCheck:
    """Compare every confirmed link with the plan."""
    rows = session.exec(
        select(Message.message_control_id, Link.study_instance_uid)
        .join(Report, col(Report.message_id) == col(Message.id))
        .join(Link, col(Link.report_id) == col(Report.id))
        .where(Link.state == "confirmed")
    )
    confirmed = {(control_id, uid) for control_id, uid in rows}
    linked_messages = {control_id for control_id, _ in confirmed}
    return LinkCheck(
        confirmed=len(confirmed),
        wrong=len(confirmed - plan.expected_links),
        missing=len(plan.final_links - confirmed),
        unlinked_expected=len(set(plan.expected_unlinked) - linked_messages),
    )


def check_labels(session: Session, plan: HospitalPlan, labeler: str) -> dict[str, Any]:
    """Compare a labeler's report-level labels of the standing reports with what the texts say.

    Its labels are those that hold now; what it said before a calibration counts no more.

    Returns:
        By observation: the number of labels by state, and ``accuracy``, ``balanced_accuracy``
        (mean recall over the states that occur) and ``macro_f1`` over the states.
    """
    run = newest_run(session, labeler)
    if run is None:
        return {}
    truth: dict[str, list[State]] = {}
    given: dict[str, list[State]] = {}
    texts = {control_id: uid for uid, control_id in plan.final_message.items()}
    rows = session.exec(
        select(Message.message_control_id, Label.observation, Label.state)
        .join(Report, col(Report.message_id) == col(Message.id))
        .join(Label, col(Label.report_id) == col(Report.id))
        .where(Label.run_id == run.id, Label.site == WHOLE, col(Report.is_current))
    )
    for control_id, observation, state in rows:
        if control_id in texts:
            said = plan.report_states[texts[control_id]][observation, WHOLE]
            truth.setdefault(observation, []).append(said)
            given.setdefault(observation, []).append(State(state))
    return {name: _agreement(truth[name], given[name]) for name in truth}


def _agreement(truth: list[State], given: list[State]) -> dict[str, Any]:
    pairs = Counter(zip(truth, given, strict=True))
    scores = []
    recalls = []
    for state in _STATES:
        said = sum(number for (real, _), number in pairs.items() if real is state)
        called = sum(number for (_, guess), number in pairs.items() if guess is state)
        if said:
            hits = pairs[state, state]
            recalls.append(hits / said)
            scores.append(2 * hits / (said + called))
    return {
        "n": len(truth),
        "states": {str(state): given.count(state) for state in State if state in given},
        "accuracy": sum(n for (real, guess), n in pairs.items() if real is guess) / len(truth),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "macro_f1": sum(scores) / len(scores),
    }
