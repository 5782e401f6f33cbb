"""Two descriptions of one study: what contradicts, and what only deserves a look."""

from dataclasses import replace

import pytest

from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.comparing import Difference, compare_identity

OURS = StudyFound(
    "1.2.3",
    patient_id="P1",
    issuer_of_patient_id="HOSP",
    patient_name="Test^One",
    patient_birth_date="19700101",
    patient_sex="F",
    accession_number="A1",
)


@pytest.mark.parametrize(
    ("change", "attributes"),
    [
        ({}, ()),
        ({"patient_id": "P2"}, ("PatientID",)),
        ({"patient_id": ""}, ("PatientID",)),
        ({"issuer_of_patient_id": "ELSE"}, ("IssuerOfPatientID",)),
        ({"issuer_of_patient_id": ""}, ()),
        ({"patient_birth_date": "19710101"}, ("PatientBirthDate",)),
        ({"patient_sex": "M"}, ("PatientSex",)),
        ({"patient_birth_date": ""}, ()),
        ({"accession_number": "A2"}, ("AccessionNumber",)),
    ],
)
def test_contradictions_are_named_by_attribute(
    change: dict[str, str], attributes: tuple[str, ...]
) -> None:
    found = compare_identity(OURS, replace(OURS, **change), same_patient=False)
    assert found.attributes == attributes
    assert found.difference is (Difference.IDENTITY if attributes else Difference.NONE)


def test_a_merge_explains_the_patient_and_nothing_else() -> None:
    merged = replace(OURS, patient_id="P2", issuer_of_patient_id="ELSE")
    assert compare_identity(OURS, merged, same_patient=True).difference is Difference.NONE
    other = replace(merged, accession_number="A2")
    assert compare_identity(OURS, other, same_patient=True).attributes == ("AccessionNumber",)


def test_another_name_is_a_hint() -> None:
    renamed = replace(OURS, patient_name="Other^One")
    found = compare_identity(OURS, renamed, same_patient=False)
    assert found.difference is Difference.NONE
    assert found.hint
    assert "Other" not in found.hint
    same = replace(OURS, patient_name="TEST^ONE ")
    assert not compare_identity(OURS, same, same_patient=False).hint
