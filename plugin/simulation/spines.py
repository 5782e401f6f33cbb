"""The spines that the simulated hospital images: drawn phantoms, or real slices with gradings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from plugin.simulation.dicom_objects import Equipment
from plugin.simulation.phantom import SCANNERS, PhantomSeries, Scanner, draw_anatomy, draw_series
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth, draw_truth


@dataclass(frozen=True)
class ImagedSpine:
    """One examination of one spine: its truth, and its series when they are asked for.

    ``draw`` returns the series; nothing is kept, so that a whole hospital fits in memory. A
    spine can be pickled: a pool of processes may do the drawing.
    ``graded`` tells whether the truth's degrees mean anything beyond present and absent,
    ``free_of_others`` whether it has nothing that the truth does not tell.
    """

    truth: SpineTruth
    equipment: Equipment
    study_description: str
    draw: Callable[[], Sequence[PhantomSeries]]
    sex: str = ""
    derived: bool = False
    graded: bool = True
    free_of_others: bool = True


def phantom_spine(seed: int, patient: int, *, years_before: int = 0) -> ImagedSpine:
    """Return the phantom of a patient, now or some years before with part of the findings."""
    truth = draw_truth(np.random.default_rng([seed, patient, 0]))
    rng = np.random.default_rng([seed, patient, 1, years_before])
    if years_before:
        truth = earlier_truth(truth, rng)
    scanner = SCANNERS[int(rng.integers(len(SCANNERS)))]
    draw = partial(_draw_phantom, seed, patient, years_before, truth, scanner)
    return ImagedSpine(truth, _equipment(scanner), "SIMULATED lumbar spine MR (phantom)", draw)


def _draw_phantom(
    seed: int, patient: int, years_before: int, truth: SpineTruth, scanner: Scanner
) -> list[PhantomSeries]:
    anatomy = draw_anatomy(np.random.default_rng([seed, patient, 2]))
    noise = np.random.default_rng([seed, patient, 3, years_before])
    return [
        draw_series(truth, scanner, "T1", anatomy, noise),
        draw_series(truth, scanner, "T2", anatomy, noise),
    ]


def earlier_truth(truth: SpineTruth, rng: np.random.Generator) -> SpineTruth:
    """Return a younger spine: each present finding had not yet come with a chance of one third."""
    earlier = {}
    for name in LEVELS:
        level = truth.levels[name]
        not_yet = {
            observation: 0.1 * getattr(level, observation)
            for observation in OBSERVATIONS
            if level.present(observation) and rng.random() < 1 / 3
        }
        earlier[name] = replace(level, **not_yet)
    return SpineTruth(earlier)


def _equipment(scanner: Scanner) -> Equipment:
    return Equipment(
        scanner.manufacturer, scanner.manufacturer_model_name, scanner.magnetic_field_strength
    )
