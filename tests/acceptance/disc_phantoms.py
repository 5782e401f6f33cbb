"""Simulated spines on which a disc localiser is scored: every scanner, contrast and difficulty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from plugin.simulation import phantom
from plugin.simulation.phantom_anatomy import DISCS, Anatomy
from plugin.simulation.truth import draw_truth
from training.geometry import Volume, stack_slices

Centres = dict[str, tuple[float, float, float]]

LUMBARISED, SACRALISED = "first sacral free", "last lumbar fixed"
NO_SACRUM = "ends above L5-S1"
KINDS = (
    "whole",
    "one slice",
    "begins at L1-L2",
    "ends below L5-S1",
    NO_SACRUM,
    "scoliosis",
    LUMBARISED,
    SACRALISED,
)
"""What is drawn: spines as they come, cut fields of view, bent spines, transitional vertebrae."""

_LAST = DISCS.index("L5-S1")
_EDGE = 22.0  # mm that a cut field of view keeps beyond the disc that it ends at


@dataclass(frozen=True)
class DrawnSpine:
    """A simulated stack with the true centres of its lumbar discs in patient coordinates (mm)."""

    volume: Volume
    centres: Centres
    scanner: str
    weighting: phantom.Weighting
    kind: str


def draw_spine(seed: int, patient: int, weighting: phantom.Weighting, kind: str) -> DrawnSpine:
    """Draw one series; scanners take turns by patient."""
    rng = np.random.default_rng([seed, patient])
    truth, anatomy = draw_truth(rng), phantom.draw_anatomy(rng)
    anatomy = _CHANGES.get(kind, lambda a, _: a)(anatomy, rng)
    scanner = phantom.SCANNERS[patient % len(phantom.SCANNERS)]
    name = scanner.manufacturer_model_name
    series = phantom.draw_series(truth, scanner, weighting, anatomy, rng)
    volume = stack_slices(
        list(series.pixels.astype(np.float32)),
        [np.asarray(p) for p in series.positions],
        np.asarray(series.orientation),
        series.pixel_spacing,
        series.slice_thickness,
    )
    centres = phantom.disc_centres(truth, anatomy)
    return DrawnSpine(_cut(volume, centres, kind), centres, name, weighting, kind)


def _bend(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Curve the spine sideways by 8 to 16 mm to either side: 20 to 40 degrees at its steepest."""
    amplitude = float(rng.uniform(8.0, 16.0) * rng.choice((-1, 1)))
    return replace(anatomy, lateral=(0.0, amplitude, float(rng.uniform(0, 2 * np.pi))))


def _lumbarise(anatomy: Anatomy, _: np.random.Generator) -> Anatomy:
    """Make S1-S2 a disc like the lumbar ones, and the sacrum begin below it."""
    return _last_discs(anatomy, (9.0, 8.5, 3.0), (35.0, 33.0, 22.0), (22.0, 38.0, 52.0))


def _sacralise(anatomy: Anatomy, _: np.random.Generator) -> Anatomy:
    """Make L5-S1 a remnant of a disc as that between sacral vertebrae is."""
    return _last_discs(anatomy, (3.0, 2.0, 1.6), (24.0, 19.0, 15.0), (44.0, 54.0, 64.0))


def _last_discs(
    anatomy: Anatomy,
    heights: tuple[float, ...],
    depths: tuple[float, ...],
    tilts: tuple[float, ...],
) -> Anatomy:
    """Replace L5-S1, S1-S2 and S2-S3."""
    size = anatomy.size
    return replace(
        anatomy,
        disc_height=(*anatomy.disc_height[:_LAST], *(h * size for h in heights)),
        disc_depth=(*anatomy.disc_depth[:_LAST], *(d * size for d in depths)),
        disc_tilt=(*anatomy.disc_tilt[:_LAST], *tilts),
    )


_CHANGES: dict[str, Callable[[Anatomy, np.random.Generator], Anatomy]] = {
    "scoliosis": _bend,
    LUMBARISED: _lumbarise,
    SACRALISED: _sacralise,
}


def _cut(volume: Volume, centres: Centres, kind: str) -> Volume:
    if kind == "one slice":
        middle = len(volume.array) // 2
        origin = volume.origin + volume.axes[0] * volume.spacing[0] * middle
        return replace(volume, array=volume.array[middle : middle + 1], origin=origin)
    edge = _EDGE / volume.spacing[1]
    rows = {level: float(volume.to_voxels(np.asarray(c))[1]) for level, c in centres.items()}
    if kind == "begins at L1-L2":
        return _rows(volume, max(int(rows["L1-L2"] - edge), 0), volume.array.shape[1])
    if kind == "ends below L5-S1":
        return _rows(volume, 0, int(rows["L5-S1"] + edge))
    if kind == NO_SACRUM:
        return _rows(volume, 0, int((rows["L4-L5"] + rows["L5-S1"]) / 2))
    return volume


def _rows(volume: Volume, first: int, last: int) -> Volume:
    origin = volume.origin + volume.axes[1] * volume.spacing[1] * first
    return replace(volume, array=volume.array[:, first:last], origin=origin)
