"""A small MLLP client: one message at a time, each acknowledgement checked against its message."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dicom_node.errors import Transient
from dicom_node.hl7.envelope import read_envelope
from dicom_node.mllp.framing import END, Frame, FrameReader, frame

_MAXIMUM_ACK_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class AckResult:
    """What became of one message.

    Args:
        code: MSA-1 (``AA``, ``AE``, ``AR``); empty when the outcome is not known.
        message_control_id: MSH-10 of the message.
        text: what ERR or MSA-3 says, or why the outcome is not known.
    """

    code: str
    message_control_id: str
    text: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the message is safe with the receiver and nothing was wrong with it."""
        return self.code == "AA" and not self.text


class _Unanswered(Exception):
    """No acknowledgement that belongs to the message came; its sentence says why."""


def send_messages(
    host: str, port: int, messages: Iterable[bytes], timeout: float = 60.0
) -> Iterator[AckResult]:
    """Send messages over one connection and yield what became of each, in order.

    A connection on which an acknowledgement is missing or belongs to another message is dropped:
    what comes on it later cannot be told apart. The next message gets a new one.

    Args:
        host: the receiver's address.
        port: the receiver's port.
        messages: contents without framing.
        timeout: seconds to wait for connecting and for each acknowledgement.

    Raises:
        Transient: the receiver cannot be reached.
    """
    connection: socket.socket | None = None
    try:
        for message in messages:
            control_id = read_envelope(message).control_id
            if END in message or b"\x0b" in message:
                yield AckResult("", control_id, "not sent: it holds a framing mark of MLLP")
                continue
            connection = connection or _connect(host, port, timeout)
            try:
                yield _exchange(connection, message)
            except (_Unanswered, OSError) as error:
                connection.close()
                connection = None
                yield AckResult("", control_id, f"outcome unknown: {error}")
    finally:
        if connection is not None:
            connection.close()


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        raise Transient(f"the HL7 receiver at {host}:{port} cannot be reached") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _exchange(connection: socket.socket, message: bytes) -> AckResult:
    connection.sendall(frame(message))
    return read_ack(message, _receive(connection))


def _receive(connection: socket.socket) -> bytes:
    frames = FrameReader(_MAXIMUM_ACK_BYTES)
    while data := connection.recv(65536):
        events = frames.feed(data)
        for event in events:
            if isinstance(event, Frame):
                return event.content
        if frames.closed:
            raise _Unanswered("the answer is not framed as MLLP")
    raise _Unanswered("the connection was closed without an acknowledgement")


def read_ack(message: bytes, ack: bytes) -> AckResult:
    """Read an acknowledgement and check that it answers ``message`` (MSA-2 = MSH-10)."""
    request = read_envelope(message)
    separator = ack[3:4] or b"|"
    segments = {line[:3]: line.split(separator) for line in reversed(ack.split(b"\r")) if line}
    msa = [*segments.get(b"MSA", []), b"", b"", b"", b""]
    if msa[2].strip() != request.fields[10].strip():
        raise _Unanswered("the acknowledgement answers another message")
    error = [*segments.get(b"ERR", []), *[b""] * 9]
    text = error[8] or error[3].split(b"^")[1:2] or msa[3]
    shown = text if isinstance(text, bytes) else text[0]
    return AckResult(
        code=msa[1].decode("ascii", errors="backslashreplace"),
        message_control_id=request.control_id,
        text=shown.decode("ascii", errors="backslashreplace"),
    )
