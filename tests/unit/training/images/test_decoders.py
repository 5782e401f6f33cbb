"""Compressed pixels: each decoder is pinned, confined, and gives back what was compressed."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_node.greyscale import Rendition
from dicom_node.inspection import DirectInspector
from dicom_node.sandbox import Sandbox
from tests.image_builders import image, save
from tests.jpeg_builders import baseline_jpeg, lossless_jpeg
from training.images.reading import read_images, read_picture
from training.images.series_rule import Reading

ROOT = Path(__file__).parents[4]
DECODERS = {
    "pylibjpeg-libjpeg": (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1),
    "pyjpegls": (JPEGLSLossless, JPEGLSNearLossless),
    "pylibjpeg-openjpeg": (JPEG2000Lossless, JPEG2000),
    "pylibjpeg-rle": (RLELossless,),
}
PIXELS = (np.add.outer(np.arange(64), np.arange(72)) * 30).astype(np.uint16)
STORED = Reading(spacing_needed=False)


def pins() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(each.split("==") for each in project["dependencies"] if each.count("==") == 1)


@pytest.mark.parametrize("package", [*DECODERS, "pydicom", "pylibjpeg"])
def test_every_decoder_is_pinned_and_is_the_one_that_runs(package: str) -> None:
    assert pins()[package] == version(package)


@pytest.mark.parametrize("syntax", [each for some in DECODERS.values() for each in some])
def test_there_is_a_decoder_for_every_syntax(syntax: UID) -> None:
    assert get_decoder(syntax).is_available


def compressed(path: Path, syntax: UID, pixels: np.ndarray = PIXELS, **options: object) -> Path:
    data_set = image(pixels, BitsStored=12 if pixels.dtype.itemsize > 1 else 8)
    data_set.HighBit = data_set.BitsStored - 1
    data_set.compress(syntax, generate_instance_uid=False, **options)
    return save(data_set, path / "image")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_syntaxes_give_back_every_value(
    tmp_path: Path, sandbox: Sandbox, syntax: UID
) -> None:
    path = compressed(tmp_path, syntax)
    (found,) = read_images([path], sandbox)
    picture = read_picture(found, STORED, sandbox)
    assert np.array_equal(picture.values, PIXELS)
    assert picture.applied == "none"
    here = DirectInspector().grey(path, Rendition())
    assert np.array_equal(here.frames[0], picture.values)


@pytest.mark.parametrize(
    ("syntax", "options"),
    [(JPEGLSNearLossless, {"jls_error": 3}), (JPEG2000, {"j2k_cr": [2]})],
)
def test_lossy_syntaxes_come_near(
    tmp_path: Path, sandbox: Sandbox, syntax: UID, options: dict[str, object]
) -> None:
    (found,) = read_images([compressed(tmp_path, syntax, **options)], sandbox)
    values = read_picture(found, STORED, sandbox).values
    assert np.abs(values - PIXELS).max() <= 200


def test_jpeg_baseline(tmp_path: Path, sandbox: Sandbox) -> None:
    pixels = (PIXELS // 16).astype(np.uint8)
    (found,) = read_images([save(baseline_jpeg(pixels), tmp_path / "image")], sandbox)
    assert np.abs(read_picture(found, STORED, sandbox).values - pixels).max() <= 4


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_jpeg_lossless(tmp_path: Path, sandbox: Sandbox, syntax: UID) -> None:
    path = save(lossless_jpeg(PIXELS, syntax), tmp_path / "image")
    (found,) = read_images([path], sandbox)
    assert np.array_equal(read_picture(found, STORED, sandbox).values, PIXELS)
