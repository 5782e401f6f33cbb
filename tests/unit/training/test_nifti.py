"""NIfTI files: each voxel's RAS+ point is the patient coordinate that the DICOM files give it."""

import dataclasses
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_node.inspection import DirectInspector
from plugin.simulation.dicom_objects import mr_instances
from plugin.simulation.phantom import SCANNERS, draw_anatomy, draw_series
from plugin.simulation.truth import draw_truth
from tests.builders import write_file
from tests.canaries import Person
from tests.export_builders import AXIAL, CORONAL, OBLIQUE, SAGITTAL, Grid, series
from tests.unit.plugin.test_dicom_objects import UIDS, header
from training.errors import Permanent
from training.exports.nifti import nifti_of
from training.pixels import read_slices

PERSON = Person("KANARI", "7391")


def convert(folder: Path, images: list) -> nibabel.Nifti1Image:
    paths = [write_file(folder / f"{number}.dcm", each) for number, each in enumerate(images)]
    content = nifti_of(read_slices(paths, DirectInspector()))
    assert content == nifti_of(read_slices(paths[::-1], DirectInspector()))
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, CORONAL, SAGITTAL, OBLIQUE],
    ids=["axial", "coronal", "sagittal", "oblique"],
)
def test_every_marked_voxel_lies_where_dicom_says(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    grid = Grid(orientation=orientation)
    image = convert(tmp_path, series(PERSON, grid))
    values = np.asanyarray(image.dataobj)
    assert values.shape == (grid.columns, grid.rows, grid.slices)
    assert values.dtype == np.int16
    for number, row, column in ((0, 0, 0), (4, 7, 5), (2, 3, 1), (1, 0, 5), (3, 7, 0)):
        marker = 1000 * number + row * grid.columns + column
        (voxel,) = np.argwhere(values == marker)
        lps = grid.point(number, row, column)
        ras = image.affine @ [*voxel, 1]
        assert ras[:3] == pytest.approx(lps * (-1, -1, 1), abs=1e-3)
    assert image.header.get_zooms() == pytest.approx((0.7, 1.5, 4.4))
    assert image.header.get_qform() == pytest.approx(image.affine, abs=1e-3)
    assert image.header["qform_code"] == image.header["sform_code"] == 1
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("scanner", range(len(SCANNERS)))
def test_a_phantom_comes_out_where_it_was_drawn(tmp_path: Path, scanner: int) -> None:
    rng = np.random.default_rng(4)
    machine = dataclasses.replace(SCANNERS[scanner], slices=4)
    drawn = draw_series(draw_truth(rng), machine, "T2", draw_anatomy(rng), rng)
    image = convert(tmp_path, mr_instances(header(), drawn, 1, UIDS, rng))
    values = np.asanyarray(image.dataobj)
    row, column = np.asarray(drawn.orientation).reshape(2, 3)
    for number, position in enumerate(drawn.positions):
        for r, c in ((0, 0), (100, 37), (40, 120)):
            lps = (
                np.asarray(position)
                + row * drawn.pixel_spacing[1] * c
                + column * drawn.pixel_spacing[0] * r
            )
            voxel = np.linalg.inv(image.affine) @ [*(lps * (-1, -1, 1)), 1]
            i, j, k = np.rint(voxel[:3]).astype(int)
            assert voxel[:3] == pytest.approx((i, j, k), abs=1e-2)
            assert values[i, j, k] == drawn.pixels[number, r, c]


def test_ct_holds_hounsfield_units_with_their_sign(tmp_path: Path) -> None:
    images = series(PERSON, Grid(orientation=AXIAL), RescaleSlope=1, RescaleIntercept=-1024)
    values = np.asanyarray(convert(tmp_path, images).dataobj)
    assert (values.dtype, values.min(), values[5, 7, 4]) == (np.int16, -1024, 4047 - 1024)


def test_fractions_are_kept(tmp_path: Path) -> None:
    values = convert(tmp_path, series(PERSON, Grid(), RescaleSlope=0.5)).get_fdata()
    assert values[1, 0, 0] == pytest.approx(0.5)


def test_the_file_names_nobody(tmp_path: Path) -> None:
    paths = [
        write_file(tmp_path / f"KANARI{number}.dcm", each)
        for number, each in enumerate(series(PERSON, Grid()))
    ]
    content = nifti_of(read_slices(paths, DirectInspector()))
    assert b"KANARI" not in content
    assert b"KANARI" not in gzip.decompress(content)
    assert gzip.decompress(content)[148:228] == bytes(80)  # descrip


def moved(number: int, by: tuple[float, float, float]) -> list:
    grid = Grid()
    images = series(PERSON, grid)
    for each in images:
        position = np.asarray(each.ImagePositionPatient, float)
        if np.allclose(position, grid.position(number), atol=1e-3):
            each.ImagePositionPatient = [f"{value:.4f}" for value in position + by]
    return images


def without(number: int) -> list:
    x = round(float(Grid().position(number)[0]), 5)
    found = [each for each in series(PERSON, Grid()) if each.ImagePositionPatient[0] != x]
    assert len(found) == 4
    return found


def leaning() -> list:
    images = series(PERSON, Grid())
    for each in images:
        x, y, z = (float(value) for value in each.ImagePositionPatient)
        each.ImagePositionPatient = [x, y, f"{z + 0.5 * x:.4f}"]
    return images


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (lambda: moved(2, (1.5, 0, 0)), "evenly"),
        (lambda: without(2), "evenly"),
        (lambda: moved(2, (0, 3, 0)), "straight"),
        (leaning, "tilted gantry"),
        (
            lambda: [*series(PERSON, Grid()), PERSON.image(9, **Grid().attributes(0))],
            "same position",
        ),
        (lambda: series(PERSON, Grid(), ImagePositionPatient=None), "ImagePositionPatient"),
        (lambda: series(PERSON, Grid(), PixelSpacing=None), "PixelSpacing"),
    ],
)
def test_a_stack_that_is_none_is_refused_by_name(tmp_path: Path, images, reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        convert(tmp_path, images())


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    image = convert(tmp_path, series(PERSON, Grid(slices=1)))
    assert image.header.get_zooms() == pytest.approx((0.7, 1.5, 4.4))
