"""What a simulated spine really has, level by level: the one truth of its images and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
"""The five lumbar discs from top to bottom; the sites of the ``spine`` label schema."""

OBSERVATIONS = ("disc_narrowing", "herniation", "stenosis", "spondylolisthesis")
"""The observations that the phantom can show; ids of the ``spine`` label schema."""

# From this degree on a finding counts as present; below it, as absent.
PRESENT_FROM = {
    "disc_narrowing": 0.30,  # share of the disc's height that is lost
    "herniation": 3.0,  # mm that the disc reaches into the canal
    "stenosis": 0.30,  # share of the canal's depth that is lost
    "spondylolisthesis": 4.0,  # mm that the upper vertebra has slipped
}

# (share of discs with the finding, lowest and highest degree when absent, when present)
_DRAW = {
    "disc_narrowing": (0.35, (0.0, 0.21), (0.34, 0.60)),
    "herniation": (0.20, (0.0, 1.8), (4.0, 8.0)),
    "stenosis": (0.20, (0.0, 0.22), (0.33, 0.60)),
    "spondylolisthesis": (0.10, (0.0, 2.6), (4.6, 8.0)),
}
# Lower discs wear more: multiplies the share above, level by level, mean 1.
_WEAR = (0.5, 0.7, 1.0, 1.4, 1.4)


@dataclass(frozen=True)
class LevelTruth:
    """Degrees of the findings at one disc; see ``PRESENT_FROM`` for their units."""

    disc_narrowing: float
    herniation: float
    stenosis: float
    spondylolisthesis: float

    def known(self, observation: str) -> bool:
        """Tell whether the degree is known; real images may lack a label: it is then NaN."""
        degree: float = getattr(self, observation)
        return not math.isnan(degree)

    def present(self, observation: str) -> bool:
        """Tell whether the observation is present at this disc; ValueError where not known."""
        degree: float = getattr(self, observation)
        if math.isnan(degree):
            raise ValueError(f"nothing is known about {observation} at this disc")
        return degree >= PRESENT_FROM[observation]


@dataclass(frozen=True)
class SpineTruth:
    """The truth of one lumbar spine, by level."""

    levels: Mapping[str, LevelTruth]

    def known(self, observation: str, level: str | None = None) -> bool:
        """Tell whether the observation is known at a level, or at every level."""
        if level is not None:
            return self.levels[level].known(observation)
        return all(each.known(observation) for each in self.levels.values())

    def present(self, observation: str, level: str | None = None) -> bool:
        """Tell whether the observation is present at a level, or anywhere."""
        if level is not None:
            return self.levels[level].present(observation)
        return any(each.present(observation) for each in self.levels.values())


def draw_truth(rng: np.random.Generator) -> SpineTruth:
    """Draw the degrees of every finding at every level, independently."""
    levels = {}
    for level, wear in zip(LEVELS, _WEAR, strict=True):
        degrees = {}
        for name, (share, absent, present) in _DRAW.items():
            low, high = present if rng.random() < share * wear else absent
            degrees[name] = float(rng.uniform(low, high))
        levels[level] = LevelTruth(**degrees)
    return SpineTruth(levels)
