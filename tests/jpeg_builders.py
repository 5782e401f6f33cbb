"""Images in the JPEG syntaxes that pydicom decodes and does not encode."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit

from tests.image_builders import image


def baseline_jpeg(pixels: np.ndarray) -> FileDataset:
    """Return an image of 8 bits in JPEG Baseline."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=98)
    return _encapsulated(pixels, JPEGBaseline8Bit, buffer.getvalue(), 8)


def lossless_jpeg(pixels: np.ndarray, syntax: UID, bits: int = 12) -> FileDataset:
    """Return an image in JPEG Lossless, first-order prediction (ITU-T T.81 Annex H)."""
    return _encapsulated(pixels, syntax, _lossless_stream(pixels.astype(int), bits), bits)


def _encapsulated(pixels: np.ndarray, syntax: UID, stream: bytes, bits: int) -> FileDataset:
    data_set = image(pixels, BitsStored=bits)
    data_set.HighBit = bits - 1
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.PixelData = encapsulate([stream])
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return data_set


def _lossless_stream(pixels: np.ndarray, precision: int) -> bytes:
    """Return a stream of one component with selection value 1: each sample from its left one.

    The Huffman table gives each of the 16 categories a code of 5 bits.
    """
    rows, columns = pixels.shape
    frame = struct.pack(">BHHB", precision, rows, columns, 1) + bytes((1, 0x11, 0))
    table = bytes((0, 0, 0, 0, 0, 16, *[0] * 11, *range(16)))
    scan = bytes((1, 1, 0, 1, 0, 0))
    coded = "".join(_code(each) for each in _differences(pixels, precision))
    coded += "1" * (-len(coded) % 8)
    data = int(coded, 2).to_bytes(len(coded) // 8, "big").replace(b"\xff", b"\xff\x00")
    parts = ((0xC3, frame), (0xC4, table), (0xDA, scan))
    head = b"".join(struct.pack(">BBH", 0xFF, kind, len(p) + 2) + p for kind, p in parts)
    stream = b"\xff\xd8" + head + data + b"\xff\xd9"
    return stream + b"\0" * (len(stream) % 2)


def _differences(pixels: np.ndarray, precision: int) -> list[int]:
    predicted = np.empty_like(pixels)
    predicted[:, 1:] = pixels[:, :-1]
    predicted[1:, 0] = pixels[:-1, 0]
    predicted[0, 0] = 2 ** (precision - 1)
    return [int(each) for each in (pixels - predicted).ravel()]


def _code(difference: int) -> str:
    category = abs(difference).bit_length()
    code = f"{category:05b}"
    if not category:
        return code
    value = difference if difference > 0 else difference + 2**category - 1
    return code + f"{value:0{category}b}"
