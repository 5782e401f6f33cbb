"""Labelers against human readers, and the stated rule that picks the one to train on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlmodel import Session

from labeling.evaluation.agreement import Judgement, agreement, choose_labeler, judgements
from labeling.schema_file import schema_of
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.evaluate import states_of
from plugin.stages.judged import stored_readings


def agreement_of_labelers(
    session: Session, settings: Settings, *, folds: int = 5
) -> dict[str, Any]:
    """Compare the run of each allowed labeler with the readers' report-level labels.

    A labeler counts by the run by which it reads with the schema of the settings. Patients with
    image-level reference labels are left out: they are the test fold, and whoever chooses by the
    test set has used it up. Labels of the whole report are compared. Where a labeler's thresholds
    were fitted on these labels, each report is judged by thresholds of other patients.

    Args:
        session, settings: of the node.
        folds: of that cross-validation, by patient; 0: none.

    Returns:
        ``chosen``, ``reason``, ``judged_by`` (by labeler, whose thresholds decided) and
        ``agreement`` (a row for each labeler and observation).

    Raises:
        Permanent: there are no reference labels, or no labeler has read those reports.
    """
    found: dict[str, list[Judgement]] = {}
    judged_by: dict[str, str] = {}
    for labeler in settings.labeling.labelers:
        with suppress(Permanent):  # it has read none of these reports
            standing = states_of(session, stored_readings(session, settings, labeler), folds)
            found[labeler] = list(judgements(standing.cases))
            judged_by[labeler] = standing.judged_by
    if not found:
        name = schema_of(settings.labeling).name
        raise Permanent(
            f"no labeler has read a report that a reader has labelled by schema {name!r}"
        )
    try:
        choice = choose_labeler(found)
    except ValueError as error:
        raise Permanent(str(error)) from error
    return {
        "chosen": choice.labeler,
        "reason": choice.sentence,
        "judged_by": judged_by,
        "mean_balanced_accuracy": dict(choice.mean_balanced_accuracy),
        "agreement": [row for name, each in found.items() for row in _rows(name, each)],
    }


def _rows(labeler: str, given: list[Judgement]) -> list[dict[str, Any]]:
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
        for name, each in agreement(given).items()
    ]


def _number(value: float) -> float | None:
    """Return a number that JSON can hold: NaN means that the figure does not exist."""
    return None if value != value else value
