"""Measure one disc in the plane: its middle, and the depth of the bodies that it lies between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from training.geometry import Floats

_U = np.arange(-27.0, 27.5, 1.0)  # mm along a disc, to the back
_V = np.arange(-16.0, 16.5, 1.0)  # mm across it, to the feet
_USUAL_DEPTH = 34.0  # mm between the front and the back wall of a lumbar body
_DEPTHS = (18.0, 46.0)  # mm, least and most
_ROUNDS = 2
_UNEVEN_WEIGHT = 1.0
_UNUSUAL_WEIGHT = 0.004  # per mm
# All pairs of places on _U that can be a front and a back wall.
_FRONT, _BACK = (
    index
    for index in np.nonzero(
        (_U[None, :] - _U[:, None] > _DEPTHS[0]) & (_U[None, :] - _U[:, None] < _DEPTHS[1])
    )
)
_LENGTH = _U[_BACK] - _U[_FRONT]


@dataclass(frozen=True)
class Shape:
    """The middle of a disc (row and column, mm) and the depth of its neighbours (mm)."""

    row: float
    column: float
    depth: float


def measure(image: Floats, row: float, column: float, tilt: float) -> Shape:
    """Centre a bar between front and back walls of its bodies and between their endplates.

    Args:
        image: a flattened plane of 1 mm pixels.
        row: mm from the top, near the disc's middle; so is ``column`` from the front.
        column: see ``row``.
        tilt: degrees, positive where the front end is lower.
    """
    angle = np.radians(tilt)
    depth = 0.0
    for _ in range(_ROUNDS):
        patch = _patch(image, row, column, angle)
        u, depth = _along(patch)
        v = _across(patch)
        row += v * np.cos(angle) - u * np.sin(angle)
        column += v * np.sin(angle) + u * np.cos(angle)
    return Shape(float(row), float(column), depth)


def _patch(image: Floats, row: float, column: float, angle: float) -> Floats:
    v, u = np.meshgrid(_V, _U, indexing="ij")
    rows = row + v * np.cos(angle) - u * np.sin(angle)
    columns = column + v * np.sin(angle) + u * np.cos(angle)
    return np.asarray(ndimage.map_coordinates(image, [rows, columns], order=1, mode="nearest"))


def _across(patch: Floats) -> float:
    """Return the middle of the dark band between the two bodies, mm from the patch's middle."""
    profile = patch[:, np.abs(_U) < 9].mean(axis=1)
    profile = ndimage.grey_opening(profile, size=15)
    marrow = np.median(profile[np.abs(_V) > 9])
    darkness = np.clip(marrow - profile, 0, None) * (np.abs(_V) < 9)
    total = float(darkness.sum())
    return float((darkness * _V).sum() / total) if total > 0 else 0.0


def _along(patch: Floats) -> tuple[float, float]:
    """Return the middle between front and back walls, and their distance, both in mm.

    The walls are the pair of dark lines that fits best; a slip parts the upper from the lower
    body, so each is measured by itself.
    """
    middles, depths = [], []
    for side in (-1, 1):
        rows = (side * _V > 6) & (side * _V < 13)
        profile = patch[rows].mean(axis=0)
        dips = profile - ndimage.uniform_filter1d(profile, 7)
        misfit = dips[_FRONT] + dips[_BACK] + _UNEVEN_WEIGHT * _unevenness(profile)
        best = int((misfit + _UNUSUAL_WEIGHT * np.abs(_LENGTH - _USUAL_DEPTH)).argmin())
        middles.append((_U[_FRONT[best]] + _U[_BACK[best]]) / 2)
        depths.append(float(_LENGTH[best]))
    return float(np.mean(middles)), float(np.mean(depths))


def _unevenness(profile: Floats) -> Floats:
    """Return the standard deviation of the profile between each pair of walls: marrow is even."""
    inner = _BACK - _FRONT - 5  # walls and their blur are left out
    sums, squares = (np.concatenate([[0.0], np.cumsum(profile**k)]) for k in (1, 2))
    mean = (sums[_BACK - 2] - sums[_FRONT + 3]) / inner
    square = (squares[_BACK - 2] - squares[_FRONT + 3]) / inner
    return np.asarray(np.sqrt(np.clip(square - mean**2, 0, None)))
