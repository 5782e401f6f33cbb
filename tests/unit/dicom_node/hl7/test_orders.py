"""Orders: from order numbers to accession and study."""

import pytest

from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier
from tests.hl7_messages import PID, message, obr, read

IPC = "IPC|A7^SITE|RP|1.2.7|SPS|CT"


@pytest.mark.parametrize("kind", ["ORM^O01", "OMI^O23^OMI_O23", "OMG^O19"])
def test_an_order(kind: str) -> None:
    orc = "ORC|NW|O1^RIS|F1^PACS||SC||||20260227"
    (order,) = read(message(kind, PID, orc, obr(accession="A1"), "ZDS|1.2.3^100^A^D")).orders
    assert order.patient.identifiers == (Identifier("P1", "HOSP"),)
    assert (order.placer.value, order.filler.value) == ("O1", "F1")
    assert order.accession == Identifier("A1")
    assert order.study_instance_uids == ("1.2.3",)
    assert (order.procedure, order.modality) == ("MR lumbar spine", "MR")
    assert (order.cancelled, order.ordered_at) == (False, "20260227")


def test_ipc_ranks_before_obr_18_and_each_is_an_order() -> None:
    orders = read(
        message("OMI^O23", PID, "ORC|NW|O1", obr(), IPC, IPC.replace("7", "8"), IPC)
    ).orders
    assert [each.accession for each in orders] == [
        Identifier("A7", "SITE"),
        Identifier("A8", "SITE"),
        Identifier("A7", "SITE"),
    ]
    assert [each.study_instance_uids for each in orders] == [("1.2.7",), ("1.2.8",), ("1.2.7",)]
    assert orders[0].modality == "CT"
    assert orders[0].ordered_at == "20260301120000"


@pytest.mark.parametrize(
    ("orc", "cancelled"),
    [
        *((f"ORC|{code}|O1", True) for code in ("CA", "OC", "DC", "OD", "CR", "ca")),
        *((f"ORC|SC|O1|F1||{status}", True) for status in ("CA", "DC")),
        ("ORC|NW|O1", False),
        ("ORC|XO|O1|F1||CM", False),
    ],
)
def test_cancelled(orc: str, cancelled: bool) -> None:
    assert read(message("ORM^O01", PID, orc, obr())).orders[0].cancelled is cancelled


def test_an_order_without_obr_and_several_orders() -> None:
    first, second = read(message("ORM^O01", PID, "ORC|CA|O1|F1", "ORC|NW|O2", obr())).orders
    assert (first.placer.value, first.filler.value, first.accession.value) == ("O1", "F1", "F1")
    assert first.cancelled
    assert not second.cancelled
    steps = read(
        message("ORM^O01", PID, "ORC|NW|O1", obr(), "ORC|NW|O2", obr(2), "ZDS|1.2.3")
    ).orders
    assert [each.study_instance_uids for each in steps] == [("1.2.3",), ("1.2.3",)]


@pytest.mark.parametrize("segments", [(), (PID,), (obr(),), ("ORC|NW|O1",)])
def test_orders_without_patient_or_order(segments: tuple[str, ...]) -> None:
    with pytest.raises(ContentFault) as caught:
        read(message("ORM^O01", *segments))
    assert caught.value.code == 100
