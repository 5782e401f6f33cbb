"""A node as a user runs it: rubbish, and what its status says of it."""

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.mllp.client import send_messages
from dicom_node.mllp.framing import frame
from dicom_node.storage_scu import send_instances
from dicom_node.verification_scu import echo
from plugin.demo.node import wait_until
from tests.acceptance.served_node import processes
from tests.builders import mr_image, uid, write_file
from tests.hl7_builders import oru
from tests.nodes import TestNode, radloop, running_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestNode]:
    with running_node(tmp_path_factory.mktemp("node")) as node:
        yield node


def peer(node: TestNode) -> PacsPeer:
    return PacsPeer(name="node", ae_title="RADLOOP", port=node.ports.dicom)


def speak(port: int, data: bytes) -> bytes:
    """Send bytes, end our side, and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            return b""
    return answer


@pytest.mark.parametrize(
    "rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff", b"\x00" * 999]
)
def test_rubbish_on_the_dicom_port(node: TestNode, rubbish: bytes) -> None:
    speak(node.ports.dicom, rubbish)
    echo(peer(node), "TEST")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_object_whose_uids_are_paths_is_kept_apart(node: TestNode, tmp_path: Path) -> None:
    bad = write_file(tmp_path / "bad.dcm", mr_image(study="hostile"))
    content = bad.read_bytes()
    old = uid("instance", "hostile", "1", 1).encode()
    bad.write_bytes(content.replace(old, b"../../../x".ljust(len(old), b"y")))
    good = write_file(tmp_path / "good.dcm", mr_image(study="harmless"))
    refused, stored = send_instances(peer(node), "TEST", [bad, good])
    assert (refused.status, stored.status) == (0xA900, 0x0000)
    status = node.wait_for(lambda s: s["quarantined"] and s["instances"], "the index")
    assert any(row["kind"] == "dicom" for row in status["quarantined"])
    assert not list(node.data.parent.parent.rglob("x*yyy*"))


@pytest.mark.parametrize(
    "content",
    [
        b"this is not HL7",
        oru(control_id="", filler="F-none"),
        oru(control_id="M-l", charset="UNICODE UTF-8", lines=["Höhe"], encoding="latin-1"),
    ],
)
def test_content_faults_are_quarantined_and_answered(node: TestNode, content: bytes) -> None:
    before = node.status()["messages"]
    answer = speak(node.ports.hl7, frame(content))
    assert b"MSA|AA" in answer
    assert b"ERR|" in answer
    status = node.wait_for(lambda s: s["messages"] == before + 1, "the message")
    assert status["quarantined"][0]["kind"] == "hl7"
    assert status["quarantined"][0]["reason"]


def test_a_truncated_frame_gets_no_positive_answer(node: TestNode) -> None:
    answer = speak(node.ports.hl7, frame(oru(control_id="M-cut"))[:-40])
    assert b"MSA|AA" not in answer
    (after,) = send_messages("127.0.0.1", node.ports.hl7, [oru(control_id="M-cut")])
    assert after.code == "AA"


def test_the_page_shows_the_state_and_runs_nothing(node: TestNode) -> None:
    address = f"http://127.0.0.1:{node.ports.http}/"
    with urllib.request.urlopen(address, timeout=30) as answer:
        page = answer.read()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert b"Research use only" in page
    assert b"<script" not in page
    rebound = urllib.request.Request(address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        urllib.request.urlopen(rebound, timeout=30)
    refused.value.close()
    with pytest.raises(urllib.error.HTTPError, match="405") as refused:
        urllib.request.urlopen(address, data=b"", timeout=30)
    refused.value.close()


def test_the_command_says_what_the_tests_read(node: TestNode) -> None:
    before = node.status()
    said = radloop("status", "--json", "--config", str(node.config))
    # What other tests sent may be filed meanwhile.
    assert json.loads(said.stdout) in (before, node.status())


def test_a_signal_shows_where_every_thread_stands_and_ends_nothing(node: TestNode) -> None:
    ours = [each for each in processes() if os.getsid(each.pid) == node.pid]
    receivers = [each.pid for each in ours if "dicom_node.receiver" in each.command]
    before = len(node.log.read_text())
    for pid in (node.pid, *receivers):
        os.kill(pid, signal.SIGUSR1)

    def said() -> bool:
        told = node.log.read_text()[before:]
        return "app.py" in told and "reactor.py" in told and told.count("most recent call") > 5

    wait_until(said, 10, "the stacks")
    echo(peer(node), "TEST")
    assert node.status()["running"]


def test_a_second_node_on_the_same_folder_is_refused(node: TestNode) -> None:
    second = radloop("serve", "--config", str(node.config), check=False)
    assert second.returncode == 1
    assert "another radloop process" in second.stderr
