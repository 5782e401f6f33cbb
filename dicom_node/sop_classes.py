"""What a sender may propose: the storage SOP classes and the encodings of the current standard.

The dictionary of pydicom (PS3.6 Annex A) says which there are; the few that it does not know yet
are listed here; importing pynetdicom adds some to it. Objects are kept as they came, so an encoding
needs no codec to be accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom._uid_dict import UID_dictionary

from dicom_node import file_meta
from dicom_node.errors import InvalidSettings
from dicom_node.settings import DicomSettings

VERIFICATION = "1.2.840.10008.1.1"

_NEWER_SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
}
_DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
_NEWER_TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    _DEFLATED_IMAGE_FRAME: "Deflated Image Frame Compression",
}

_OTHER_SERVICES = frozenset(
    (
        "1.2.840.10008.1.3.10",  # Media Storage Directory: media only (PS3.4 Annex I)
        "1.2.840.10008.1.20.1",  # Storage Commitment Push Model (PS3.4 Annex J)
        "1.2.840.10008.1.20.2",  # Storage Commitment Pull Model, retired
    )
)

NON_PATIENT_OBJECTS = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
    )
)
"""Objects of another service (PS3.4 Annex GG): of no patient and no study, so never of use here."""

DEFLATED = file_meta.DEFLATED | {_DEFLATED_IMAGE_FRAME}
"""Encodings of the data set or of its frames by zlib: a few bytes can become gigabytes."""

_NO_ENCODINGS_OF_A_MESSAGE = frozenset(
    (
        "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME encapsulation: of files in mail, retired
        "1.2.840.10008.1.2.6.2",  # XML Encoding, retired
        "1.2.840.10008.1.20",  # Papyrus 3: a file format, retired
    )
)


def _dictionary(kind: str) -> dict[str, str]:
    """Return UIDs of a type in the dictionary with their names."""
    return {
        str(uid): name for uid, (name, its_kind, *_) in UID_dictionary.items() if its_kind == kind
    }


STORAGE_SOP_CLASSES: Mapping[str, str] = dict(
    sorted(
        (uid, name)
        for uid, name in (_dictionary("SOP Class") | _NEWER_SOP_CLASSES).items()
        if "Storage" in name and uid not in _OTHER_SERVICES | NON_PATIENT_OBJECTS
    )
)
"""Names of the SOP classes of the Storage service (PS3.4 table B.5-1), retired ones included."""

TRANSFER_SYNTAXES: Mapping[str, str] = dict(
    sorted(
        (uid, name)
        for uid, name in (_dictionary("Transfer Syntax") | _NEWER_TRANSFER_SYNTAXES).items()
        if uid not in _NO_ENCODINGS_OF_A_MESSAGE
    )
)
"""Names of the transfer syntaxes that a data set may come in (PS3.5 Annex A)."""


@dataclass(frozen=True)
class Negotiable:
    """What an acceptor takes: any of its storage SOP classes in any of its transfer syntaxes.

    Verification (:data:`VERIFICATION`) is no storage SOP class and not among ``sop_classes``.
    """

    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]


def negotiable(settings: DicomSettings) -> Negotiable:
    """Return what the settings accept: the standard's, and what they name besides.

    Raises:
        InvalidSettings: a UID that they add stands in the dictionary for something else.
    """
    _check("private_sop_classes", settings.private_sop_classes, "SOP Class", _OTHER_SERVICES)
    _check(
        "private_transfer_syntaxes",
        settings.private_transfer_syntaxes,
        "Transfer Syntax",
        _NO_ENCODINGS_OF_A_MESSAGE | DEFLATED,
    )
    refused = frozenset() if settings.accept_deflated else DEFLATED
    return Negotiable(
        sop_classes=frozenset(STORAGE_SOP_CLASSES) | frozenset(settings.private_sop_classes),
        transfer_syntaxes=(
            frozenset(TRANSFER_SYNTAXES) - refused | frozenset(settings.private_transfer_syntaxes)
        ),
    )


def _check(setting: str, uids: tuple[str, ...], kind: str, excluded: frozenset[str]) -> None:
    for uid in uids:
        name, its_kind, *_ = UID_dictionary.get(uid, ("", kind))
        is_storage = kind != "SOP Class" or not name or "Storage" in name
        if its_kind != kind or uid in excluded or not is_storage:
            raise InvalidSettings(f"dicom.{setting}: {uid} is {name}, which cannot be stored")
