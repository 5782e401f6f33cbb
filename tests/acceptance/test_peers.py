"""Senders that are not ours deliver to a running node, as its status shows."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.mllp.framing import frame
from tests.builders import mr_image, write_file
from tests.hl7_builders import oru
from tests.nodes import TestNode, radloop, running_node
from tests.peers import absent, find_program, npm_peer, running_orthanc

pytestmark = pytest.mark.peer


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TestNode]:
    with running_node(tmp_path / "node") as node:
        yield node


def test_dcmtk_verifies_and_stores(node: TestNode, tmp_path: Path) -> None:
    where = ["-aec", "RADLOOP", "127.0.0.1", str(node.ports.dicom)]
    subprocess.run([find_program("echoscu"), *where], check=True, timeout=60)
    files = [
        str(write_file(tmp_path / f"{n}.dcm", mr_image(study="DCMTK", instance=n)))
        for n in range(1, 4)
    ]
    subprocess.run([find_program("storescu"), *where, *files], check=True, timeout=60)
    status = node.wait_for(lambda s: s["instances"] == 3, "the instances")
    assert status["studies"] == 1


def test_orthanc_routes_a_stable_study(node: TestNode, tmp_path: Path) -> None:
    from dicom_node.archive_settings import PacsPeer
    from dicom_node.storage_scu import send_instances

    script = tmp_path / "route.lua"
    script.write_text(
        "function OnStableStudy(study, tags, metadata)\n"
        "  RestApiPost('/modalities/node/store', DumpJson({Resources = {study}}, false))\n"
        "end\n",
        encoding="utf-8",
    )
    files = [
        write_file(tmp_path / f"{n}.dcm", mr_image(study="ORTHANC", instance=n)) for n in range(3)
    ]
    with running_orthanc(
        tmp_path / "orthanc",
        DicomModalities={"node": ["RADLOOP", "127.0.0.1", node.ports.dicom]},
        LuaScripts=[str(script)],
        StableAge=1,
    ) as orthanc:
        peer = PacsPeer(name="orthanc", ae_title=orthanc.ae_title, port=orthanc.port)
        assert all(each.delivered for each in send_instances(peer, "MODALITY", files))
        node.wait_for(lambda s: s["instances"] == 3, "the routed study")


def test_python_hl7_sends_loosely(node: TestNode, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("mllp_send")
    if not program.exists():
        absent("mllp_send of python-hl7")
    file = tmp_path / "messages.hl7"
    file.write_bytes(b"".join(oru(control_id=f"L{n}", filler=f"L{n}") for n in range(3)))
    subprocess.run(
        [program, "--loose", "--port", str(node.ports.hl7), "--file", str(file), "127.0.0.1"],
        check=True,
        timeout=60,
        capture_output=True,
    )
    status = node.wait_for(lambda s: s["messages"] == 3, "the messages")
    assert status["reports"] == 3


def test_simple_hl7_of_npm_sends_over_one_connection(node: TestNode) -> None:
    program, script, environment = npm_peer("simple_hl7_sender.js")
    done = subprocess.run(
        [program, script, str(node.ports.hl7), "5"],
        check=True,
        timeout=60,
        capture_output=True,
        env=environment,
    )
    assert json.loads(done.stdout) == [["AA", f"N{n}"] for n in range(5)]
    status = node.wait_for(lambda s: s["reports"] == 5, "the reports")
    assert status["messages"] == 5


def test_our_own_commands_send(node: TestNode, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_file(folder / "image.dcm", mr_image(study="OWN"))
    (folder / "note.txt").write_text("not DICOM")
    config = ("--config", str(node.config))
    assert "answers" in radloop("echo", *config).stdout
    said = radloop("send", str(folder), *config).stdout
    assert "1 files sent and accepted, 1 not" in said
    assert "note.txt" in said
    messages = tmp_path / "messages.hl7"
    messages.write_bytes(frame(oru()) + frame(b"MSH|garbage\r"))
    sent = radloop("send-hl7", str(messages), *config, check=False)
    assert "1 messages sent and accepted, 1 not" in sent.stdout
    assert sent.returncode == 1
    node.wait_for(lambda s: s["instances"] == 1 and s["messages"] == 2, "both")


def test_an_automatic_labeler_reads_what_arrives(tmp_path: Path) -> None:
    from tests.nodes import prepare_node

    node = prepare_node(tmp_path / "node")
    text = node.config.read_text(encoding="utf-8")
    node.config.write_text(
        text.replace('automatic = "" ', 'automatic = "rules" '), encoding="utf-8"
    )
    try:
        node.start()
        message = tmp_path / "message.hl7"
        message.write_bytes(oru())
        radloop("send-hl7", str(message), "--config", str(node.config))
        status = node.wait_for(lambda s: s["labels"] > 0, "the labels")
        assert status["labels_by_labeler"] == {"rules": 38}
    finally:
        node.stop()
