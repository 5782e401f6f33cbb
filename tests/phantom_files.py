"""Simulated series as DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from plugin.simulation import phantom


def write_series(folder: Path, series: phantom.PhantomSeries, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    series_uid = generate_uid()
    for number, index in enumerate(rng.permutation(len(series.positions)), start=1):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        image.SeriesInstanceUID = series_uid
        image.InstanceNumber = number
        image.Rows, image.Columns = series.pixels.shape[1:]
        image.SamplesPerPixel, image.PixelRepresentation = 1, 0
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelSpacing = list(series.pixel_spacing)
        image.SliceThickness = series.slice_thickness
        image.ImagePositionPatient = [round(v, 6) for v in series.positions[index]]
        image.ImageOrientationPatient = [round(v, 8) for v in series.orientation]
        image.PixelData = series.pixels[index].tobytes()
        image.save_as(folder / str(number), enforce_file_format=True)
