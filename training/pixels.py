"""Read the images of one series into a volume; the only place where pixels are decoded.

Run it in a child process with bounded memory: decoders of compressed syntaxes are native code
that works on bytes from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from training.errors import Permanent, Transient
from training.geometry import Volume, stack_slices

_LARGEST_SIDE = 4096  # pixels; a larger image is no sagittal MR slice
_LARGEST_STACK = 512 * 2**20  # bytes of float32
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError)
_UNDECODABLE = (*_MALFORMED, NotImplementedError, RuntimeError, EOFError, MemoryError)


def read_volume(paths: Sequence[Path]) -> Volume:
    """Read the files of one series, in any order, as a canonical sagittal volume.

    Slices are ordered by ImagePositionPatient along the normal, never by InstanceNumber. Values
    are what RescaleSlope and RescaleIntercept make of the stored values.

    Args:
        paths: DICOM files of single-frame images of one series.

    Raises:
        Permanent: the files are no images of one even sagittal stack; the message says why and
            holds no value from the files.
        Transient: a file could not be read from disk.
    """
    if not paths:
        raise Permanent("the series has no images")
    datasets = [_read(path) for path in paths]
    _check_one_series(datasets)
    size = sum(d.Rows * d.Columns * 4 for d in datasets)
    if size > _LARGEST_STACK:
        raise Permanent("the series is too large to be read at once")
    orientation = _numbers(datasets[0], "ImageOrientationPatient", 6)
    spacing = _numbers(datasets[0], "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise Permanent("Pixel Spacing is not positive")
    return stack_slices(
        [_decode(dataset) for dataset in datasets],
        [np.asarray(_numbers(d, "ImagePositionPatient", 3)) for d in datasets],
        np.asarray(orientation),
        (spacing[0], spacing[1]),
        _thickness(datasets[0]),
    )


def _read(path: Path) -> Dataset:
    try:
        dataset = pydicom.dcmread(path)
    except OSError as error:
        raise Transient("an image file could not be read") from error
    except (InvalidDicomError, EOFError, *_MALFORMED) as error:
        raise Permanent("an image file is not readable DICOM") from error
    _check_image(dataset)
    return dataset


def _check_image(dataset: Dataset) -> None:
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if not (0 < rows <= _LARGEST_SIDE and 0 < columns <= _LARGEST_SIDE):
        raise Permanent("an image has no usable number of rows and columns")
    if _integer(dataset, "SamplesPerPixel", 1) != 1:
        raise Permanent("an image is in colour")
    if _integer(dataset, "NumberOfFrames", 1) != 1:
        raise Permanent("multi-frame images are not supported")


def _check_one_series(datasets: Sequence[Dataset]) -> None:
    """Check that all images belong together: one series, one shape, one orientation."""
    first = datasets[0]
    for other in datasets[1:]:
        if other.get("SeriesInstanceUID") != first.get("SeriesInstanceUID"):
            raise Permanent("the images belong to different series")
        if (other.Rows, other.Columns) != (first.Rows, first.Columns):
            raise Permanent("the images of the series differ in size")
        for keyword, count in (("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
            pair = _numbers(first, keyword, count), _numbers(other, keyword, count)
            if not np.allclose(*pair, atol=1e-3):
                raise Permanent(f"the images of the series differ in {keyword}")


def _decode(dataset: Dataset) -> NDArray[np.float32]:
    """Return the image as float32 (rows, columns), rescaled, large values bright."""
    try:
        stored = dataset.pixel_array
    except _UNDECODABLE as error:
        raise Permanent("the pixels of an image could not be decoded") from error
    if stored.shape != (dataset.Rows, dataset.Columns):
        raise Permanent("an image's pixels do not have the declared shape")
    slope = _numbers(dataset, "RescaleSlope", 1, default=1.0)[0]
    intercept = _numbers(dataset, "RescaleIntercept", 1, default=0.0)[0]
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        values = values.max() + values.min() - values
    return np.asarray(values, dtype=np.float32)


def _thickness(dataset: Dataset) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = abs(_numbers(dataset, keyword, 1, default=0.0)[0])
        if value > 0:
            return value
    return 1.0


def _integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    try:
        value: Any = dataset.get(keyword)
        return default if value in (None, "") else int(value)
    except _MALFORMED as error:
        raise Permanent(f"{keyword} of an image is malformed") from error


def _numbers(
    dataset: Dataset, keyword: str, count: int, default: float | None = None
) -> list[float]:
    """Return the element's finite numbers; the default where it is absent or empty."""
    try:
        value: Any = dataset.get(keyword)
        if value is None or value == "":
            if default is None:
                raise Permanent(f"{keyword} of an image is missing")
            return [default] * count
        numbers = [float(v) for v in value] if count > 1 else [float(value)]
    except _MALFORMED as error:
        raise Permanent(f"{keyword} of an image is malformed") from error
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Permanent(f"{keyword} of an image is malformed")
    return numbers
