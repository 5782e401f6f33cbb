"""How far the probabilities of a classifier can be taken at their word.

Brier score (Monthly Weather Review 1950;78:1), reliability curve, and the slope and intercept of a
logistic recalibration (Cox, Biometrika 1958;45:562; as Van Calster et al., BMC Medicine 2019;17:230
ask for them): slope below 1 where probabilities are too extreme, intercept below 0 where they are
too high.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from labeling.evaluation.metrics import brier, calibration_error, reliability
from labeling.evaluation.resampling import Bootstrap, Floats
from labeling.evaluation.sample_size import wilson
from training.metrics import Cases, cases_of, estimate

BINS = 10

_NEAREST = 1e-6
"""Probabilities are taken no nearer to 0 and 1 than this, where they become log odds."""

_STEPS = 50
_SMALL = 1e-8
_UNSOLVED = "the finding separates by the probability, or one class is missing"


def calibration(
    targets: ArrayLike,
    probabilities: ArrayLike,
    patient_keys: Sequence[str],
    *,
    bins: int = BINS,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the calibration of one observation, its sites pooled, JSON-ready.

    Args:
        targets: shape (rows,) or (rows, sites): 1, 0, NaN or None for unknown.
        probabilities: the same shape; NaN or None: not evaluated.
        patient_keys: the patient of each row.
        bins: at most so many points of the reliability curve, of equal numbers of cases.
        samples, seed: of the bootstrap, which draws whole patients.

    Returns:
        ``n``; ``brier``, ``slope`` and ``intercept``, each as value, low, high, reason (the
        intercept is that of slope 1: calibration in the large); ``brier_of_prevalence``, which
        whoever always says the prevalence gets; ``calibration_error`` (the mean gap of the bins)
        and ``bins``: said, seen, low, high, n, patients. Intervals of bins are Wilson's for as
        many cases as the bin has patients, since the sites of one patient are not independent.

    Raises:
        Permanent: shapes do not fit, a target is not 0 or 1, a probability is outside 0 to 1.
    """
    cases = cases_of(targets, probabilities, patient_keys)
    bootstrap = Bootstrap(samples, seed)
    point = _figures(cases, np.ones((1, cases.target.size)))
    draws = [_figures(cases, weights) for weights in bootstrap.weights(cases.patients)]
    curve = reliability(cases.target, cases.score, bins)
    prevalence = float(cases.target.mean()) if cases.target.size else None
    return {
        "n": int(cases.target.size),
        **{
            name: estimate(value, [each[name] for each in draws], _reason(name, cases))
            for name, value in point.items()
        },
        "brier_of_prevalence": None if prevalence is None else prevalence * (1 - prevalence),
        "calibration_error": calibration_error(curve) if curve else None,
        "bins": _bins(cases, bins),
    }


def recalibration(target: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return slope, and intercept at slope 1, of the target on the log odds of the score.

    Maximum likelihood by Newton's steps, for all rows of weights at once. NaN where there is no
    maximum.

    Args:
        target, score: shape (n,); scores are probabilities.
        weights: shape (draws, n).

    Returns:
        Two arrays of shape (draws,).
    """
    odds = logit(np.clip(score, _NEAREST, 1 - _NEAREST))
    slope, free = np.ones(len(weights)), np.zeros(len(weights))
    shift = np.zeros(len(weights))
    solved = np.zeros((2, len(weights)), dtype=bool)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            by_slope, by_free = _step(target, odds, weights, slope, free)
            slope, free = slope + by_slope, free + by_free
            by_shift = _shift(target, odds, weights, shift)
            shift = shift + by_shift
            solved = np.abs([np.maximum(abs(by_slope), abs(by_free)), by_shift]) < _SMALL
            if solved.all():
                break
    return np.where(solved[0], slope, np.nan), np.where(solved[1], shift, np.nan)


def _step(
    target: Floats, odds: Floats, weights: Floats, slope: Floats, free: Floats
) -> tuple[Floats, Floats]:
    """Return Newton's step of slope and free intercept."""
    said = expit(slope[:, None] * odds + free[:, None])
    missing, spread = weights * (target - said), weights * said * (1 - said)
    gradient, by_odds = missing.sum(axis=1), missing @ odds
    flat, cross, steep = spread.sum(axis=1), spread @ odds, spread @ (odds * odds)
    volume = flat * steep - cross * cross
    return (flat * by_odds - cross * gradient) / volume, (
        steep * gradient - cross * by_odds
    ) / volume


def _shift(target: Floats, odds: Floats, weights: Floats, shift: Floats) -> Floats:
    said = expit(odds + shift[:, None])
    step: Floats = (weights * (target - said)).sum(axis=1) / (weights * said * (1 - said)).sum(
        axis=1
    )
    return step


def _figures(cases: Cases, weights: Floats) -> dict[str, Floats]:
    if not cases.target.size:
        return dict.fromkeys(("brier", "slope", "intercept"), np.full(len(weights), np.nan))
    slope, intercept = recalibration(cases.target, cases.score, weights)
    return {
        "brier": brier(cases.target, cases.score, weights),
        "slope": slope,
        "intercept": intercept,
    }


def _reason(name: str, cases: Cases) -> str:
    return cases.reason or ("" if name == "brier" else _UNSOLVED)


def _bins(cases: Cases, most: int) -> list[dict[str, Any]]:
    """Return the reliability curve with the interval of each point."""
    patients = cases.patients[np.argsort(cases.score, kind="stable")]
    found, start = [], 0
    for each in reliability(cases.target, cases.score, most):
        people = int(np.unique(patients[start : start + each.n]).size)
        low, high = wilson(each.seen * people, people)
        found.append(
            {
                "said": each.said,
                "seen": each.seen,
                "low": max(low, 0.0),
                "high": min(high, 1.0),
                "n": each.n,
                "patients": people,
            }
        )
        start += each.n
    return found
