"""The listener on real sockets, with the real store behind it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import col, select

from dicom_node.database import Database
from dicom_node.errors import Transient
from dicom_node.mllp.client import send_messages
from dicom_node.mllp.framing import END, frame
from dicom_node.mllp.listener import MllpListener
from dicom_node.models import Message, Quarantined, Report
from dicom_node.reports.receiving import keep_refused, receive_message
from dicom_node.settings import Hl7Settings
from tests.hl7_builders import HL7, ack_code, clock, database, oru

SETTINGS = HL7.model_copy(
    update={"port": 0, "maximum_message_bytes": 65536, "frame_deadline_seconds": 1.0}
)
HOST = "127.0.0.1"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Database]:
    opened = database(tmp_path)
    yield opened
    opened.close()


@contextmanager
def _listening(
    made: Database,
    settings: Hl7Settings = SETTINGS,
    store: Callable[[bytes], bytes] | None = None,
) -> Iterator[int]:
    listener = MllpListener(
        settings,
        store or (lambda content: receive_message(made, content, settings, clock)),
        lambda content, reason: keep_refused(made, content, reason, clock),
        clock,
    )
    listener.start()
    try:
        yield listener.port
    finally:
        listener.stop()


@contextmanager
def _peer(port: int) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, port), timeout=20) as connection:
        yield connection


def _answers(connection: socket.socket, count: int) -> list[bytes]:
    """Read ``count`` framed answers, or fewer where the listener closes before."""
    data = b""
    while data.count(END) < count and (more := connection.recv(65536)):
        data += more
    return [each.lstrip(b"\x0b") for each in data.split(END) if each]


def _codes(connection: socket.socket, count: int) -> list[str]:
    return [ack_code(each) for each in _answers(connection, count)]


def _rows(made: Database) -> list[Message]:
    with made.read() as session:
        return list(session.exec(select(Message).order_by(col(Message.id))))


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


def _still_accepts(port: int) -> None:
    (result,) = send_messages(HOST, port, [oru(control_id="AFTER", filler="AFTER")], timeout=20)
    assert result.accepted


def test_many_messages_on_one_connection_are_answered_in_order(made: Database) -> None:
    messages = [oru(control_id=f"M{number}", filler=f"F{number}") for number in range(20)]
    with _listening(made) as port:
        results = list(send_messages(HOST, port, messages, timeout=20))
        with _peer(port) as connection:
            connection.sendall(b"".join(frame(each) for each in messages))
            assert _codes(connection, 20) == ["AA"] * 20
    assert [each.message_control_id for each in results] == [f"M{n}" for n in range(20)]
    assert all(each.accepted for each in results)
    assert len(_rows(made)) == 20


def test_a_message_in_single_bytes_is_one_message(made: Database) -> None:
    with _listening(made) as port, _peer(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(oru(lines=["x"])):
            connection.sendall(bytes([byte]))
        assert _codes(connection, 1) == ["AA"]


def test_the_commit_comes_before_the_answer(made: Database) -> None:
    with _listening(made) as port, _peer(port) as connection:
        connection.sendall(frame(oru()))
        (ack,) = _answers(connection, 1)
        assert [each.acknowledgement for each in _rows(made)] == [ack]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x0b" + oru() + b"\x1c\r part: NO CANCER\x1c\r", "its own end mark"),
        (b"\x0b" + oru() + b"\x0b" + oru() + END, "never ended"),
        (b"\x0b" + b"x" * 70000, "longer than"),
        (b"GET / HTTP/1.1\r\n" * 500, "no VT"),
    ],
    ids=["embedded end", "embedded start", "too long", "noise"],
)
def test_a_bad_stream_gets_ar_and_is_quarantined(
    made: Database, stream: bytes, reason: str
) -> None:
    with _listening(made) as port:
        with _peer(port) as connection:
            connection.sendall(stream)
            (ack,) = _answers(connection, 5)
            assert ack_code(ack) == "AR"
            assert reason.encode() in ack
            assert connection.recv(1) == b""
        with made.read() as session:
            (row,) = session.exec(select(Quarantined)).all()
            assert reason in row.reason
            assert not session.exec(select(Report)).all()
        assert stream.lstrip(b"\x0b").startswith(_rows(made)[0].content[:1000])
        _still_accepts(port)


def test_a_truncated_frame_is_quarantined_without_a_positive_answer(made: Database) -> None:
    with _listening(made) as port:
        with _peer(port) as connection:
            connection.sendall(b"\x0b" + oru())
            connection.shutdown(socket.SHUT_WR)
            assert _codes(connection, 1) == ["AR"]
        with _peer(port) as connection:
            connection.sendall(b"\x0b" + oru(control_id="M2")[:50])
        _eventually(lambda: len(_rows(made)) == 2)
        assert [each.disposition for each in _rows(made)] == ["quarantined"] * 2
        (result,) = send_messages(HOST, port, [oru()], timeout=20)
        assert result.accepted


def test_a_slow_frame_ends_at_the_deadline(made: Database) -> None:
    with _listening(made) as port, _peer(port) as connection:
        began = time.monotonic()
        connection.sendall(b"\x0bMSH|^~\\&|")
        with _peer(port) as other:
            other.sendall(frame(oru()))
            assert _codes(other, 1) == ["AA"]
        assert _codes(connection, 1) == ["AR"]
        assert 0.5 < time.monotonic() - began < 10


def test_an_error_while_storing_is_ae_and_names_nothing(
    made: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(content: bytes) -> bytes:
        raise OSError(f"disk full while writing {content!r}")

    with (
        caplog.at_level(logging.INFO),
        _listening(made, store=fail) as port,
        _peer(port) as connection,
    ):
        connection.sendall(frame(oru()) + frame(oru(control_id="M2")))
        acks = _answers(connection, 2)
    assert [ack_code(each) for each in acks] == ["AE", "AE"]
    assert b"|207^Application internal error^HL70357|" in acks[0]
    assert "OSError" in caplog.text
    assert "DOE" not in caplog.text


def test_connections_are_capped(made: Database) -> None:
    settings = SETTINGS.model_copy(update={"maximum_connections": 2})
    with _listening(made, settings) as port:
        with _peer(port) as one, _peer(port) as two:
            for number, each in enumerate((one, two)):
                each.sendall(frame(oru(control_id=f"M{number}", filler=f"F{number}")))
                assert _codes(each, 1) == ["AA"]
            with _peer(port) as three:
                assert three.recv(1) == b""
        _eventually(lambda: _accepts(port))


def _accepts(port: int) -> bool:
    (result,) = send_messages(HOST, port, [oru(control_id="LATER", filler="L")], timeout=20)
    return result.accepted


def test_bytes_before_a_message_are_noted(made: Database, caplog: pytest.LogCaptureFixture) -> None:
    with _listening(made) as port, _peer(port) as connection:
        connection.sendall(b"hello" + frame(oru()))
        assert _codes(connection, 1) == ["AA"]
    assert "5 bytes before an HL7 message" in caplog.text


def test_a_port_in_use_is_transient(made: Database) -> None:
    with _listening(made) as port:
        settings = SETTINGS.model_copy(update={"port": port})
        with pytest.raises(Transient), _listening(made, settings):
            pass


def test_the_client_tells_what_it_does_not_know(made: Database) -> None:
    with _listening(made, store=lambda content: b"MSH|^~\\&|\rMSA|AA|OTHER\r") as port:
        wrong, unsent = send_messages(HOST, port, [oru(), oru(lines=["a\x1c\rb"])], timeout=20)
        assert (wrong.code, unsent.code) == ("", "")
        assert "another message" in wrong.text
        assert "not sent" in unsent.text
    with pytest.raises(Transient):
        list(send_messages(HOST, port, [oru()], timeout=5))


_SERVER = """
import sys, pathlib
from tests.hl7_builders import HL7, clock, database
from dicom_node.mllp.listener import MllpListener
from dicom_node.reports.receiving import receive_message
made = database(pathlib.Path(sys.argv[1]))
settings = HL7.model_copy(update={"port": 0})
listener = MllpListener(settings, lambda content: receive_message(made, content, settings, clock))
listener.start()
print(listener.port, flush=True)
sys.stdin.read()
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """kill -9 in the middle of sending, again and again, on the same database."""
    acknowledged: set[str] = set()
    root = Path(__file__).parents[2]
    for life in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(tmp_path)],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            messages = [oru(control_id=f"{life}-{n}", filler=f"{life}-{n}") for n in range(500)]
            for count, result in enumerate(send_messages(HOST, port, messages, timeout=20)):
                if result.code != "AA":
                    break
                acknowledged.add(result.message_control_id)
                if count == 10 + 7 * life:
                    threading.Timer(0.004 * life, process.send_signal, (signal.SIGKILL,)).start()
            process.wait()
    made = database(tmp_path)
    stored = {each.message_control_id for each in _rows(made)}
    with made.read() as session:
        reports = set(session.exec(select(Report.filler_order_number)).all())
    made.close()
    assert len(acknowledged) >= 30
    assert acknowledged <= stored
    assert stored == reports
