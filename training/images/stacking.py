"""From slices with positions to an even stack in canonical orientation, in any plane.

What is no even stack is refused with the place at fault: a slice that is missing, two at one
place, gaps that differ, slices that are shifted against each other (gantry tilt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.errors import Permanent
from training.images.planes import CANONICAL, Floats, Plane, directions, plane_of

_SAME_PLACE = 0.01  # mm
_GAP_TOLERANCE = 0.1  # share of the usual gap by which a single gap may differ
_START: dict[Plane, str] = {"sagittal": "right", "axial": "feet", "coronal": "front"}
_SHEAR_DEGREES = 1.0  # between the line through the slices' corners and their normal


@dataclass(frozen=True)
class Stack:
    """An even stack of slices, turned as people look at its plane.

    Sagittal: slices right to left, rows head to feet, columns front to back. Axial: slices feet
    to head, rows front to back, columns right to left. Coronal: slices front to back, rows head
    to feet, columns right to left.

    Attributes:
        array: float32 (slices, rows, columns).
        spacing: mm between slices, between rows, between columns; they may all differ.
        origin: the centre of voxel (0, 0, 0), mm in patient coordinates.
        axes: the unit vectors of the three axes, one a row.
        plane: the plane that is nearest.
        oblique: degrees between the slices and that plane.
        remarks: what a person should know of how it was read.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, float, float]
    origin: Floats
    axes: Floats
    plane: Plane
    oblique: float
    remarks: tuple[str, ...] = ()

    def to_patient(self, voxels: Floats) -> Floats:
        """Return patient coordinates in mm of voxel indices (..., 3) as slice, row, column."""
        return np.asarray(self.origin + (np.asarray(voxels) * self.spacing) @ self.axes)

    def to_voxels(self, points: Floats) -> Floats:
        """Return fractional voxel indices (..., 3) of patient coordinates in mm."""
        return np.asarray((np.asarray(points) - self.origin) @ self.axes.T / self.spacing)


@dataclass(frozen=True)
class Arrangement:
    """How slices follow each other along their normal.

    Attributes:
        order: indices of the slices as they were given.
        gap: mm between neighbours.
    """

    order: tuple[int, ...]
    gap: float


def arrange(positions: Sequence[Floats], orientation: Floats, thickness: float) -> Arrangement:
    """Order slices by where they lie along their normal, and check that they are an even stack.

    Args:
        positions: ImagePositionPatient of each, mm.
        orientation: ImageOrientationPatient, common to all.
        thickness: mm, the extent along the normal where there is only one slice.

    Raises:
        Permanent: they are none; the message says where, counting slices from 1.
    """
    normal, start = _outward(orientation)
    places = np.asarray(positions, float)
    distances = places @ normal
    order = np.argsort(distances, kind="stable")
    if len(order) == 1:
        return Arrangement((0,), thickness)
    gaps = [float(b - a) for a, b in pairwise(distances[order])]
    _check_doubles(gaps, start)
    usual = sorted(gaps)[(len(gaps) - 1) // 2]
    _check_gaps(gaps, usual, start)
    _check_shear(places[order], normal)
    return Arrangement(tuple(int(each) for each in order), float(np.mean(gaps)))


def stack(
    slices: Sequence[NDArray[np.float32]],
    positions: Sequence[Floats],
    orientation: Floats,
    pixel_spacing: tuple[float, float],
    thickness: float,
    remarks: tuple[str, ...] = (),
) -> Stack:
    """Return slices (rows, columns) of one shape, in any order, as a canonical stack.

    Raises:
        Permanent: see :func:`arrange`.
    """
    arrangement = arrange(positions, orientation, thickness)
    row, column, _ = directions(orientation)
    normal, _ = _outward(orientation)
    plane, oblique = plane_of(orientation)
    array = np.stack([slices[i] for i in arrangement.order]).astype(np.float32, copy=False)
    spacing = np.asarray((arrangement.gap, *pixel_spacing))
    axes = np.stack([normal, column, row])
    origin = np.asarray(positions[arrangement.order[0]], float)
    wanted = CANONICAL[plane]
    order = _nearest_axes(axes, wanted)
    array, axes, spacing = np.transpose(array, order), axes[order], spacing[order]
    for axis in range(3):
        if axes[axis] @ wanted[axis] < 0:
            origin = origin + axes[axis] * spacing[axis] * (array.shape[axis] - 1)
            axes[axis] = -axes[axis]
            array = np.flip(array, axis)
    spacings = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    whole = np.ascontiguousarray(array)
    return Stack(whole, spacings, origin, axes, plane, oblique, remarks)


def _outward(orientation: Floats) -> tuple[Floats, str]:
    """Return the normal in the direction in which slices are counted, and where that begins."""
    normal, plane = directions(orientation)[2], plane_of(orientation)[0]
    return (normal if normal @ CANONICAL[plane][0] > 0 else -normal), _START[plane]


def _nearest_axes(axes: Floats, wanted: Floats) -> list[int]:
    """Return for each canonical axis the one of the stack that is nearest; the normal stays."""
    match = np.abs(axes[1:] @ wanted[1:].T)
    straight, crossed = match[0, 0] + match[1, 1], match[0, 1] + match[1, 0]
    return [0, 1, 2] if straight >= crossed else [0, 2, 1]


def _check_doubles(gaps: Sequence[float], start: str) -> None:
    doubles = [i for i, gap in enumerate(gaps) if gap < _SAME_PLACE]
    if not doubles:
        return
    first = doubles[0]
    more = f", and {len(doubles) - 1} more" if len(doubles) > 1 else ""
    raise Permanent(
        f"slices {first + 1} and {first + 2} of {len(gaps) + 1} lie at the same position{more} "
        f"(counted from the {start}): a repeated acquisition, or several echoes or times in "
        "one series"
    )


def _check_gaps(gaps: Sequence[float], usual: float, start: str) -> None:
    for i, gap in enumerate(gaps):
        if abs(gap - usual) <= _GAP_TOLERANCE * usual:
            continue
        missing = round(gap / usual) - 1
        whole = abs(gap / usual - missing - 1) <= 2 * _GAP_TOLERANCE
        where = f"between slices {i + 1} and {i + 2} of {len(gaps) + 1}, counted from the {start}"
        if missing >= 1 and whole:
            count = "1 slice is" if missing == 1 else f"{missing} slices are"
            raise Permanent(f"{count} missing {where}")
        raise Permanent(
            f"the slices are not evenly spaced: {gap:.2f} mm, not {usual:.2f} mm, {where}"
        )


def _check_shear(places: Floats, normal: Floats) -> None:
    line = places[-1] - places[0]
    line = line / np.linalg.norm(line)
    degrees = float(np.degrees(np.arccos(min(1.0, abs(float(line @ normal))))))
    if degrees > _SHEAR_DEGREES:
        raise Permanent(
            f"the slices are shifted against each other by {degrees:.1f} degrees (gantry tilt): "
            "the stack is no block and has to be resampled before it is used"
        )
