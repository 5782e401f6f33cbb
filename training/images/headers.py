"""One image as its header tells: a single-frame object, or one frame of an enhanced one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from dicom_node.errors import Transient as NodeTransient
from dicom_node.headers import Elements
from dicom_node.inspection import GreyDecoder, Undecodable, Unreadable
from training.errors import Permanent, Transient

KEYWORDS = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "Modality",
    "ConversionType",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionContrast",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "PulseSequenceName",
    "EchoPulseSequence",
    "EchoPlanarPulseSequence",
    "SliceThickness",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "SpacingBetweenSlices",
    "ViewPosition",
    "ViewCodeSequence",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "DiffusionBValue",
    "PatientOrientation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Laterality",
    "ImageLaterality",
    "TemporalPositionIdentifier",
    "StackID",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "BurnedInAnnotation",
    "RescaleType",
)
"""What is read of an image; no element among them names a patient."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ImageHeader:
    """What one image says of itself.

    Attributes:
        path: its file.
        elements: keyword to values as text; those of the frame stand before those of the object.
        frame: of an image with functional groups, counted from 0; None: the object is one image.
    """

    path: Path
    elements: Elements
    frame: int | None = None

    def texts(self, *keywords: str) -> tuple[str, ...]:
        """Return the values of the first of these elements that has any, stripped."""
        for keyword in keywords:
            values = [str(each).strip() for each in self.elements.get(keyword, ())]
            if any(values):
                return tuple(values)
        return ()

    def text(self, *keywords: str) -> str:
        """Return the first value of the first of these elements that has any, or ""."""
        values = self.texts(*keywords)
        return values[0] if values else ""

    def terms(self, *keywords: str) -> tuple[str, ...]:
        """Return values as defined terms are compared: in capitals."""
        return tuple(each.upper() for each in self.texts(*keywords))

    def number(self, *keywords: str) -> float | None:
        """Return the first value as a finite number, or None where it is absent or none."""
        try:
            value = float(self.text(*keywords))
        except ValueError:
            return None
        return value if np.isfinite(value) else None

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Return ``count`` finite numbers, or None where the element is absent or empty.

        Raises:
            Permanent: the element holds anything else.
        """
        texts = self.texts(keyword)
        if not texts:
            return None
        try:
            numbers = [float(each) for each in texts]
        except ValueError as error:
            raise Permanent(f"{keyword} of an image is malformed") from error
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise Permanent(f"{keyword} of an image is malformed")
        return tuple(numbers)

    @property
    def image_type(self) -> tuple[str, ...]:
        """Values of Frame Type, else of Image Type (PS3.3 C.7.6.1.1.2, C.8.16.1)."""
        return self.terms("FrameType", "ImageType")

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Pixel Spacing: mm between rows, mm between columns.

        Raises:
            Permanent: it is malformed.
        """
        found = self.numbers("PixelSpacing", 2)
        return (found[0], found[1]) if found else None

    @property
    def echo_time(self) -> float | None:
        """Echo Time in ms."""
        return self.number("EffectiveEchoTime", "EchoTime")

    @property
    def inversion_time(self) -> float | None:
        """Inversion Time in ms."""
        return self.number("InversionTimes", "InversionTime")

    @property
    def laterality(self) -> str:
        """R, L, U, B or "" (PS3.3 C.7.6.1.1.1, C.10.5)."""
        found = self.terms("FrameLaterality", "ImageLaterality", "Laterality")
        return found[0] if found and found[0] in ("R", "L", "U", "B") else ""


def read_headers(path: Path, decoder: GreyDecoder) -> list[ImageHeader]:
    """Return the images of a file: one, or one a frame where frames describe themselves.

    Raises:
        Permanent: the file is not readable DICOM.
        Transient: it cannot be read from disk, or no process can be had to read it.
    """
    elements = from_node(lambda: decoder.elements(path, KEYWORDS))
    if not elements.get("NumberOfFrames"):
        return [ImageHeader(path, elements)]
    frames = from_node(lambda: decoder.frames(path))
    if not frames:
        return [ImageHeader(path, elements)]
    # A position that stands outside of the frames cannot be that of each.
    shared = {name: each for name, each in elements.items() if name != "ImagePositionPatient"}
    return [ImageHeader(path, {**shared, **each}, number) for number, each in enumerate(frames)]


def from_node(work: Callable[[], _Result]) -> _Result:
    """Run a call to the confined process; its errors become those of training.

    Raises:
        Permanent: the file or its pixels cannot be read; the message names no value of it.
        Transient: see ``read_headers``.
    """
    try:
        return work()
    except Unreadable as error:
        raise Permanent("an image file is not readable DICOM") from error
    except Undecodable as error:
        raise Permanent(f"the pixels of an image could not be decoded: {error}") from error
    except OSError as error:
        raise Transient("an image file could not be read") from error
    except NodeTransient as error:
        raise Transient(str(error)) from error
