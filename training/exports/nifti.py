"""A series of DICOM images as one NIfTI-1 file whose affine says where each voxel lies.

DICOM patient coordinates (PS3.3 C.7.6.2.1.1: x to the left, y to the back, z to the head, LPS)
become those of NIfTI (x to the right, y to the front, z to the head, RAS+). Voxel (i, j, k) is
column i of row j of slice k; slices are in the order of their positions along the normal. Spacing
between rows (the first value of Pixel Spacing, PS3.3 10.7.1.1) is the step of j, spacing between
columns (the second) that of i. Nothing is resampled.
"""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import Permanent
from training.geometry import Floats, directions, order_slices
from training.pixels import Slices

_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))
_DRIFT = 0.1  # share of the gap by which a slice may lie beside the straight line, and 0.05 mm
_LEAST_DRIFT = 0.05


def affine_of(slices: Slices) -> tuple[NDArray[np.intp], Floats]:
    """Return the order of the slices and the affine (4, 4) from voxel (i, j, k) to RAS+ in mm.

    Raises:
        Permanent: the slices are no even, straight stack; the message says what is wrong.
    """
    row, column, normal = directions(slices.orientation)
    order, gap = order_slices(slices.positions, normal, slices.thickness)
    first = np.asarray(slices.positions[order[0]], float)
    for number, index in enumerate(order):
        expected = first + number * gap * normal
        off = np.asarray(slices.positions[index]) - expected
        along = abs(float(off @ normal))
        beside = float(np.linalg.norm(off - (off @ normal) * normal))
        allowed = max(_LEAST_DRIFT, _DRIFT * gap)
        if along > allowed:
            raise Permanent("the slices are not evenly spaced: one may be missing")
        if beside > allowed:
            raise Permanent("the slices do not lie straight behind each other (a tilted gantry)")
    between_rows, between_columns = slices.spacing
    to_patient = np.eye(4)
    to_patient[:3, 0] = row * between_columns
    to_patient[:3, 1] = column * between_rows
    to_patient[:3, 2] = normal * gap
    to_patient[:3, 3] = first
    return order, np.asarray(_TO_RAS @ to_patient)


def nifti_of(slices: Slices) -> bytes:
    """Return the gzipped NIfTI-1 file of a series; the same series gives the same bytes.

    Values are those after rescaling, for CT Hounsfield units: int16 where all are whole and fit,
    else float32. The header names nothing and nobody.

    Raises:
        Permanent: see :func:`affine_of`.
    """
    import nibabel

    order, affine = affine_of(slices)
    stack = np.stack([slices.images[index].T for index in order], axis=2)
    image = nibabel.Nifti1Image(_compact(stack), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _compact(values: NDArray[np.float32]) -> NDArray[Any]:
    limits = np.iinfo(np.int16)
    whole = bool((values == np.rint(values)).all())
    if whole and values.min() >= limits.min and values.max() <= limits.max:
        return values.astype(np.int16)
    return values
