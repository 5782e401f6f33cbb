"""A picture of a volume for people: the slice through the middle, and where the discs lie on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.discs import DiscLocation
from training.geometry import Volume

_DARKEST, _BRIGHTEST = 1.0, 99.5  # percentiles


def mid_sagittal_image(
    volume: Volume, locations: Sequence[DiscLocation] = ()
) -> tuple[NDArray[np.uint8], float]:
    """Return the slice through the discs' middle (the stack's, without discs) with square pixels.

    Returns:
        The image (rows, columns), uint8, and its scale in pixels per mm.
    """
    middle = (len(volume.array) - 1) / 2
    if locations:
        middle = float(np.mean([location.voxel[0] for location in locations]))
    image = volume.array[int(np.clip(round(middle), 0, len(volume.array) - 1))]
    _, between_rows, between_columns = volume.spacing
    finest = min(between_rows, between_columns)
    square = ndimage.zoom(
        image,
        (between_rows / finest, between_columns / finest),
        order=1,
        grid_mode=True,
        mode="nearest",
    )
    low, high = np.percentile(square, (_DARKEST, _BRIGHTEST))
    shown = np.clip((square - low) / max(float(high - low), 1e-6) * 255, 0, 255)
    return shown.astype(np.uint8), 1 / finest


def on_image(
    volume: Volume, locations: Sequence[DiscLocation]
) -> dict[str, tuple[float, float, float]]:
    """Return row, column (pixels of ``mid_sagittal_image``) and tilt (degrees) of each disc."""
    finest = min(volume.spacing[1:])
    places = {}
    for location in locations:
        row = (location.voxel[1] + 0.5) * volume.spacing[1] / finest - 0.5
        column = (location.voxel[2] + 0.5) * volume.spacing[2] / finest - 0.5
        places[location.level] = (row, column, location.tilt)
    return places
