from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from dicom_node.inspection import DirectInspector
from training import pixels
from training.errors import Permanent, Transient
from training.geometry import Volume, stack_slices

SERIES = generate_uid()


def read_volume(paths: list[Path]) -> Volume:
    return pixels.read_volume(paths, DirectInspector())


def write_slice(path: Path, x: float, value: int = 0, **elements: object) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID = SERIES
    image.Rows, image.Columns = 4, 6
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 0
    image.PixelSpacing = [2.0, 0.5]
    image.SliceThickness = 4.0
    image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    image.ImagePositionPatient = [x, 10.0, 20.0]
    image.PixelData = (np.arange(24, dtype=np.uint16) + value).tobytes()
    for keyword, element in elements.items():
        if element is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, element)
    image.save_as(path, enforce_file_format=True)
    return path


def test_slices_are_ordered_by_position_whatever_their_number(tmp_path: Path) -> None:
    places = [5.0, -5.0, 0.0]
    paths = [
        write_slice(tmp_path / str(i), x, value=int(100 + x), InstanceNumber=i)
        for i, x in enumerate(places)
    ]
    volume = read_volume(paths)
    assert volume.array[:, 0, 0].tolist() == [95, 100, 105]
    assert volume.spacing == (5.0, 2.0, 0.5)
    assert volume.to_patient(np.asarray((1, 0, 0))) == pytest.approx((0, 10, 20))
    assert volume.to_patient(np.asarray((0, 1, 2))) == pytest.approx((-5, 11, 18))


def test_rescale_is_applied(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a", 0.0, RescaleSlope=2.0, RescaleIntercept=-1.0)
    assert read_volume([path]).array[0, 0, :3].tolist() == [-1, 1, 3]


def test_single_slice_takes_its_thickness(tmp_path: Path) -> None:
    volume = read_volume([write_slice(tmp_path / "a", 0.0)])
    assert volume.spacing == (4.0, 2.0, 0.5)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ImagePositionPatient": None}, "ImagePositionPatient of an image is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "not sagittal"),
        ({"ImageOrientationPatient": [0, 3, 0, 0, 0, -1]}, "unit vectors"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 1, 0]}, "not perpendicular"),
        ({"PixelSpacing": [0, 1]}, "not positive"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"NumberOfFrames": 5}, "multi-frame"),
        ({"Rows": 0}, "rows and columns"),
        ({"PixelData": b"\0\0"}, "could not be decoded"),
    ],
)
def test_unusable_images_are_refused(
    tmp_path: Path, elements: dict[str, object], reason: str
) -> None:
    path = write_slice(tmp_path / "a", 0.0, **elements)
    with pytest.raises(Permanent, match=reason):
        read_volume([path])


@pytest.mark.parametrize(
    ("places", "elements", "reason"),
    [
        ((0.0, 5.0, 15.0), {}, "not evenly spaced"),
        ((0.0, 5.0, 5.0), {}, "same position"),
        ((0.0, 5.0, 10.0), {"SeriesInstanceUID": generate_uid()}, "different series"),
        ((0.0, 5.0, 10.0), {"PixelSpacing": [2.0, 0.6]}, "differ in PixelSpacing"),
    ],
)
def test_uneven_stacks_are_refused(
    tmp_path: Path, places: tuple[float, ...], elements: dict[str, object], reason: str
) -> None:
    paths = [write_slice(tmp_path / str(i), x) for i, x in enumerate(places[:-1])]
    paths.append(write_slice(tmp_path / "last", places[-1], **elements))
    with pytest.raises(Permanent, match=reason):
        read_volume(paths)


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not dicom at all" * 20)
    with pytest.raises(Permanent, match="not readable DICOM"):
        read_volume([garbage])
    with pytest.raises(Transient, match="could not be read"):
        read_volume([tmp_path / "absent"])
    with pytest.raises(Permanent, match="no images"):
        read_volume([])


def test_errors_hold_no_value_from_the_file(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a", 0.0, PatientName="Secret^Person")
    dataset = pydicom.dcmread(path)
    del dataset.PixelSpacing
    dataset.save_as(path)
    with pytest.raises(Permanent) as caught:
        read_volume([path])
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("flip_rows", [False, True])
@pytest.mark.parametrize("flip_columns", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_every_sagittal_orientation_gives_the_same_volume(
    flip_rows: bool, flip_columns: bool, turned: bool
) -> None:
    shape, spacing = (3, 4, 5), np.asarray((4.0, 2.0, 0.5))
    canonical = np.arange(60, dtype=np.float32).reshape(shape)
    right, top, front = np.asarray((1.0, 0, 0)), np.asarray((0, 0, -1.0)), np.asarray((0, 1.0, 0))
    array, axes, origin = canonical, [right, top, front], np.zeros(3)
    for axis, flip in ((1, flip_rows), (2, flip_columns)):
        if flip:
            origin = origin + axes[axis] * spacing[axis] * (shape[axis] - 1)
            axes[axis], array = -axes[axis], np.flip(array, axis)
    gaps = (spacing[1], spacing[2])
    if turned:
        array, axes, gaps = array.transpose(0, 2, 1), [axes[0], axes[2], axes[1]], gaps[::-1]
    positions = [origin + axes[0] * spacing[0] * i for i in range(3)]
    orientation = np.concatenate([axes[2], axes[1]])
    volume = stack_slices(list(array)[::-1], positions[::-1], orientation, gaps, 4.0)
    assert np.array_equal(volume.array, canonical)
    assert volume.spacing == tuple(spacing)
    assert volume.origin == pytest.approx(np.zeros(3))
    point = volume.to_patient(np.asarray((1.0, 2.0, 3.0)))
    assert volume.to_voxels(point) == pytest.approx((1, 2, 3))
