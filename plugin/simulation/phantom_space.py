"""Coordinates and noise that the tissue of a simulated spine is painted in; never clinical."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from plugin.simulation.phantom_anatomy import Disc, Floats

_LOOKUP_STEP = 2.0  # mm
_GRAINS = (4.0, 5.0, 7.0, 14.0, 30.0)  # mm


class Texture:
    """Smooth noise in space, 0 to 1, the same for every series of a patient."""

    def __init__(self, seed: int) -> None:
        self._noise = np.random.default_rng(seed).random((24, 40, 40), dtype=np.float32)

    def slices(self, x: Floats, y: Floats, z: Floats) -> dict[float, Floats]:
        """Sample the noise on a slice, by the distance of its grains in mm.

        A slice is close to sagittal: x is taken as one number, y by column and z by row, so that
        the interpolation separates into two small matrix products.
        """
        rows, columns = y.shape
        middle = float(x[rows // 2, columns // 2])
        across, down = y[rows // 2], z[:, columns // 2]
        return {scale: self._slice(middle, across, down, scale) for scale in _GRAINS}

    def _slice(self, x: float, across: Floats, down: Floats, scale: float) -> Floats:
        at = x / scale
        low = int(np.floor(at))
        size = len(self._noise)
        share = np.float32(at - low)
        slab = self._noise[low % size] * (1 - share) + self._noise[(low + 1) % size] * share
        left, right = (_weights(c / np.float32(scale), slab.shape[0]) for c in (down, across))
        return np.asarray(left @ slab @ right.T, dtype=np.float32)


def _weights(at: Floats, size: int) -> Floats:
    """Return the matrix (len(at), size) that interpolates a periodic line of ``size`` values."""
    low = np.floor(at).astype(int)
    share = at - low
    weights = np.zeros((len(at), size), dtype=np.float32)
    index = np.arange(len(at))
    weights[index, low % size] = 1 - share
    weights[index, (low + 1) % size] += share
    return weights


class CanalLookup:
    """Positions relative to the canal's front wall: mm along it, and mm behind it."""

    def __init__(self, wall: Floats) -> None:
        self._origin = np.asarray((-130.0, -210.0))
        axes = [
            np.arange(o, o + w, _LOOKUP_STEP) for o, w in zip(self._origin, (300, 400), strict=True)
        ]
        y, z = np.meshgrid(*axes, indexing="ij")
        _, nearest = cKDTree(wall).query(np.stack([y, z], axis=-1))
        forward = np.gradient(wall, axis=0)
        forward /= np.linalg.norm(forward, axis=1, keepdims=True)
        offset = np.stack([y, z], axis=-1) - wall[nearest]
        tangent = forward[nearest]
        along = nearest + (offset * tangent).sum(-1)
        behind = -(offset[..., 0] * tangent[..., 1] - offset[..., 1] * tangent[..., 0])
        self._tables = along.astype(np.float32), behind.astype(np.float32)

    def __call__(self, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Return mm along the wall from its top and mm behind it, at patient coordinates."""
        at = np.stack([(y - self._origin[0]) / _LOOKUP_STEP, (z - self._origin[1]) / _LOOKUP_STEP])
        along, behind = (
            map_coordinates(t, at, order=1, mode="nearest", output=np.float32) for t in self._tables
        )
        return along, behind


def canal_window(behind: Floats) -> tuple[slice, slice]:
    """Return the columns of a slice that the canal and the bone behind it can reach."""
    columns = np.flatnonzero(((behind > -4) & (behind < 62)).any(axis=0))
    if not len(columns):
        return slice(None), slice(0, 0)
    return slice(None), slice(columns[0], columns[-1] + 1)


def pixels_near(
    grid: tuple[Floats, Floats, Floats], centre: tuple[float, float], reach: float
) -> tuple[slice, slice] | None:
    """Return the part of the grid within ``reach`` mm of a point (y, z), None if there is none."""
    _, y, z = grid
    columns = np.flatnonzero(np.abs(y[y.shape[0] // 2] - centre[0]) < reach + 8)
    rows = np.flatnonzero(np.abs(z[:, z.shape[1] // 2] - centre[1]) < reach)
    if not len(rows) or not len(columns):
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def between(upper: Disc, lower: Disc) -> tuple[float, float]:
    """Return the point (y, z) half way between two discs: the middle of a body."""
    y, z = (np.asarray(upper.centre) + np.asarray(lower.centre)) / 2
    return float(y), float(z)


def in_plane(disc: Disc, y: Floats, z: Floats, lower_side: bool | None) -> tuple[Floats, Floats]:
    """Return mm along a disc (to the back) and across it (to the feet); a slip parts its sides."""
    dy, dz = y - disc.centre[0], z - disc.centre[1]
    u = dy * disc.backward[0] + dz * disc.backward[1]
    v = dy * disc.downward[0] + dz * disc.downward[1]
    if lower_side is not None:
        u = u - disc.slip / 2 * (1 if lower_side else -1)
    return u.astype(np.float32), v.astype(np.float32)


def half_height(disc: Disc, u: Floats) -> Floats:
    """Half of the disc's height at a place along it: biconvex, higher in front when it tilts."""
    share = np.clip(u / (disc.depth / 2), -1.1, 1.1)
    wedge = -(0.22 * np.sin(disc.tilt) + disc.wedge) * share
    height = disc.height / 2 * (1.1 - 0.3 * share**2 + wedge)
    depth, place = disc.node
    if depth > 0:
        height = height + depth * np.exp(-(((u - place) / 3.5) ** 2))
    return np.asarray(height, dtype=np.float32)
