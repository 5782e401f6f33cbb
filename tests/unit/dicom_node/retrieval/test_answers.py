"""Answers of archives become plain values, or nothing."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from dicom_node.errors import Permanent
from dicom_node.retrieval.answers import (
    Unreadable,
    exact_key,
    names_other,
    series_of,
    study_of,
    uids_of,
)


def raw(*elements: tuple[int, bytes]) -> Dataset:
    """Return a data set as it is decoded from bytes in Implicit VR Little Endian."""
    content = b"".join(
        (tag >> 16).to_bytes(2, "little")
        + (tag & 0xFFFF).to_bytes(2, "little")
        + len(value).to_bytes(4, "little")
        + value
        for tag, value in elements
    )
    return read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True)


def test_a_study_is_read_with_its_issuers() -> None:
    answer = Dataset()
    answer.StudyInstanceUID = "1.2.3"
    answer.PatientID, answer.IssuerOfPatientID = "P1", "HOSP"
    answer.PatientName = "Test^P1"
    answer.ModalitiesInStudy = ["CT", "SR"]
    answer.NumberOfStudyRelatedInstances = 7
    issuer = Dataset()
    issuer.UniversalEntityID = "1.2.9"
    answer.IssuerOfAccessionNumberSequence = [issuer]
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = buffer.is_little_endian = True
    write_dataset(buffer, answer)
    decoded = read_dataset(BytesIO(buffer.getvalue()), True, True)
    found = study_of(decoded)
    assert (found.patient_id, found.issuer_of_patient_id) == ("P1", "HOSP")
    assert found.patient_name == "Test^P1"
    assert found.modalities == ("CT", "SR")
    assert found.instances == 7
    assert found.issuer_of_accession_number == "1.2.9"


@pytest.mark.parametrize("value", [b"no uid", b"", b"1.2.\xff", b"1..2", b"1" * 70, b"../../x"])
def test_an_answer_without_a_study_is_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable):
        study_of(raw((0x0020000D, value)))


@pytest.mark.parametrize("value", [b"a lot", b"-3", b"99999999999999", b"\xff"])
def test_a_number_that_is_none_is_not_told(value: bytes) -> None:
    answer = raw((0x0020000D, b"1.2.3\0"), (0x00201208, value))
    try:
        assert study_of(answer).instances is None
    except Unreadable:
        assert value in (b"a lot", b"\xff")


def test_long_texts_are_cut() -> None:
    assert len(series_of(raw((0x00080060, b"M" * 5000), (0x0020000E, b"1.2"))).modality) == 256


def test_another_study_is_noticed_and_silence_is_none() -> None:
    assert names_other(raw((0x0020000D, b"1.2")), "StudyInstanceUID", "1.3")
    assert not names_other(raw((0x0020000D, b"1.2")), "StudyInstanceUID", "1.2")
    assert not names_other(raw(), "StudyInstanceUID", "1.3")


def test_lists_of_uids_hold_uids_alone() -> None:
    answer = raw((0x00080058, b"1.2\\x\\1.3\\1.4"))
    assert uids_of(answer, "FailedSOPInstanceUIDList", 3) == ("1.2", "1.3")
    assert uids_of(None, "FailedSOPInstanceUIDList", 3) == ()


@pytest.mark.parametrize("value", ["", "  ", "A*", "A?", "A\\B", "A\tB", "A" * 65])
def test_what_would_match_others_is_no_key(value: str) -> None:
    with pytest.raises(Permanent):
        exact_key(value)


def test_padding_is_no_part_of_a_key() -> None:
    assert exact_key(" A 1 ") == "A 1"
