"""Agreement of predictions with the labels of later reports, and how far probabilities hold.

A report's label is what a labeler read in a radiologist's text. It is no truth about the image, and
where a structured report of ours lay in the archive before, the radiologist may have read it. So
nothing here is called accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from labeling.evaluation.edges import People, widened
from labeling.evaluation.resampling import Bootstrap, Floats, decision, ratio
from training.metrics import estimate
from training.monitoring.cases import Watched

FIGURES = ("sensitivity", "specificity", "ppv")
_EDGES = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "precision"}
_BINS = 5
_DRAWS = 500


def agreement(rows: Sequence[Watched], seed: int = 0) -> dict[str, Any]:
    """Return how rows of one observation agree with the reports' labels, JSON-ready.

    Intervals are percentiles of a bootstrap by patient (95 %). A figure that does not exist is
    None.

    Args:
        rows: of one observation; those without label or probability count for nothing.
        seed: of the bootstrap.

    Returns:
        ``n`` (sites), ``studies``, ``positives`` by the reports; sensitivity, specificity and PPV
        against the reports' labels, each with value, low, high; ``calibration``; ``abstained``,
        the share of all rows on which the model said that it was not made for such an image, and
        ``not_evaluated``, the share without a probability for whatever reason.
    """
    compared = [each for each in rows if each.compared]
    decided = [each for each in compared if each.threshold is not None]
    return {
        "n": len(compared),
        "studies": len({each.study for each in compared}),
        "positives": sum(each.label == 1.0 for each in compared),
        **_figures(decided, seed),
        "calibration": calibration(compared),
        "abstained": _share(each.abstained for each in rows),
        "not_evaluated": _share(each.probability is None for each in rows),
    }


def _share(found: Iterable[bool]) -> float | None:
    told = list(found)
    return sum(told) / len(told) if told else None


def _figures(rows: Sequence[Watched], seed: int) -> dict[str, Any]:
    label, called = _columns(rows)
    point = _at(label, called, np.ones((1, len(rows))))
    keys = {key: number for number, key in enumerate(dict.fromkeys(r.patient for r in rows))}
    patients = np.array([keys[each.patient] for each in rows], dtype=np.intp)
    draws = [_at(label, called, each) for each in Bootstrap(_DRAWS, seed).weights(patients)]
    chosen = (label == 1, label == 0, np.ones(len(rows), dtype=np.bool_), called)
    of = People(*(np.unique(patients[each]).size for each in chosen))
    return {
        name: _estimate(name, point[name], [each[name] for each in draws], of) for name in FIGURES
    }


def _columns(rows: Sequence[Watched]) -> tuple[Floats, np.ndarray[Any, np.dtype[np.bool_]]]:
    label = np.array([each.label for each in rows], dtype=np.float64)
    called = np.array([_called(each) for each in rows], dtype=np.bool_)
    return label, called


def _called(each: Watched) -> bool:
    known = each.probability is not None and each.threshold is not None
    return known and (each.probability or 0.0) >= (each.threshold or 0.0)


def _at(
    label: Floats, called: np.ndarray[Any, np.dtype[np.bool_]], weights: Floats
) -> dict[str, Floats]:
    if label.size == 0:
        return dict.fromkeys(FIGURES, np.full(len(weights), np.nan))
    found = decision(label, called, weights)
    hits, alarms = weights @ (label * called), weights @ ((1 - label) * called)
    return {**found, "ppv": ratio(hits, hits + alarms)}


def _estimate(
    name: str, point: Floats, draws: Sequence[Floats], of: People
) -> dict[str, float | None]:
    """Return value and interval; where no draw differs, that of as many cases as patients."""
    found = estimate(point, draws, "")
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if low is not None:
        known = _EDGES[name]
        low, high = widened(known, {known: value}, {known: (low, high)}, of)
    return {"value": value, "low": low, "high": high}


def calibration(rows: Sequence[Watched]) -> dict[str, Any]:
    """Return how probabilities hold against the reports' labels; rows need both.

    Returns:
        ``brier`` (Brier, Mon Weather Rev 1950), ``mean_probability``, ``share_present`` by the
        reports, their ``difference``, and ``bins`` of equal width with the mean probability, the
        share present and n of each; None and no bins where there are no rows.
    """
    if not rows:
        names = ("brier", "mean_probability", "share_present", "difference")
        return {**dict.fromkeys(names), "bins": []}
    label = np.array([each.label for each in rows], dtype=np.float64)
    given = np.array([each.probability for each in rows], dtype=np.float64)
    number = np.minimum((given * _BINS).astype(int), _BINS - 1)
    return {
        "brier": float(np.mean((given - label) ** 2)),
        "mean_probability": float(given.mean()),
        "share_present": float(label.mean()),
        "difference": float(given.mean() - label.mean()),
        "bins": [
            {
                "mean_probability": float(given[number == each].mean()),
                "share_present": float(label[number == each].mean()),
                "n": int((number == each).sum()),
            }
            for each in range(_BINS)
            if (number == each).any()
        ],
    }


def running(rows: Sequence[Watched], window: int) -> list[dict[str, Any]]:
    """Return agreement over the last ``window`` compared studies, as each report came.

    Args:
        rows: of one observation.
        window: studies; there is no point before so many were compared.

    Returns:
        In order of the reports: ``study`` (number, from 1), ``at``, sensitivity, specificity, PPV,
        each None where it does not exist.
    """
    by_study: dict[str, list[Watched]] = {}
    for each in rows:
        if each.compared and each.threshold is not None and each.report_at is not None:
            by_study.setdefault(each.study, []).append(each)
    order = sorted(by_study, key=lambda study: (by_study[study][0].report_at, study))
    points = []
    for end in range(window, len(order) + 1):
        recent = [each for study in order[end - window : end] for each in by_study[study]]
        label, called = _columns(recent)
        found = _at(label, called, np.ones((1, len(recent))))
        last = recent[-1].report_at
        points.append(
            {
                "study": end,
                "at": last.isoformat(timespec="seconds") if last else "",
                **{name: _value(found[name]) for name in FIGURES},
            }
        )
    return points


def _value(point: Floats) -> float | None:
    return float(point[0]) if np.isfinite(point[0]) else None
