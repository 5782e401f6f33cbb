"""The seam between what looks for discs and what uses them: what a disc localiser takes and gives.

A localiser enters through the entry-point group ``radloop.disc_localisers``; the name in the
settings chooses one. A published detector can stand behind the same two attributes and one method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from training.errors import Permanent
from training.geometry import Volume

LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
"""Names of the lumbar discs from top to bottom; the sites of the spine's label schema."""

# Slices to the left, rows to the feet, columns to the back: what geometry.Volume prescribes.
_SAGITTAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
_SINGLE_THICKNESS = 4.0  # mm; a single slice has no gap, and no result depends on this


@dataclass(frozen=True)
class DiscLocation:
    """Where a disc lies.

    ``centre`` is in patient coordinates (mm), ``voxel`` in indices (slice, row, column), ``tilt``
    in degrees within the slice, positive where the front end is lower. ``confidence`` from 0 to 1
    says how surely there is a disc at this place, whatever its name; that the names are right is
    a matter of the whole spine (``DiscSearch.numbering``).
    """

    level: str
    centre: tuple[float, float, float]
    voxel: tuple[float, float, float]
    tilt: float
    confidence: float


@dataclass(frozen=True)
class DiscSearch:
    """The discs that were found, top to bottom, or none and the reason.

    ``numbering`` from 0 to 1 is the confidence in the names of all levels; it is 0 where the
    localiser abstains. ``localiser`` and ``digest`` tell what searched.
    """

    locations: tuple[DiscLocation, ...]
    reason: str = ""
    numbering: float = 0.0
    localiser: str = ""
    digest: str = ""


@runtime_checkable
class DiscLocaliser(Protocol):
    """Finds and names the lumbar discs of a sagittal volume, or says why it does not."""

    @property
    def name(self) -> str:
        """Name under which the localiser is registered; written beside what it cut."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that decides its results: weights or source."""

    def search(self, volume: Volume) -> DiscSearch:
        """Find the lumbar discs of a volume of one or more slices; abstain when unsure."""


def slice_volume(array: ArrayLike, spacing: tuple[float, float]) -> Volume:
    """Return a single sagittal slice as a volume; its first pixel is the origin.

    Args:
        array: (rows, columns); rows run to the feet, columns to the back.
        spacing: mm between rows, mm between columns (PS3.3 10.7.1.1).

    Raises:
        Permanent: the array is no image, or a spacing is no length.
    """
    image = np.asarray(array, dtype=np.float32)
    if image.ndim != 2 or min(image.shape) < 2:
        raise Permanent("a slice has rows and columns and no other axis")
    if not np.isfinite(image).all():
        raise Permanent("a pixel of the slice is no number")
    if len(spacing) != 2 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise Permanent("the spacing of a slice is two lengths in mm: between rows and columns")
    lengths = (_SINGLE_THICKNESS, float(spacing[0]), float(spacing[1]))
    return Volume(image[np.newaxis], lengths, np.zeros(3), np.asarray(_SAGITTAL))
