"""Whose study it is: the identity that a report copies from the stored images it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.errors import NeedsReview, Permanent

MUST_AGREE = (
    "StudyInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
)
"""Attributes of which two different values mean two patients or two studies."""

REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 1 and 2 attributes of Patient and General Study (PS3.3 C.7.1.1, C.7.2.1)."""

COPIED = (
    *REQUIRED,
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "PatientAge",
    "TimezoneOffsetFromUTC",
)

EVIDENCE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", *COPIED)
"""What a report needs to know of each image that it is about."""


def common_identity(evidence: Sequence[Dataset]) -> Dataset:
    """Return patient and study of the images, value by value as they are stored.

    Each attribute comes from the first image that has a value; required ones that none has are
    empty. Texts are decoded, so that they survive another Specific Character Set.

    Raises:
        Permanent: there is no evidence, or an image lacks its UIDs.
        NeedsReview: the images name two patients, studies or accession numbers.
    """
    if not evidence:
        raise Permanent("a report needs the images that were analysed")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not all(image.get(keyword) for image in evidence):
            raise Permanent(f"an analysed image has no {keyword}")
    for keyword in MUST_AGREE:
        values = {str(image.get(keyword) or "").strip() for image in evidence} - {""}
        if len(values) > 1:
            raise NeedsReview(f"the analysed images differ in {keyword}")
    identity = Dataset()
    for keyword in COPIED:
        source = next((image for image in evidence if image.get(keyword)), None)
        if source is not None:
            identity.add(_decoded(source[keyword]))
        elif keyword in REQUIRED:
            setattr(identity, keyword, "")
    return identity


def identity_conflicts(ours: Dataset, theirs: Dataset) -> tuple[str, ...]:
    """Return the attributes in which two data sets contradict each other.

    A value that one side does not give contradicts nothing, except the Study Instance UID and the
    Patient ID, without which nothing is known.
    """
    conflicts = []
    for keyword in MUST_AGREE:
        pair = [str(side.get(keyword) or "").strip() for side in (ours, theirs)]
        optional = keyword not in ("StudyInstanceUID", "PatientID")
        if pair[0] != pair[1] and not (optional and "" in pair):
            conflicts.append(keyword)
    return tuple(conflicts)


def _decoded(element: DataElement) -> DataElement:
    """Copy an element with its texts decoded and its value unjudged: it is stored that way."""
    if element.VR == "SQ":
        value: object = [_decoded_item(item) for item in element.value]
    elif element.VR == "PN":
        value = str(element.value)
    else:
        value = element.value
    return DataElement(element.tag, element.VR, value, validation_mode=config.IGNORE)


def _decoded_item(item: Iterable[DataElement]) -> Dataset:
    copy = Dataset()
    for element in item:
        copy.add(_decoded(element))
    return copy
