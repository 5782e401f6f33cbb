"""Find which slice runs through the middle of the spine, disc by disc, by left-right symmetry."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from training.geometry import Floats, Volume

_BACKWARD = np.arange(-14.0, 44.0, 2.0)  # mm from a disc's centre: body, canal, spinous process
_DOWNWARD = np.arange(-18.0, 18.5, 2.0)
_LEAST_SLICES = 7
_MIRRORED = 3  # slices on either side that are compared
_STEP = 0.25  # slices


def find_midline(volume: Volume, places: Floats) -> Floats:
    """Return the fractional slice index of the spine's middle at each disc.

    A parabola through the discs allows for a mild scoliosis. Stacks of fewer slices than can show
    a symmetry give their middle.

    Args:
        volume: the stack.
        places: (discs, 3): row and column in mm, tilt in degrees.
    """
    count = len(volume.array)
    middle = (count - 1) / 2
    if count < _LEAST_SLICES:
        return np.full(len(places), middle)
    centres = np.arange(_MIRRORED, count - 1 - _MIRRORED + _STEP / 2, _STEP)
    misfits = np.stack([_asymmetry(_sample(volume, place), centres) for place in places])
    misfits = misfits / np.maximum(misfits.mean(axis=1, keepdims=True), 1e-9)
    heights = places[:, 0] - places[:, 0].mean()
    return _parabola(misfits, centres, heights)


def _parabola(misfits: Floats, centres: Floats, heights: Floats) -> Floats:
    """Fit slice by height through the least misfits; discs that disagree count less."""
    found = centres[misfits.argmin(axis=1)]
    weights = np.ones(len(found))
    fitted = found
    for _ in range(3):
        fitted = np.polyval(np.polyfit(heights, found, 1, w=weights), heights)
        weights = 1 / np.maximum(np.abs(found - fitted), 0.5)
    return np.asarray(np.clip(fitted, centres[0], centres[-1]))


def _sample(volume: Volume, place: Floats) -> Floats:
    """Return (slices, points) around a disc, each slice as it is."""
    angle = np.radians(place[2])
    v, u = np.meshgrid(_DOWNWARD, _BACKWARD, indexing="ij")
    rows = (place[0] + v * np.cos(angle) - u * np.sin(angle)) / volume.spacing[1]
    columns = (place[1] + v * np.sin(angle) + u * np.cos(angle)) / volume.spacing[2]
    at = [rows.ravel(), columns.ravel()]
    return np.stack([ndimage.map_coordinates(s, at, order=1, mode="nearest") for s in volume.array])


def _asymmetry(samples: Floats, centres: Floats) -> Floats:
    """Return the mean squared difference between mirrored slices for each possible middle."""
    misfits = []
    for centre in centres:
        offsets = np.arange(1, _MIRRORED + 1)
        left, right = (_between(samples, centre + s * offsets) for s in (-1, 1))
        misfits.append(float(((left - right) ** 2).mean()))
    return np.asarray(misfits)


def _between(samples: Floats, at: Floats) -> Floats:
    """Interpolate between neighbouring slices."""
    low = np.clip(np.floor(at).astype(int), 0, len(samples) - 2)
    share = (at - low)[:, None]
    return np.asarray(samples[low] * (1 - share) + samples[low + 1] * share)
