"""How good a classifier is: AUROC, average precision, operating points, intervals by patient.

Where a figure does not exist (one class only, one patient only) it is None with a reason; no
number takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labeling.evaluation.edges import ALIKE, People, collapsed, widened
from labeling.evaluation.resampling import (
    Bootstrap,
    Floats,
    Integers,
    auroc,
    average_precision,
    decision,
    descending,
)
from training.errors import Permanent

COVERAGE = 0.95
"""Of the intervals."""

DEFINED_SHARE = 0.95
"""Share of the bootstrap draws in which a figure must exist, else it gets no interval."""

BINS = 10
"""Of reliability, of equal width."""

FEWEST_IN_A_BIN = 5
"""Cases; a bin with fewer tells no mean probability, which would be that of single patients."""

NO_TARGETS = "no targets"
ONE_CLASS = "all targets are of one class"
NO_OPERATING_POINT = "no operating point"
RANKED = ("auroc", "average_precision")
DECIDED = ("sensitivity", "specificity", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the probability ("present" from it on), or why there is none."""

    threshold: float | None
    reason: str = ""


@dataclass(frozen=True)
class Cases:
    """Cases with a known target and a probability; shapes (n,), patients numbered from 0."""

    target: Floats
    score: Floats
    patients: Integers

    @property
    def one_class(self) -> bool:
        """Tell whether a class is missing."""
        return not 0 < self.target.sum() < self.target.size

    @property
    def reason(self) -> str:
        """Why a figure that needs both classes does not exist."""
        if self.target.size == 0:
            return NO_TARGETS
        return ONE_CLASS if self.one_class else ""


def operating_point(targets: ArrayLike, probabilities: ArrayLike) -> OperatingPoint:
    """Choose a threshold on validation data: the greatest sensitivity + specificity - 1.

    The index is Youden's (Cancer 1950). Candidates lie half way between neighbouring
    probabilities, so that the choice does not hang on one case; of equally good ones the lowest
    is taken, for its sensitivity. Never call it with test data.

    Args:
        targets: 1, 0, or NaN or None for unknown; any shape.
        probabilities: the same shape; NaN or None where not evaluated.
    """
    cases = cases_of(targets, probabilities, None)
    if cases.one_class:
        return OperatingPoint(None, cases.reason)
    order, _, ends = descending(cases.score)
    hit, levels = cases.target[order], cases.score[order][ends]
    sensitivity = np.cumsum(hit)[ends] / hit.sum()
    alarms = np.cumsum(1 - hit)[ends] / (1 - hit).sum()
    youden = (sensitivity - alarms)[:-1]
    if youden.size == 0 or youden.max() <= 1e-12:
        return OperatingPoint(None, "no threshold is better than chance")
    best = int(np.flatnonzero(np.isclose(youden, youden.max()))[-1])
    higher, lower = float(levels[best]), float(levels[best + 1])
    middle = (higher + lower) / 2
    # Neighbouring floats have nothing between them, and "from the threshold on" needs the higher.
    return OperatingPoint(middle if middle > lower else higher)


def operating_points(
    targets: Mapping[str, ArrayLike], probabilities: Mapping[str, ArrayLike]
) -> dict[str, OperatingPoint]:
    """Choose the operating point of every observation; see :func:`operating_point`."""
    return {name: operating_point(targets[name], probabilities[name]) for name in targets}


def roc_points(
    targets: ArrayLike, probabilities: ArrayLike, most: int = 200
) -> dict[str, list[float]] | None:
    """Return the ROC curve from (0, 0) to (1, 1) for drawing; None for one class.

    At most ``most`` points, both ends among them, spread evenly over the distinct thresholds.
    """
    cases = cases_of(targets, probabilities, None)
    if cases.one_class:
        return None
    order, _, ends = descending(cases.score)
    hit = cases.target[order]
    tpr = np.concatenate([[0.0], np.cumsum(hit)[ends] / hit.sum()])
    fpr = np.concatenate([[0.0], np.cumsum(1 - hit)[ends] / (1 - hit).sum()])
    keep = np.unique(np.linspace(0, tpr.size - 1, min(most, tpr.size)).round().astype(int))
    return {"fpr": fpr[keep].tolist(), "tpr": tpr[keep].tolist()}


def reliability_bins(targets: ArrayLike, probabilities: ArrayLike) -> list[dict[str, Any]]:
    """Return how often "present" was true by predicted probability: a reliability diagram.

    ``BINS`` bins of equal width; the last one holds 1. Each tells ``low``, ``high``, ``n``,
    ``positives`` and ``mean_probability``, which is None in a bin of fewer than
    ``FEWEST_IN_A_BIN`` cases. Niculescu-Mizil and Caruana, ICML 2005.

    Args:
        targets: 1, 0, or NaN or None for unknown; any shape.
        probabilities: the same shape; NaN or None where not evaluated.
    """
    cases = cases_of(targets, probabilities, None)
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.digitize(cases.score, edges) - 1, 0, BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        n = int(inside.sum())
        enough = n >= FEWEST_IN_A_BIN
        found.append(
            {
                "low": round(float(edges[number]), 6),
                "high": round(float(edges[number + 1]), 6),
                "n": n,
                "positives": int(cases.target[inside].sum()),
                "mean_probability": float(cases.score[inside].mean()) if enough else None,
            }
        )
    return found


def evaluate(
    targets: Mapping[str, ArrayLike],
    probabilities: Mapping[str, ArrayLike],
    patient_keys: Sequence[str],
    thresholds: Mapping[str, float | None],
    *,
    samples: int = 1000,
    seed: int = 0,
    baselines: Mapping[str, Mapping[str, ArrayLike]] | None = None,
) -> dict[str, Any]:
    """Evaluate predictions against targets, observation by observation, sites pooled.

    Intervals are percentile intervals of a bootstrap that draws whole patients with replacement,
    because the sites of one patient are not independent; where every draw gives the same they are
    Wilson's for as many cases as there are patients (``labeling.evaluation.edges``). Macro F1
    of an observation is the mean of the F1 of "present" and of "absent".

    Args:
        targets: by observation, shape (rows,) or (rows, sites): 1, 0, NaN or None for unknown.
        probabilities: the same names and shapes; NaN or None: not evaluated, counted apart.
        patient_keys: the patient of each row.
        thresholds: by observation, chosen on validation; None: no operating point.
        samples: bootstrap draws.
        seed: of the bootstrap.
        baselines: probabilities of other methods by their name, in the same form. Each is
            scored on the cases that both evaluated, with the paired difference of AUROC (ours
            minus theirs).

    Returns:
        A dict for JSON. ``observations``: by name, with n, positives, patients, not_evaluated,
        prevalence, threshold, roc, reliability (:func:`reliability_bins`), baselines (each with
        its roc), and each figure as value, low, high, reason.
        ``macro``: plain means over the observations that have a value.

    Raises:
        Permanent: names or shapes do not fit together, a target is not 0 or 1, a probability
            is outside 0 to 1.
    """
    bootstrap = Bootstrap(samples, seed)
    found = {}
    for name, target in targets.items():
        if name not in probabilities:
            raise Permanent(f"there are no probabilities for {name}")
        rivals = {key: each[name] for key, each in (baselines or {}).items() if name in each}
        cases = cases_of(target, probabilities[name], patient_keys)
        known = int(np.count_nonzero(~np.isnan(as_array(target))))
        found[name] = {
            **_counts(cases, known),
            "threshold": thresholds.get(name),
            **_figures(cases, thresholds.get(name), bootstrap),
            "roc": roc_points(cases.target, cases.score),
            "reliability": reliability_bins(cases.target, cases.score),
            "baselines": {
                key: _compare(target, probabilities[name], each, patient_keys, bootstrap)
                for key, each in rivals.items()
            },
        }
    return {"observations": found, "macro": _macro(found), "bootstrap_samples": samples}


def _counts(cases: Cases, known: int) -> dict[str, Any]:
    size = int(cases.target.size)
    return {
        "n": size,
        "positives": int(cases.target.sum()),
        "patients": int(np.unique(cases.patients).size),
        "not_evaluated": known - size,
        "prevalence": float(cases.target.mean()) if size else None,
    }


def _figures(cases: Cases, threshold: float | None, bootstrap: Bootstrap) -> dict[str, Any]:
    """Return every figure with its interval, or None with the reason."""
    point = _at(cases, threshold, np.ones((1, cases.target.size)))
    draws = [_at(cases, threshold, weights) for weights in bootstrap.weights(cases.patients)]
    found = {}
    for name, value in point.items():
        absent = name in DECIDED and threshold is None and cases.target.size > 0
        reason = NO_OPERATING_POINT if absent else cases.reason
        found[name] = estimate(value, [each[name] for each in draws], reason)
    return _bounded(found, cases, threshold)


def _bounded(
    found: dict[str, dict[str, Any]], cases: Cases, threshold: float | None
) -> dict[str, dict[str, Any]]:
    """Return the figures; an interval without width becomes a conservative one, or none."""
    present = cases.target > 0
    called = np.zeros_like(present) if threshold is None else cases.score >= threshold
    sides = (present, ~present, present | True, called)
    counts = (np.unique(cases.patients[each]).size for each in sides)
    people = People(*counts)
    known = {name: each for name, each in found.items() if each["low"] is not None}
    values = {name: each["value"] for name, each in known.items()}
    spans = {name: (each["low"], each["high"]) for name, each in known.items()}
    for name, each in known.items():
        low, high = widened(name, values, spans, people)
        each |= {"low": low, "high": high} if np.isfinite(low) else NO_WIDTH
    return found


NO_WIDTH: Mapping[str, Any] = {"low": None, "high": None, "reason": ALIKE}
"""What stands in the place of an interval that has no width and is not known to be right."""


def _at(cases: Cases, threshold: float | None, weights: Floats) -> dict[str, Floats]:
    decided = dict.fromkeys(DECIDED, np.full(len(weights), np.nan))
    if threshold is not None:
        decided = decision(cases.target, cases.score >= threshold, weights)
    return {
        "auroc": auroc(cases.target, cases.score, weights),
        "average_precision": average_precision(cases.target, cases.score, weights),
        **decided,
    }


def _compare(
    targets: ArrayLike,
    probabilities: ArrayLike,
    rival: ArrayLike,
    patient_keys: Sequence[str],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Return a baseline's figures and the paired difference, on the cases that both evaluated."""
    ours, theirs = as_array(probabilities), as_array(rival)
    if ours.shape != theirs.shape:
        raise Permanent("the probabilities of a baseline have another shape")
    mine = cases_of(targets, np.where(np.isnan(theirs), np.nan, ours), patient_keys)
    other = cases_of(targets, np.where(np.isnan(ours), np.nan, theirs), patient_keys)

    def gain(weights: Floats) -> Floats:
        return auroc(mine.target, mine.score, weights) - auroc(other.target, other.score, weights)

    figures = _figures(other, None, bootstrap)
    point = gain(np.ones((1, mine.target.size)))
    drawn = [gain(weights) for weights in bootstrap.weights(mine.patients)]
    return {
        "n": int(mine.target.size),
        **{name: figures[name] for name in RANKED},
        "auroc_difference": difference(
            point, drawn, mine.reason, same=np.array_equal(mine.score, other.score)
        ),
        "roc": roc_points(other.target, other.score),
    }


def estimate(point: Floats, draws: Sequence[Floats], reason: str) -> dict[str, Any]:
    """Return value and interval, or None with the reason."""
    if not np.isfinite(point[0]):
        return {"value": None, "low": None, "high": None, "reason": reason or ONE_CLASS}
    found: dict[str, Any] = {"value": float(point[0]), "low": None, "high": None}
    if not draws:
        return {**found, "reason": "one patient gives no interval"}
    drawn = np.concatenate(draws)
    defined = drawn[np.isfinite(drawn)]
    if defined.size < DEFINED_SHARE * drawn.size:
        return {**found, "reason": "too few patients of one class for an interval"}
    low, high = np.quantile(defined, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return {"value": float(point[0]), "low": float(low), "high": float(high), "reason": ""}


def difference(
    point: Floats, draws: Sequence[Floats], reason: str, *, same: bool
) -> dict[str, Any]:
    """Return as :func:`estimate` a paired difference.

    Two methods that are right, or wrong, in every draw differ by the same each time: that shows
    how few patients there are, and only where both say the ``same`` of every case is it exact.
    """
    found = estimate(point, draws, reason)
    if not same and found["low"] is not None and collapsed(found["low"], found["high"]):
        return {**found, **NO_WIDTH}
    return found


def _macro(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    means = {}
    for name in (*RANKED, *DECIDED):
        values = [each[name]["value"] for each in found.values()]
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if known else None
        means[name] = {"value": mean, "observations": len(known)}
    return means


def as_array(values: ArrayLike) -> Floats:
    """Return numbers as an array, with NaN for None."""
    return np.asarray(values, dtype=np.float64)


def cases_of(
    targets: ArrayLike, probabilities: ArrayLike, patient_keys: Sequence[str] | None
) -> Cases:
    """Keep the cases with a known target and a probability, as flat arrays.

    Raises:
        Permanent: the shapes differ, or a value is out of range.
    """
    target, score = as_array(targets), as_array(probabilities)
    rows = target.shape[0] if target.ndim else 0
    if target.shape != score.shape or (patient_keys is not None and len(patient_keys) != rows):
        raise Permanent("targets, probabilities and patients have different shapes")
    keep = ~np.isnan(target) & ~np.isnan(score)
    if not np.isin(target[keep], (0.0, 1.0)).all():
        raise Permanent("a target is neither 0 nor 1")
    if ((score[keep] < 0) | (score[keep] > 1)).any():
        raise Permanent("a probability is outside 0 to 1")
    keys = np.asarray(patient_keys if patient_keys is not None else range(rows), dtype=object)
    row = np.nonzero(keep)[0]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys[row]))}
    patients = np.array([numbers[key] for key in keys[row]], dtype=np.intp)
    return Cases(target[keep], score[keep], patients)
