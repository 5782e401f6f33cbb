"""Cut a fixed field around each disc, turned into the disc's plane, with comparable brightness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.discs import DiscLocation
from training.geometry import Floats, Volume

CROP_SHAPE = (3, 48, 64)
"""Channels (slices to the right, through and to the left of the middle), rows, columns; 1 mm."""

_BESIDE = 4.5  # mm between the channels
_BACKWARD = np.arange(-24.0, 40.0) + 0.5  # mm from the disc's centre: the canal lies behind it
_DOWNWARD = np.arange(-24.0, 24.0) + 0.5
_FINEST = 0.8  # mm: pixels smaller than this are smoothed before they are sampled
_MARROW_SHARE = 0.5  # brightness of the neighbouring marrow in a crop
_BRIGHTEST = 1.5


def cut_crops(
    volume: Volume, locations: Sequence[DiscLocation], levels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return crops (levels, *CROP_SHAPE) and which of them are valid.

    A level without a location, or whose field leaves the image by more than a quarter, is NaN and
    not valid. Brightness is relative to the marrow of the two bodies beside the disc.
    """
    crops = np.full((len(levels), *CROP_SHAPE), np.nan, dtype=np.float32)
    smooth = _smoothed(volume)
    by_level = {location.level: location for location in locations}
    for i, level in enumerate(levels):
        if level in by_level:
            crop = _cut(volume, smooth, by_level[level])
            if crop is not None:
                crops[i] = crop
    return crops, np.asarray(~np.isnan(crops).any(axis=(1, 2, 3)))


def _smoothed(volume: Volume) -> Floats:
    sigma = [0.0] + [0.45 / s if s < _FINEST else 0.0 for s in volume.spacing[1:]]
    return np.asarray(ndimage.gaussian_filter(volume.array, sigma)) if any(sigma) else volume.array


def _cut(volume: Volume, array: Floats, location: DiscLocation) -> NDArray[np.float32] | None:
    angle = np.radians(location.tilt)
    v, u = np.meshgrid(_DOWNWARD, _BACKWARD, indexing="ij")
    rows = location.voxel[1] + (v * np.cos(angle) - u * np.sin(angle)) / volume.spacing[1]
    columns = location.voxel[2] + (v * np.sin(angle) + u * np.cos(angle)) / volume.spacing[2]
    inside = (rows >= 0) & (rows <= array.shape[1] - 1)
    inside &= (columns >= 0) & (columns <= array.shape[2] - 1)
    if inside.mean() < 0.75:
        return None
    offsets = np.asarray((-_BESIDE, 0.0, _BESIDE)) / volume.spacing[0]
    slices = np.clip(location.voxel[0] + offsets, 0, len(array) - 1)
    at = [
        np.broadcast_to(slices[:, None, None], CROP_SHAPE),
        np.broadcast_to(rows, CROP_SHAPE),
        np.broadcast_to(columns, CROP_SHAPE),
    ]
    crop = ndimage.map_coordinates(array, at, order=1, mode="nearest")
    beside = (np.abs(v) > 8) & (np.abs(v) < 14) & (np.abs(u) < 10)
    marrow = float(np.median(crop[1][beside]))
    if not marrow > 0:
        return None
    scaled = np.clip(crop / marrow * _MARROW_SHARE, 0, _BRIGHTEST)
    return np.asarray(scaled, dtype=np.float32)
