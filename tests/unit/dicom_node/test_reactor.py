"""The loop of a receiver process where something goes wrong around it."""

import errno
import socket
from collections.abc import Iterator

import pytest

from dicom_node.connection import Connection, Deadlines
from dicom_node.reactor import Listener, Places, Reactor


class Broken:
    """A conversation that has a mistake in it."""

    def __init__(self, connection: Connection) -> None:
        self.ended = False

    def receive(self, data: memoryview) -> None:
        raise RuntimeError("a mistake")

    def cut_off(self) -> None:
        raise AssertionError

    def lost(self) -> None:
        self.ended = True


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def reactor_of(listener: socket.socket) -> Reactor:
    return Reactor([Listener(listener)], Broken, Places(associations=4), Deadlines())


def test_a_mistake_in_one_conversation_ends_that_one_alone(listener: socket.socket) -> None:
    reactor = reactor_of(listener)
    peers = [socket.create_connection(listener.getsockname(), 5) for _ in range(2)]
    try:
        while reactor.connections < 2:
            reactor.step(1.0, accepting=True)
        peers[0].sendall(b"x")
        while reactor.connections == 2:
            reactor.step(1.0, accepting=True)
        assert peers[0].recv(1) == b""
        assert reactor.connections == 1
    finally:
        for peer in peers:
            peer.close()
        while reactor.connections:
            reactor.step(1.0, accepting=True)
        reactor.close()


def test_without_descriptors_nothing_is_accepted_for_a_while(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    class Short(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            nonlocal attempts
            attempts += 1
            raise OSError(errno.EMFILE, "too many open files")

    short = Short(fileno=listener.detach())
    reactor = reactor_of(short)
    peer = socket.create_connection(short.getsockname(), 5)
    try:
        for _ in range(20):
            reactor.step(0.0, accepting=True)
        assert attempts == 1
    finally:
        peer.close()
        reactor.close()
        short.close()
