"""Small valid DICOM objects for every test, and the bytes in which they travel."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    generate_uid,
)

from dicom_node.file_meta import EXPLICIT_VR_BIG_ENDIAN
from dicom_node.storage import ReceivedObject

COMPRESSED_SYNTAX = JPEG2000Lossless
MEMORY_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A disk in memory where there is one, for tests that store much and do not test durability."""

ROOT = "1.2.826.0.1.3680043.10.1337."


def uid(*parts: object) -> str:
    """Return a UID that depends on ``parts`` alone."""
    return str(generate_uid(prefix=ROOT, entropy_srcs=[str(part) for part in parts] or None))


def mr_image(
    patient: str = "P1",
    study: str = "S1",
    series: str = "1",
    instance: int = 1,
    *,
    rows: int = 8,
    **attributes: Any,
) -> Dataset:
    """Return an MR image; the same names give the same UIDs. ``attributes`` are keywords."""
    data_set = Dataset()
    data_set.SOPClassUID = MRImageStorage
    data_set.SOPInstanceUID = uid("instance", study, series, instance)
    data_set.StudyInstanceUID = uid("study", study)
    data_set.SeriesInstanceUID = uid("series", study, series)
    data_set.PatientID = patient
    data_set.PatientName = f"Test^{patient}"
    data_set.PatientBirthDate = "19700101"
    data_set.PatientSex = "F"
    data_set.AccessionNumber = f"A-{study}"[:16]
    data_set.StudyID = "1"
    data_set.StudyDate = "20260102"
    data_set.StudyTime = "101112"
    data_set.StudyDescription = "MR lumbar spine"
    data_set.Modality = "MR"
    data_set.SeriesNumber = 1
    data_set.SeriesDescription = "sag T2"
    data_set.BodyPartExamined = "LSPINE"
    data_set.Manufacturer = "Test"
    data_set.ManufacturerModelName = "Model"
    data_set.InstanceNumber = instance
    data_set.ImageType = ["ORIGINAL", "PRIMARY"]
    data_set.Rows = data_set.Columns = rows
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit = 15
    data_set.PixelRepresentation = 0
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    noise = np.random.default_rng(instance).integers(0, 4096, rows * rows, dtype=np.uint16)
    data_set.PixelData = noise.tobytes()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set


def compressed_image(**attributes: Any) -> Dataset:
    """Return an image whose pixel data are one (opaque) JPEG 2000 frame."""
    data_set = mr_image(**attributes)
    data_set.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(range(256)) + b"\xff\xd9"])
    data_set["PixelData"].is_undefined_length = True
    return data_set


def encode(data_set: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Return the data set's bytes in a transfer syntax, without file meta."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    write_dataset(buffer, data_set)
    return bytes(buffer.getvalue())


def received(
    data_set: Dataset,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    *,
    calling: str = "SCANNER",
    called: str = "RADLOOP",
    way: str = "",
) -> ReceivedObject:
    """Return the object as an association would deliver it."""
    return ReceivedObject(
        sop_class_uid=str(data_set.SOPClassUID),
        sop_instance_uid=str(data_set.SOPInstanceUID),
        transfer_syntax_uid=str(transfer_syntax_uid),
        calling_ae_title=calling,
        called_ae_title=called,
        way=way,
        data=encode(data_set, transfer_syntax_uid),
    )


def file_data_set(
    data_set: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian
) -> FileDataset:
    """Return the data set with file meta, ready to be saved or sent."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    return FileDataset(
        "",
        data_set,
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=transfer_syntax_uid == ImplicitVRLittleEndian,
        is_little_endian=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
    )


def write_file(
    path: Path, data_set: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian
) -> Path:
    """Write the data set as a DICOM file and return its path."""
    buffer = BytesIO()
    file_data_set(data_set, transfer_syntax_uid).save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path
