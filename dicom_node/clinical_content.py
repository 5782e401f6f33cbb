"""What objects without pixel data say: their content, apart from identity and bookkeeping.

The rule, by the modules of PS3.3: every top-level element counts, with all that is below it, except
those of the modules Patient (C.7.1), Clinical Trial, General Study and Patient Study (C.7.2),
General Series and the series modules of documents (C.7.3, C.17.1, C.17.6.1), Frame of Reference
and Synchronization (C.7.4), General Equipment (C.7.5), SOP Common and Digital Signatures (C.12),
and who authored or ordered a document (parts of C.17.2). What remains is the content tree with its
evidence and verification of a structured report, the encapsulated document, the waveform, the
presentation state, the structures, beams or registration.

Private elements do not count, because archives add their own on the way, except where an object
has nothing else to say: private SOP classes and Raw Data Storage.

Values are compared as decoded: character set, transfer syntax, padding and the way lengths are
written do not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import RawDataStorage

# Groups that hold nothing but identity and bookkeeping at the top level of a data set.
_GROUPS = frozenset(
    (
        0x0002,  # file meta information
        0x0010,  # patient, patient study
        0x0012,  # clinical trial
        0x0032,  # requested procedure
        0x0038,  # visit
        0xFFFA,  # digital signatures
        0xFFFC,  # padding
    )
)
# Groups that mix them with content: what of them is identity and bookkeeping.
_KEYWORDS = frozenset(
    [
        "AccessionNumber",
        "AcquisitionDate",
        "AcquisitionDateTime",
        "AcquisitionTime",
        "AvailablePrivateDataElements",
        "AdmittingDiagnosesCodeSequence",
        "AdmittingDiagnosesDescription",
        "CodingSchemeIdentificationSequence",
        "ConsultingPhysicianIdentificationSequence",
        "ConsultingPhysicianName",
        "ContentDate",
        "ContentTime",
        "ContrastBolusAgent",
        "DerivationDescription",
        "DeviceSerialNumber",
        "DeviceUID",
        "GantryID",
        "ImageType",
        "InstanceCoercionDateTime",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "InstanceCreatorUID",
        "InstanceOriginStatus",
        "InstitutionAddress",
        "InstitutionCodeSequence",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "InstitutionalDepartmentTypeCodeSequence",
        "IssuerOfAccessionNumberSequence",
        "LanguageCodeSequence",
        "Manufacturer",
        "ManufacturerDeviceClassUID",
        "ManufacturerModelName",
        "MappingResourceIdentificationSequence",
        "Modality",
        "NameOfPhysiciansReadingStudy",
        "OperatorIdentificationSequence",
        "OperatorsName",
        "PerformedProtocolCodeSequence",
        "PerformingPhysicianIdentificationSequence",
        "PerformingPhysicianName",
        "PhysiciansOfRecord",
        "PhysiciansOfRecordIdentificationSequence",
        "PhysiciansReadingStudyIdentificationSequence",
        "ProcedureCodeSequence",
        "PrivateDataElementCharacteristicsSequence",
        "QueryRetrieveLevel",
        "ReasonForPerformedProcedureCodeSequence",
        "ReferencedDefinedProtocolSequence",
        "ReferencedPatientSequence",
        "ReferencedPerformedProcedureStepSequence",
        "ReferencedPerformedProtocolSequence",
        "ReferencedStudySequence",
        "ReferringPhysicianIdentificationSequence",
        "ReferringPhysicianName",
        "RelatedGeneralSOPClassUID",
        "RequestingService",
        "RetrieveAETitle",
        "SOPAuthorizationComment",
        "SOPAuthorizationDateTime",
        "SOPClassUID",
        "SOPInstanceStatus",
        "SOPInstanceUID",
        "SeriesDate",
        "SeriesDescription",
        "SeriesDescriptionCodeSequence",
        "SeriesTime",
        "SpecificCharacterSet",
        "StationName",
        "StudyDate",
        "StudyDescription",
        "StudyTime",
        "TimezoneOffsetFromUTC",
        "OriginalSpecializedSOPClassUID",
        "UniqueDeviceIdentifier",
        "UDISequence",
        "BodyPartExamined",
        "ContributingEquipmentSequence",
        "DateOfLastCalibration",
        "DateOfManufacture",
        "DateOfInstallation",
        "ProtocolName",
        "SoftwareVersions",
        "SpatialResolution",
        "TimeOfLastCalibration",
        "CalibrationTime",
        "CalibrationDate",
        "AnatomicalRegionCodeSequence",
        "FrameOfReferenceUID",
        "InstanceNumber",
        "Laterality",
        "PositionReferenceIndicator",
        "SeriesInstanceUID",
        "SeriesNumber",
        "StudyID",
        "StudyInstanceUID",
        "SynchronizationFrameOfReferenceUID",
        "SynchronizationTrigger",
        "TriggerSourceOrType",
        "AcquisitionTimeSynchronized",
        "TimeSource",
        "TimeDistributionProtocol",
        "NTPSourceAddress",
        "AuthorObserverSequence",
        "CommentsOnThePerformedProcedureStep",
        "CustodialOrganizationSequence",
        "IssuerOfAdmissionIDSequence",
        "ParticipantSequence",
        "PerformedProcedureCodeSequence",
        "PerformedProcedureStepDescription",
        "PerformedProcedureStepEndDate",
        "PerformedProcedureStepEndTime",
        "PerformedProcedureStepID",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "ReferencedRequestSequence",
        "RequestAttributesSequence",
        "DigitalSignaturesSequence",
        "EncryptedAttributesSequence",
        "HL7StructuredDocumentReferenceSequence",
        "MACParametersSequence",
        "OriginalAttributesSequence",
        "ConversionSourceAttributesSequence",
    ]
)
_DECODED_TEXT = "SpecificCharacterSet"


def update_with_clinical_content(digest: hashlib._Hash, data_set: Dataset) -> None:
    """Feed the clinical content of an object without pixel data into a digest."""
    sop_class = data_set.get("SOPClassUID", "")
    speaks_privately = sop_class == RawDataStorage or getattr(sop_class, "is_private", False)
    chosen = (
        tag
        for tag in data_set.keys()  # noqa: SIM118 - a data set is no mapping of its own tags
        if (speaks_privately if tag.is_private else _is_content(tag, data_set))
    )
    _update(digest, data_set, sorted(chosen))


def update_with_elements(digest: hashlib._Hash, data_set: Dataset) -> None:
    """Feed every element of a data set into a digest."""
    _update(digest, data_set, sorted(data_set.keys()))


def _is_content(tag: BaseTag, data_set: Dataset) -> bool:
    if tag.group in _GROUPS or tag.element == 0:
        return False
    return data_set[tag].keyword not in _KEYWORDS


def _update(digest: hashlib._Hash, data_set: Dataset, tags: Iterable[BaseTag]) -> None:
    for tag in tags:
        element = data_set[tag]
        if tag.element == 0 or element.keyword == _DECODED_TEXT:
            continue
        if element.VR == "SQ":
            _piece(digest, f"{int(tag):08X} SQ {len(element.value)}".encode())
            for item in element.value:
                inner = [t for t in item.keys() if not t.is_private]  # noqa: SIM118
                _piece(digest, f"item {len(inner)}".encode())
                _update(digest, item, sorted(inner))
        else:
            values = _values(element, data_set)
            _piece(digest, f"{int(tag):08X} {len(values)}".encode())
            for value in values:
                _piece(digest, value)


def _values(element: DataElement, data_set: Dataset) -> list[bytes]:
    if element.VM == 0:
        return []
    if isinstance(element.value, bytes | bytearray):
        return [_little_endian(element, data_set)]
    many: Any = element.value if element.VM > 1 else [element.value]
    return [str(each).strip(" \0").encode("utf-8", "surrogatepass") for each in many]


_WORD_BYTES = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8, "US or SS or OW": 2, "US or OW": 2}


def _little_endian(element: DataElement, data_set: Dataset) -> bytes:
    value = bytes(element.value)
    width = _WORD_BYTES.get(str(element.VR), 1)
    if width == 1 or data_set.original_encoding[1] is not False:
        return value.rstrip(b"\0") if width == 1 else value
    swapped = bytearray(len(value))
    for offset in range(width):
        swapped[offset::width] = value[width - 1 - offset :: width]
    return bytes(swapped)


def _piece(digest: hashlib._Hash, piece: bytes) -> None:
    digest.update(len(piece).to_bytes(8, "little") + piece)
