"""What an object shows, apart from whom and what it is named after.

Two objects under one SOP Instance UID are versions of each other when they show the same, and a
fault or an attack when they do not. The digest therefore has to survive a lossless change of the
transfer syntax and every correction of a header, and nothing else.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread, read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from dicom_node.clinical_content import update_with_clinical_content, update_with_elements
from dicom_node.errors import Permanent
from dicom_node.file_meta import IMPLICIT_VR_LITTLE_ENDIAN
from dicom_node.headers import PARSER_ERRORS
from dicom_node.part10 import NotPart10, Part10, open_part10
from dicom_node.pixel_geometry import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    Geometry,
)
from dicom_node.structure import examine_part10

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEYWORDS = {
    PIXEL_DATA: "PixelData",
    FLOAT_PIXEL_DATA: "FloatPixelData",
    DOUBLE_FLOAT_PIXEL_DATA: "DoubleFloatPixelData",
}
_IMAGE_PIXEL_MODULE: list[Any] = [
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101,
    0x00280102, 0x00280103, 0x7FE00001, 0x7FE00002,
]  # fmt: skip
_PALETTES: list[Any] = [
    0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222,
    0x00281223,
]  # fmt: skip
DECODER_ERRORS: tuple[type[Exception], ...] = (*PARSER_ERRORS, RuntimeError, AssertionError)
"""What decoders were seen to raise on damaged frames, besides what the parser raises."""


_STEP = 1024 * 1024


class Undecodable(Permanent):
    """Nobody can see what an object shows; the reason names no value of it."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame: (rows, columns) or (rows, columns, samples), and how to read it."""

    pixels: NDArray[Any]
    photometric: str


def content_digest(file: BinaryIO) -> str:
    """Return SHA-256 (hex) of what an object shows.

    With pixel data: number and shape of the frames, photometric interpretation as decoded, colour
    palettes, and the decoded values, whose width and byte order do not count. Colours are compared
    as they are coded, so that no rounding of a conversion takes part. Decoded frame by frame.
    Where no decoder for the transfer syntax exists (video), the encoded bytes stand for the pixels.

    Without: the clinical content (:mod:`dicom_node.clinical_content`).

    Raises:
        Undecodable: the structure is broken, or nobody can decode the pixels.
        OSError: the disk cannot be read.
    """
    digest = hashlib.sha256()
    with _plain(file) as part10:
        geometry = _checked(part10)
        if geometry is None:
            _update_without_pixels(digest, part10)
        elif not _has_decoder(part10.encoding_uid):
            _update_with_encoded_pixels(digest, part10, geometry)
        else:
            _update_with_pixels(digest, part10, geometry)
    return digest.hexdigest()


@contextmanager
def decoded(file: BinaryIO, maximum_bytes: int) -> Iterator[tuple[int, Iterator[Frame]]]:
    """Give the number of frames of an object and decode them one after another.

    YCbCr becomes RGB. Raises as :func:`decoded_with` does.
    """
    with decoded_with(file, maximum_bytes, []) as (_, numbers, frames):
        yield len(numbers), frames


@contextmanager
def decoded_with(
    file: BinaryIO, maximum_bytes: int, tags: Sequence[int], chosen: Sequence[int] = ()
) -> Iterator[tuple[Dataset, Sequence[int], Iterator[Frame]]]:
    """Give elements of an image, the numbers of its frames, and decode these one after another.

    Args:
        file: the object, open for reading.
        maximum_bytes: of the decoded frames together.
        tags: top-level elements that come in the data set.
        chosen: frames to decode, counted from 0; none: all of them.

    Raises:
        Undecodable: no pixel data, broken ones, no such frame, or more than ``maximum_bytes`` when
            decoded; also while the frames are taken and used.
        OSError: the disk cannot be read.
    """
    with _plain(file) as part10:
        geometry = _checked(part10)
        if geometry is None:
            raise Undecodable("the object has no pixel data")
        if any(not 0 <= number < geometry.frames for number in chosen):
            raise Undecodable("the object has no such frame")
        numbers = tuple(chosen) or range(geometry.frames)
        if len(numbers) * geometry.unpacked_frame_bytes > maximum_bytes:
            raise Undecodable("the decoded pixels would be too large")
        data_set = _image_pixel_module(part10, list(tags)) if tags else Dataset()
        yield data_set, numbers, _frames(part10, geometry, raw=False, chosen=chosen)


@contextmanager
def _plain(file: BinaryIO) -> Iterator[Part10]:
    """Open an object; whatever a parser or decoder raises meanwhile becomes Undecodable."""
    try:
        with warnings.catch_warnings(), open_part10(file) as part10:
            warnings.simplefilter("ignore")
            yield part10
    except NotPart10 as error:
        raise Undecodable(str(error)) from None
    except Undecodable:
        raise
    except OSError as error:
        # Decoders raise it without a number; with one it comes from the disk.
        if error.errno is not None:
            raise
        raise Undecodable("the pixels cannot be decoded (OSError)") from None
    except DECODER_ERRORS as error:
        raise Undecodable(f"the content cannot be decoded ({type(error).__name__})") from None


def _checked(part10: Part10) -> Geometry | None:
    found = examine_part10(part10)
    if found.fault:
        raise Undecodable(found.fault)
    return found.geometry


def _frames(
    part10: Part10, geometry: Geometry, *, raw: bool, chosen: Sequence[int] = ()
) -> Iterator[Frame]:
    data_set = _image_pixel_module(part10, _IMAGE_PIXEL_MODULE)
    options: dict[str, Any] = {
        **as_pixel_options(data_set),
        "transfer_syntax_uid": UID(part10.encoding_uid),
        "pixel_keyword": _KEYWORDS[geometry.tag],
        "pixel_vr": _pixel_vr(part10, geometry),
    }
    # The library reads Rows and Columns by its own rules; those that were checked count.
    options |= {"rows": geometry.rows, "columns": geometry.columns}
    options |= {"samples_per_pixel": geometry.samples, "number_of_frames": geometry.frames}
    part10.buffer.seek(geometry.start)
    decoder = get_decoder(part10.encoding_uid)
    count, expected = 0, len(chosen) or geometry.frames
    options["indices"] = chosen or None
    for pixels, properties in decoder.iter_array(part10.buffer, raw=raw, **options):  # type: ignore[arg-type]
        count += 1
        if count > expected or pixels.shape[:2] != (geometry.rows, geometry.columns):
            raise Undecodable("the decoded pixels are not what the header says")
        yield Frame(pixels, str(properties["photometric_interpretation"]))
    if count != expected:
        raise Undecodable("the decoded pixels are not what the header says")


def _image_pixel_module(part10: Part10, tags: list[Any]) -> Dataset:
    part10.buffer.seek(0)
    return read_partial(
        part10.buffer,  # type: ignore[arg-type]
        stop_when=lambda tag, _vr, _length: tag >= FLOAT_PIXEL_DATA,
        specific_tags=tags,
    )


def _pixel_vr(part10: Part10, geometry: Geometry) -> str:
    if part10.encoding_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return "OW"
    # The value follows tag, VR, two reserved bytes and a length of four bytes.
    return part10.buffer[geometry.start - 8 : geometry.start - 6].decode("latin-1")


def _update_with_pixels(digest: hashlib._Hash, part10: Part10, geometry: Geometry) -> None:
    digest.update(b"pixels 1\0")
    photometric = ""
    for frame in _frames(part10, geometry, raw=True):
        photometric = frame.photometric
        digest.update(f"{frame.pixels.shape} {photometric}\0".encode())
        digest.update(_canonical(frame.pixels))
    if photometric == "PALETTE COLOR":
        update_with_elements(digest, _image_pixel_module(part10, _PALETTES))


def _has_decoder(transfer_syntax_uid: str) -> bool:
    try:
        return get_decoder(transfer_syntax_uid).is_available
    except NotImplementedError:
        return False


def _update_with_encoded_pixels(digest: hashlib._Hash, part10: Part10, geometry: Geometry) -> None:
    """Equal bytes show the same; of others nobody knows, so they count as a change."""
    digest.update(f"encoded pixels 1 {part10.transfer_syntax_uid}\0".encode())
    for start in range(geometry.start, geometry.stop, _STEP):
        digest.update(part10.buffer[start : min(start + _STEP, geometry.stop)])


def _canonical(pixels: NDArray[Any]) -> memoryview:
    """Return values as little-endian bytes, integers of up to 16 bits as 32 bits wide."""
    kind = pixels.dtype.kind
    width = pixels.dtype.itemsize if kind == "f" else (4 if pixels.dtype.itemsize <= 2 else 8)
    wide = pixels.astype(f"<{'f' if kind == 'f' else 'i'}{width}", order="C", copy=False)
    return wide.data.cast("B")


def _update_without_pixels(digest: hashlib._Hash, part10: Part10) -> None:
    part10.buffer.seek(0)
    digest.update(b"clinical content 1\0")
    update_with_clinical_content(digest, dcmread(part10.buffer))  # type: ignore[arg-type]
