"""Storage commitment of a running node: asked by a modality and by Orthanc."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.storage_scu import send_instances
from plugin.demo.node import wait_until
from tests.builders import mr_image, uid, write_file
from tests.commitment_room import MR, Asker, asker, missing, report_to
from tests.nodes import TestNode, radloop, running_node
from tests.peers import running_orthanc

CT = "1.2.840.10008.5.1.4.1.1.2"


def rows(node: TestNode, query: str, *values: Any) -> list[tuple[Any, ...]]:
    path = node.data / "radloop.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


@pytest.fixture(scope="module")
def modality() -> Iterator[Asker]:
    with asker() as peer:
        yield peer


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, modality: Asker) -> Iterator[TestNode]:
    settings = f"""
[[dicom.peers]]
ae_title = "MODALITY"
commitment_host = "127.0.0.1"
commitment_port = {modality.port}
"""
    with running_node(tmp_path_factory.mktemp("node"), settings) as node:
        yield node


def address(node: TestNode) -> tuple[str, int]:
    return "127.0.0.1", node.ports.dicom


def send(node: TestNode, folder: Path, study: str, count: int) -> list[tuple[str, str]]:
    """Send images and return their classes and instances."""
    images = [mr_image(patient=study, study=study, instance=n) for n in range(count)]
    paths = [write_file(folder / f"{study}-{n}.dcm", each) for n, each in enumerate(images)]
    peer = PacsPeer(name="node", ae_title="RADLOOP", port=node.ports.dicom)
    assert all(each.delivered for each in send_instances(peer, "MODALITY", paths))
    return [(MR, str(each.SOPInstanceUID)) for each in images]


def report(modality: Asker, transaction: str, times: int = 1) -> Any:
    def came() -> list[Any]:
        return [each for each in modality.reports if each.transaction == transaction]

    wait_until(lambda: len(came()) >= times, 60, "the report")
    assert len(came()) == times
    return came()[-1]


def test_what_was_just_sent_is_committed(node: TestNode, modality: Asker, tmp_path: Path) -> None:
    sent = send(node, tmp_path, "whole", 5)
    assert modality.ask(address(node), "2.25.1", sent) == 0
    found = report(modality, "2.25.1")
    assert (found.event_type, found.calling, found.roles) == (1, "RADLOOP", (False, True))
    assert sorted(found.committed) == sorted(sent)
    assert found.failed == {}
    kept = rows(node, "SELECT sop_instance_uid, kept_until FROM committed_instance")
    assert {name for _, name in sent} <= {name for name, _ in kept}


def test_a_thousand_instances_with_missing_ones(
    node: TestNode, modality: Asker, tmp_path: Path
) -> None:
    sent = send(node, tmp_path, "many", 40)
    absent = [missing(n) for n in range(960)]
    mixed = [*absent[:500], *sent, *absent[500:]]
    assert modality.ask(address(node), "2.25.2", mixed) == 0
    found = report(modality, "2.25.2")
    assert found.event_type == 2
    assert sorted(found.committed) == sorted(sent)
    assert found.failed == dict.fromkeys(absent, 0x0112)
    left = "SELECT count(*) FROM commitment_reference"
    wait_until(lambda: rows(node, left) == [(0,)], 30, "the end of the references")


def test_another_class_is_a_conflict(node: TestNode, modality: Asker, tmp_path: Path) -> None:
    ((_, named),) = send(node, tmp_path, "conflict", 1)
    assert modality.ask(address(node), "2.25.3", [(CT, named)]) == 0
    found = report(modality, "2.25.3")
    assert (found.event_type, found.committed) == (2, ())
    assert found.failed == {(CT, named): 0x0119}


def test_a_file_that_changed_on_the_disk_is_not_committed(
    node: TestNode, modality: Asker, tmp_path: Path
) -> None:
    sent = send(node, tmp_path, "damaged", 2)
    query = "SELECT digest FROM instance WHERE sop_instance_uid = ?"
    wait_until(lambda: bool(rows(node, query, sent[1][1])), 60, "the index")
    ((digest,),) = rows(node, query, sent[1][1])
    stored = node.data / "archive" / digest[:2] / f"{digest}.dcm"
    wait_until(stored.exists, 60, "the file")
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    assert modality.ask(address(node), "2.25.4", sent) == 0
    found = report(modality, "2.25.4")
    assert found.committed == (sent[0],)
    assert found.failed == {sent[1]: 0x0110}


def test_what_lies_in_dispute_is_not_committed(
    node: TestNode, modality: Asker, tmp_path: Path
) -> None:
    sent = send(node, tmp_path, "dispute", 2)
    rival = mr_image(patient="dispute", study="dispute", instance=0)
    rival.PixelData = bytes(len(rival.PixelData))
    peer = PacsPeer(name="node", ae_title="RADLOOP", port=node.ports.dicom)
    path = write_file(tmp_path / "rival.dcm", rival)
    assert next(send_instances(peer, "MODALITY", [path])).delivered
    assert modality.ask(address(node), "2.25.5", sent) == 0
    assert report(modality, "2.25.5").failed == {sent[0]: 0x0110}


def test_the_same_transaction_is_answered_anew(
    node: TestNode, modality: Asker, tmp_path: Path
) -> None:
    absent = missing(5000)
    assert modality.ask(address(node), "2.25.6", [absent]) == 0
    assert report(modality, "2.25.6").failed == {absent: 0x0112}
    image = mr_image(patient="late", study="late")
    sent = send(node, tmp_path, "late", 1)
    assert modality.ask(address(node), "2.25.6", sent) == 0
    assert report(modality, "2.25.6", times=2).committed == tuple(sent)
    assert str(image.StudyInstanceUID) == uid("study", "late")
    query = "SELECT rounds, state FROM commitment_request WHERE transaction_uid = '2.25.6'"
    wait_until(lambda: rows(node, query) == [(1, "reported")], 30, "the row")


def test_a_report_that_nobody_asked_for_changes_nothing(node: TestNode) -> None:
    from tests.commitment_room import outcome

    before = rows(node, "SELECT count(*) FROM commitment_inquiry")
    data_set = outcome("2.25.999", [missing(1)], {})
    assert report_to(address(node), "PACS", 1, data_set) == 0
    folder = node.data / "commitments"
    wait_until(lambda: not list(folder.iterdir()), 30, "the file")
    assert rows(node, "SELECT count(*) FROM commitment_inquiry") == before


def test_a_peer_without_an_address_is_listed_and_can_be_tried_again(node: TestNode) -> None:
    stranger = Asker("STRANGER")
    assert stranger.ask(address(node), "2.25.7", [missing(7)]) == 0
    query = "SELECT id FROM commitment_request WHERE peer = 'STRANGER' AND state = 'undeliverable'"
    wait_until(lambda: bool(rows(node, query)), 60, "the end")
    ((number,),) = rows(node, query)
    said = radloop("status", "--config", str(node.config)).stdout
    assert "storage commitment failed" in said
    assert f"request {number}, STRANGER, undeliverable: no address for its reports" in said
    listed = radloop("commitment", "list", "--json", "--config", str(node.config)).stdout
    assert '"peer": "STRANGER"' in listed
    radloop("commitment", "retry", "request", str(number), "--config", str(node.config))
    query = "SELECT rounds, state FROM commitment_request WHERE peer = 'STRANGER'"
    wait_until(lambda: rows(node, query) == [(1, "undeliverable")], 60, "the second end")
    refused = radloop(
        "commitment", "retry", "inquiry", "12345", "--config", str(node.config), check=False
    )
    assert refused.returncode == 1
    assert "no inquiry 12345" in refused.stderr


def test_orthanc_asks_and_is_told_the_truth(tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc", "PACS") as orthanc:
        settings = f"""
[[pacs]]
name = "orthanc"
ae_title = "PACS"
port = {orthanc.port}
"""
        with running_node(tmp_path / "node", settings) as node:
            sent = send(node, tmp_path, "orthanc", 3)
            modality = {
                "AET": "RADLOOP",
                "Host": "127.0.0.1",
                "Port": node.ports.dicom,
                "AllowStorageCommitment": True,
            }
            orthanc.put("/modalities/radloop", modality)
            absent = missing(1)
            for named, status in ((sent, "Success"), ([*sent, absent], "Failure")):
                found = _of_orthanc(orthanc, named)
                assert found["Status"] == status
                assert len(found["Success"]) == len(sent)
            (failure,) = found["Failures"]
            assert failure["SOPInstanceUID"] == absent[1]
            assert failure["FailureReason"] == 0x0112


def _of_orthanc(orthanc: Any, named: list[tuple[str, str]]) -> dict[str, Any]:
    asked = [{"SOPClassUID": kind, "SOPInstanceUID": name} for kind, name in named]
    started = orthanc.post("/modalities/radloop/storage-commitment", {"DicomInstances": asked})
    deadline = time.monotonic() + 60
    while True:
        found: dict[str, Any] = orthanc.get(f"/storage-commitment/{started['ID']}")
        if found["Status"] != "Pending" or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
