"""A small MLLP client: one message at a time, each acknowledgement checked against its message.

An acknowledgement that is late, missing or of another message makes the outcome unknown, and ends
the connection: what comes on it later cannot be told apart. Sending the message again is safe with
a receiver that knows what it has.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dicom_node.errors import Transient
from dicom_node.hl7.envelope import Envelope, read_envelope
from dicom_node.mllp.framing import END, START, Frame, FrameReader, frame

_MAXIMUM_ACK_BYTES = 1024**2
_POSITIVE = frozenset(("AA", "CA"))


@dataclass(frozen=True, slots=True)
class AckResult:
    """What became of one message.

    Args:
        code: MSA-1 (``AA``, ``AE``, ``AR``, ``CA``, ``CE``, ``CR``; in enhanced mode of the
            application where it answers too); empty when the outcome is not known.
        message_control_id: MSH-10 of the message.
        text: what ERR or MSA-3 says, or why the outcome is not known.
    """

    code: str
    message_control_id: str
    text: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the message is safe with the receiver and nothing was wrong with it."""
        return self.code in _POSITIVE and not self.text


class _Unanswered(Exception):
    """No acknowledgement that belongs to the message came; its sentence says why."""


def send_messages(
    host: str,
    port: int,
    messages: Iterable[bytes],
    timeout: float = 60.0,
    *,
    context: ssl.SSLContext | None = None,
) -> Iterator[AckResult]:
    """Send messages over one connection and yield what became of each, in order.

    After a message whose outcome is not known, the next gets a new connection.

    Args:
        host: the receiver's address.
        port: the receiver's port.
        messages: contents without framing.
        timeout: seconds to wait for connecting and for each acknowledgement.
        context: of a TLS connection; None: without TLS.

    Raises:
        Transient: the receiver cannot be reached.
    """
    line: _Line | None = None
    try:
        for message in messages:
            request = read_envelope(message)
            if END in message or START in message:
                text = "not sent: it holds a framing mark of MLLP"
                yield AckResult("", request.control_id, text)
                continue
            if line is not None and line.is_spoilt():
                line.close()
                line = None
            line = line or _Line(host, port, timeout, context)
            try:
                result = line.exchange(message, request)
            except (_Unanswered, OSError) as error:
                line.close()
                line = None
                result = AckResult("", request.control_id, f"outcome unknown: {error}")
            yield result
    finally:
        if line is not None:
            line.close()


class _Line:
    """A connection on which every answer so far belonged to the message before it."""

    def __init__(
        self, host: str, port: int, timeout: float, context: ssl.SSLContext | None
    ) -> None:
        self._socket = _connect(host, port, timeout, context)
        self._frames = FrameReader(_MAXIMUM_ACK_BYTES)
        self._ahead: list[bytes] = []

    def exchange(self, message: bytes, request: Envelope) -> AckResult:
        """Send a message; return what its last acknowledgement says.

        Raises:
            _Unanswered: an acknowledgement is missing or belongs to another message.
            OSError: the connection failed.
        """
        self._socket.sendall(frame(message))
        result = read_ack(message, self._receive())
        # In enhanced mode the application may answer after the bytes were accepted.
        if result.code == "CA" and _answers_twice(request):
            result = read_ack(message, self._receive())
        return result

    def is_spoilt(self) -> bool:
        """Tell whether something came that nobody asked for, or the peer has closed."""
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0
        readable = bool(select.select([self._socket], [], [], 0)[0])
        return bool(self._ahead) or self._frames.begun or pending or readable

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _receive(self) -> bytes:
        while not self._ahead:
            data = self._socket.recv(65536)
            if not data:
                raise _Unanswered("the connection was closed without an acknowledgement")
            events = self._frames.feed(data)
            self._ahead += [event.content for event in events if isinstance(event, Frame)]
            if self._frames.closed:
                raise _Unanswered("the answer is not framed as MLLP")
        return self._ahead.pop(0)


def _answers_twice(request: Envelope) -> bool:
    return request.text(16).upper() in ("AL", "SU")


def _connect(host: str, port: int, timeout: float, context: ssl.SSLContext | None) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        raise Transient(f"the HL7 receiver at {host}:{port} cannot be reached") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return connection
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except OSError as error:
        connection.close()
        raise Transient(f"the HL7 receiver at {host}:{port} refuses TLS with us") from error


def read_ack(message: bytes, ack: bytes) -> AckResult:
    """Read an acknowledgement and check that it answers ``message`` (MSA-2 = MSH-10)."""
    request = read_envelope(message)
    separator = ack[3:4] or b"|"
    component = ack[4:5] or b"^"
    segments = {line[:3]: line.split(separator) for line in reversed(ack.split(b"\r")) if line}
    msa = [*segments.get(b"MSA", []), b"", b"", b"", b""]
    if msa[2].strip() != request.fields[10].strip():
        raise _Unanswered("the acknowledgement answers another message")
    error = [*segments.get(b"ERR", []), *[b""] * 9]
    text = error[8] or error[3].split(component)[1:2] or msa[3]
    shown = text if isinstance(text, bytes) else text[0]
    return AckResult(
        code=msa[1].decode("ascii", errors="backslashreplace"),
        message_control_id=request.control_id,
        text=shown.decode("ascii", errors="backslashreplace"),
    )
