"""A patient is erased from a running node while other patients' images and reports go on coming."""

import json
import threading
from pathlib import Path

from dicom_node.archive_settings import PacsPeer
from dicom_node.hl7.envelope import read_envelope
from dicom_node.mllp.client import send_messages
from dicom_node.storage_scu import send_instances
from plugin.context import open_context
from plugin.settings import load_settings
from tests.acceptance.test_running_node import peer
from tests.builders import mr_image, write_file
from tests.canaries import ISSUER, SETTINGS, Person, fill, occurrences, rows_about
from tests.hl7_builders import oru
from tests.nodes import TestNode, prepare_node, radloop

GONE = Person("KANARI", "7391")
STAYS = Person("SPERLING", "6482")


def filled_node(folder: Path) -> TestNode:
    node = prepare_node(folder, SETTINGS)
    text = node.config.read_text(encoding="utf-8")
    text = text.replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    node.config.write_text(text.replace('peer = ""     ', 'peer = "research" '), encoding="utf-8")
    with open_context(load_settings(node.config)) as context:
        fill(context, [GONE, STAYS])
    return node


class Traffic:
    """Sends images and reports of strangers until stopped; counts what was acknowledged."""

    def __init__(self, node: TestNode, folder: Path) -> None:
        self._peer: PacsPeer = peer(node)
        self._port = node.ports.hl7
        self._folder = folder
        self.enough, self._stop = threading.Event(), threading.Event()
        self.images, self.reports = 0, 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            image = mr_image(f"T{number}", f"T{number}", SeriesDescription="localizer")
            (sent,) = send_instances(
                self._peer, "TEST", [write_file(self._folder / "image.dcm", image)]
            )
            message = oru(control_id=f"T{number}", filler=f"T{number}", patient=f"T{number}^^^H")
            (answered,) = send_messages("127.0.0.1", self._port, [message])
            self.images += sent.delivered
            self.reports += answered.code == "AA"
            assert read_envelope(message).control_id == answered.message_control_id
            if number == 5:
                self.enough.set()
            # A pace: the backlog that is waited for must not grow with the machine's load.
            self._stop.wait(0.05)


def test_nothing_of_the_patient_is_left_and_nothing_of_the_others_is_lost(tmp_path: Path) -> None:
    node = filled_node(tmp_path / "site")
    try:
        node.start()
        node.wait_for(lambda s: not s["spooled"], "the index")
        before = node.status()
        with Traffic(node, tmp_path) as traffic:
            assert traffic.enough.wait(60)
            asked = radloop(
                *("erase", "--patient-id", GONE.patient_id, "--issuer", ISSUER, "--yes", "--json"),
                *("--by", "officer", "--reason", "a request", "--config", str(node.config)),
            )
        found = json.loads(asked.stdout)
        assert found["files_that_still_mention"] == []
        assert [each["peer"] for each in found["sent"]] == ["research"]
        assert occurrences(node.data, GONE.words()) == []
        erased = found["counts"]
        status = node.wait_for(
            lambda s: (
                not s["spooled"]
                and s["instances"] == before["instances"] - erased["instance"] + traffic.images
            ),
            "the traffic",
        )
        assert status["messages"] == before["messages"] - erased["message"] + traffic.reports
        assert status["erasures"] == 1
        # The queue works on: the other patient's report is tried again.
        node.stop()
        assert occurrences(node.data, GONE.words()) == []
        with open_context(load_settings(node.config)) as context:
            left = rows_about(context, STAYS)
        assert {"study", "report", "prediction", "transmission", "cohort_member"} <= set(left)
    finally:
        node.stop()


def test_killed_while_erasing_it_is_finished_by_the_next_start(tmp_path: Path) -> None:
    node = filled_node(tmp_path / "site")
    arguments = [
        *("erase", "--patient-id", GONE.patient_id, "--issuer", ISSUER, "--yes", "--json"),
        *("--by", "officer", "--reason", "a request", "--config", str(node.config)),
    ]
    try:
        node.start()
        node.wait_for(lambda s: not s["spooled"], "the index")
        asked = threading.Thread(target=radloop, args=arguments, kwargs={"check": False})
        asked.start()
        # The note of the erasure is committed: everything after it must survive a kill.
        node.wait_for(lambda s: s["erasures"] == 1, "the commit")
        node.kill()
        asked.join()
        node.start()
        assert occurrences(node.data, GONE.words()) == []
        assert node.status()["erasures"] == 1
    finally:
        node.stop()
