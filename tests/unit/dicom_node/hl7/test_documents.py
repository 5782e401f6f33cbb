"""MDM: what becomes of a document."""

import pytest

from dicom_node.hl7.parsed import DocumentAction, ParsedReport, Role
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier
from tests.hl7_messages import PID, message, obr, obx, read, txa

TEXT = obx("FINDINGS: disc")


def document(event: str, *segments: str, **values: object) -> ParsedReport:
    (found,) = read(message(f"MDM^{event}", "EVN|x", PID, *segments), **values).reports
    return found


def test_a_document_in_full() -> None:
    found = document(
        "T02",
        txa(t9="7^Doe^Jane", t14="O1", t22="7^Doe^^^^^^^^^^^^^20260301113000~8^^^^^^^^^^^^^^2026"),
        TEXT,
        issuer_of_accession_number="SITE",
        issuer_of_order_numbers="ORDERS",
    )
    assert (found.number, found.parent_number, found.action) == ("D1", "", DocumentAction.ADD)
    assert found.accessions == (Identifier("A1", "SITE", issuer_assumed=True),)
    assert found.placer == Identifier("O1", "ORDERS", issuer_assumed=True)
    assert (found.result_status, found.interpreter) == ("F", "7")
    assert found.status_changed_at == "20260301113000"
    assert found.procedure == "Consultation"
    assert [(each.text, each.role) for each in found.parts] == [("FINDINGS: disc", Role.TEXT)]


def test_the_order_beside_it_says_more_than_txa() -> None:
    found = document("T02", "ORC|RE|O9|F9", obr(accession="A9"), txa(), TEXT, "ZDS|1.2.3")
    assert [each.value for each in found.accessions] == ["A9"]
    assert (found.filler.value, found.study_instance_uids) == ("A1", ("1.2.3",))
    assert found.procedure == "MR lumbar spine"
    assert found.status_changed_at == "20260301110000"


@pytest.mark.parametrize(
    ("event", "changes", "action", "status"),
    [
        ("T02", {}, "ADD", "F"),
        ("T04", {"t17": "LA"}, "ADD", "F"),
        ("T06", {"t13": "D0"}, "ADDENDUM", "F"),
        ("T08", {}, "EDIT", "C"),
        ("T08", {"t17": "IP"}, "EDIT", "P"),
        ("T10", {"t13": "D0"}, "REPLACE", "C"),
        ("T11", {"t17": ""}, "CANCEL", "X"),
        ("T02", {"t19": "CA"}, "CANCEL", "X"),
        ("T08", {"t19": "OB"}, "CANCEL", "X"),
        ("T03", {}, "STATUS", "F"),
        *(("T02", {"t17": code}, "ADD", "P") for code in ("DI", "DO", "IN", "IP", "PA", "pa")),
        ("T02", {"t17": "Signed"}, "ADD", "F"),
    ],
)
def test_actions(event: str, changes: dict[str, str], action: str, status: str) -> None:
    found = document(event, txa(**changes), TEXT, result_statuses={"signed": "F"})
    assert (found.action.name, found.result_status) == (action, status)
    addendum = action == "ADDENDUM"
    assert found.parts[0].role is (Role.ADDENDUM if addendum else Role.TEXT)
    assert found.parent_number == ("D0" if "t13" in changes else "")


def test_a_status_alone_completes_the_text_sent_before() -> None:
    assert [each.status for each in document("T03", txa()).parts] == ["U"]
    assert document("T03", txa(t17="PA")).parts == ()


def test_older_systems_keep_the_number_in_component_3() -> None:
    assert document("T02", txa(t12="^^D7"), TEXT).number == "D7"


@pytest.mark.parametrize(
    ("event", "segments", "expected"),
    [
        ("T02", (), ("TXA", 0, 100)),
        ("T02", (txa(), txa()), ("TXA", 0, 100)),
        ("T02", (txa(t12=""), TEXT), ("TXA", 12, 101)),
        ("T02", (txa(t17=""), TEXT), ("TXA", 17, 101)),
        ("T02", (txa(t17="??"), TEXT), ("TXA", 17, 103)),
        ("T06", (txa(), TEXT), ("TXA", 13, 101)),
        ("T10", (txa(), TEXT), ("TXA", 13, 101)),
        ("T05", (txa(t13="D0"),), ("TXA", 0, 200)),
        ("T07", (txa(),), ("TXA", 0, 200)),
        ("T09", (txa(t13="D0"),), ("TXA", 0, 200)),
    ],
)
def test_what_is_refused(
    event: str, segments: tuple[str, ...], expected: tuple[str, int, int]
) -> None:
    with pytest.raises(ContentFault) as caught:
        document(event, *segments)
    assert (caught.value.segment, caught.value.field, caught.value.code) == expected
    with pytest.raises(ContentFault):
        read(message(f"MDM^{event}", txa(), TEXT))


def test_a_first_notification_without_text_is_ignored() -> None:
    assert read(message("MDM^T01", PID, txa())).ignored == "MDM^T01 is not used"
