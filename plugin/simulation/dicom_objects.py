"""Wrap simulated stacks as DICOM MR Image Storage objects (PS3.3 A.4), valid and plausible.

The instances come out of order, as from many a scanner: instance numbers and order are shuffled,
so that only the position says which slice is where.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from plugin.simulation.identity import SimulatedPatient, Site, UidSource
from plugin.simulation.phantom import PhantomSeries

_SOFTWARE = "radloop simulation"


@dataclass(frozen=True)
class Equipment:
    """The scanner as its images name it; the field strength in tesla."""

    manufacturer: str
    manufacturer_model_name: str
    magnetic_field_strength: float


@dataclass(frozen=True)
class StudyHeader:
    """What every instance of a study says of patient, order and scanner."""

    study_instance_uid: str
    accession_number: str
    started_at: dt.datetime
    description: str
    patient: SimulatedPatient
    site: Site
    equipment: Equipment
    derived: bool = False  # the pixels are renderings of real images, not drawn by a scanner


def mr_instances(
    header: StudyHeader,
    series: PhantomSeries,
    number: int,
    uids: UidSource,
    rng: np.random.Generator,
) -> list[Dataset]:
    """Return one instance for each slice, in shuffled order, ready to send or to write.

    Args:
        header: the study.
        series: pixels (slices, rows, columns), unsigned 16 bit, and their geometry in mm.
        number: Series Number; with the study it decides the Series Instance UID.
        uids: where the UIDs come from.
        rng: shuffles instance numbers and order.
    """
    shared = _series_attributes(header, series, number, uids)
    count = len(series.positions)
    instance_numbers = rng.permutation(count) + 1
    instances = [
        _instance(shared, series, index, int(instance_numbers[index]), uids)
        for index in range(count)
    ]
    return [instances[i] for i in rng.permutation(count)]


def _series_attributes(
    header: StudyHeader, series: PhantomSeries, number: int, uids: UidSource
) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _add_patient(dataset, header)
    _add_study(dataset, header)
    started = header.started_at + dt.timedelta(minutes=5 * number)
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = uids(f"{header.study_instance_uid}/{number}")
    dataset.SeriesNumber = number
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"{started:%Y%m%d}"
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = f"{started:%H%M%S}"
    dataset.SeriesDescription = series.description
    dataset.ProtocolName = series.description
    dataset.BodyPartExamined = "LSPINE"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = uids(f"{header.study_instance_uid}/frame of reference")
    dataset.PositionReferenceIndicator = ""
    _add_equipment(dataset, header)
    _add_acquisition(dataset, header, series)
    return dataset


def _add_patient(dataset: Dataset, header: StudyHeader) -> None:
    patient = header.patient
    dataset.PatientName = f"{patient.family_name}^{patient.given_name}"
    dataset.PatientID = patient.patient_id
    dataset.IssuerOfPatientID = patient.issuer_of_patient_id
    dataset.PatientBirthDate = f"{patient.birth_date:%Y%m%d}"
    dataset.PatientSex = patient.sex
    dataset.PatientAge = f"{patient.age(header.started_at.date()):03d}Y"
    dataset.PatientWeight = patient.weight


def _add_study(dataset: Dataset, header: StudyHeader) -> None:
    dataset.StudyInstanceUID = header.study_instance_uid
    dataset.StudyID = header.accession_number[-8:]
    dataset.StudyDate = f"{header.started_at:%Y%m%d}"
    dataset.StudyTime = f"{header.started_at:%H%M%S}"
    dataset.StudyDescription = header.description
    dataset.ReferringPhysicianName = ""
    dataset.AccessionNumber = header.accession_number
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = header.site.issuer_of_accession_number
    dataset.IssuerOfAccessionNumberSequence = [issuer]


def _add_equipment(dataset: Dataset, header: StudyHeader) -> None:
    dataset.Manufacturer = header.equipment.manufacturer
    dataset.ManufacturerModelName = header.equipment.manufacturer_model_name
    dataset.SoftwareVersions = _SOFTWARE
    dataset.InstitutionName = header.site.name
    dataset.StationName = header.site.calling_ae_title


def _add_acquisition(dataset: Dataset, header: StudyHeader, series: PhantomSeries) -> None:
    field = header.equipment.magnetic_field_strength
    rows, columns = series.pixels.shape[1:]
    origin = ["DERIVED", "SECONDARY"] if header.derived else ["ORIGINAL", "PRIMARY"]
    dataset.ImageType = [*origin, "OTHER"]
    dataset.AcquisitionNumber = 1
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.EchoTime = round(series.echo_time, 3)
    dataset.RepetitionTime = round(series.repetition_time, 3)
    dataset.EchoTrainLength = 1 if series.echo_time < 25 else 17
    dataset.FlipAngle = 90
    dataset.NumberOfAverages = 2
    dataset.ImagedNucleus = "1H"
    dataset.ImagingFrequency = round(42.577 * field, 4)  # Larmor frequency of protons, MHz
    dataset.MagneticFieldStrength = field
    dataset.InPlanePhaseEncodingDirection = "COL"
    dataset.AcquisitionMatrix = [0, columns, rows, 0]
    dataset.SliceThickness = round(series.slice_thickness, 4)
    dataset.SpacingBetweenSlices = round(series.spacing_between_slices, 4)
    dataset.PixelSpacing = [_decimal(each) for each in series.pixel_spacing]
    dataset.ImageOrientationPatient = [_decimal(each) for each in series.orientation]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0


def _instance(
    shared: Dataset, series: PhantomSeries, index: int, instance_number: int, uids: UidSource
) -> Dataset:
    dataset = Dataset()
    dataset.update(shared)
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = uids(f"{shared.SeriesInstanceUID}/{index}")
    dataset.InstanceNumber = instance_number
    position = np.asarray(series.positions[index])
    normal = np.cross(series.orientation[:3], series.orientation[3:])
    dataset.ImagePositionPatient = [_decimal(each) for each in position]
    dataset.SliceLocation = _decimal(float(normal @ position))
    pixels = np.ascontiguousarray(series.pixels[index], dtype="<u2")
    low, high = np.percentile(pixels, (1.0, 99.5))
    dataset.WindowCenter = round(float(low + high) / 2, 1)
    dataset.WindowWidth = max(round(float(high - low), 1), 1.0)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _decimal(value: float) -> str:
    """Write a number as a Decimal String: at most 16 characters (PS3.5 6.2)."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"
