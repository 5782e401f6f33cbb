"""Read the images of one series into a volume; the only place where pixels are decoded.

Parsing and decoding happen in a confined process (:class:`dicom_node.sandbox.Sandbox`): decoders of
compressed syntaxes are native code that works on bytes from outside. Here are numbers and arrays.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import Transient as NodeTransient
from dicom_node.inspection import Decoder, Undecodable, Unreadable
from dicom_node.sandbox import Sandbox
from training.errors import Permanent, Transient
from training.geometry import Volume, stack_slices

_LARGEST_SIDE = 4096  # pixels; a larger image is no sagittal MR slice
_LARGEST_STACK = 512 * 2**20  # bytes of float32
_KEYWORDS = (
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
)

Attributes = Mapping[str, Sequence[str]]
"""Values of the elements above, as text."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Slices:
    """The images of one series as they were stored, in the order of their files.

    Attributes:
        images: float32 (rows, columns) each, rescaled.
        positions: ImagePositionPatient of each, mm.
        orientation: ImageOrientationPatient, common to all.
        spacing: mm between rows, mm between columns.
        thickness: mm that a single image stands for along the normal.
    """

    images: list[NDArray[np.float32]]
    positions: list[NDArray[np.floating[Any]]]
    orientation: NDArray[np.floating[Any]]
    spacing: tuple[float, float]
    thickness: float


def read_volume(paths: Sequence[Path], decoder: Decoder | None = None) -> Volume:
    """Read the files of one series, in any order, as a canonical sagittal volume.

    Slices are ordered by ImagePositionPatient along the normal, never by InstanceNumber. Values
    are what RescaleSlope and RescaleIntercept make of the stored values.

    Args:
        paths: DICOM files of single-frame images of one series.
        decoder: reads the files; None: a confined process that this one keeps.

    Raises:
        Permanent: the files are no images of one even sagittal stack; the message says why and
            holds no value from the files.
        Transient: a file could not be read from disk, or no process can be had to read it.
    """
    found = read_slices(paths, decoder)
    return stack_slices(
        found.images, found.positions, found.orientation, found.spacing, found.thickness
    )


def read_slices(paths: Sequence[Path], decoder: Decoder | None = None) -> Slices:
    """Read the files of one series; arguments and errors are those of :func:`read_volume`."""
    if not paths:
        raise Permanent("the series has no images")
    decoder = decoder or confined_decoder()
    images = [_read(decoder, path) for path in paths]
    _check_one_series(images)
    size = sum(_integer(image, "Rows") * _integer(image, "Columns") * 4 for image in images)
    if size > _LARGEST_STACK:
        raise Permanent("the series is too large to be read at once")
    orientation = _numbers(images[0], "ImageOrientationPatient", 6)
    spacing = _numbers(images[0], "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise Permanent("Pixel Spacing is not positive")
    return Slices(
        [_decode(decoder, path, image) for path, image in zip(paths, images, strict=True)],
        [np.asarray(_numbers(image, "ImagePositionPatient", 3)) for image in images],
        np.asarray(orientation),
        (spacing[0], spacing[1]),
        _thickness(images[0]),
    )


def rough_picture(path: Path, decoder: Decoder) -> NDArray[np.float32]:
    """Read one image as a picture: float32 (rows, columns), as stored, large values bright.

    Of several frames the middle one is taken, of colours their mean; nothing is rescaled.

    Raises:
        Permanent: the pixels cannot be decoded.
        Transient: the file could not be read from disk, or no process can be had to read it.
    """
    try:
        decoded = _from_disk(lambda: decoder.image(path, _LARGEST_STACK))
    except Undecodable as error:
        raise Permanent("the pixels of an image could not be decoded") from error
    frame = decoded.frames[len(decoded.frames) // 2].astype(np.float32)
    if frame.ndim > 2:
        frame = frame.mean(axis=-1)
    if not np.isfinite(frame).all():
        raise Permanent("the pixels of an image are no finite numbers")
    if decoded.photometric_interpretation == "MONOCHROME1":
        frame = -frame
    return np.asarray(frame, dtype=np.float32)


@functools.cache
def confined_decoder() -> Sandbox:
    """Return the confined process that this one keeps for reading images."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox


def _from_disk(work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except OSError as error:
        raise Transient("an image file could not be read") from error
    except NodeTransient as error:
        raise Transient(str(error)) from error


def _read(decoder: Decoder, path: Path) -> Attributes:
    try:
        image = _from_disk(lambda: decoder.elements(path, _KEYWORDS))
    except Unreadable as error:
        raise Permanent("an image file is not readable DICOM") from error
    _check_image(image)
    return image


def _check_image(image: Attributes) -> None:
    rows, columns = _integer(image, "Rows"), _integer(image, "Columns")
    if not (0 < rows <= _LARGEST_SIDE and 0 < columns <= _LARGEST_SIDE):
        raise Permanent("an image has no usable number of rows and columns")
    if _integer(image, "SamplesPerPixel", 1) != 1:
        raise Permanent("an image is in colour")
    if _integer(image, "NumberOfFrames", 1) != 1:
        raise Permanent("multi-frame images are not supported")


def _check_one_series(images: Sequence[Attributes]) -> None:
    """Check that all images belong together: one series, one shape, one orientation."""
    first = images[0]
    for other in images[1:]:
        if other.get("SeriesInstanceUID") != first.get("SeriesInstanceUID"):
            raise Permanent("the images belong to different series")
        if any(_integer(other, side) != _integer(first, side) for side in ("Rows", "Columns")):
            raise Permanent("the images of the series differ in size")
        for keyword, count in (("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
            pair = _numbers(first, keyword, count), _numbers(other, keyword, count)
            if not np.allclose(*pair, atol=1e-3):
                raise Permanent(f"the images of the series differ in {keyword}")


def _decode(decoder: Decoder, path: Path, image: Attributes) -> NDArray[np.float32]:
    """Return the image as float32 (rows, columns), rescaled, large values bright."""
    try:
        decoded = _from_disk(lambda: decoder.image(path, _LARGEST_STACK))
    except Undecodable as error:
        raise Permanent("the pixels of an image could not be decoded") from error
    stored = decoded.frames[0]
    if stored.shape != (_integer(image, "Rows"), _integer(image, "Columns")):
        raise Permanent("an image's pixels do not have the declared shape")
    slope = _numbers(image, "RescaleSlope", 1, default=1.0)[0]
    intercept = _numbers(image, "RescaleIntercept", 1, default=0.0)[0]
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if decoded.photometric_interpretation == "MONOCHROME1":
        values = values.max() + values.min() - values
    return np.asarray(values, dtype=np.float32)


def _thickness(image: Attributes) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = abs(_numbers(image, keyword, 1, default=0.0)[0])
        if value > 0:
            return value
    return 1.0


def _integer(image: Attributes, keyword: str, default: int = 0) -> int:
    number = _numbers(image, keyword, 1, default=float(default))[0]
    if not number.is_integer():
        raise Permanent(f"{keyword} of an image is malformed")
    return int(number)


def _numbers(
    image: Attributes, keyword: str, count: int, default: float | None = None
) -> list[float]:
    """Return the element's finite numbers; the default where it is absent or empty."""
    texts = [text.strip() for text in image.get(keyword, ())]
    if not any(texts):
        if default is None:
            raise Permanent(f"{keyword} of an image is missing")
        return [default] * count
    try:
        numbers = [float(text) for text in texts]
    except ValueError as error:
        raise Permanent(f"{keyword} of an image is malformed") from error
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Permanent(f"{keyword} of an image is malformed")
    return numbers
