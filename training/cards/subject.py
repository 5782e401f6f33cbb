"""The model that a card speaks of, with everything that its card is read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import Session

from labeling.models import LabelingRun
from labeling.vocabulary import LabelSchema
from training.cohort import members_of
from training.errors import Permanent
from training.membership import Ground
from training.models import Cohort, CohortMember, Model, TrainingRun
from training.registry import find

FOLDS = ("train", "validation", "test")


class FreeText(str):
    """Words of a person or of a peer: they may hold anything, and are looked through at the end."""

    __slots__ = ()


@dataclass(frozen=True)
class Subject:
    """A registered model and its grounds.

    Args:
        session: any session; everything is read in it.
        ground: how patients are told apart.
        model, run, cohort, labeling_run: the rows.
        members: of the cohort that are still there, without exclusions.
        excluded: rows of the cohort with a reason.
        schema: by which the model speaks; None where the node reads by another one now.
        weights: the safetensors file, which need not be there.
        feeds: names that the settings give to senders of reports.
    """

    session: Session
    ground: Ground
    model: Model
    run: TrainingRun
    cohort: Cohort
    labeling_run: LabelingRun
    members: tuple[CohortMember, ...]
    excluded: tuple[CohortMember, ...]
    schema: LabelSchema | None
    weights: Path
    feeds: Mapping[str, str] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """What the training recorded."""
        return self.run.metrics

    @property
    def observations(self) -> list[str]:
        """Ids of what the model tells, in its order."""
        return list(self.model.operating_points)

    def of_fold(self, fold: str) -> list[CohortMember]:
        """Return the members of a fold."""
        return [each for each in self.members if each.fold == fold]


def subject_of(
    session: Session,
    ground: Ground,
    reference: str,
    schema: LabelSchema,
    weights_folder: Path,
    feeds: Mapping[str, str] | None = None,
) -> Subject:
    """Return the model NAME:VERSION, or the newest version of NAME, with its grounds.

    Raises:
        Permanent: the registry has no such model, or a row that it rests on is gone.
    """
    model = find(session, reference)
    run = session.get(TrainingRun, model.training_run_id)
    cohort = session.get(Cohort, run.cohort_id) if run else None
    labels = session.get(LabelingRun, cohort.labeling_run_id) if cohort else None
    if run is None or cohort is None or labels is None:
        raise Permanent("the training, cohort or labeling run of this model is gone")
    rows = members_of(session, cohort)
    return Subject(
        session=session,
        ground=ground,
        model=model,
        run=run,
        cohort=cohort,
        labeling_run=labels,
        members=tuple(each for each in rows if not each.exclusion_reason),
        excluded=tuple(each for each in rows if each.exclusion_reason),
        schema=schema if schema.digest == model.schema_digest else None,
        weights=weights_folder / f"{model.weights_digest}.safetensors",
        feeds=feeds or {},
    )
