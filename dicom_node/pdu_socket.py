"""A connection that hands over whole PDUs only, within a deadline and within a size (PS3.8 9.3).

The upper layer above it reads blocking and trusts the length that a peer states. This socket gives
it a PDU only when every byte is here, so a peer that stalls in the middle, drips or announces
gigabytes is cut off by the deadline or by the limit instead of holding a thread or the memory.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

HEADER_BYTES = 6
MAXIMUM_ASSOCIATE_BYTES = 128 * 1024
ASSOCIATE_REQUEST = 0x01
_DATA_TRANSFER = 0x04
_KINDS = frozenset(range(0x01, 0x08))
_MAXIMUM_COMMAND_BYTES = 64 * 1024
_SLACK_BYTES = 1024  # some peers count the headers of the fragments apart

# A-ABORT by the service provider, reason "invalid PDU parameter value" (PS3.8 9.3.8).
A_ABORT = bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, 6))


class PduRefused(ConnectionAbortedError):
    """The peer broke a limit; the connection was aborted."""


@dataclass(frozen=True)
class PduLimits:
    """What a peer may take.

    Attributes:
        maximum_pdu_bytes: the P-DATA length that was negotiated.
        maximum_object_bytes: one data set, over all its fragments.
        deadline_seconds: from the first byte of a PDU to its last.
        send_timeout_seconds: how long the peer may leave our bytes unread.
    """

    maximum_pdu_bytes: int
    maximum_object_bytes: int
    deadline_seconds: float
    send_timeout_seconds: float


def body_limit(kind: int, limits: PduLimits) -> int:
    """Return the longest body that a PDU of this kind may announce."""
    if kind == _DATA_TRANSFER:
        return limits.maximum_pdu_bytes + _SLACK_BYTES
    return MAXIMUM_ASSOCIATE_BYTES


class FragmentMeter:
    """Adds up the fragments of one message; an endless command or data set is refused."""

    def __init__(self, maximum_object_bytes: int) -> None:
        self._limits = {True: _MAXIMUM_COMMAND_BYTES, False: maximum_object_bytes}
        self._sizes = {True: 0, False: 0}

    def add(self, body: bytes | bytearray) -> None:
        """Count the presentation data values of a P-DATA-TF PDU (PS3.8 9.3.5.1 and Annex E).

        Raises:
            PduRefused: a command or a data set is longer than allowed.
        """
        position = 0
        while position + HEADER_BYTES <= len(body):
            length, _, control = struct.unpack_from(">LBB", body, position)
            is_command, is_last = bool(control & 1), bool(control & 2)
            self._sizes[is_command] += length
            if self._sizes[is_command] > self._limits[is_command]:
                raise PduRefused("a message is longer than allowed")
            if is_last:
                self._sizes[is_command] = 0
            position += 4 + length


class PduSocket(socket.socket):
    """An accepted connection; ``recv`` returns bytes of one complete PDU at a time."""

    _limits: PduLimits
    _meter: FragmentMeter
    _rest: memoryview

    @classmethod
    def adopt(cls, connection: socket.socket, limits: PduLimits) -> PduSocket:
        """Take over ``connection``, which is detached from its old object."""
        kind, family = connection.type, connection.family
        adopted = cls(family, kind, connection.proto, fileno=connection.detach())
        adopted.settimeout(limits.send_timeout_seconds)
        adopted._limits = limits
        adopted._meter = FragmentMeter(limits.maximum_object_bytes)
        adopted._rest = memoryview(b"")
        return adopted

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return up to ``bufsize`` bytes of the current PDU, or of the next one; empty at the end.

        Raises:
            PduRefused: the PDU is too long, too slow, or part of too long a message.
            OSError: the connection is broken.
        """
        if not self._rest:
            self._rest = memoryview(self._read_pdu())
        piece, self._rest = self._rest[:bufsize], self._rest[bufsize:]
        return bytes(piece)

    def _read_pdu(self) -> bytes | bytearray:
        try:
            return self._read_within_limits(time.monotonic() + self._limits.deadline_seconds)
        except (PduRefused, TimeoutError) as error:
            self._abort()
            raise PduRefused("the connection was aborted") from error
        finally:
            self.settimeout(self._limits.send_timeout_seconds)

    def _read_within_limits(self, deadline: float) -> bytes | bytearray:
        header = self._read(HEADER_BYTES, deadline)
        if len(header) < HEADER_BYTES or header[0] not in _KINDS:
            return header
        length = int.from_bytes(header[2:], "big")
        if length > body_limit(header[0], self._limits):
            raise PduRefused("a PDU is longer than allowed")
        body = self._read(length, deadline)
        if header[0] == _DATA_TRANSFER:
            self._meter.add(body)
        return header + body

    def _read(self, size: int, deadline: float) -> bytearray:
        """Read ``size`` bytes, or fewer where the peer closes."""
        buffer = bytearray(size)
        view = memoryview(buffer)
        done = 0
        while done < size:
            self.settimeout(max(deadline - time.monotonic(), 0.001))
            count = self.recv_into(view[done:])
            if not count:
                return buffer[:done]
            done += count
        return buffer

    def _abort(self) -> None:
        try:
            self.settimeout(1.0)
            self.sendall(A_ABORT)
            self.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The peer is gone already, which is what was wanted.
            return
