import pytest
from pydantic import ValidationError
from pydicom.uid import UID_dictionary
from pynetdicom import AllStoragePresentationContexts
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES

from dicom_node.errors import InvalidSettings
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import (
    DEFLATED,
    NON_PATIENT_OBJECTS,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    negotiable,
)

ULTRASOUND_RETIRED = "1.2.840.10008.5.1.4.1.1.6"
HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"
PRIVATE = "1.2.840.113619.4.26"


def test_two_dictionaries_name_no_storage_class_that_is_missing() -> None:
    theirs = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    taken = negotiable(DicomSettings()).sop_classes
    assert theirs <= taken
    assert ULTRASOUND_RETIRED in taken
    left_out = {
        name
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and uid not in taken | NON_PATIENT_OBJECTS
    }
    assert left_out == {
        "Media Storage Directory Storage",
        "Storage Commitment Push Model SOP Class",
        "Storage Commitment Pull Model SOP Class",
    }


def test_every_encoding_is_taken_but_deflated_ones_only_on_request() -> None:
    standard = negotiable(DicomSettings()).transfer_syntaxes
    assert set(ALL_TRANSFER_SYNTAXES) - standard == DEFLATED
    assert standard | DEFLATED == set(TRANSFER_SYNTAXES)
    on_request = negotiable(DicomSettings(accept_deflated=True)).transfer_syntaxes
    assert on_request == set(TRANSFER_SYNTAXES)
    names = {UID_dictionary[uid][0] for uid in standard}
    for part in ("JPEG XL Lossless", "High-Throughput JPEG 2000", "HEVC/H.265", "Big Endian"):
        assert any(part in name for name in names)


def test_private_and_other_objects_enter_by_setting() -> None:
    settings = DicomSettings(
        private_sop_classes=(PRIVATE, HANGING_PROTOCOL),
        private_transfer_syntaxes=("1.2.840.113619.5.2",),
    )
    taken = negotiable(settings)
    assert taken.sop_classes - set(STORAGE_SOP_CLASSES) == {PRIVATE, HANGING_PROTOCOL}
    assert taken.transfer_syntaxes - set(TRANSFER_SYNTAXES) == {"1.2.840.113619.5.2"}


@pytest.mark.parametrize(
    ("setting", "uid"),
    [
        ("private_sop_classes", "1.2.840.10008.1.20.1"),  # Storage Commitment
        ("private_sop_classes", "1.2.840.10008.5.1.4.1.2.2.1"),  # Study Root FIND
        ("private_sop_classes", "1.2.840.10008.1.2.1"),  # a transfer syntax
        ("private_transfer_syntaxes", "1.2.840.10008.5.1.4.1.1.4"),  # MR Image Storage
        ("private_transfer_syntaxes", "1.2.840.10008.1.2.1.99"),  # has its own setting
        ("private_transfer_syntaxes", "1.2.840.10008.1.2.6.2"),  # XML
    ],
)
def test_what_the_standard_uses_for_something_else_is_refused(setting: str, uid: str) -> None:
    settings = DicomSettings.model_validate({setting: (uid,)})
    with pytest.raises(InvalidSettings, match=f"dicom.{setting}"):
        negotiable(settings)


@pytest.mark.parametrize("uid", ["", "1", "1.02.3", "1..2", "1.2.", "1." + "2" * 63, "1.2.x"])
def test_what_is_no_uid_is_refused(uid: str) -> None:
    with pytest.raises(ValidationError):
        DicomSettings.model_validate({"private_sop_classes": (uid,)})
