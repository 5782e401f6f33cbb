"""A profile says where patient identifiers stand and what of them counts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.reader import read_message
from dicom_node.linking.identifiers import Identifier

MESSAGE = (
    "MSH|^~\\&|RIS|NORTH|||20260301120000||{kind}|M1|P|2.5.1\r"
    "PID|1|OLD7|{pid3}||DOE^JANE||19500101|F\r"
)
RESULT = "OBR|1||A1|CT^CT HEAD|||20260301||||||||||||||||||F\rOBX|1|TX|1||Text.||||||F\r"


def identifiers(pid3: str, **profile: object) -> tuple[Identifier, ...]:
    content = (MESSAGE.format(kind="ORU^R01", pid3=pid3) + RESULT).encode()
    found = FeedProfile(sender="RIS|NORTH", **profile)  # type: ignore[arg-type]
    return read_message(content, lambda _: found).reports[0].patient.identifiers


def test_zeros_in_front_can_be_left_out() -> None:
    assert identifiers("000123^^^H", patient_id_pattern="^0*(.+)$") == (Identifier("123", "H"),)


def test_what_the_pattern_does_not_find_is_no_identifier() -> None:
    found = identifiers("123^^^H~TEMP-9^^^H", patient_id_pattern=r"^\d+$")
    assert found == (Identifier("123", "H"),)


def test_a_merge_is_cut_like_the_patient() -> None:
    content = MESSAGE.format(kind="ADT^A40", pid3="00123^^^H") + "MRG|00777^^^H\r"
    found = FeedProfile(sender="RIS|NORTH", patient_id_pattern="^0*(.+)$")
    (event,) = read_message(content.encode(), lambda _: found).patient_events
    assert (event.prior, event.survivor) == (Identifier("777", "H"), Identifier("123", "H"))


def test_another_field_counts_where_the_first_is_empty() -> None:
    fields = ("PID-3", "PID-2")
    assert identifiers("5^^^H", patient_id_fields=fields) == (Identifier("5", "H"),)
    found = identifiers("", patient_id_fields=fields, issuer_of_patient_id="H")
    assert found == (Identifier("OLD7", "H", issuer_assumed=True),)


@pytest.mark.parametrize("path", ["PV1-19", "PID-3.1", "OBR-3", "PID-0", ""])
def test_identifiers_stand_in_whole_fields_of_pid(path: str) -> None:
    with pytest.raises(ValidationError):
        FeedProfile(sender="RIS|NORTH", patient_id_fields=(path,))
