"""Labelers against human readers, and the stated rule that picks the one to train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlmodel import Session

from labeling.evaluation.agreement import Judgement, agreement, choose_labeler
from labeling.models import LabelingRun
from labeling.schema_file import schema_of
from labeling.standing import newest_run
from labeling.vocabulary import WHOLE
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.ground import ground_of
from plugin.stages.judged import results_of
from plugin.stages.labelled import ReferenceReport, node_reports


def agreement_of_labelers(session: Session, settings: Settings) -> dict[str, Any]:
    """Compare the run of each allowed labeler with the readers' report-level labels.

    A labeler counts by the run by which it reads with the schema of the settings. Patients with
    image-level reference labels are left out: they are the test fold, and whoever chooses by the
    test set has used it up. Labels of the whole report are compared.

    Returns:
        ``chosen``, ``reason`` and ``agreement`` (a row for each labeler and observation).

    Raises:
        Permanent: there are no reference labels, or no labeler has read those reports.
    """
    schema = schema_of(settings.labeling)
    reports = {each.row: each for each in node_reports(session, ground_of(settings).name_of)}
    judgements: dict[str, list[Judgement]] = {}
    for labeler in settings.labeling.labelers:
        run = newest_run(session, labeler, schema.digest)
        found = [] if run is None else list(_judgements(session, run, reports))
        if found:
            judgements[labeler] = found
    if not judgements:
        raise Permanent(
            f"no labeler has read a report that a reader has labelled by schema {schema.name!r}"
        )
    try:
        choice = choose_labeler(judgements)
    except ValueError as error:
        raise Permanent(str(error)) from error
    return {
        "chosen": choice.labeler,
        "reason": choice.sentence,
        "mean_balanced_accuracy": dict(choice.mean_balanced_accuracy),
        "agreement": [row for name, each in judgements.items() for row in _rows(name, each)],
    }


def _judgements(
    session: Session, run: LabelingRun, reports: Mapping[int, ReferenceReport]
) -> Iterator[Judgement]:
    for row, results in results_of(session, run, reports).items():
        for label in results:
            reference = reports[row].labels.get((label.observation, WHOLE))
            if label.site != WHOLE or reference is None or reference.state is None:
                continue
            yield Judgement(
                observation=label.observation,
                patient=reports[row].patient,
                label=label.state,
                reference=reference.state,
                score=label.probability if label.margin is None else label.margin,
            )


def _rows(labeler: str, judgements: list[Judgement]) -> list[dict[str, Any]]:
    return [
        {
            "labeler": labeler,
            "observation": name,
            "n": each.n,
            "present": each.n_present,
            "sensitivity": _number(each.sensitivity.value),
            "specificity": _number(each.specificity.value),
            "balanced_accuracy": _number(each.balanced_accuracy.value),
            "low": _number(each.balanced_accuracy.low),
            "high": _number(each.balanced_accuracy.high),
            "macro_f1": _number(each.macro_f1.value),
            "auroc": None if each.auroc is None else _number(each.auroc.value),
        }
        for name, each in agreement(judgements).items()
    ]


def _number(value: float) -> float | None:
    """Return a number that JSON can hold: NaN means that the figure does not exist."""
    return None if value != value else value
