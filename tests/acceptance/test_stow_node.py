"""A whole node that takes objects by STOW-RS, and a disk that fills while they come."""

import os
import signal
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.dicomweb.senders import token_digest
from plugin.simulation.ports import free_ports
from tests.acceptance.full_disk import MEBIBYTE, CannotMount, mounted_tmpfs
from tests.acceptance.served_node import processes
from tests.builders import mr_image
from tests.dicomweb_room import (
    SENDER,
    TOKEN,
    body_of,
    part10,
    request_headers,
    running_room,
    web_client,
)
from tests.nodes import TestNode, radloop, running_node
from tests.peers import REQUIRE

_SETTINGS = """
[dicomweb]
port = {port}
[[dicomweb.senders]]
ae_title = "{sender}"
token_sha256 = "{digest}"
[[dicom.peers]]
ae_title = "{sender}"
issuer_of_patient_id = "WEB HOSPITAL"
"""


def test_a_node_takes_and_indexes_what_comes_by_the_web(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = _SETTINGS.format(port=port, sender=SENDER, digest=token_digest(TOKEN))
    with running_node(tmp_path / "node", settings) as node:
        assert node.status()["ports"]["dicomweb"] == port
        assert f"dicomweb {port}" in radloop("status", "--config", str(node.config)).stdout
        _store(port, 1)
        node.wait_for(lambda found: found.get("instances") == 3, "three instances")
        killed = _web_process(node)
        os.kill(killed, signal.SIGKILL)
        # What comes while it is away waits in the queue of its socket.
        _store(port, 2)
        assert _web_process(node) != killed
        found = node.wait_for(lambda found: found.get("instances") == 6, "six instances")
        assert found["studies"] == 2
        assert not found["quarantined"]
        assert not found["receiving_failure"]
        with closing(sqlite3.connect(node.data / "radloop.sqlite")) as database:
            issuers = database.execute("SELECT DISTINCT issuer_of_patient_id FROM study").fetchall()
        assert issuers == [("WEB HOSPITAL",)]


def _store(port: int, study: int) -> None:
    images = [mr_image(patient="W", study=f"web{study}", instance=number) for number in range(3)]
    sent = [dcmread(BytesIO(part10(image))) for image in images]
    assert len(web_client(port).store_instances(sent).ReferencedSOPSequence) == 3


def _web_process(node: TestNode) -> int:
    (found,) = [
        each.pid
        for each in processes()
        if each.parent == node.pid and "dicom_node.dicomweb.process" in each.command
    ]
    return found


def test_a_disk_that_fills_keeps_nothing_partial(tmp_path: Path) -> None:
    try:
        with mounted_tmpfs(tmp_path / "disk", "16m") as disk, running_room(disk / "data") as room:
            filler = disk / "filler"
            filler.write_bytes(bytes(8 * MEBIBYTE))
            kept, statuses = 0, set()
            for study in range(12):
                images = [
                    mr_image(study=f"F{study}", instance=number, rows=512) for number in range(4)
                ]
                answer = room.post(body_of([part10(image) for image in images]))
                statuses.add(answer.status)
                stored = answer.uids("00081199")
                assert len(stored) + len(answer.reasons()) == 4
                assert set(answer.reasons()) <= {0xA700}
                kept += len(stored)
                assert not room.temporary()
                assert len(room.spooled()) == kept
            assert statuses <= {200, 202, 507}
            assert {200, 507} <= statuses
            process = room.receiver.process_id
            filler.unlink()
            assert room.post(body_of([part10(mr_image(study="after"))])).status == 200
            assert room.receiver.process_id == process
    except CannotMount as error:
        if os.environ.get(REQUIRE) == "1" and os.geteuid() == 0:
            raise
        pytest.skip(f"a tmpfs cannot be mounted: {error}")


def test_the_command_makes_a_token_that_lets_its_sender_in(tmp_path: Path) -> None:
    printed = radloop("token", "new", "--aet", "WEB1").stdout
    token = printed.splitlines()[0].rpartition(" ")[2]
    digest = printed.rpartition('token_sha256 = "')[2].strip().rstrip('"')
    assert 'ae_title = "WEB1"' in printed
    assert digest == token_digest(token)
    sender = {"ae_title": "WEB1", "token_sha256": digest}
    with running_room(tmp_path, senders=[sender]) as room:
        body = body_of([part10(mr_image())])
        assert room.post(body, Authorization=f"Bearer {token}").status == 200
        assert room.post(body, Authorization=request_headers()["Authorization"]).status == 401
