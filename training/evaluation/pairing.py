"""Two models on the same cases of the same patients: paired differences and DeLong's p value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labeling.evaluation.comparison import FEW_PATIENTS, delong
from labeling.evaluation.metrics import brier
from labeling.evaluation.resampling import Bootstrap, Floats, auroc, average_precision, decision
from training.errors import Permanent
from training.metrics import DECIDED, NO_OPERATING_POINT, Cases, as_array, cases_of, difference

_TOO_FEW = "fewer than two patients with, or without, the finding"
_NO_SPREAD = "the areas differ by the same for every patient"

COMPARED = ("auroc", "average_precision", *DECIDED, "brier")


def compare_models(
    targets: Mapping[str, ArrayLike],
    first: Mapping[str, ArrayLike],
    second: Mapping[str, ArrayLike],
    patient_keys: Sequence[str],
    thresholds: tuple[Mapping[str, float | None], Mapping[str, float | None]],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return by observation what the first model has ahead of the second.

    Both are judged on the cases that both evaluated, each at its own operating point. Intervals
    are those of a paired bootstrap that draws whole patients. The p value is DeLong's (Biometrics
    1988;44:837), in the form that does not take the sites of one patient for independent
    (Obuchowski, Biometrics 1997;53:567).

    Args:
        targets, first, second: by observation, as for ``metrics.evaluate``.
        patient_keys: the patient of each row.
        thresholds: operating points of the two models, by observation.
        samples, seed: of the bootstrap.

    Returns:
        By observation ``n``, ``positives``, ``patients``, ``one_only`` (cases that one of the two
        did not evaluate), ``first`` and ``second`` (plain values on these cases), ``difference``
        (value, low, high, reason; of the Brier score below 0 where the first is better),
        ``p_delong`` (None where a class has fewer than two patients, or nothing tells how sure the
        difference is) and ``p_note``: why there is none, or that patients are few.

    Raises:
        Permanent: shapes differ, or values are out of range.
    """
    return {
        name: _compared(
            targets[name],
            (as_array(first[name]), as_array(second[name])),
            patient_keys,
            (thresholds[0].get(name), thresholds[1].get(name)),
            Bootstrap(samples, seed),
        )
        for name in targets
    }


def _compared(
    target: ArrayLike,
    scores: tuple[Floats, Floats],
    patient_keys: Sequence[str],
    cuts: tuple[float | None, float | None],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    if scores[0].shape != scores[1].shape:
        raise Permanent("the probabilities of the two models have different shapes")
    either = np.isnan(scores[0]) | np.isnan(scores[1])
    ours, theirs = (
        cases_of(target, np.where(either, np.nan, each), patient_keys) for each in scores
    )
    one_only = int((either & ~np.isnan(as_array(target)) & ~np.isnan(scores).all(axis=0)).sum())
    whole = np.ones((1, ours.target.size))
    values = _figures(ours, cuts[0], whole), _figures(theirs, cuts[1], whole)
    draws = [
        (_figures(ours, cuts[0], weights), _figures(theirs, cuts[1], weights))
        for weights in bootstrap.weights(ours.patients)
    ]
    same = np.array_equal(ours.score, theirs.score)
    undecided = NO_OPERATING_POINT if None in cuts else ""
    return {
        "n": int(ours.target.size),
        "positives": int(ours.target.sum()),
        "patients": int(np.unique(ours.patients).size),
        "one_only": one_only,
        "first": {name: _number(values[0][name]) for name in COMPARED},
        "second": {name: _number(values[1][name]) for name in COMPARED},
        "difference": {
            name: difference(
                values[0][name] - values[1][name],
                [one[name] - other[name] for one, other in draws],
                ours.reason or (undecided if name in DECIDED else ""),
                same=same and (name not in DECIDED or cuts[0] == cuts[1]),
            )
            for name in COMPARED
        },
        **_delong(ours, theirs.score),
    }


def _delong(cases: Cases, other: Floats) -> dict[str, Any]:
    """Return the p value with what must stand beside it, or None with the reason."""
    target = cases.target > 0
    value = _number(np.array([delong(target, cases.score, other, cases.patients)]))
    people = int(np.unique(cases.patients).size)
    note = f"{people} patients, fewer than {FEW_PATIENTS}: too small too often"
    if value is not None:
        return {"p_delong": value, "p_note": note if people < FEW_PATIENTS else ""}
    sides = (np.unique(cases.patients[side]).size for side in (target, ~target))
    few = cases.reason or (_TOO_FEW if min(sides) < 2 else _NO_SPREAD)
    return {"p_delong": None, "p_note": few}


def _figures(cases: Cases, threshold: float | None, weights: Floats) -> dict[str, Floats]:
    decided = dict.fromkeys(DECIDED, np.full(len(weights), np.nan))
    if threshold is not None:
        decided = decision(cases.target, cases.score >= threshold, weights)
    return {
        "auroc": auroc(cases.target, cases.score, weights),
        "average_precision": average_precision(cases.target, cases.score, weights),
        **decided,
        "brier": brier(cases.target, cases.score, weights),
    }


def _number(value: Floats) -> float | None:
    return float(value[0]) if np.isfinite(value[0]) else None
