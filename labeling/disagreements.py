"""Where two labelers say different things of one report: stored once, and listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from labeling.labeler import LabelResult
from labeling.models import Disagreement, Label, LabelingRun
from labeling.vocabulary import State

States = dict[tuple[str, str], State]


def newest_runs(session: Session, beside: LabelingRun) -> list[LabelingRun]:
    """Return the newest run of every other labeler that reads by the same schema."""
    query = (
        select(LabelingRun)
        .where(
            LabelingRun.labeler != beside.labeler,
            LabelingRun.schema_digest == beside.schema_digest,
        )
        .order_by(col(LabelingRun.id))
    )
    return list({run.labeler: run for run in session.exec(query)}.values())


def note_disagreements(
    session: Session,
    run: LabelingRun,
    others: Sequence[LabelingRun],
    report_id: int,
    results: Iterable[LabelResult],
    clock: Clock,
) -> int:
    """Add a row for each place at which another run says something else of this report.

    A failed reading disagrees with nobody. Call it once for a report and a run, with its labels.

    Returns:
        The number of rows.
    """
    own = {(each.observation, each.site): each.state for each in results}
    found = 0
    for other in others:
        for place, theirs in _states(session, other, report_id).items():
            state = own.get(place, State.FAILED)
            if theirs is state or State.FAILED in {theirs, state}:
                continue
            found += 1
            session.add(
                Disagreement(
                    run_id=_key(run),
                    other_run_id=_key(other),
                    report_id=report_id,
                    observation=place[0],
                    site=place[1],
                    state=str(state),
                    other_state=str(theirs),
                    found_at=clock(),
                )
            )
    return found


def _states(session: Session, run: LabelingRun, report_id: int) -> States:
    rows = session.exec(
        select(Label.observation, Label.site, Label.state).where(
            Label.run_id == run.id, Label.report_id == report_id
        )
    )
    return {(observation, site): State(state) for observation, site, state in rows}


def _key(run: LabelingRun) -> int:
    if run.id is None:
        raise ValueError("the run is not stored yet")
    return run.id
