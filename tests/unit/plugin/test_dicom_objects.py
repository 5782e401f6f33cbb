import datetime as dt
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from plugin.simulation.dicom_objects import Equipment, StudyHeader, mr_instances
from plugin.simulation.identity import SITES, draw_patient, seeded_uids
from plugin.simulation.phantom import PhantomSeries

UIDS = seeded_uids(1)


def stack(slices: int = 5) -> PhantomSeries:
    rng = np.random.default_rng(2)
    return PhantomSeries(
        pixels=rng.integers(0, 4000, (slices, 12, 10)).astype(np.uint16),
        positions=[(4.4 * i - 9.0, -80.0, 120.0) for i in range(slices)],
        orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        pixel_spacing=(1.09, 0.95),
        slice_thickness=4.0,
        spacing_between_slices=4.4,
        description="SAG T2 TSE",
        echo_time=102.0,
        repetition_time=3600.0,
    )


def header(*, derived: bool = False) -> StudyHeader:
    return StudyHeader(
        study_instance_uid=UIDS("study"),
        accession_number="2600001",
        started_at=dt.datetime(2026, 3, 2, 8, 30),
        description="SIMULATED lumbar spine MR (phantom)",
        patient=draw_patient(np.random.default_rng(3), "400001", "SIMNORTH"),
        site=SITES[0],
        equipment=Equipment("Simulated Vendor A", "Phantom 1.5T", 1.5),
        derived=derived,
    )


def instances(**kwargs: bool) -> list[Dataset]:
    return mr_instances(header(**kwargs), stack(), 2, UIDS, np.random.default_rng(4))


def written(dataset: Dataset) -> BytesIO:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    buffer.seek(0)
    return buffer


def test_slices_come_out_of_order_and_position_restores_them() -> None:
    read = [pydicom.dcmread(written(each)) for each in instances()]
    numbers = [int(each.InstanceNumber) for each in read]
    assert sorted(numbers) == [1, 2, 3, 4, 5]
    assert numbers != sorted(numbers)
    by_position = sorted(read, key=lambda each: each.ImagePositionPatient[0])
    assert np.array_equal([each.pixel_array for each in by_position], stack().pixels)
    assert [int(each.InstanceNumber) for each in by_position] != [1, 2, 3, 4, 5]


def test_identity_is_declared_with_its_issuers() -> None:
    dataset = instances()[0]
    assert dataset.PatientID == "400001"
    assert dataset.IssuerOfPatientID == "SIMNORTH"
    assert dataset.AccessionNumber == "2600001"
    issuer = dataset.IssuerOfAccessionNumberSequence[0]
    assert issuer.LocalNamespaceEntityID == "SIMNORTHRIS"
    assert "SIMULATED" in dataset.StudyDescription
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert "PatientIdentityRemoved" not in dataset


def test_uids_depend_on_the_seed_alone() -> None:
    once, again = instances(), instances()
    assert [each.SOPInstanceUID for each in once] == [each.SOPInstanceUID for each in again]
    assert len({each.SOPInstanceUID for each in once}) == 5
    assert len({each.SeriesInstanceUID for each in once}) == 1
    assert seeded_uids(2)("study") != UIDS("study")
    assert pydicom.uid.UID(UIDS("study")).is_valid


def test_renderings_of_real_images_are_called_derived() -> None:
    assert instances()[0].ImageType[0] == "ORIGINAL"
    assert instances(derived=True)[0].ImageType[0] == "DERIVED"


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("derived", [False, True])
def test_dciodvfy_finds_no_error(tmp_path: Path, derived: bool) -> None:
    path = tmp_path / "instance.dcm"
    path.write_bytes(written(instances(derived=derived)[0]).getvalue())
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    problems = [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert problems == []
    assert "MRImage" in said.stderr
