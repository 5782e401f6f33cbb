"""How a plane lies in the patient, and the one way round in which each plane is shown.

Patient coordinates are those of PS3.3 C.7.6.2.1.1 in mm: x to the left, y to the back, z to the
head.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import Permanent

Floats = NDArray[np.floating[Any]]
Plane = Literal["sagittal", "axial", "coronal"]

# Where slices, rows and columns lead in a canonical stack.
CANONICAL: dict[Plane, Floats] = {
    "sagittal": np.asarray(((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))),
    "axial": np.asarray(((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))),
    "coronal": np.asarray(((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))),
}
_UNIT_TOLERANCE = 1e-2  # as written by scanners: decimal strings of 16 characters, often shorter


def directions(orientation: Floats) -> tuple[Floats, Floats, Floats]:
    """Return unit vectors along a row, down a column, and normal to the image.

    Args:
        orientation: ImageOrientationPatient, six direction cosines.

    Raises:
        Permanent: they are no two perpendicular unit vectors.
    """
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if any(abs(length - 1) > _UNIT_TOLERANCE for length in lengths):
        raise Permanent("the image orientation is not made of unit vectors")
    if abs(float(row @ column)) > _UNIT_TOLERANCE:
        raise Permanent("rows and columns of the image are not perpendicular")
    row, column = row / lengths[0], column / lengths[1]
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def plane_of(orientation: Floats) -> tuple[Plane, float]:
    """Return the plane that is nearest, and by how many degrees the image is oblique to it.

    Raises:
        Permanent: see :func:`directions`.
    """
    normal = directions(orientation)[2]
    planes: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
    axis = int(np.abs(normal).argmax())
    degrees = float(np.degrees(np.arccos(min(1.0, abs(float(normal[axis]))))))
    return planes[axis], degrees
