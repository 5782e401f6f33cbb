"""A report that comes as a document and as a message, and what documents leave alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.completion import contents
from dicom_node.documents.models import DicomDocument
from dicom_node.hl7.building import ReportContent, build_oru
from dicom_node.linking.identifiers import Identifier
from dicom_node.messages import receive
from dicom_node.models import Instance, Link
from dicom_node.studies import studies_with_images
from plugin.context import Context
from plugin.stages.document_decisions import list_documents
from tests import document_builders as build
from tests.document_room import S1, SETTINGS, Store, document_room, image, rows

TEXT = "Disc herniation at L4/L5. No spinal canal stenosis."
RIS = """
[[hl7.feeds]]
sender = "RIS|HOSP"
"""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with document_room(tmp_path, SETTINGS + RIS) as context:
        yield context


@pytest.fixture
def store(context: Context) -> Store:
    return Store(context)


def send(context: Context, text: str, status: str = "F", accession: str = "A-S1") -> None:
    report = ReportContent(
        identifiers=[Identifier("P1", "HOSP")],
        number="R1",
        text=text,
        status=status,
        study_instance_uids=(S1,),
        accessions=[Identifier(accession, "")],
        observed_at="20260103",
        changed_at="20260103120000",
    )
    content = build_oru(
        report, sender="RIS|HOSP", control_id=status + text[:8], message_time="20260103120000"
    )
    receive(
        context.database,
        content,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def states(context: Context) -> dict[str, str]:
    """Return the states of the links, by where the reports came from."""
    with context.database.read() as session:
        listed = list_documents(session, "report")["documents"]
    assert len(listed) == 1
    by_rule = {each.rule: each.state for each in rows(context, Link) if each.state != "withdrawn"}
    return by_rule | {"listed": listed[0]["state"]}


@pytest.mark.parametrize("first", ["message", "document"])
def test_the_same_report_by_both_ways_is_linked_once(
    context: Context, store: Store, first: str
) -> None:
    store(image())
    if first == "message":
        send(context, f"Findings:\n{TEXT}")
        store(build.text_report(TEXT))
    else:
        store(build.text_report(TEXT))
        assert states(context) == {"study instance uid": "confirmed", "listed": "filed"}
        send(context, f"Findings:\n{TEXT}")
    both = {
        "study instance uid": "confirmed",
        "copy of a message": "refused",
        "listed": "copy",
    }
    assert states(context) == both
    # Where the message is corrected, they are two reports, and a person must look.
    send(context, "Findings:\nNothing.", status="C")
    assert states(context) == {"study instance uid": "confirmed", "listed": "filed"}
    assert len([each for each in rows(context, Link) if each.state == "confirmed"]) == 2


@pytest.mark.parametrize(
    ("text", "status", "accession"),
    [("Another text.", "F", "A-S1"), (TEXT, "P", "A-S1"), (TEXT, "F", "A99")],
)
def test_what_differs_is_no_copy(
    context: Context, store: Store, text: str, status: str, accession: str
) -> None:
    store(image(), build.text_report(TEXT))
    send(context, text, status, accession)
    assert "copy of a message" not in states(context)


def test_a_document_delays_nothing_and_starts_nothing(context: Context, store: Store) -> None:
    store(image())
    with context.database.read() as session:
        (before,) = contents(session, [S1])
    (arrived,) = [each.received_at for each in rows(context, Instance)]
    store(
        build.document("dose", sop_class=build.DOSE),
        build.text_report(TEXT),
        build.rejection_note([image(2)]),
    )
    assert len(rows(context, DicomDocument)) == 3
    later = arrived + dt.timedelta(microseconds=1)
    with context.database.read() as session:
        (after,) = contents(session, [S1])
        assert after == before
        assert after.last_received_at == arrived
        assert studies_with_images(session, since=arrived) == [S1]
        assert studies_with_images(session, since=later) == []
    store(image(3))
    with context.database.read() as session:
        assert studies_with_images(session, since=later) == [S1]
