"""A model's figures for parts of the test set: by scanner, age, sex and site.

Figures of a group of few patients are those of persons, and stay when these are erased. So a group
of fewer than ``LEAST`` has none, nor has the next larger one where the few would follow from what
is told of all and of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labeling.evaluation.metrics import brier
from training.metrics import DECIDED, RANKED, as_array, cases_of, evaluate

FEW = 10
"""Patients with, or without, a finding; on fewer a figure says little, and the group says so."""

LEAST = 10
"""Patients; of a group with fewer nothing is kept but that they are fewer."""

FEW_PATIENTS = "too few patients: "
"""Begins the note of a group with few patients on one side."""

HIDDEN = f"fewer than {LEAST} patients: no figures"
BESIDE = f"no figures: those of fewer than {LEAST} patients would follow"

_COUNTS = ("n", "positives", "patients", "not_evaluated", "prevalence")
_SHOWN = (*_COUNTS, *RANKED, *DECIDED)


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
        reason), ``brier`` with ``brier_reason``, and ``note``, which says where there are too few
        patients; as :func:`tellable` makes them.
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
                        **_brier(parts[name], said[name]),
                        "note": _note(parts[name], said[name], keys),
                    }
                )
    return tellable(rows)


def tellable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that tell of no fewer than ``LEAST`` patients, by themselves or by subtraction.

    Rows that hold figures of fewer, as earlier versions stored them, lose them here, too.

    Args:
        rows: of one model, from :func:`by_subgroup`.
    """
    parts: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        if row["patients"] is not None:
            parts.setdefault((row["attribute"], row["observation"]), []).append(number)
    notes: dict[int, str] = {}
    for numbers in parts.values():
        few = [each for each in numbers if rows[each]["patients"] < LEAST]
        notes |= dict.fromkeys(few, HIDDEN)
        others = sorted(set(numbers) - set(few), key=lambda each: int(rows[each]["patients"]))
        if others and 0 < sum(rows[each]["patients"] for each in few) < LEAST:
            notes[others[0]] = BESIDE
    return [
        _without_figures(row, notes[number]) if number in notes else dict(row)
        for number, row in enumerate(rows)
    ]


def _without_figures(row: Mapping[str, Any], note: str) -> dict[str, Any]:
    none = {"value": None, "low": None, "high": None, "reason": note}
    return {
        **{key: row[key] for key in ("attribute", "group", "observation")},
        **dict.fromkeys(_COUNTS),
        **{name: dict(none) for name in (*RANKED, *DECIDED)},
        "brier": None,
        "brier_reason": note,
        "note": note,
    }


def _brier(target: ArrayLike, score: ArrayLike) -> dict[str, Any]:
    cases = cases_of(target, score, None)
    if not cases.target.size:
        return {"brier": None, "brier_reason": cases.reason}
    value = float(brier(cases.target, cases.score, np.ones((1, cases.target.size)))[0])
    return {"brier": value, "brier_reason": ""}


def _note(target: ArrayLike, score: ArrayLike, keys: Sequence[str]) -> str:
    cases = cases_of(target, score, keys)
    have = {
        "with": int(np.unique(cases.patients[cases.target > 0]).size),
        "without": int(np.unique(cases.patients[cases.target == 0]).size),
    }
    few = [f"{count} {which}" for which, count in have.items() if count < FEW]
    return f"{FEW_PATIENTS}{', '.join(few)} the finding" if few else ""
