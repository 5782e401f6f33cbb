"""Odd public files: each gives an image or a clear error, never a traceback."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.filereader import dcmread

from dicom_node.inspection import DirectInspector
from dicom_node.sandbox import Sandbox
from tests.shared_data import shared_file
from training.errors import Permanent
from training.images.choosing import choose
from training.images.reading import read_images, read_picture, read_stack
from training.images.rule_file import load_rule, shipped_rules
from training.images.series_rule import Reading

STORED = Reading(spacing_needed=False)


@pytest.fixture(scope="module")
def odd() -> list[Path]:
    try:
        folder = shared_file("data/dicom_odd")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".csv", ".md"))


def outcome(path: Path, decoder, reading: Reading) -> str:
    try:
        images = read_images([path], decoder)
        picture = read_picture(images[0], reading, decoder)
    except Permanent as error:
        return str(error)
    assert np.isfinite(picture.values).all()
    assert picture.values.shape == (
        images[0].number("Rows"),
        images[0].number("Columns"),
    )
    return "read"


def test_odd_files_are_read_or_refused_in_one_sentence(odd: list[Path]) -> None:
    decoder = DirectInspector()
    plain = {path: outcome(path, decoder, STORED) for path in odd}
    shown = {
        path: outcome(path, decoder, Reading("declared", spacing_needed=False)) for path in odd
    }
    assert sum(each == "read" for each in plain.values()) >= 40
    for found in (*plain.values(), *shown.values()):
        assert "\n" not in found
        assert 0 < len(found) < 120


def test_what_is_read_is_what_the_library_reads(odd: list[Path]) -> None:
    decoder, compared = DirectInspector(), 0
    for path in odd:
        if not path.name.startswith(("CT1", "CT2", "MR1", "MR3")) or path.suffix == ".zst":
            continue
        if outcome(path, decoder, STORED) != "read":
            continue
        data_set = dcmread(path)
        slope = float(data_set.get("RescaleSlope", 1))
        expected = data_set.pixel_array * slope + float(data_set.get("RescaleIntercept", 0))
        (image,) = read_images([path], decoder)
        real = np.ones(expected.shape, bool)
        if "PixelPaddingValue" in data_set:
            real = data_set.pixel_array != data_set.PixelPaddingValue
        values = read_picture(image, STORED, decoder).values
        assert np.allclose(values[real], expected[real])
        compared += 1
    assert compared >= 15


def test_the_confined_process_says_the_same(odd: list[Path]) -> None:
    few = [p for p in odd if p.name in ("CT2_J2KI", "MR2_JPLY", "cine-test.dcm", "sample-sr.dcm")]
    assert len(few) == 4
    here = DirectInspector()
    with Sandbox() as sandbox:
        for path in few:
            assert outcome(path, sandbox, STORED) == outcome(path, here, STORED)


def test_every_rule_judges_every_odd_file(odd: list[Path]) -> None:
    decoder = DirectInspector()
    for path in odd:
        try:
            images = read_images([path], decoder)
        except Permanent:
            continue
        for name in shipped_rules():
            assert choose(load_rule(name), {"1": images}).why


def test_real_series_of_fruit_are_stacks(odd: list[Path]) -> None:
    root = shared_file("data/adit_fruit_dicom")
    decoder, planes = DirectInspector(), {}
    for folder in sorted({path.parent for path in root.rglob("*.dcm")}):
        try:
            images = read_images(sorted(folder.glob("*.dcm")), decoder)
            planes[str(folder.relative_to(root))] = read_stack(images, None, decoder).plane
        except Permanent as error:
            planes[str(folder.relative_to(root))] = str(error)
    assert planes["1002/20200705_171157_MR,SR/t2_tse_tra 5mm"] == "axial"
    assert sum(each in ("axial", "sagittal", "coronal") for each in planes.values()) >= 5
