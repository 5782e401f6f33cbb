"""Simulated frontal chest pictures with a known truth, and what an unsure reader says of them.

Lungs, ribs, heart, diaphragm and vessels overlap as in a projection, and all vary from one
simulated person to the next. Sizes and contrasts were chosen by hand; they carry no claim. The
patient's left is on the right of the picture. Nothing here is clinical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

SIDE = 96
"""Rows and columns of a picture."""
OBSERVATIONS = ("lung_lesion", "pleural_effusion", "cardiomegaly")
"""Ids of the ``chest`` label schema."""
LOCATIONS = {"lung_lesion": ("left", "right"), "pleural_effusion": ("left", "right")}
"""By observation; the heart has no side."""
STEPS = 3
"""Of each observation's scale: mild, moderate, severe."""
PREVALENCE = 0.35

_BOTH_SIDES = 0.2  # share of findings with a side that are on both
_RADIUS = (0.028, 0.036, 0.046)  # of a lesion by its size; lengths are shares of the picture
_LESION = 0.22  # signal of a lesion above that of lung
_HEIGHT = (0.05, 0.08, 0.12)  # of an effusion above the diaphragm
_HEART = (0.265, 0.29, 0.32)  # half width of an enlarged heart
_NORMAL_HEART = (0.18, 0.25)
_LUNG_SIDE = {"right": -1.0, "left": 1.0}  # where in the picture


@dataclass(frozen=True)
class ChestTruth:
    """What a simulated chest has: by observation the size step at each place, 0 to 2.

    A heart's place is "". An observation that is not there has no place.
    """

    places: Mapping[str, Mapping[str, int]]

    def present(self, observation: str) -> bool:
        """Tell whether the observation is there."""
        return bool(self.places[observation])

    def severity(self, observation: str) -> int:
        """Return the step at the place that is worst; ValueError where it is not there."""
        return max(self.places[observation].values())


@dataclass(frozen=True)
class ChestReport:
    """What a simulated reader says of a chest.

    Args:
        probability: by observation, the chance that it is there, in the reader's words.
        unsure: observations that the reader was not sure of.
        locations: by observation and side, 1.0 said, 0.0 contradicted; sides not spoken of lack.
        severities: by observation, the step that was said.
    """

    probability: Mapping[str, float]
    unsure: frozenset[str]
    locations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    severities: Mapping[str, int] = field(default_factory=dict)


def draw_chest(rng: np.random.Generator) -> tuple[ChestTruth, NDArray[np.float32]]:
    """Draw one person: the truth, and the picture (SIDE, SIDE) with values around 0 to 1."""
    truth = _draw_truth(rng)
    return truth, _picture(truth, rng)


def report_of(
    truth: ChestTruth,
    rng: np.random.Generator,
    *,
    unsure: float,
    places_said: float = 0.7,
    severity_said: float = 0.5,
) -> ChestReport:
    """Return what a reader says, who is unsure at a known rate and whose doubt is calibrated.

    A sure reader is right. An unsure one gives a probability p that was drawn so that the finding
    is there in a share p of such reports: rounded to yes or no, it is often wrong. Who takes
    something for a finding that is none also says where and how large it seemed to be.

    Args:
        truth: of the chest.
        rng: decides what is said.
        unsure: share of the statements that are unsure, 0 to 1.
        places_said: share of the findings that are said to be there whose sides are said.
        severity_said: the same for the step of the scale.
    """
    probability, doubted = {}, set()
    locations: dict[str, dict[str, float]] = {}
    severities: dict[str, int] = {}
    for name in OBSERVATIONS:
        there = truth.present(name)
        probability[name] = float(there)
        if rng.random() < unsure:
            doubted.add(name)
            probability[name] = _doubt(there, rng)
        if probability[name] < 0.5:
            continue
        seen = truth.places[name] or _finding(name, rng)
        if name in LOCATIONS and rng.random() < places_said:
            locations[name] = {place: float(place in seen) for place in LOCATIONS[name]}
        if rng.random() < severity_said:
            severities[name] = max(seen.values())
    return ChestReport(probability, frozenset(doubted), locations, severities)


def _doubt(there: bool, rng: np.random.Generator) -> float:
    """Draw a probability given the truth, so that a share of it is there (Bayes' rule)."""
    leaning = float(rng.beta(2, 1) if there else rng.beta(1, 2))
    odds = leaning * PREVALENCE / max((1 - leaning) * (1 - PREVALENCE), 1e-9)
    return odds / (1 + odds)


def _draw_truth(rng: np.random.Generator) -> ChestTruth:
    places: dict[str, dict[str, int]] = {}
    for name in OBSERVATIONS:
        places[name] = {}
        if rng.random() < PREVALENCE:
            places[name] = _finding(name, rng)
    return ChestTruth(places)


def _finding(name: str, rng: np.random.Generator) -> dict[str, int]:
    return {place: int(rng.integers(STEPS)) for place in _sides(name, rng)}


def _sides(name: str, rng: np.random.Generator) -> tuple[str, ...]:
    if name not in LOCATIONS:
        return ("",)
    if rng.random() < _BOTH_SIDES:
        return LOCATIONS[name]
    return (str(rng.choice(LOCATIONS[name])),)


@dataclass(frozen=True)
class _Person:
    """Where things lie: x and y are shares of the picture, x from the middle to the right."""

    x: Floats
    y: Floats
    width: float  # half of a lung
    gap: float  # from the midline to the middle of a lung
    diaphragm: Mapping[str, float]

    def beside(self, side: str) -> Floats:
        """Return x from the middle of a lung, positive towards the chest wall."""
        return _LUNG_SIDE[side] * self.x - self.gap

    def floor(self, side: str) -> Floats:
        """Return the height of the diaphragm's dome along x."""
        return np.asarray(self.diaphragm[side] + 1.1 * self.beside(side) ** 2)


def _picture(truth: ChestTruth, rng: np.random.Generator) -> NDArray[np.float32]:
    person = _person(rng)
    lungs = sum(_lung(person, side) for side in _LUNG_SIDE)
    picture = 0.75 - 0.45 * np.asarray(lungs)
    # What lies behind thick tissue hardly adds to it.
    picture = np.minimum(picture + _heart(truth, person, rng), 0.9)
    picture += _ribs(person, rng) + _vessels(person, lungs, rng)
    for side in _LUNG_SIDE:
        if side in truth.places["pleural_effusion"]:
            picture += _effusion(person, side, truth.places["pleural_effusion"][side], rng)
        if side in truth.places["lung_lesion"]:
            picture += _lesion(person, side, truth.places["lung_lesion"][side], rng)
    picture = ndimage.gaussian_filter(picture, rng.uniform(0.5, 0.9))
    picture = np.clip(picture, 0.01, 1.6) ** rng.uniform(0.8, 1.25) * rng.uniform(0.85, 1.15)
    noise = rng.normal(0, rng.uniform(0.03, 0.06), picture.shape)
    return np.asarray(picture + noise, dtype=np.float32)


def _person(rng: np.random.Generator) -> _Person:
    at = (np.arange(SIDE) + 0.5) / SIDE
    x, y = np.meshgrid(at - 0.5 - rng.normal(0, 0.015), at - rng.normal(0, 0.015))
    turn = rng.normal(0, 0.03)
    x, y = x + turn * (y - 0.5), y - turn * x
    right = rng.uniform(0.72, 0.80)
    return _Person(
        x=x,
        y=y,
        width=rng.uniform(0.15, 0.18),
        gap=rng.uniform(0.20, 0.225),
        diaphragm={"right": right, "left": right + rng.uniform(0.0, 0.03)},
    )


def _soft(signed: Floats, width: float = 0.008) -> Floats:
    """Return 1 where positive, 0 where negative, with a soft edge of some width."""
    return np.asarray(1 / (1 + np.exp(-np.clip(signed / width, -40, 40))))


def _lung(person: _Person, side: str) -> Floats:
    u = person.beside(side) / person.width
    v = (person.y - 0.48) / 0.40
    oval = 1 - np.abs(u) ** 2.4 - np.abs(v) ** 2.4
    return _soft(oval, 0.05) * _soft(person.floor(side) - person.y)


def _heart(truth: ChestTruth, person: _Person, rng: np.random.Generator) -> Floats:
    step = truth.places["cardiomegaly"].get("")
    half = rng.uniform(*_NORMAL_HEART) if step is None else _HEART[step] + rng.normal(0, 0.008)
    middle = 0.045 + rng.normal(0, 0.01)
    oval = (
        1 - ((person.x - middle) / half) ** 2 - ((person.y - 0.66) / rng.uniform(0.15, 0.19)) ** 2
    )
    column = _soft(rng.uniform(0.05, 0.065) - np.abs(person.x))
    return 0.36 * np.maximum(_soft(oval, 0.06), 0.9 * column * _soft(person.y - 0.1, 0.05))


def _ribs(person: _Person, rng: np.random.Generator) -> Floats:
    first, apart = rng.uniform(0.10, 0.16), rng.uniform(0.085, 0.10)
    strength, thickness = rng.uniform(0.05, 0.11), rng.uniform(0.010, 0.016)
    total = np.zeros_like(person.x)
    for number in range(9):
        for side in _LUNG_SIDE:
            along = np.clip(_LUNG_SIDE[side] * person.x, 0, None)
            height = first + number * apart + 0.55 * along - 1.5 * along**2 + rng.normal(0, 0.004)
            total += _soft(thickness - np.abs(person.y - height), 0.004) * (along > 0.03)
    return strength * np.minimum(total, 1.5)


def _vessels(person: _Person, lungs: Floats | int, rng: np.random.Generator) -> Floats:
    """Return round shadows near the hila, some as large as a small lesion."""
    total = np.zeros_like(person.x)
    for _ in range(int(rng.integers(10, 22))):
        side = rng.choice(np.asarray([-1.0, 1.0]))
        x, y = side * abs(rng.normal(0.11, 0.07)), rng.normal(0.48, 0.12)
        radius = rng.uniform(0.008, 0.026)
        distance = (person.x - x) ** 2 + (person.y - y) ** 2
        total += rng.uniform(0.03, 0.14) * np.exp(-distance / (2 * radius**2))
    return np.asarray(total * lungs)


def _lesion(person: _Person, side: str, step: int, rng: np.random.Generator) -> Floats:
    u = person.gap + rng.uniform(-0.55, 0.55) * person.width
    x, y = _LUNG_SIDE[side] * u, rng.uniform(0.22, 0.62)
    radius = _RADIUS[step] * rng.uniform(0.9, 1.1)
    distance = np.hypot((person.x - x) * rng.uniform(0.85, 1.15), person.y - y)
    return _LESION * rng.uniform(0.75, 1.2) * _soft(radius - distance, 0.010)


def _effusion(person: _Person, side: str, step: int, rng: np.random.Generator) -> Floats:
    """Return fluid above the diaphragm, higher at the chest wall."""
    rise = np.clip(person.beside(side) / person.width, -1, 1.2)
    level = person.floor(side) - _HEIGHT[step] * (0.55 + 0.75 * rise) * rng.uniform(0.8, 1.1)
    return 0.40 * _soft(person.y - level, 0.012) * _lung(person, side)
