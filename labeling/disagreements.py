"""Where two labelers say different things of one report: stored once, and listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from dicom_node.database import Clock
from dicom_node.models import Report
from labeling.labeler import LabelResult
from labeling.models import Disagreement, Label, LabelingRun
from labeling.standing import newest_run
from labeling.vocabulary import State

States = dict[tuple[str, str], State]


def newest_runs(session: Session, beside: LabelingRun) -> list[LabelingRun]:
    """Return the newest run of every other labeler that reads by the same schema."""
    names = select(col(LabelingRun.labeler)).where(col(LabelingRun.labeler) != beside.labeler)
    found = (
        newest_run(session, name, beside.schema_digest)
        for name in sorted(set(session.scalars(names)))
    )
    return [each for each in found if each is not None]


def _between_newest(session: Session) -> ColumnElement[bool]:
    """Say that a disagreement is one of two newest runs: what an older one said counts no more."""
    names = sorted(set(session.scalars(select(col(LabelingRun.labeler)))))
    found = (newest_run(session, name) for name in names)
    ids = [each.id for each in found if each is not None]
    return and_(col(Disagreement.run_id).in_(ids), col(Disagreement.other_run_id).in_(ids))


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


@dataclass(frozen=True)
class Difference:
    """How often two runs say two different things of an observation, over current reports."""

    labeler: str
    other: str
    observation: str
    site: str
    state: str
    other_state: str
    reports: int


@dataclass(frozen=True)
class Which:
    """Which disagreements are wanted; an empty value takes all.

    Args:
        labelers: those that must take part, one or two.
        observation, site: of the schema; the site may be ``vocabulary.WHOLE``.
        state: that one of the two says.
    """

    labelers: tuple[str, ...] = ()
    observation: str = ""
    site: str = ""
    state: str = ""

    def conditions(self, own: Any, other: Any) -> list[ColumnElement[bool]]:
        """Return what rows of two aliased runs must fulfil."""
        found = [or_(own.labeler == name, other.labeler == name) for name in self.labelers]
        if self.observation:
            found.append(col(Disagreement.observation) == self.observation)
        if self.site:
            found.append(col(Disagreement.site) == self.site)
        if self.state:
            said = (col(Disagreement.state), col(Disagreement.other_state))
            found.append(or_(*(each == self.state for each in said)))
        return found


def differences(session: Session, which: Which = Which()) -> list[Difference]:
    """Count the disagreements of current reports, the most frequent first; sites apart.

    Only those between the newest runs of two labelers: each report counts once.
    """
    own, other = aliased(LabelingRun), aliased(LabelingRun)
    said: tuple[Any, ...] = (
        own.labeler,
        other.labeler,
        Disagreement.observation,
        Disagreement.site,
        Disagreement.state,
        Disagreement.other_state,
    )
    query = (
        select(*said, func.count())
        .select_from(Disagreement)
        .join(own, col(own.id) == col(Disagreement.run_id))
        .join(other, col(other.id) == col(Disagreement.other_run_id))
        .join(Report, col(Report.id) == col(Disagreement.report_id))
        .where(
            col(Report.is_current).is_(True),
            _between_newest(session),
            *which.conditions(own, other),
        )
        .group_by(*said)
        .order_by(func.count().desc(), *said)
    )
    return [Difference(*row) for row in session.execute(query)]


def disputed_reports(
    session: Session, limit: int, which: Which = Which()
) -> list[tuple[str, str, str, str, str, str]]:
    """Return the newest disagreements of current reports, between the newest runs of two labelers.

    Returns:
        report identity, observation, site, the two labelers, and their two states.
    """
    own, other = aliased(LabelingRun), aliased(LabelingRun)
    said: tuple[Any, ...] = (
        Report.report_identity,
        Disagreement.observation,
        Disagreement.site,
        own.labeler,
        other.labeler,
        Disagreement.state,
        Disagreement.other_state,
    )
    query = (
        select(*said)
        .select_from(Disagreement)
        .join(own, col(own.id) == col(Disagreement.run_id))
        .join(other, col(other.id) == col(Disagreement.other_run_id))
        .join(Report, col(Report.id) == col(Disagreement.report_id))
        .where(
            col(Report.is_current).is_(True),
            _between_newest(session),
            *which.conditions(own, other),
        )
        .order_by(col(Disagreement.id).desc())
        .limit(limit)
    )
    return [
        (identity, observation, site, f"{labeler} / {rival}", state, other_state)
        for identity, observation, site, labeler, rival, state, other_state in session.execute(
            query
        )
    ]


def _states(session: Session, run: LabelingRun, report_id: int) -> States:
    rows = session.execute(
        select(col(Label.observation), col(Label.site), col(Label.state)).where(
            col(Label.run_id) == run.id, col(Label.report_id) == report_id
        )
    )
    return {(observation, site): State(state) for observation, site, state in rows}


def _key(run: LabelingRun) -> int:
    if run.id is None:
        raise ValueError("the run is not stored yet")
    return run.id
