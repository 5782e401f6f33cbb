"""DICOM images for tests: small, generated, with every element at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"

SAGITTAL = [0, 1, 0, 0, 0, -1]
AXIAL = [1, 0, 0, 0, 1, 0]
CORONAL = [1, 0, 0, 0, 0, -1]
STUDY = "1.2.3.4"


def item(**elements: Any) -> Dataset:
    """Return a sequence item."""
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def image(pixels: np.ndarray, **elements: Any) -> FileDataset:
    """Return a grey image; an element that is None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    values: dict[str, Any] = {
        "SOPClassUID": MR,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": STUDY + ".1",
        "PatientID": "4711",
        "PatientName": "Secret^Person",
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"],
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    } | elements
    for keyword, value in values.items():
        if value is not None:
            setattr(found, keyword, value)
    if not found.get("HighBit", 0) < found.get("BitsStored", bits):
        found.HighBit = found.BitsStored - 1
    found.PixelData = pixels.tobytes()
    found["PixelData"].VR = "OB" if bits == 8 else "OW"
    meta.MediaStorageSOPClassUID = found.SOPClassUID
    meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    return found


def save(data_set: FileDataset, path: Path) -> Path:
    """Write an image as a file."""
    data_set.save_as(path, enforce_file_format=True)
    return path


def t2_slice(place: float, value: int = 0, **elements: Any) -> FileDataset:
    """Return a sagittal lumbar T2 slice of 4 rows, 6 columns, at x = ``place`` mm."""
    pixels = (np.arange(24, dtype=np.uint16) + value).reshape(4, 6)
    values: dict[str, Any] = {
        "BodyPartExamined": "LSPINE",
        "SeriesDescription": "sag one",
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "EchoTime": 100.0,
        "RepetitionTime": 3500.0,
        "PixelSpacing": [1.5, 0.5],
        "SliceThickness": 4.0,
        "ImageOrientationPatient": SAGITTAL,
        "ImagePositionPatient": [place, 10.0, 20.0],
    }
    return image(pixels, **(values | elements))


def radiograph(pixels: np.ndarray, **elements: Any) -> FileDataset:
    """Return a digital radiograph of the chest."""
    values: dict[str, Any] = {
        "SOPClassUID": DX,
        "Modality": "DX",
        "ImageType": ["DERIVED", "PRIMARY"],
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
    }
    return image(pixels, **(values | elements))
