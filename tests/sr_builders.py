"""Headers of a small MR study and findings about it, for tests of structured reports."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicom_node.sr.content import Algorithm, ConceptCode, DeviceObserver, Finding, FindingState

ANALYSED_AT = dt.datetime(2026, 11, 2, 9, 30, tzinfo=dt.UTC)
MRI = ConceptCode("25056-3", "LN", "MRI unspecified body region")
NARROWING = ConceptCode("NARROWING", "99RADLOOP", "Disc narrowing")
STENOSIS = ConceptCode("STENOSIS", "99RADLOOP", "Spinal canal stenosis")
DISCS = {
    "L3-L4": ConceptCode("243922006", "SCT", "Level of L3/L4 intervertebral disc"),
    "L4-L5": ConceptCode("243923001", "SCT", "Level of L4/L5 intervertebral disc"),
    "L5-S1": ConceptCode("243927000", "SCT", "Level of L5/S1 intervertebral disc"),
}
ALGORITHM = Algorithm(
    "disc-network",
    "3",
    "radloop",
    "2.25.1234567890",
    {"weights_digest": "ab" * 32, "cohort": "cd" * 32, "schema": "spine"},
)
DEVICE = DeviceObserver("2.25.987654321", "RADLOOP", "radloop", "radloop", "0.1.0", "Test Hospital")


def images(count: int = 3, study: str = "1.2.3.4", **values: Any) -> list[Dataset]:
    """Return ``count`` MR headers in two series of one study; ``values`` override attributes."""
    return [_image(number, study, values) for number in range(1, count + 1)]


def _image(number: int, study: str, values: dict[str, Any]) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = f"{study}.9.{number}"
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = f"{study}.{1 + number % 2}"
    image.SeriesNumber, image.InstanceNumber = 1 + number % 2, number
    image.PatientName, image.PatientID = "Müller^Zoë", "P0001"
    image.IssuerOfPatientID = "HOSPITAL"
    image.PatientBirthDate, image.PatientSex = "19700101", "F"
    image.StudyID, image.AccessionNumber = "S1", "A0001"
    image.StudyDate, image.StudyTime = "20261101", "101500"
    image.ReferringPhysicianName = "Ref^Doc"
    image.StudyDescription, image.Modality = "MR Lumbar spine", "MR"
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def findings() -> list[Finding]:
    """Return one finding of each state and one for the whole study."""
    return [
        Finding(NARROWING, DISCS["L4-L5"], "L4-L5", 0.912345678912, 0.43, FindingState.PRESENT),
        Finding(NARROWING, DISCS["L5-S1"], "L5-S1", 0.125, 0.43, FindingState.ABSENT),
        Finding(
            NARROWING,
            DISCS["L3-L4"],
            "L3-L4",
            None,
            0.43,
            FindingState.NOT_EVALUATED,
            "disc was not found",
        ),
        Finding(
            STENOSIS,
            DISCS["L4-L5"],
            "L4-L5",
            0.5,
            0.5,
            FindingState.UNDETERMINED,
            "near the threshold",
        ),
        Finding(STENOSIS, None, "whole", 0.0, 0.5, FindingState.ABSENT),
    ]
