"""The human gradings of SPIDER's training part, by patient: what the parity experiment starts from.

SPIDER: van der Graaf et al., Scientific Data 2024, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plugin.simulation.truth import LEVELS
from tests.acceptance.spider_discs import OBSERVATIONS, Row, rows_of

FOLDER = "data/spider_lumbar_png"
"""Within the shared data."""
TARGETS = OBSERVATIONS
"""Disc narrowing, bulging, and degeneration, which is a Pfirrmann grade of 4 or 5."""

Place = tuple[str, str]
"""Target and level."""

_COLUMNS = {
    "disc_narrowing": ("Disc narrowing", 1),
    "disc_bulging": ("Disc bulging", 1),
    "disc_degeneration": ("Pfirrman grade", 4),
}


@dataclass(frozen=True)
class GradedPatient:
    """A patient with a slice or more and gradings of all five lumbar discs.

    Attributes:
        name: number in the data set.
        sex: "F", "M" or empty.
        truth: at each place whether the human gradings find the target.
        series: rows of ``overview.csv``, one for each slice.
    """

    name: str
    sex: str
    truth: Mapping[Place, bool]
    series: Sequence[Row]


def level_of(number: str) -> str | None:
    """Return the level of an "IVD label", which counts the discs from the sacrum upwards."""
    return dict(zip("12345", LEVELS[::-1], strict=True)).get(number)


def graded_patients(folder: Path, limit: int | None = None) -> list[GradedPatient]:
    """Return the patients of the training part, the first ``limit`` of them by number."""
    truths: dict[str, dict[Place, bool]] = {}
    for row in rows_of(folder / "radiological_gradings.csv"):
        level = level_of(row["IVD label"])
        if level is not None:
            own = truths.setdefault(row["Patient"], {})
            for target, (column, least) in _COLUMNS.items():
                own[target, level] = float(row[column]) >= least
    series: dict[str, list[Row]] = {}
    for row in rows_of(folder / "overview.csv"):
        path = folder / "images" / f"{row['new_file_name']}.png"
        if row["subset"] == "training" and path.is_file():
            series.setdefault(row["new_file_name"].partition("_")[0], []).append(row)
    complete = len(TARGETS) * len(LEVELS)
    found = [
        GradedPatient(name, rows[0]["sex"].strip(), truths[name], rows)
        for name, rows in sorted(series.items(), key=lambda item: int(item[0]))
        if len(truths.get(name, ())) == complete
    ]
    return found[:limit]
