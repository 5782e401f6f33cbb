"""Peers of bytes, which break the protocol at will, and what must end in spite of them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dicom_node.archive_settings import PacsPeer
from dicom_node.negotiation import agree, decode_request

EXPLICIT = "1.2.840.10008.1.2.1"
LIMIT = 60.0
"""Seconds within which everything ends, where nothing shorter is asked for."""


class RawPeer:
    """A peer of bytes: what it does after it took a request is the test's."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.gone = threading.Event()
        """Set when the test is over."""

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.connection.recv(size - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def pdu(self) -> bytes:
        head = self.exactly(6)
        return head + self.exactly(struct.unpack(">L", head[2:])[0])

    def accept(self) -> bytes:
        request = decode_request(self.pdu())
        asked = {context.abstract_syntax for context in request.contexts}
        answer, _ = agree(request, asked, (EXPLICIT,), 16384)
        return answer


Behaviour = Callable[[RawPeer], None]


def half_an_acceptance(peer: RawPeer) -> None:
    peer.connection.sendall(peer.accept()[:20])
    peer.gone.wait(LIMIT)


def half_a_message(peer: RawPeer) -> None:
    peer.connection.sendall(peer.accept())
    peer.pdu()
    peer.connection.sendall(struct.pack(">BxL", 4, 1000) + b"x" * 10)
    peer.gone.wait(LIMIT)


def silence(peer: RawPeer) -> None:
    peer.connection.sendall(peer.accept())
    peer.gone.wait(LIMIT)


def a_trickle(peer: RawPeer) -> None:
    peer.connection.sendall(peer.accept() + struct.pack(">BxL", 4, 1000))
    while not peer.gone.wait(0.2):
        peer.connection.sendall(b"x")


def fragment(size: int, last: bool = False) -> bytes:
    value = struct.pack(">LBB", size + 2, 1, 2 if last else 0) + bytes(size)
    return struct.pack(">BxL", 4, len(value)) + value


def endless_data(peer: RawPeer) -> None:
    peer.connection.sendall(peer.accept())
    piece = fragment(16000)
    while not peer.gone.is_set():
        peer.connection.sendall(piece)


def a_huge_length(peer: RawPeer) -> None:
    peer.connection.sendall(peer.accept() + struct.pack(">BxL", 4, 0xFFFFFFF0))
    while not peer.gone.is_set():
        peer.connection.sendall(bytes(1 << 16))


@contextmanager
def raw_peer(behaviour: Behaviour) -> Iterator[PacsPeer]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peers: list[RawPeer] = []

        def serve() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    peers.append(RawPeer(connection))
                    behaviour(peers[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield PacsPeer(ae_title="PACS", port=server.getsockname()[1])
        finally:
            for peer in peers:
                peer.gone.set()
                with suppress(OSError):
                    peer.connection.shutdown(socket.SHUT_RDWR)
            server.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT)
            assert not thread.is_alive()


def threads_of_associations() -> list[threading.Thread]:
    known = ("line watch", "dul", "Association", "AcceptorThread", "RequestorThread")
    return [
        each
        for each in threading.enumerate()
        if each.name.startswith(known) or "pynetdicom" in type(each).__module__
    ]


def ends(work: Callable[[], object], limit: float = LIMIT) -> list[BaseException]:
    """Run it in a thread that must end; return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    assert not thread.is_alive(), "the call did not end"
    return raised
