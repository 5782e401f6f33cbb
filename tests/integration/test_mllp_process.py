"""The listener's process: killed, orphaned, out of disk; what was acknowledged is always there."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_node import listening_process, watched_children
from dicom_node.errors import InvalidSettings
from dicom_node.mllp.client import send_messages
from dicom_node.mllp.framing import frame
from dicom_node.mllp.journal import read_records
from dicom_node.mllp.process import MessageReceiver
from dicom_node.settings import Hl7Settings, Hl7TlsSettings
from tests.hl7_builders import oru
from tests.mllp_room import HOST, answers, code, eventually

SETTINGS = Hl7Settings(port=0, default_charset="utf-8", minimum_free_bytes=0)


@contextmanager
def _receiving(folder: Path) -> Iterator[MessageReceiver]:
    receiver = MessageReceiver(SETTINGS, folder)
    receiver.start()
    receiver.wait_until_ready()
    try:
        yield receiver
    finally:
        receiver.stop()


def _kept(folder: Path) -> set[bytes]:
    return {record.content for _, record in read_records(folder / "hl7")}


def test_the_process_receives_and_stops(tmp_path: Path) -> None:
    with _receiving(tmp_path) as receiver:
        assert receiver.process_id not in (0, os.getpid())
        (result,) = send_messages(HOST, receiver.port, [oru()], timeout=20)
        assert result.accepted
    assert _kept(tmp_path) == {oru()}
    assert receiver.process_id == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, receiver.port))


def test_a_process_that_cannot_be_replaced_at_once_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = listening_process.start_child, iter([True, True])

    def start_child(*arguments: Any) -> Any:
        if next(failures, False):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*arguments)

    monkeypatch.setattr(watched_children, "_RESTART_DELAY_SECONDS", 0.05)
    with _receiving(tmp_path) as receiver:
        monkeypatch.setattr(listening_process, "start_child", start_child)
        first = receiver.process_id
        os.kill(first, signal.SIGKILL)
        eventually(lambda: receiver.process_id not in (0, first))
        receiver.wait_until_ready()
        (result,) = send_messages(HOST, receiver.port, [oru()], timeout=20)
        assert result.accepted
        assert receiver.failure == ""


def test_nothing_acknowledged_is_lost_however_often_the_process_is_killed(tmp_path: Path) -> None:
    acknowledged: set[bytes] = set()
    with _receiving(tmp_path) as receiver:
        for round_ in range(4):
            messages = [oru(control_id=f"{round_}-{n}", lines=["x" * 300]) for n in range(400)]
            killer = receiver.process_id
            with socket.create_connection((HOST, receiver.port), timeout=20) as connection:
                sender = threading.Thread(target=_send_all, args=(connection, messages))
                sender.start()
                found = answers(connection, 40 * (round_ + 1))
                os.kill(killer, signal.SIGKILL)  # with groups between sync and answer
                found += _rest(connection)
                sender.join()
            count = sum(code(each) == "AA" for each in found)
            assert count >= 40
            acknowledged |= set(messages[:count])
            eventually(lambda killed=killer: receiver.process_id not in (0, killed))
        assert acknowledged <= _kept(tmp_path)
        # The new process takes what is sent again; filing tells that it is the same.
        (result,) = send_messages(HOST, receiver.port, [messages[0]], timeout=20)
        assert result.accepted


def _send_all(connection: socket.socket, messages: list[bytes]) -> None:
    try:
        connection.sendall(b"".join(frame(each) for each in messages))
    except ConnectionError:
        return


def _rest(connection: socket.socket) -> list[bytes]:
    """Return the whole answers that were on their way."""
    data = b""
    try:
        while more := connection.recv(65536):
            data += more
    except ConnectionError:
        pass
    return [each.lstrip(b"\x0b") for each in data.split(b"\x1c\r")[:-1] if b"MSA" in each]


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from dicom_node.mllp.process import MessageReceiver\n"
        "from dicom_node.settings import Hl7Settings\n"
        "receiver = MessageReceiver(Hl7Settings(port=0), pathlib.Path(sys.argv[1]))\n"
        "receiver.start()\n"
        "receiver.wait_until_ready()\n"
        "print(receiver.process_id, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=-1)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_journal_that_cannot_be_opened_ends_receiving_for_good(tmp_path: Path) -> None:
    (tmp_path / "hl7").write_bytes(b"a file in the place of the folder")
    with _receiving(tmp_path) as receiver:
        eventually(lambda: bool(receiver.failure))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, receiver.port))


def test_settings_that_cannot_work_are_named_at_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    tls = Hl7TlsSettings(port=0, certificate=missing, key=missing, authorities=missing)
    with pytest.raises(InvalidSettings, match=r"hl7\.tls\.certificate"):
        MessageReceiver(SETTINGS.model_copy(update={"tls": tls}), tmp_path)
