"""How often a test set was looked at, under which plans, and what that makes of its figures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.database import chunks
from training.evaluation.models import EvaluationMember, EvaluationPlan, Opening
from training.models import CohortMember, TrainingRun


@dataclass(frozen=True)
class Looks:
    """The looks at studies of one test set, seen from one of them.

    Another test set counts where it shares a study: freezing a cohort anew hides nothing.

    Args:
        number: of this opening among those of its plan, from 1.
        other_plans: names of other plans under which studies of it had been opened before.
        trainings: that had computed figures on studies of it before; `radloop train` does.
        later: openings of studies of it since.
    """

    number: int
    other_plans: tuple[str, ...] = ()
    trainings: int = 0
    later: int = 0

    @property
    def sentence(self) -> str:
        """Return what must stand beside the figures; empty where this was the only look."""
        said = []
        if self.number > 1:
            said.append(f"this is opening {self.number} under its plan")
        if self.other_plans:
            said.append(f"it had been opened under other plans ({', '.join(self.other_plans)})")
        if self.trainings:
            which = "training" if self.trainings == 1 else "trainings"
            said.append(f"{self.trainings} {which} had computed figures on it")
        if self.later:
            times = "time" if self.later == 1 else "times"
            said.append(f"it was opened {self.later} more {times} since")
        return f"not the only look at this test set: {'; '.join(said)}" if said else ""

    @property
    def record(self) -> dict[str, Any]:
        """Return the looks for JSON, with the sentence."""
        found = {**asdict(self), "other_plans": list(self.other_plans)}
        return {**found, "sentence": self.sentence}


def looks_at(session: Session, opening: Opening) -> Looks:
    """Return the looks at the test set of an opening, before it and since."""
    studies = _studies(session, opening.plan_id)
    plans = {opening.plan_id, *_plans_on(session, studies)}
    rows = session.exec(
        select(Opening.id, Opening.plan_id, EvaluationPlan.name)
        .join(EvaluationPlan, col(EvaluationPlan.id) == col(Opening.plan_id))
        .where(col(Opening.plan_id).in_(plans))
        .order_by(col(Opening.id))
    ).all()
    own = opening.id or 0
    before = [(plan, name) for key, plan, name in rows if (key or 0) < own]
    others = [name for plan, name in before if plan != opening.plan_id]
    return Looks(
        number=1 + sum(plan == opening.plan_id for plan, _ in before),
        other_plans=tuple(dict.fromkeys(others)),
        trainings=_trainings(session, studies, opening),
        later=sum((key or 0) > own for key, *_ in rows),
    )


def openings_of(session: Session, plan_id: int) -> list[Opening]:
    """Return the openings under a plan, the earliest first."""
    query = select(Opening).where(Opening.plan_id == plan_id).order_by(col(Opening.id))
    return list(session.exec(query))


def openings_by_plan(session: Session) -> dict[int, int]:
    """Return how often each plan's test set was opened under it."""
    query = select(Opening.plan_id, func.count(col(Opening.id))).group_by(col(Opening.plan_id))
    return dict(session.exec(query).all())


def openings_on(session: Session, plan_id: int) -> int:
    """Return how often studies of a plan's test set were opened, under any plan."""
    plans = {plan_id, *_plans_on(session, _studies(session, plan_id))}
    counts = openings_by_plan(session)
    return sum(counts.get(plan, 0) for plan in plans)


def trainings_on(session: Session, studies: Collection[str]) -> list[TrainingRun]:
    """Return every training that computed figures on one of these studies as its test fold."""
    cohorts = _tested_by(session, studies)
    rows = session.exec(select(TrainingRun).order_by(col(TrainingRun.id)))
    return [row for row in rows if row.cohort_id in cohorts and row.metrics.get("test")]


def openings_of_studies(session: Session, studies: Collection[str]) -> int:
    """Return how often one of these studies was opened, under any plan."""
    counts = openings_by_plan(session)
    return sum(counts.get(plan, 0) for plan in _plans_on(session, studies))


def _studies(session: Session, plan_id: int) -> list[str]:
    query = select(EvaluationMember.study_instance_uid).where(EvaluationMember.plan_id == plan_id)
    return sorted(session.exec(query))


def _plans_on(session: Session, studies: Collection[str]) -> set[int]:
    return {
        plan
        for chunk in chunks(sorted(studies))
        for plan in session.exec(
            select(EvaluationMember.plan_id)
            .where(col(EvaluationMember.study_instance_uid).in_(chunk))
            .distinct()
        )
    }


def _trainings(session: Session, studies: Collection[str], opening: Opening) -> int:
    """Return how many trainings had computed figures on one of these studies by then."""
    cohorts = _tested_by(session, studies)
    rows = session.exec(select(TrainingRun.cohort_id, TrainingRun.finished_at, TrainingRun.metrics))
    return sum(
        bool(metrics.get("test")) and cohort in cohorts and finished <= opening.opened_at
        for cohort, finished, metrics in rows
    )


def _tested_by(session: Session, studies: Collection[str]) -> set[int]:
    """Return the cohorts that test on one of these studies."""
    return {
        cohort
        for chunk in chunks(sorted(studies))
        for cohort in session.exec(
            select(CohortMember.cohort_id)
            .where(col(CohortMember.study_instance_uid).in_(chunk), CohortMember.fold == "test")
            .distinct()
        )
    }
