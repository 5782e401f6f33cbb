"""After a failed fsync nothing is acknowledged any more, nothing is retried, and status says so."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dicom_node.errors import Transient
from dicom_node.mllp.client import send_messages
from tests.acceptance.disk_events import events
from tests.acceptance.failing_disk import Injection, failing_sync
from tests.acceptance.modality import MR, OUT_OF_RESOURCES, ObjectSource
from tests.acceptance.served_node import LOOPBACK, ServedNode, served_node
from tests.acceptance.strace_log import read_calls
from tests.acceptance.sync_oracle import message_answers, store_answers
from tests.hl7_builders import oru
from tests.peers import find_program
from tests.raw_dicom import EXPLICIT, RawAssociation

pytestmark = pytest.mark.peer


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    find_program("strace")
    with served_node(tmp_path / "node") as node:
        yield node


def store(node: ServedNode, source: ObjectSource) -> int | None:
    """Store one object; None where the node does not answer."""
    item = source.make()
    try:
        with RawAssociation(node.dicom, [(MR, EXPLICIT)]) as association:
            if association.answer != 2:
                return None
            return association.store(MR, item.sop_instance, item.data)
    except OSError:
        return None


def stored_after(injection: Injection, node: ServedNode) -> list[int]:
    happened = events(read_calls(injection.after_failure()), str(node.data))
    return [answer.status for answer in store_answers(happened, node.ports.dicom)]


def test_a_failed_sync_of_an_object_stops_receiving(node: ServedNode, tmp_path: Path) -> None:
    source = ObjectSource(seed=5, sizes=(48,))
    assert store(node, source) == 0
    node.wait_until_indexed()
    with ExitStack() as stack:
        injections = [
            stack.enter_context(failing_sync(each.pid, tmp_path / f"{each.pid}.log"))
            for each in node.receivers()
        ]
        answers = [store(node, source)]
        node.wait_until(lambda: not node.receivers(), "the end of receiving", 30)
        answers += [store(node, source) for _ in range(5)]
        failed = [each for each in injections if each.failed]
        assert len(failed) == 1
        assert 0 not in stored_after(failed[0], node)
        syncs = [line for line in failed[0].after_failure() if "sync(" in line]
        assert syncs == []
    assert answers[0] in (OUT_OF_RESOURCES, None)
    assert answers[1:] == [None] * 5
    status = node.status()
    assert status["running"]
    assert status["receiving_failure"]
    assert "disk" in status["receiving_failure"]


def test_a_failed_sync_of_a_message_stops_acknowledging(node: ServedNode, tmp_path: Path) -> None:
    def send(number: int) -> str:
        message = oru(control_id=f"E{number}", filler=f"E{number}")
        try:
            (result,) = send_messages(LOOPBACK, node.ports.hl7, [message], timeout=30)
        except Transient:
            return ""
        return result.code

    assert send(0) == "AA"
    (listener,) = node.listeners()
    with failing_sync(listener.pid, tmp_path / "listener.log") as injection:
        codes = [send(number) for number in range(1, 6)]
        assert injection.failed
        happened = events(read_calls(injection.after_failure()), str(node.data))
        assert message_answers(happened, node.ports.hl7) == []
    assert "AA" not in codes
    node.wait_until(lambda: bool(node.status()["receiving_failure"]), "the word about it", 30)
