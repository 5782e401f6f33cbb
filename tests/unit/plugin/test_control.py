import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugin import control
from plugin.context import Progress
from plugin.errors import NeedsReview, Permanent


def answer(command: str, arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    if command == "refuse":
        raise NeedsReview("two patients")
    if command == "break":
        raise ValueError("unexpected")
    progress("working")
    return {"command": command, **arguments}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    # Deeper than the 108 bytes that a socket address can hold.
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    server = control.ControlServer(folder / "control.sock", answer)
    yield folder / "control.sock"
    server.close()


def test_a_command_reports_progress_and_returns_its_result(path: Path) -> None:
    lines: list[str] = []
    assert control.call(path, "label", {"labeler": "rules"}, lines.append) == {
        "command": "label",
        "labeler": "rules",
    }
    assert lines == ["working"]


def test_errors_keep_their_class(path: Path) -> None:
    with pytest.raises(NeedsReview, match="two patients"):
        control.call(path, "refuse", {}, lambda _: None)
    with pytest.raises(Permanent, match="unexpected"):
        control.call(path, "break", {}, lambda _: None)


def test_garbage_is_answered_and_the_server_stays(path: Path) -> None:
    for garbage in (b"garbage\n", b"[]\n", b'{"command": 1}\n', b"\xff\n"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with connection, control._short_path(path) as short:
            connection.connect(short)
            connection.sendall(garbage)
            with connection.makefile("rb") as answers:
                assert b"not understood" in answers.readline()
    assert control.health(path)


def test_without_a_node_the_caller_is_told(tmp_path: Path) -> None:
    assert not control.health(tmp_path / "control.sock")
    with pytest.raises(ConnectionRefusedError):
        control.call(tmp_path / "control.sock", "label", {}, lambda _: None)
