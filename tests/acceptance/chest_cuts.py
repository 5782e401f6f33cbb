"""Cuts of chest findings, each fitted on other reports than those that it decides.

A finding is as sure as the surest of the observations that make it up, so the cut is one of
findings. It is fitted by F1, which is the headline: most findings are rare.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labeling.evaluation.calibration import FitRule, Measured, fit_threshold
from labeling.evaluation.cases import Case, Reference, folds_by_patient
from labeling.evaluation.metrics import Estimate, estimates
from labeling.evaluation.resampling import Bootstrap, Floats, decision
from labeling.thresholds import Threshold
from labeling.vocabulary import WHOLE, State

Flags = NDArray[np.bool_]
RULE = FitRule(cut="f1", band="none", resamples=0)


def fitted_flags(
    goal: Mapping[str, Floats], scores: Mapping[str, Floats | None], folds: int
) -> dict[str, Flags] | None:
    """Return by finding which reports have it, by cuts of the other folds.

    Args:
        goal: by finding 1.0 where a report has it, else 0.0.
        scores: margins of the same findings and reports, each [reports] as ``goal``.
        folds: each report is a patient of its own, and findings are dealt out to the folds.

    Returns:
        Flags by finding, each [reports]; a finding with too few reports keeps the cut 0.
        None where a labeler gives no margins, or margins that are an order of states.
    """
    known = {name: each for name, each in scores.items() if each is not None}
    if len(known) < len(goal):
        return None
    found = {name: scores_of > 0 for name, scores_of in known.items()}
    count = len(next(iter(goal.values())))
    for held_out in folds_by_patient(_cases(goal, count), folds):
        others = np.setdiff1d(np.arange(count), held_out)
        for name, margins in known.items():
            threshold = fitted(margins[others], goal[name][others])
            if threshold is None:
                continue
            if threshold.low != threshold.high:
                return None
            found[name][held_out] = margins[held_out] > threshold.high
    return found


def fitted(margins: Floats, goal: Floats) -> Threshold | None:
    """Return the threshold with the best F1 on some reports; None where too few have the finding.

    Args:
        margins, goal: of these reports, [reports].
    """
    measured = [
        Measured(str(index), float(margin), None, _state(goal[index]))
        for index, margin in enumerate(margins)
    ]
    return fit_threshold(measured, RULE)


def _cases(goal: Mapping[str, Floats], count: int) -> list[Case]:
    return [
        Case(
            str(index),
            str(index),
            (),
            {(name, WHOLE): Reference(_state(each[index])) for name, each in goal.items()},
        )
        for index in range(count)
    ]


def _state(value: float) -> State:
    return State.PRESENT if value else State.ABSENT


def macro_f1(goal: Mapping[str, Floats], found: Mapping[str, Flags], weights: Floats) -> Floats:
    """Return for each weighting the mean F1 over the findings that occur."""
    occurring = [name for name, target in goal.items() if 0 < target.sum() < target.size]
    return np.nanmean(
        [decision(goal[name], found[name], weights)["f1"] for name in occurring], axis=0
    )


def ahead(
    goal: Mapping[str, Floats],
    ours: Mapping[str, Flags],
    theirs: Mapping[str, Flags],
    bootstrap: Bootstrap,
) -> Estimate:
    """Return what one labeler's macro F1 has ahead of another's on the same reports."""
    count = len(next(iter(goal.values())))

    def difference(weights: Floats) -> dict[str, Floats]:
        return {"ahead": macro_f1(goal, ours, weights) - macro_f1(goal, theirs, weights)}

    return estimates(difference, [str(index) for index in range(count)], bootstrap)["ahead"]
