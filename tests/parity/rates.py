"""How often the labeler is wrong at disc levels of the 101 real notes: the rates to be matched.

They come from ``python -m tests.acceptance.lumbar_notes --out FILE`` (its ``sites``: single disc
levels, present against the rest, thresholds by 5-fold cross-validation, references of two careful
readers, not of radiologists), or are those constants of such a run that stand here. The notes hold
none of the targets of this experiment: each takes the rates of the nearest condition that has
enough positive levels to measure anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugin.errors import Permanent

SOURCE = (
    "python -m tests.acceptance.lumbar_notes --labelers rules,token_scores, single disc levels "
    "of the 101 notes, embedded model with the adapter spine"
)

NEARNESS: Mapping[str, tuple[str, ...]] = {
    "disc_narrowing": ("stenosis", "herniation", "spondylolisthesis"),
    "disc_bulging": ("herniation", "stenosis", "spondylolisthesis"),
    "disc_degeneration": ("stenosis", "herniation", "spondylolisthesis"),
}
"""Conditions of the notes by target, the nearest first: a bulge is next to a herniation; loss of
height or signal is, like a narrow canal, a change of degree."""

_MEASURED: Mapping[str, Mapping[str, tuple[float, float, int]]] = {
    "token_scores": {
        "stenosis": (0.9286, 0.9686, 98),
        "herniation": (0.7500, 1.0, 4),
        "spondylolisthesis": (0.8333, 1.0, 6),
    },
    "rules": {
        "stenosis": (0.9184, 0.9974, 98),
        "herniation": (0.7500, 1.0, 4),
        "spondylolisthesis": (1.0, 1.0, 6),
    },
}
"""Sensitivity, specificity and positive levels by labeler and condition."""


@dataclass(frozen=True)
class Rate:
    """What is to be matched for one target; ``positives`` levels of ``condition`` measured it."""

    sensitivity: float
    specificity: float
    condition: str
    positives: int


def wanted_rates(labeler: str, least_positives: int, path: Path | None = None) -> dict[str, Rate]:
    """Return the rates by target.

    Args:
        labeler: whose.
        least_positives: a condition with fewer positive levels is passed over, as long as another
            has as many.
        path: what ``lumbar_notes --out`` wrote; None: the constants.

    Raises:
        Permanent: the file does not hold the labeler's figures, or there are no constants for it.
    """
    measured = _MEASURED.get(labeler, {}) if path is None else _read(path, labeler)
    if not measured:
        raise Permanent(f"no rates of {labeler!r} on the notes are known")
    found = {}
    for target, nearness in NEARNESS.items():
        known = [name for name in nearness if name in measured]
        enough = [name for name in known if measured[name][2] >= least_positives]
        condition = enough[0] if enough else max(known, key=lambda name: measured[name][2])
        sensitivity, specificity, positives = measured[condition]
        found[target] = Rate(sensitivity, specificity, condition, positives)
    return found


def _read(path: Path, labeler: str) -> dict[str, tuple[float, float, int]]:
    rows = json.loads(path.read_text(encoding="utf-8"))["labelers"]
    own: list[dict[str, Any]] = [each for each in rows if each["labeler"].split()[0] == labeler]
    return {
        name: (row["sensitivity"]["value"], row["specificity"]["value"], row["n_present"])
        for each in own[:1]
        for name, row in each["sites"].items()
        if row["sensitivity"]["value"] is not None
    }
