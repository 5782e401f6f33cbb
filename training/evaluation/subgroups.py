"""A model's figures for parts of the test set: by scanner, age, sex and site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labeling.evaluation.metrics import brier
from training.metrics import DECIDED, RANKED, as_array, cases_of, evaluate

FEW = 10
"""Patients with, or without, a finding; on fewer a figure says little, and the group says so."""

_SHOWN = ("n", "positives", "patients", "not_evaluated", "prevalence", *RANKED, *DECIDED)


def by_subgroup(
    targets: Mapping[str, ArrayLike],
    probabilities: Mapping[str, ArrayLike],
    patient_keys: Sequence[str],
    thresholds: Mapping[str, float | None],
    groups: Mapping[str, Sequence[str]],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return a row for each observation in each group, at the model's one operating point.

    Groups are looked at one by one and nothing is corrected for their number: an interval that
    lies apart from the others is a reason to look, no proof.

    Args:
        targets, probabilities, thresholds: as for ``metrics.evaluate``.
        patient_keys: the patient of each row.
        groups: by attribute ("sex"), the group of each row ("F").
        samples, seed: of the bootstrap.

    Returns:
        Rows with ``attribute``, ``group``, ``observation``, counts, figures (value, low, high,
        reason), ``brier`` and ``note``, which says where there are too few patients.
    """
    rows = []
    for attribute, values in groups.items():
        for group in sorted(set(values)):
            chosen = np.array([value == group for value in values])
            keys = [key for key, own in zip(patient_keys, chosen, strict=True) if own]
            parts = {name: as_array(each)[chosen] for name, each in targets.items()}
            said = {name: as_array(probabilities[name])[chosen] for name in targets}
            found = evaluate(parts, said, keys, thresholds, samples=samples, seed=seed)
            for name, figures in found["observations"].items():
                rows.append(
                    {
                        "attribute": attribute,
                        "group": group,
                        "observation": name,
                        **{each: figures[each] for each in _SHOWN},
                        "brier": _brier(parts[name], said[name]),
                        "note": _note(parts[name], said[name], keys),
                    }
                )
    return rows


def _brier(target: ArrayLike, score: ArrayLike) -> float | None:
    cases = cases_of(target, score, None)
    if not cases.target.size:
        return None
    return float(brier(cases.target, cases.score, np.ones((1, cases.target.size)))[0])


def _note(target: ArrayLike, score: ArrayLike, keys: Sequence[str]) -> str:
    cases = cases_of(target, score, keys)
    have = {
        "with": int(np.unique(cases.patients[cases.target > 0]).size),
        "without": int(np.unique(cases.patients[cases.target == 0]).size),
    }
    few = [f"{count} {which}" for which, count in have.items() if count < FEW]
    return f"too few patients: {', '.join(few)} the finding" if few else ""
