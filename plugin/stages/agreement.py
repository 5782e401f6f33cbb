"""Labelers against human readers, and the stated rule that picks the one to train on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlmodel import Session

from labeling.evaluation.agreement import (
    Judgement,
    agreement,
    choose_labeler,
    judgements,
    unweighted,
)
from labeling.schema_file import schema_of
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.basis import REFERENCE, Use
from plugin.stages.evaluate import states_of
from plugin.stages.judged import stored_readings

_REPORT_LABELS = "report labels (not sampled, blinded and adjudicated) of training patients"


def agreement_of_labelers(
    session: Session, settings: Settings, *, folds: int = 5, use: Use = Use.FIGURES
) -> dict[str, Any]:
    """Compare the run of each allowed labeler with the readers' report-level labels.

    A labeler counts by the run by which it reads with the schema of the settings. Patients with
    image-level reference labels are left out: they are the test fold, and whoever chooses by the
    test set has used it up. Labels of the whole report are compared. Where a labeler's thresholds
    were fitted on these labels, each report is judged by thresholds of other patients.

    Args:
        session, settings: of the node.
        folds: of that cross-validation, by patient; 0: none.
        use: which readers' labels count (``plugin.stages.basis.chosen``).

    Returns:
        ``chosen``, ``reason``, ``judged_by`` (by labeler, whose thresholds decided), ``called``
        (whether the labels deserve the name of a reference, or this is agreement with report
        labels), ``agreement`` (a row for each labeler and observation, weighted where the sample
        calls for it) and ``unweighted`` (such rows as if all had been drawn alike).

    Raises:
        Permanent: there are no reference labels, or no labeler has read those reports.
    """
    found: dict[str, list[Judgement]] = {}
    judged_by: dict[str, str] = {}
    called: dict[str, str] = {}
    for labeler in settings.labeling.labelers:
        with suppress(Permanent):  # it has read none of these reports
            judged = stored_readings(session, settings, labeler, use)
            standing = states_of(session, judged, folds)
            called[labeler] = judged.called
            found[labeler] = list(judgements(standing.cases))
            judged_by[labeler] = standing.judged_by
    if not found:
        name = schema_of(settings.labeling).name
        raise Permanent(
            f"no labeler has read a report that a reader has labelled by schema {name!r}"
        )
    try:
        deserve = set(called.values()) == {REFERENCE}
        choice = choose_labeler(found) if deserve else choose_labeler(found, _REPORT_LABELS)
    except ValueError as error:
        raise Permanent(str(error)) from error
    return {
        "chosen": choice.labeler,
        "reason": choice.sentence,
        "judged_by": judged_by,
        "called": ", ".join(sorted(set(called.values()))),
        "mean_balanced_accuracy": dict(choice.mean_balanced_accuracy),
        "agreement": [row for name, each in found.items() for row in _rows(name, each)],
        "unweighted": [
            row
            for name, each in found.items()
            if any(row["design_effect"] != 1 for row in _rows(name, each, resamples=0))
            for row in _rows(name, list(unweighted(each)))
        ],
    }


def _rows(labeler: str, given: list[Judgement], resamples: int = 1000) -> list[dict[str, Any]]:
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
            "design_effect": each.design_effect,
        }
        for name, each in agreement(given, resamples=resamples).items()
    ]


def _number(value: float) -> float | None:
    """Return a number that JSON can hold: NaN means that the figure does not exist."""
    return None if value != value else value
