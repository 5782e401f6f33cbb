"""An MLLP listener in a thread of a test, with its journal in a folder, and peers that try it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from dicom_node.accepting import ListeningSocket
from dicom_node.feeds.registry import Profiles
from dicom_node.mllp.framing import END
from dicom_node.mllp.journal import Journal, Record, read_records
from dicom_node.mllp.listener import Listener
from dicom_node.settings import Hl7Settings
from dicom_node.tls import server_context

HOST = "127.0.0.1"
SETTINGS = Hl7Settings(
    port=0,
    default_charset="utf-8",
    maximum_message_bytes=65536,
    frame_deadline_seconds=1.0,
    minimum_free_bytes=0,
)


@dataclass
class Room:
    """A listener that serves."""

    folder: Path
    listener: Listener
    journal: Journal
    port: int
    tls_port: int
    thread: threading.Thread

    def records(self) -> list[Record]:
        """What the journal holds now."""
        return [record for _, record in read_records(self.folder / "hl7")]

    def kinds(self) -> list[str]:
        """The kinds of the records."""
        return [record.kind for record in self.records()]


@contextmanager
def listening(folder: Path, settings: Hl7Settings = SETTINGS) -> Iterator[Room]:
    """Serve while the block lasts."""
    journal = Journal(folder / "hl7")
    sockets = {"plain": ListeningSocket(socket.create_server((HOST, 0), backlog=512))}
    if settings.tls is not None:
        listening_socket = socket.create_server((HOST, 0))
        sockets["tls"] = ListeningSocket(listening_socket, server_context(settings.tls))
    ports = {name: each.socket.getsockname()[1] for name, each in sockets.items()}
    ready = threading.Event()
    listener = Listener(settings, journal, sockets, Profiles(settings), folder, ready=ready.set)
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await listener.serve(stop)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    try:
        yield Room(folder, listener, journal, ports["plain"], ports.get("tls", 0), thread)
    finally:
        loop, stop = loops[0]
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                assert loop.is_closed()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def peer(port: int) -> Iterator[socket.socket]:
    """Connect."""
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def answers(connection: socket.socket, count: int) -> list[bytes]:
    """Read ``count`` framed answers, or fewer where the listener closes before."""
    data = b""
    while data.count(END) < count and (more := connection.recv(65536)):
        data += more
    return [each.lstrip(b"\x0b") for each in data.split(END) if each]


def code(answer: bytes) -> str:
    """MSA-1."""
    return answer.split(b"\rMSA|")[1].split(b"|")[0].decode()


def codes(connection: socket.socket, count: int) -> list[str]:
    """MSA-1 of each of ``count`` answers."""
    return [code(each) for each in answers(connection, count)]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)
