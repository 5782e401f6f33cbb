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

from labeling.evaluation.metrics import Bin, brier, calibration_error, reliability
from labeling.evaluation.resampling import Bootstrap, Floats
from labeling.evaluation.sample_size import wilson
from training.evaluation.recalibration import NOT_CONVERGED, recalibration, why_no_slope
from training.metrics import Cases, cases_of, estimate

BINS = 10

FEWEST_IN_A_BIN = 5
"""Patients; a bin with fewer tells no point of the curve, which would be that of single patients.
"""

_FEW = f"fewer than {FEWEST_IN_A_BIN} patients"


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
        whoever always says the prevalence gets; ``calibration_error`` (the mean gap of the bins,
        with ``calibration_error_reason`` where there is none) and ``bins``: said, seen, low, high,
        n, patients, reason. Intervals of bins are Wilson's for as many cases as the bin has
        patients, since the sites of one patient are not independent; a bin of fewer than
        ``FEWEST_IN_A_BIN`` patients has counts alone.

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
        "calibration_error_reason": "" if curve else cases.reason,
        "bins": _bins(cases, bins),
    }


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
    if cases.reason or name == "brier":
        return cases.reason
    return why_no_slope(cases.target, cases.score) if name == "slope" else NOT_CONVERGED


def _bins(cases: Cases, most: int) -> list[dict[str, Any]]:
    """Return the reliability curve with the interval of each point."""
    patients = cases.patients[np.argsort(cases.score, kind="stable")]
    found, start = [], 0
    for each in reliability(cases.target, cases.score, most):
        people = int(np.unique(patients[start : start + each.n]).size)
        found.append({**_point(each, people), "n": each.n, "patients": people})
        start += each.n
    return found


def _point(bin_: Bin, people: int) -> dict[str, Any]:
    if people < FEWEST_IN_A_BIN:
        return {**dict.fromkeys(("said", "seen", "low", "high")), "reason": _FEW}
    low, high = wilson(bin_.seen * people, people)
    return {
        "said": bin_.said,
        "seen": bin_.seen,
        "low": max(low, 0.0),
        "high": min(high, 1.0),
        "reason": "",
    }
