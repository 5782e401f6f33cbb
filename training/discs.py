"""Find the lumbar discs of a sagittal volume from its pixels alone, and cut them out.

Method: a plane through the middle of the stack is searched for dark bars between bright bodies
(``disc_response``), the chain that bends like a lumbar spine is chosen and numbered
(``disc_chain``), and each disc's ends are then measured. Nothing is known beforehand about where
the spine lies. A numbering that another one rivals is refused rather than guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from training.disc_chain import find_chain
from training.disc_response import find_candidates
from training.geometry import Floats, Volume
from training.midline import find_midline

LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
"""Names of the lumbar discs from top to bottom; the sites of the spine's label schema."""

_SLAB = 14.0  # mm of the stack's middle that are averaged into one plane
_SMOOTHING = 0.9  # mm
_LEAST_EXTENT = 150.0  # mm from top to bottom that five discs need
_LEAST_SCORE = 2.0  # log score below which a chain is no spine
_LEAST_MARGIN = 2.2  # log score by which the numbering must lead


@dataclass(frozen=True)
class DiscLocation:
    """Where a disc lies.

    ``centre`` is in patient coordinates (mm), ``voxel`` in indices (slice, row, column), ``tilt``
    in degrees within the slice, positive where the front end is lower. ``confidence`` from 0 to 1
    is about the numbering of the whole spine.
    """

    level: str
    centre: tuple[float, float, float]
    voxel: tuple[float, float, float]
    tilt: float
    confidence: float


@dataclass(frozen=True)
class DiscSearch:
    """The discs that were found, top to bottom, or none and the reason."""

    locations: tuple[DiscLocation, ...]
    reason: str = ""


def search_discs(volume: Volume) -> DiscSearch:
    """Find all five lumbar discs, or none with a reason."""
    extent = volume.array.shape[1] * volume.spacing[1]
    if extent < _LEAST_EXTENT:
        return DiscSearch((), "the field of view is too short for a lumbar spine")
    middle = (len(volume.array) - 1) / 2
    image = _plane(volume, middle)
    candidates = find_candidates(image)
    chain = find_chain(candidates)
    if chain is None or chain.score < _LEAST_SCORE:
        return DiscSearch((), "no row of five discs was found")
    if chain.margin < _LEAST_MARGIN:
        return DiscSearch((), "the discs could not be numbered with certainty")
    chosen = list(chain.indices)
    places = np.stack([getattr(candidates, n)[chosen] for n in ("row", "column", "tilt")], axis=1)
    slices = find_midline(volume, places)
    confidence = float(1 / (1 + np.exp(-chain.margin / 2)))
    locations = []
    for level, place, index in zip(LEVELS, places, slices, strict=True):
        voxel = (index, place[0] / volume.spacing[1], place[1] / volume.spacing[2])
        x, y, z = volume.to_patient(np.asarray(voxel))
        locations.append(
            DiscLocation(
                level=level,
                centre=(float(x), float(y), float(z)),
                voxel=(float(voxel[0]), float(voxel[1]), float(voxel[2])),
                tilt=float(place[2]),
                confidence=confidence,
            )
        )
    return DiscSearch(tuple(locations))


def locate_discs(volume: Volume) -> tuple[DiscLocation, ...]:
    """Return the five lumbar discs from top to bottom; empty where they cannot be trusted."""
    return search_discs(volume).locations


def _plane(volume: Volume, middle: float) -> Floats:
    """Return the mean of the slices around the middle with pixels of 1 mm."""
    reach = _SLAB / 2 / volume.spacing[0]
    first = max(int(np.ceil(middle - reach)), 0)
    last = min(int(np.floor(middle + reach)), len(volume.array) - 1)
    image = volume.array[first : last + 1].mean(axis=0)
    _, between_rows, between_columns = volume.spacing
    image = ndimage.gaussian_filter(
        image, (_SMOOTHING / between_rows, _SMOOTHING / between_columns)
    )
    rows = np.arange(0, (image.shape[0] - 1) * between_rows, 1.0) / between_rows
    columns = np.arange(0, (image.shape[1] - 1) * between_columns, 1.0) / between_columns
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(image, grid, order=1, mode="nearest"))
