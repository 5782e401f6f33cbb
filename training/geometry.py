"""Where voxels lie in the patient: sagittal stacks in one canonical orientation.

Patient coordinates are those of PS3.3 C.7.6.2.1.1 in mm: x to the left, y to the back, z to the
head. Spacing between rows and between columns is kept apart everywhere (PS3.3 10.7.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import Permanent

Floats = NDArray[np.floating[Any]]

# Directions that the canonical axes point in: slices to the left, rows to the feet, columns back.
_CANONICAL = np.asarray(((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
# A stack whose normal is further than this from left-right is not sagittal.
_SAGITTAL_DEGREES = 30.0
_UNIT_TOLERANCE = 1e-2  # as written by scanners: decimal strings of 16 characters, often shorter
_GAP_TOLERANCE = 0.1  # share of the mean gap by which a single gap may differ


@dataclass(frozen=True)
class Volume:
    """A sagittal stack: slices from right to left, rows from head to feet, columns front to back.

    ``array`` is float32 of shape (slices, rows, columns). ``spacing`` is in mm along those three
    axes. ``origin`` is the centre of voxel (0, 0, 0) and ``axes`` the three unit vectors, one a
    row, both in patient coordinates.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, float, float]
    origin: Floats
    axes: Floats

    def to_patient(self, voxels: Floats) -> Floats:
        """Return patient coordinates in mm of voxel indices (..., 3) as slice, row, column."""
        return np.asarray(self.origin + (np.asarray(voxels) * self.spacing) @ self.axes)

    def to_voxels(self, points: Floats) -> Floats:
        """Return fractional voxel indices (..., 3) of patient coordinates in mm."""
        return np.asarray((np.asarray(points) - self.origin) @ self.axes.T / self.spacing)


def stack_slices(
    slices: list[NDArray[np.float32]],
    positions: list[Floats],
    orientation: Floats,
    pixel_spacing: tuple[float, float],
    thickness: float,
) -> Volume:
    """Order slices by where they lie and bring the stack into canonical orientation.

    Args:
        slices: images of one shape (rows, columns), in any order.
        positions: ImagePositionPatient of each, mm.
        orientation: ImageOrientationPatient, the six direction cosines common to all.
        pixel_spacing: mm between rows, mm between columns.
        thickness: mm, the extent of a single slice along the normal, where there is only one.

    Raises:
        Permanent: the geometry is no even sagittal stack.
    """
    row, column, normal = directions(orientation)
    if abs(normal[0]) < np.cos(np.radians(_SAGITTAL_DEGREES)):
        raise Permanent("the series is not sagittal")
    order, gap = order_slices(positions, normal, thickness)
    volume = Volume(
        array=np.stack([slices[i] for i in order]).astype(np.float32, copy=False),
        spacing=(gap, pixel_spacing[0], pixel_spacing[1]),
        origin=np.asarray(positions[order[0]], dtype=float),
        axes=np.stack([normal, column, row]),
    )
    return _canonical(volume)


def directions(orientation: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the unit vectors along a row, along a column, and the normal of an image.

    Args:
        orientation: ImageOrientationPatient; values that are rounded are made unit vectors.

    Raises:
        Permanent: the vectors are no unit vectors or not perpendicular.
    """
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if any(abs(length - 1) > _UNIT_TOLERANCE for length in lengths):
        raise Permanent("the image orientation is not made of unit vectors")
    if abs(float(row @ column)) > _UNIT_TOLERANCE:
        raise Permanent("rows and columns of the image are not perpendicular")
    row, column = row / lengths[0], column / lengths[1]
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def order_slices(
    positions: list[Floats], normal: Floats, thickness: float
) -> tuple[NDArray[np.intp], float]:
    """Order slices along the normal by where they lie.

    Returns:
        Their indices from the first to the last slice, and the mm between two of them, which for
        a single one are ``thickness``.

    Raises:
        Permanent: two slices lie at one position, or the gaps differ.
    """
    distances = np.asarray([np.asarray(each) @ normal for each in positions])
    order = np.argsort(distances, kind="stable")
    return order, _even_gap(distances[order]) if len(order) > 1 else thickness


def _even_gap(distances: Floats) -> float:
    gaps = [float(b - a) for a, b in pairwise(distances)]
    mean = sum(gaps) / len(gaps)
    if min(gaps) < 0.01:
        raise Permanent("two slices lie at the same position")
    if any(abs(gap - mean) > _GAP_TOLERANCE * mean for gap in gaps):
        raise Permanent("the slices are not evenly spaced: one may be missing")
    return mean


def _canonical(volume: Volume) -> Volume:
    """Swap and flip axes until they point to the left, the feet and the back."""
    match = np.abs(volume.axes @ _CANONICAL.T)
    order = [int(match[:, i].argmax()) for i in range(3)]
    if sorted(order) != [0, 1, 2]:
        raise Permanent("the orientation of the series is too oblique to be named")
    array = np.transpose(volume.array, order)
    axes = volume.axes[order]
    spacing = [volume.spacing[i] for i in order]
    origin = volume.origin.copy()
    for i in range(3):
        if axes[i] @ _CANONICAL[i] < 0:
            origin = origin + axes[i] * spacing[i] * (array.shape[i] - 1)
            axes[i] = -axes[i]
            array = np.flip(array, i)
    spacings = (spacing[0], spacing[1], spacing[2])
    return Volume(np.ascontiguousarray(array), spacings, origin, axes)
