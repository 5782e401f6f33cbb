"""Pictures and stacks for models: the same values and the same way round, whoever made them.

Pixels are decoded, rescaled and windowed in a confined process
(:meth:`dicom_node.inspection.GreyDecoder.grey`); here are numbers and arrays.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.greyscale import Applied, GreyImage, Rendition
from dicom_node.inspection import GreyDecoder
from dicom_node.sandbox import Sandbox
from training.errors import Permanent
from training.images.dimensions import one_of_each_place
from training.images.headers import ImageHeader, from_node, read_headers
from training.images.series_rule import Reading
from training.images.stacking import Stack, arrange, stack
from training.images.views import upright
from training.images.windows import AS_STORED, CT_WINDOWS, DECLARED

_LARGEST_SIDE = 8192  # pixels; of a radiograph
_LARGEST = 512 * 2**20  # bytes of float32


@dataclass(frozen=True)
class Picture:
    """One grey picture; large values are bright.

    Attributes:
        values: float32 (rows, columns); 0.0 to 1.0 where a window or table was applied, else in the
            units of the modality.
        spacing: mm between rows, mm between columns, or None.
        laterality: R, L, U, B or "", as the file says, whether or not the picture was mirrored.
        burned_in: whether Burned In Annotation says yes or no; None: it is silent.
        applied: see :class:`dicom_node.greyscale.GreyImage`.
        remarks: what a person should know of how it was read.
    """

    values: NDArray[np.float32]
    spacing: tuple[float, float] | None
    laterality: str
    burned_in: bool | None
    applied: Applied
    remarks: tuple[str, ...] = ()


def read_images(paths: Sequence[Path], decoder: GreyDecoder | None = None) -> list[ImageHeader]:
    """Return the headers of the images in files, one a frame where frames describe themselves.

    Args:
        paths: DICOM files.
        decoder: reads the files; None: a confined process that this one keeps.

    Raises:
        Permanent: a file is not readable DICOM.
        Transient: a file could not be read from disk, or no process can be had to read it.
    """
    decoder = decoder or confined_decoder()
    return [image for path in paths for image in read_headers(path, decoder)]


def read_picture(
    image: ImageHeader, reading: Reading | None = None, decoder: GreyDecoder | None = None
) -> Picture:
    """Read one image as a picture.

    Args:
        image: what ``read_images`` or a rule's choice gave.
        reading: how; None: the declared window, the picture as it lies, spacing where there is one.
        decoder: see ``read_images``.

    Raises:
        Permanent: the image is in colour, has several frames that do not describe themselves,
            cannot be decoded, or lacks what ``reading`` needs; the message holds no value.
        Transient: see ``read_images``.
    """
    reading = reading or Reading(window=DECLARED, spacing_needed=False)
    _check_image(image)
    spacing, remarks = _spacing(image)
    if spacing is None and reading.spacing_needed:
        raise Permanent("Pixel Spacing of the image is missing")
    grey = _decoded([image], reading, decoder or confined_decoder())
    values, applied = grey.values[0], grey.applied
    if applied == "range":
        remarks += ("no window in the file: the range that its bits can hold",)
    if reading.upright:
        values, done, turned = upright(values, image)
        remarks += tuple(f"turned upright: {each}" for each in done)
        spacing = (spacing[1], spacing[0]) if turned and spacing else spacing
    values, mirrored = _one_side(values, image, reading)
    burned_in = {"YES": True, "NO": False}.get(image.text("BurnedInAnnotation").upper())
    if burned_in:
        remarks += ("text is burned into the picture",)
    whole = np.ascontiguousarray(values)
    return Picture(whole, spacing, image.laterality, burned_in, applied, remarks + mirrored)


def read_stack(
    images: Sequence[ImageHeader],
    reading: Reading | None = None,
    decoder: GreyDecoder | None = None,
) -> Stack:
    """Read images of one series, in any order, as an even stack in canonical orientation.

    Slices are ordered by where they lie along their normal, never by Instance Number.

    Args:
        images: what ``read_images`` or a rule's choice gave.
        reading: how; None: values in the units of the modality, one image at each place.
        decoder: see ``read_images``.

    Raises:
        Permanent: the images make no even stack, or cannot be decoded; says why and where.
        Transient: see ``read_images``.
    """
    if not images:
        raise Permanent("the series has no images")
    reading = reading or Reading()
    for image in images:
        _check_image(image)
    images, remarks = one_of_each_place(images, reading.choose)
    first = images[0]
    _check_alike(images)
    spacing = first.pixel_spacing
    if spacing is None:
        raise Permanent("PixelSpacing of an image is missing")
    if min(spacing) <= 0:
        raise Permanent("Pixel Spacing is not positive")
    orientation = np.asarray(_needed(first, "ImageOrientationPatient", 6))
    positions = [np.asarray(_needed(each, "ImagePositionPatient", 3)) for each in images]
    thickness, assumed = _thickness(first)
    arrange(positions, orientation, thickness)  # before anything is decoded
    grey = _decoded(images, reading, decoder or confined_decoder())
    if len(images) == 1 and assumed:
        remarks += ("one slice without a thickness: taken for 1 mm",)
    return stack(grey.values, positions, orientation, spacing, thickness, remarks)


@functools.cache
def confined_decoder() -> Sandbox:
    """Return the confined process that this process keeps for reading."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox


@dataclass(frozen=True)
class _Grey:
    values: list[NDArray[np.float32]]  # in the order of the images
    applied: Applied


def _decoded(images: Sequence[ImageHeader], reading: Reading, decoder: GreyDecoder) -> _Grey:
    by_file: dict[Path, list[int]] = {}
    for number, image in enumerate(images):
        by_file.setdefault(image.path, []).append(number)
    values: dict[int, NDArray[np.float32]] = {}
    applied: Applied = "none"
    for path, numbers in by_file.items():
        frames = tuple(f for i in numbers if (f := images[i].frame) is not None)
        rendition = _rendition(images[numbers[0]], reading, frames)
        grey = _grey_of(path, rendition, decoder)
        if len(grey.frames) != len(numbers):
            raise Permanent("an image has not the number of frames that it declares")
        applied = grey.applied
        for number, pixels in zip(numbers, grey.frames, strict=True):
            shape = (images[number].number("Rows"), images[number].number("Columns"))
            if pixels.shape != shape:
                raise Permanent("an image's pixels do not have the declared shape")
            values[number] = pixels
    return _Grey([values[number] for number in range(len(images))], applied)


def _grey_of(path: Path, rendition: Rendition, decoder: GreyDecoder) -> GreyImage:
    return from_node(lambda: decoder.grey(path, rendition, _LARGEST))


def _rendition(image: ImageHeader, reading: Reading, frames: tuple[int, ...]) -> Rendition:
    if reading.window == AS_STORED:
        return Rendition(frames)
    if reading.window == DECLARED:
        return Rendition(frames, "declared", reading.index)
    window = CT_WINDOWS.get(reading.window)
    if window is None:
        raise Permanent("there is no CT window of this name")
    units = image.text("RescaleType").upper() or "HU"
    if image.text("Modality").upper() != "CT" or units != "HU":
        raise Permanent("a window in Hounsfield units needs a CT in Hounsfield units")
    return Rendition(frames, "window", center=window.center, width=window.width)


def _check_image(image: ImageHeader) -> None:
    sides = [image.number("Rows") or 0, image.number("Columns") or 0]
    if not all(0 < side <= _LARGEST_SIDE and side.is_integer() for side in map(float, sides)):
        raise Permanent("an image has no usable number of rows and columns")
    if (image.number("SamplesPerPixel") or 1) != 1:
        raise Permanent("an image is in colour")
    if image.frame is None and (image.number("NumberOfFrames") or 1) > 1:
        raise Permanent("an image has several frames that do not say where or when each is")


def _check_alike(images: Sequence[ImageHeader]) -> None:
    """Check that all images belong together: one series, one shape, one grid."""
    first = images[0]
    if sum((i.number("Rows") or 0) * (i.number("Columns") or 0) * 4 for i in images) > _LARGEST:
        raise Permanent("the series is too large to be read at once")
    for other in images[1:]:
        if other.text("SeriesInstanceUID") != first.text("SeriesInstanceUID"):
            raise Permanent("the images belong to different series")
        if any(other.number(side) != first.number(side) for side in ("Rows", "Columns")):
            raise Permanent("the images of the series differ in size")
        for keyword, count in (("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
            pair = _needed(first, keyword, count), _needed(other, keyword, count)
            if not np.allclose(*pair, atol=1e-3):
                raise Permanent(f"the images of the series differ in {keyword}")


def _needed(image: ImageHeader, keyword: str, count: int) -> tuple[float, ...]:
    found = image.numbers(keyword, count)
    if found is None:
        raise Permanent(f"{keyword} of an image is missing")
    return found


def _thickness(image: ImageHeader) -> tuple[float, bool]:
    """Return the extent of a slice along its normal, mm, and whether it was only assumed."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = abs(image.number(keyword) or 0.0)
        if value > 0:
            return value, False
    return 1.0, True


def _spacing(image: ImageHeader) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return the spacing of a picture and what it means (PS3.3 10.7.1.3)."""
    spacing = image.pixel_spacing
    detector = image.numbers("ImagerPixelSpacing", 2)
    film = image.numbers("NominalScannedPixelSpacing", 2)
    remarks: tuple[str, ...] = ()
    if spacing is None and (detector or film):
        found = detector or film or (0.0, 0.0)
        where = "at the detector, where the patient is magnified" if detector else "of the film"
        spacing, remarks = (found[0], found[1]), (f"Pixel Spacing is missing: spacing {where}",)
    elif spacing is not None and detector == spacing:
        remarks = ("Pixel Spacing is that at the detector, where the patient is magnified",)
    if spacing is not None and min(spacing) <= 0:
        raise Permanent("the spacing of the pixels is not positive")
    return spacing, remarks


def _one_side(
    values: NDArray[np.float32], image: ImageHeader, reading: Reading
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if reading.mirror == "none":
        return values, ()
    if image.laterality not in ("L", "R"):
        raise Permanent("Laterality is not stated, so sides cannot be made alike")
    alien = "R" if reading.mirror == "to_left" else "L"
    if image.laterality != alien:
        return values, ()
    return np.fliplr(values), (f"mirrored: laterality is {alien}",)
