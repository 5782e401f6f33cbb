"""From stored values to grey values (PS3.4 N.2.1): rescaling, window or table, padding, inversion.

Works beside the decoder, in the confined process: tables come from the file as raw words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from dicom_node.content import Undecodable, decoded_with
from dicom_node.functional_groups import PER_FRAME, SHARED, frame_attributes

if TYPE_CHECKING:
    from numpy.typing import NDArray

Voi = Literal["none", "declared", "window"]
Applied = Literal["none", "lut", "window", "range"]
APPLIED: tuple[Applied, ...] = ("none", "lut", "window", "range")

_TAGS = [
    0x00280004, 0x00280101, 0x00280103, 0x00280120, 0x00280121, 0x00281050, 0x00281051, 0x00281052,
    0x00281053, 0x00281056, 0x00283000, 0x00283010, SHARED, PER_FRAME,
]  # fmt: skip
_FULL_BITS = 16
_FULL = 2**_FULL_BITS - 1


@dataclass(frozen=True)
class Rendition:
    """What is made of the stored values.

    Attributes:
        frames: counted from 0; none: all of them.
        voi: "none": values as the Modality LUT or the rescaling gives them (Hounsfield units of a
            CT); "declared": the VOI LUT or window of the file, 0.0 to 1.0; "window": a window that
            is given here, LINEAR (PS3.3 C.11.2.1.2.1), 0.0 to 1.0.
        index: which one, where the file declares several windows or tables.
        center, width: of the window, in values after rescaling.
    """

    frames: tuple[int, ...] = ()
    voi: Voi = "none"
    index: int = 0
    center: float = 0.0
    width: float = 0.0


@dataclass(frozen=True)
class GreyImage:
    """Grey values of an image, float32 (frames, rows, columns); large values are bright.

    Attributes:
        applied: "none"; "lut" or "window" of the file, or the window that was asked for; "range":
            the file declares neither, so the range that its bits can hold went to 0.0 to 1.0.
    """

    frames: NDArray[np.float32]
    applied: Applied


@contextmanager
def grey_frames(
    file: BinaryIO, rendition: Rendition, maximum_bytes: int
) -> Iterator[tuple[int, Iterator[tuple[NDArray[np.float32], Applied]]]]:
    """Give the number of frames that come, and the frames one after another.

    MONOCHROME1 is turned round within the range that bits or window declare, never by the values
    of the picture. Padding (PS3.3 C.7.5.1.1.2) becomes 0.0, and where no window is applied the
    least value that is no padding.

    Raises:
        Undecodable: no grey pixels, damaged ones, a table or window that makes no sense, or too
            many; also while the frames are taken.
        OSError: the disk cannot be read.
    """
    # Stored values of up to 16 bits become float32.
    with decoded_with(file, maximum_bytes // 4, _TAGS, rendition.frames) as (header, numbers, got):
        groups = list(frame_attributes(header))

        def rendered() -> Iterator[tuple[NDArray[np.float32], Applied]]:
            for number, frame in zip(numbers, got, strict=True):
                if frame.photometric not in ("MONOCHROME1", "MONOCHROME2"):
                    raise Undecodable("the image is in colour")
                if groups and number >= len(groups):
                    raise Undecodable("a frame has no functional groups")
                own = _own_header(header, groups[number] if groups else Dataset())
                own.PhotometricInterpretation = frame.photometric
                yield _render(frame.pixels, own, rendition)

        yield len(numbers), rendered()


def _own_header(header: Dataset, group: Dataset) -> Dataset:
    own = Dataset()
    own.update(header)
    for tag in (SHARED, PER_FRAME):
        if tag in own:
            del own[tag]
    own.update(group)
    own.set_original_encoding(*header.original_encoding)
    for keyword, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if "RescaleSlope" in own or "RescaleIntercept" in own:
            value = own.get(keyword)
            setattr(own, keyword, default if value is None else value)
    if own.get("RescaleSlope") == 0 or not np.isfinite(float(own.get("RescaleSlope") or 1)):
        raise Undecodable("Rescale Slope is no usable number")
    return own


def _render(
    stored: NDArray[Any], header: Dataset, rendition: Rendition
) -> tuple[NDArray[np.float32], Applied]:
    padding = _padding(stored, header)
    values = np.asarray(apply_modality_lut(stored, header))
    values, applied = _with_voi(values, header, rendition, stored)
    if header.PhotometricInterpretation == "MONOCHROME1":
        low, high = (0.0, 1.0) if applied != "none" else _declared_range(stored, header)
        values = low + high - values
    grey = values.astype(np.float32)
    if padding.any():
        seen = grey[~padding]
        grey[padding] = seen.min() if applied == "none" and seen.size else 0.0
    if not np.isfinite(grey).all():
        raise Undecodable("the image has values that are no numbers")
    return grey, applied


def _padding(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_]:
    ends = [header.get(each) for each in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    known = [_as_stored(each, stored) for each in ends if isinstance(each, int)]
    if ends[0] is None or not known:
        return np.zeros(stored.shape, bool)
    return np.asarray((stored >= min(known)) & (stored <= max(known)))


def _as_stored(value: int, stored: NDArray[Any]) -> int:
    """Return a value as the pixels have it: many write a negative one as unsigned."""
    return int(np.asarray(value, np.int64).astype(stored.dtype))


def _declared_range(stored: NDArray[Any], header: Dataset) -> tuple[float, float]:
    """Return the least and the greatest value that rescaling can give (PS3.3 C.11.1.1.2)."""
    if header.get("ModalityLUTSequence"):
        return 0.0, float(2 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    if stored.dtype.kind == "f":
        raise Undecodable("pixels in floating point declare no range of values")
    bits = int(header.get("BitsStored") or 8 * stored.dtype.itemsize)
    signed = bool(header.get("PixelRepresentation"))
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = (
        float(header.get("RescaleSlope", 1)),
        float(header.get("RescaleIntercept", 0)),
    )
    ends = least * slope + intercept, most * slope + intercept
    return min(ends), max(ends)


def _with_voi(
    values: NDArray[Any], header: Dataset, rendition: Rendition, stored: NDArray[Any]
) -> tuple[NDArray[Any], Applied]:
    """Return values from 0.0 to 1.0, and what made them."""
    if rendition.voi == "none":
        return values.astype(np.float64), "none"
    if rendition.voi == "window":
        return _windowed(values, rendition.center, rendition.width, "LINEAR"), "window"
    if header.get("VOILUTSequence"):
        _check_index(rendition.index, len(header.VOILUTSequence))
        item = header.VOILUTSequence[rendition.index]
        whole = np.rint(values).astype(np.int64)
        table = apply_voi(whole, header, rendition.index)
        return table / float(2 ** int(item.LUTDescriptor[2]) - 1), "lut"
    centers, widths = _decimals(header, "WindowCenter"), _decimals(header, "WindowWidth")
    if centers and widths:
        _check_index(rendition.index, min(len(centers), len(widths)))
        function = str(header.get("VOILUTFunction") or "LINEAR")
        center, width = centers[rendition.index], widths[rendition.index]
        return _windowed(values, center, width, function), "window"
    low, high = _declared_range(stored, header)
    return (values - low) / max(high - low, 1e-9), "range"


def _windowed(
    values: NDArray[Any], center: float, width: float, function: str
) -> NDArray[np.float64]:
    """Apply a window onto 0.0 to 1.0; the library's own range follows the bits of the file."""
    frame = Dataset()
    frame.PhotometricInterpretation = "MONOCHROME2"
    frame.BitsStored, frame.PixelRepresentation = _FULL_BITS, 0
    frame.WindowCenter, frame.WindowWidth = center, width
    frame.VOILUTFunction = function
    return np.asarray(apply_windowing(values, frame) / _FULL, dtype=np.float64)


def _check_index(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise Undecodable("the image declares no such window")


def _decimals(header: Dataset, keyword: str) -> list[float]:
    if keyword not in header or not header[keyword].VM:
        return []
    element = header[keyword]
    many = [float(each) for each in (element.value if element.VM > 1 else [element.value])]
    if not np.isfinite(many).all():
        raise Undecodable("a window of the image is no number")
    return many
