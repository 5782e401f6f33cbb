"""Figures with bootstrap intervals by patient, and how well probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labeling.evaluation.edges import People, widened
from labeling.evaluation.resampling import Bootstrap, Floats, Integers, ratio
from labeling.evaluation.weights import Design


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; NaN where it cannot be computed."""

    value: float
    low: float
    high: float


Figures = Callable[[Floats], Mapping[str, Floats]]
"""From weights [draws, cases] to figures, each [draws]."""


def numbered(patients: Sequence[str]) -> Integers:
    """Return the number of each case's patient, 0 to P-1."""
    _, numbers = np.unique(np.array(patients, dtype=str), return_inverse=True)
    return np.asarray(numbers, dtype=np.intp)


def estimates(
    figures: Figures,
    patients: Sequence[str],
    bootstrap: Bootstrap,
    design: Design | None = None,
) -> dict[str, Estimate]:
    """Return each figure with its percentile interval; whole patients are drawn.

    Args:
        figures: from weights to figures.
        patients: of the cases.
        bootstrap: how often is drawn.
        design: how the cases were drawn; None: all count alike.
    """
    if design is None:
        point = figures(np.ones((1, len(patients))))
        rows = bootstrap.weights(numbered(patients))
    else:
        point = figures(design.weights[None, :])
        rows = design.resampled(bootstrap, numbered(patients))
    drawn = [figures(weights) for weights in rows]
    found = {}
    for name, value in point.items():
        draws = np.concatenate([each[name] for each in drawn]) if drawn else np.empty(0)
        found[name] = _estimate(float(value[0]), draws[~np.isnan(draws)])
    return found


def _estimate(value: float, draws: Floats) -> Estimate:
    if np.isnan(value) or not draws.size:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def bounded(found: Mapping[str, Estimate], people: People) -> dict[str, Estimate]:
    """Return estimates whose intervals have a width where every draw was the same (``edges``)."""
    known = {name: each for name, each in found.items() if not np.isnan(each.low)}
    values = {name: each.value for name, each in known.items()}
    spans = {name: (each.low, each.high) for name, each in known.items()}
    return {
        name: Estimate(each.value, *widened(name, values, spans, people))
        if name in known and all(side in known for side in _SIDES.get(name, ()))
        else each
        for name, each in found.items()
    }


_SIDES = {"balanced_accuracy": ("sensitivity", "specificity")}


def brier(target: Floats, probability: Floats, weights: Floats) -> Floats:
    """Return the mean squared error of probabilities (Brier, 1950)."""
    return ratio(weights @ np.square(probability - target), weights.sum(axis=1))


class Bin(NamedTuple):
    """One point of a reliability curve: mean probability said, share that is present, reports.

    ``weight`` is the share of all reports of the frame that it stands for; 0: each counts alike.
    """

    said: float
    seen: float
    n: int
    weight: float = 0.0


def reliability(
    target: Floats, probability: Floats, bins: int = 10, weights: Floats | None = None
) -> list[Bin]:
    """Return the reliability curve over bins of equal numbers of reports, the lowest first.

    Equal probabilities stay in one bin: which of their reports stands first is chance, and a curve
    that parted them would show an error that is none.
    """
    if not target.size:
        return []
    order = np.argsort(probability, kind="stable")
    wanted = np.cumsum([len(part) for part in np.array_split(order, min(bins, target.size))])
    edges = np.searchsorted(probability[order], probability[order][wanted - 1], side="right")
    parts = np.split(order, np.unique(edges)[:-1])
    if weights is None:
        return [
            Bin(float(probability[part].mean()), float(target[part].mean()), len(part))
            for part in parts
        ]
    return [
        Bin(
            float(np.average(probability[part], weights=weights[part])),
            float(np.average(target[part], weights=weights[part])),
            len(part),
            float(weights[part].sum() / weights.sum()),
        )
        for part in parts
    ]


def calibration_error(curve: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap of a reliability curve."""
    counts = [each.weight or each.n for each in curve]
    total = sum(counts)
    if not total:
        return float("nan")
    gaps = (abs(each.said - each.seen) for each in curve)
    return sum(count * gap for count, gap in zip(counts, gaps, strict=True)) / total
