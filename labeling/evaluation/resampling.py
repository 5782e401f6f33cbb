"""Figures over weighted cases, for many rows of weights at once: the arithmetic of a bootstrap.

Shapes: targets and scores (n,), weights (draws, n), results (draws,). A weight says how often a
case was drawn. A result that does not exist for a draw (a class is missing) is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

CELLS = 250_000
"""Weights held at once: 2 MB stay in the processor's cache."""


@dataclass(frozen=True)
class Bootstrap:
    """Draws whole patients with replacement; the same seed and patients give the same draws."""

    samples: int
    seed: int

    def weights(self, patients: Integers) -> Iterator[Floats]:
        """Yield rows of weights in portions, ``samples`` rows in all; none for fewer than two.

        Args:
            patients: the number of the patient of each case, 0 to P-1; shape (n,).
        """
        count = int(patients.max()) + 1 if patients.size else 0
        if count < 2:
            return
        rng = np.random.default_rng(self.seed)
        portion = max(1, CELLS // max(patients.size, count))
        for start in range(0, self.samples, portion):
            rows = min(portion, self.samples - start)
            drawn = rng.multinomial(count, np.full(count, 1 / count), size=rows)
            yield drawn[:, patients].astype(float)


def descending(score: Floats) -> tuple[Integers, Integers, Integers]:
    """Return the order from high to low, and where each group of ties starts and ends in it."""
    order = np.argsort(-score, kind="stable")
    change = np.flatnonzero(np.diff(score[order]))
    starts = np.concatenate([[0], change + 1])
    ends = np.concatenate([change, [score.size - 1]])
    return order, starts, ends


def _grouped(target: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weight of present and of absent cases in each group of ties, high to low."""
    order, starts, _ = descending(score)
    ordered, hit = weights[:, order], target[order]
    present, absent = ordered * hit, ordered * (1 - hit)
    if starts.size == score.size:  # no ties
        return present, absent
    return np.add.reduceat(present, starts, axis=1), np.add.reduceat(absent, starts, axis=1)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotient, NaN where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def auroc(target: Floats, score: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve: P(present scores higher) + P(tie) / 2."""
    if target.size == 0:
        return np.full(len(weights), np.nan)
    present, absent = _grouped(target, score, weights)
    total = absent.sum(axis=1, keepdims=True)
    lower = total - np.cumsum(absent, axis=1)
    wins = (present * (lower + absent / 2)).sum(axis=1)
    return ratio(wins, present.sum(axis=1) * total[:, 0])


def average_precision(target: Floats, score: Floats, weights: Floats) -> Floats:
    """Return the sum over groups of ties of precision times gain in recall."""
    if target.size == 0:
        return np.full(len(weights), np.nan)
    present, absent = _grouped(target, score, weights)
    hits = np.cumsum(present, axis=1)
    called = hits + np.cumsum(absent, axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    area = ratio((precision * present).sum(axis=1), present.sum(axis=1))
    return np.where(absent.sum(axis=1) > 0, area, np.nan)


def decision(target: Floats, called: NDArray[np.bool_], weights: Floats) -> dict[str, Floats]:
    """Return what a decision is worth: sensitivity, specificity, precision, F1 and means of these.

    ``f1`` is that of present and ``macro_f1`` the mean of present and absent.

    Args:
        called: where the decision is "present"; shape (n,).
    """
    hits = weights @ (target * called)
    misses = weights @ (target * ~called)
    alarms = weights @ ((1 - target) * called)
    passes = weights @ ((1 - target) * ~called)
    sensitivity, specificity = ratio(hits, hits + misses), ratio(passes, passes + alarms)
    balanced = (sensitivity + specificity) / 2
    f1_present = ratio(2 * hits, 2 * hits + misses + alarms)
    f1_absent = ratio(2 * passes, 2 * passes + misses + alarms)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": balanced,
        "precision": ratio(hits, hits + alarms),
        "f1": np.where(hits + misses > 0, f1_present, np.nan),
        "macro_f1": np.where(np.isnan(balanced), np.nan, (f1_present + f1_absent) / 2),
    }
