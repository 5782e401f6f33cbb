"""A sender of HL7 messages that costs little: plain sockets and one selector, many connections.

Each connection sends its next message when the last was answered. An answer counts only where its
MSA-1 is AA and its MSA-2 the control id of the message.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_node.mllp.framing import END, frame

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Order:
    """A message on the wire and what its answer must hold."""

    wire: bytes
    expected: bytes

    @classmethod
    def of(cls, message: bytes) -> Order:
        """Return the order for a message with the usual delimiters."""
        control_id = message.split(b"\r", 1)[0].split(b"|")[9]
        return cls(frame(message), b"MSA|AA|" + control_id + b"\r")


@dataclass
class _Lane:
    connection: socket.socket
    orders: list[Order]
    sent_at: float = 0.0
    answer: bytes = b""
    latencies: list[float] = field(default_factory=list)

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.connection.sendall(self.orders[-1].wire)

    def receive(self) -> bool:
        """Take what came; tell whether messages are left."""
        self.answer += self.connection.recv(65536)
        if not self.answer.endswith(END):
            if not self.answer:
                raise RuntimeError("the server closed the connection")
            return True
        self.latencies.append(time.perf_counter() - self.sent_at)
        if self.orders.pop().expected not in self.answer:
            raise RuntimeError(f"not accepted: {self.answer!r}")
        self.answer = b""
        if self.orders:
            self.send()
        return bool(self.orders)


def send_in_lanes(
    port: int, lanes: Sequence[Sequence[Order]], host: str = HOST
) -> tuple[float, list[float]]:
    """Send each lane over a connection of its own; return the seconds in all and of each answer.

    Raises:
        RuntimeError: an answer was missing, negative or of another message.
    """
    open_: list[_Lane] = []
    with selectors.DefaultSelector() as selector:
        for orders in lanes:
            connection = socket.create_connection((host, port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lane = _Lane(connection, list(reversed(orders)))
            open_.append(lane)
            selector.register(connection, selectors.EVENT_READ, lane)
        began = time.perf_counter()
        for lane in open_:
            lane.send()
        left = len(open_)
        while left:
            ready = selector.select(60)
            if not ready:
                raise RuntimeError("no answer came in a minute")
            for key, _ in ready:
                if not key.data.receive():
                    selector.unregister(key.fileobj)
                    left -= 1
        seconds = time.perf_counter() - began
    for lane in open_:
        lane.connection.close()
    return seconds, [each for lane in open_ for each in lane.latencies]
