"""Sagittal MR stacks of a simulated lumbar spine with a known truth; never clinical.

The difficulty was fixed beforehand: absent and present findings are apart in degree, but sizes,
tilt, signal, scanner and position vary so much between patients that single pixels say little.
Aimed at on held-out patients, from discs that were found in the pixels: AUROC 0.60 to 0.85 for
logistic regression on the crops, more for the network. Measured (tests/benchmarks/
phantom_learning.py): logistic regression lies above that range for narrowing and slip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from plugin.simulation.phantom_anatomy import (
    Anatomy,
    disc_centres,
    draw_anatomy,
    lay_out,
)
from plugin.simulation.phantom_scanner import SCANNERS, Protocol, Scanner, Weighting
from plugin.simulation.phantom_tissue import SIGNALS, SlicePainter
from plugin.simulation.truth import SpineTruth

__all__ = [
    "SCANNERS",
    "Anatomy",
    "PhantomSeries",
    "Protocol",
    "Scanner",
    "Weighting",
    "disc_centres",
    "draw_anatomy",
    "draw_series",
]

# mm from the anchor disc to the middle of the field of view: forwards and towards the feet.
_FIELD_CENTRE = (-4.0, -38.0)


@dataclass(frozen=True)
class PhantomSeries:
    """A drawn stack and its geometry in DICOM's terms; lengths in mm, times in ms.

    ``pixels`` has the shape (slices, rows, columns); ``positions`` holds one
    ImagePositionPatient for each slice; ``pixel_spacing`` is (between rows, between columns).
    """

    pixels: NDArray[np.uint16]
    positions: list[tuple[float, float, float]]
    orientation: tuple[float, float, float, float, float, float]
    pixel_spacing: tuple[float, float]
    slice_thickness: float
    spacing_between_slices: float
    description: str
    echo_time: float
    repetition_time: float


def draw_series(
    truth: SpineTruth,
    scanner: Scanner,
    weighting: Weighting,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> PhantomSeries:
    """Draw one sagittal series of a patient on a scanner.

    ``rng`` decides only what differs between two series of one patient: noise and a small shift
    of the planned field. The same arguments and generator state give the same pixels.
    """
    row, column, normal = _directions(scanner)
    corners = _positions(scanner, anatomy, (row, column, normal), rng)
    painter = SlicePainter(lay_out(truth, anatomy), anatomy, SIGNALS[weighting])
    rows, columns = _grid(scanner)
    signal = np.empty((scanner.slices, scanner.rows, scanner.columns), dtype=np.float32)
    for i, corner in enumerate(corners):
        relative = (corner - np.asarray(anatomy.isocentre)).astype(np.float32)
        x, y, z = (
            relative[k] + np.float32(row[k]) * columns + np.float32(column[k]) * rows
            for k in range(3)
        )
        signal[i] = painter.paint(x, y, z)
    protocol = scanner.protocols[weighting]
    return PhantomSeries(
        pixels=_acquire(signal, scanner, rng),
        positions=[(float(p[0]), float(p[1]), float(p[2])) for p in corners],
        orientation=(*row, *column),
        pixel_spacing=scanner.pixel_spacing,
        slice_thickness=scanner.slice_thickness,
        spacing_between_slices=scanner.spacing_between_slices,
        description=protocol.description,
        echo_time=protocol.echo_time,
        repetition_time=protocol.repetition_time,
    )


_Vector = tuple[float, float, float]


def _directions(scanner: Scanner) -> tuple[_Vector, _Vector, _Vector]:
    """Return the row direction, the column direction and the stack's normal, unit vectors."""
    yaw, tilt = np.radians(scanner.yaw), np.radians(scanner.tilt)
    row = np.asarray((np.sin(yaw), np.cos(yaw), 0.0))
    column = np.asarray((np.cos(yaw) * np.sin(tilt), -np.sin(yaw) * np.sin(tilt), -np.cos(tilt)))
    normal = np.cross(row, column)
    first, second, third = ((float(v[0]), float(v[1]), float(v[2])) for v in (row, column, normal))
    return first, second, third


def _positions(
    scanner: Scanner,
    anatomy: Anatomy,
    directions: tuple[_Vector, _Vector, _Vector],
    rng: np.random.Generator,
) -> list[NDArray[np.float64]]:
    """Return the centre of the first pixel of each slice in patient coordinates."""
    row, column, normal = (np.asarray(v) for v in directions)
    planned = rng.normal((0.0, *_FIELD_CENTRE), 1.2)
    centre = np.asarray(anatomy.isocentre) + planned
    height = (scanner.rows - 1) * scanner.pixel_spacing[0]
    width = (scanner.columns - 1) * scanner.pixel_spacing[1]
    corner = centre - row * width / 2 - column * height / 2
    steps = np.arange(scanner.slices) - (scanner.slices - 1) / 2
    # The normal of a sagittal plane with these directions points to the right.
    order = -1.0 if scanner.right_to_left else 1.0
    return [corner + normal * order * s * scanner.spacing_between_slices for s in steps]


def _grid(scanner: Scanner) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    between_rows, between_columns = scanner.pixel_spacing
    rows = np.arange(scanner.rows, dtype=np.float32)[:, None] * np.float32(between_rows)
    columns = np.arange(scanner.columns, dtype=np.float32)[None, :] * np.float32(between_columns)
    return rows, columns


def _acquire(
    signal: NDArray[np.float32], scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Blur, shade as a spine coil does, add Rician noise, and scale to unsigned integers."""
    blurred = gaussian_filter(signal, (0, scanner.blur, scanner.blur), truncate=3.0)
    columns = np.arange(scanner.columns, dtype=np.float32) * scanner.pixel_spacing[1]
    rows = (np.arange(scanner.rows, dtype=np.float32) / scanner.rows - 0.5) * 2
    near_coil = 1 - scanner.bias * (columns[::-1] - 90) / 100  # the coil lies behind the patient
    shading = np.clip(near_coil, 0.15, None)[None, :] * (1 - 0.25 * rows**4)[:, None]
    real = blurred * shading.astype(np.float32)
    real += rng.standard_normal(real.shape, dtype=np.float32) * np.float32(scanner.noise)
    imaginary = rng.standard_normal(real.shape, dtype=np.float32) * np.float32(scanner.noise)
    magnitude = np.hypot(real, imaginary) * scanner.intensity_scale
    pixels: NDArray[np.uint16] = np.clip(np.rint(magnitude), 0, 65535).astype(np.uint16)
    return pixels
