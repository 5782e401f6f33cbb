"""What each frame of an enhanced multi-frame image says of itself (PS3.3 C.7.6.16).

An attribute stands in the groups that all frames share or in those of single frames; here a frame
has both, flat, under the names that a single-frame image has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from pydicom.dataset import Dataset

from dicom_node.headers import Elements, Unreadable, as_elements, read_part

MOST_FRAMES = 8192
"""Frames of one object whose attributes are told; their text fits one answer."""

SHARED, PER_FRAME = 0x52009229, 0x52009230

# What converted single-frame images keep, as they had it (PS3.3 C.7.6.16.2.25 and .26).
_CONVERTED = (
    "BodyPartExamined",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "FlipAngle",
    "ContrastBolusAgent",
    "AcquisitionDate",
    "AcquisitionTime",
)

MACROS: dict[str, tuple[str, ...]] = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "FrameContentSequence": ("StackID", "InStackPositionNumber", "TemporalPositionIndex"),
    "FrameAnatomySequence": ("FrameLaterality", "AnatomicRegionSequence"),
    "MRImageFrameTypeSequence": ("FrameType", "AcquisitionContrast", "ComplexImageComponent"),
    "CTImageFrameTypeSequence": ("FrameType",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "FlipAngle"),
    "MRModifierSequence": ("InversionRecovery", "InversionTimes"),
    "MRDiffusionSequence": ("DiffusionBValue",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
    "UnassignedSharedConvertedAttributesSequence": _CONVERTED,
    "UnassignedPerFrameConvertedAttributesSequence": _CONVERTED,
}
"""Functional group macros (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3) and what is taken from them."""
KEYWORDS = tuple(dict.fromkeys(keyword for some in MACROS.values() for keyword in some))


def frame_attributes(data_set: Dataset) -> Iterator[Dataset]:
    """Yield the attributes of each frame, in their order; none where there are no groups.

    Args:
        data_set: with Shared and Per-frame Functional Groups Sequence, where the image has them.
    """
    shared = Dataset()
    for item in data_set.get("SharedFunctionalGroupsSequence") or ():
        shared.update(_flat(item))
    for item in data_set.get("PerFrameFunctionalGroupsSequence") or ():
        frame = Dataset()
        frame.update(shared)
        frame.update(_flat(item))
        yield frame


def frames_of(file: BinaryIO) -> list[Elements]:
    """Return the attributes of each frame of an open file as text; none where it has no groups.

    Raises:
        Unreadable: the file cannot be parsed, or has too many frames.
        OSError: the disk cannot be read.
    """

    def told(data_set: Dataset) -> list[Elements]:
        if len(data_set.get("PerFrameFunctionalGroupsSequence") or ()) > MOST_FRAMES:
            raise Unreadable(f"the object has more than {MOST_FRAMES} frames")
        return [as_elements(frame, KEYWORDS) for frame in frame_attributes(data_set)]

    return read_part(file, (SHARED, PER_FRAME), told)


def _flat(groups: Dataset) -> Dataset:
    flat = Dataset()
    for macro, keywords in MACROS.items():
        for item in groups.get(macro) or ():
            for keyword in keywords:
                if keyword in item:
                    flat.add(item[keyword])
    return flat
