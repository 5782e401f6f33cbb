"""Fits thresholds on the labels of human readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from labeling.thresholds import Threshold, Thresholds
from labeling.vocabulary import State

_MINIMUM_EACH = 3


def fit_thresholds(
    margins: Mapping[str, Sequence[float]], references: Mapping[str, Sequence[State]]
) -> Thresholds:
    """Fit a cut per observation: the greatest balanced accuracy of present against the rest.

    Reference labels that are uncertain or failed are left out. Among equally good cuts the middle
    of the widest gap is taken. An observation with fewer than three positives or three negatives
    keeps the default. The band stays 0: how wide "uncertain" should be cannot be told from a few
    labels. Use reference labels of training patients only.

    Args:
        margins: by observation, one margin a report.
        references: by observation, what a reader says of the same reports, in the same order.
    """
    fitted: dict[str, Threshold] = {}
    for observation, values in margins.items():
        pairs = [
            (margin, state is State.PRESENT)
            for margin, state in zip(values, references[observation], strict=True)
            if state not in {State.UNCERTAIN, State.FAILED}
        ]
        positives = sum(present for _, present in pairs)
        if min(positives, len(pairs) - positives) >= _MINIMUM_EACH:
            cut = _best_cut(pairs)
            fitted[observation] = Threshold(cut, cut, fitted_on=len(pairs), positives=positives)
    return Thresholds(fitted)


def _best_cut(pairs: Sequence[tuple[float, bool]]) -> float:
    margins = np.array([margin for margin, _ in pairs])
    present = np.array([label for _, label in pairs])
    values = np.unique(margins)
    cuts = np.concatenate([[values[0] - 1.0], (values[:-1] + values[1:]) / 2, [values[-1] + 1.0]])
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    above = margins[None, :] > cuts[:, None]  # [cuts, reports]
    sensitivity = above[:, present].mean(axis=1)
    specificity = (~above[:, ~present]).mean(axis=1)
    balanced = sensitivity + specificity
    best = np.isclose(balanced, balanced.max())
    return float(cuts[np.flatnonzero(best)[np.argmax(gaps[best])]])
