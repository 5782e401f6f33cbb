"""The acceptor's side of the DICOM upper layer (PS3.8 section 9), without a socket.

Bytes go in as they come from a connection, events come out. Nothing is held but headers, because a
fragment of a message is passed on piece by piece, and every length is compared with its limit
before a byte of what it announces is taken. So the memory of a connection does not depend on what
its peer says.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

HEADER_BYTES = 6
"""PDU type, reserved byte, length (PS3.8 9.3.1); also length, context and control of a PDV."""

MAXIMUM_ASSOCIATE_BYTES = 128 * 1024
_MAXIMUM_SHORT_BYTES = 1024  # release and abort: four bytes by the standard
_SLACK_BYTES = 1024  # some peers count the headers of the fragments apart

# PDU types (PS3.8 9.3).
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 0x01, 0x02, 0x03
DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07
_KINDS = frozenset(range(ASSOCIATE_RQ, ABORT + 1))

# Reasons of an A-ABORT by the service provider (PS3.8 9.3.8).
UNSPECIFIED, UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0, 1, 2, 6


class State(Enum):
    """Where an acceptor stands (PS3.8 9.2.1)."""

    AWAITING_REQUEST = "Sta2"
    ESTABLISHED = "Sta6"


class ProtocolViolation(Exception):
    """The peer broke the protocol or a limit; ``reason`` is that of the A-ABORT."""

    def __init__(self, reason: int, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ, whole."""

    pdu: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a presentation data value (PS3.8 9.3.5.1 and Annex E).

    ``data`` is valid until the next bytes are supplied. ``is_last`` is true with the last piece of
    the last fragment of a command or data set.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """The peer wants an orderly end."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer has ended the association."""


Event = AssociateRequest | Fragment | ReleaseRequest | Aborted

# What a peer may send in which state (PS3.8 table 9-10, the acceptor's columns).
# Anything else is answered with A-ABORT, reason "unexpected PDU" (action AA-8, in Sta2 AA-1). Once
# the association has ended (Sta13) whatever still comes is read and thrown away by the loop.
_EXPECTED: Mapping[State, frozenset[int]] = {
    State.AWAITING_REQUEST: frozenset((ASSOCIATE_RQ, ABORT)),
    State.ESTABLISHED: frozenset((DATA_TF, RELEASE_RQ, ABORT)),
}


class UpperLayer:
    """Cuts a stream of bytes into events.

    Args:
        maximum_pdu_bytes: the longest P-DATA-TF that was offered to the peer.
    """

    def __init__(self, maximum_pdu_bytes: int) -> None:
        self.state = State.AWAITING_REQUEST
        self._limits = {
            ASSOCIATE_RQ: MAXIMUM_ASSOCIATE_BYTES,
            DATA_TF: maximum_pdu_bytes + _SLACK_BYTES,
        }
        self._input = memoryview(b"")
        self._header = bytearray()
        self._ended = 0  # PDUs that have come whole
        self._kind = 0
        self._left = 0  # bytes of the PDU that have not come
        self._body = bytearray()  # of every PDU but P-DATA-TF
        self._value_header = bytearray()
        self._value_left = 0
        self._context_id = self._control = 0

    @property
    def unfinished_pdu(self) -> int:
        """The number, from 1, of the PDU that has begun and not ended; 0 between two PDUs."""
        return self._ended + 1 if self._header else 0

    def supply(self, data: memoryview) -> None:
        """Give the next bytes; those of the last call must have been used up or taken back."""
        self._input = data

    def take_back(self) -> bytes:
        """Return the bytes that made no event yet, to be supplied again later."""
        rest = bytes(self._input)
        self._input = memoryview(b"")
        return rest

    def next_event(self) -> Event | None:
        """Return the next event, or None where more bytes are needed.

        Raises:
            ProtocolViolation: the connection must be aborted.
        """
        while self._input:
            if len(self._header) < HEADER_BYTES:
                self._collect(self._header, HEADER_BYTES)
                if len(self._header) < HEADER_BYTES:
                    return None
                self._open_pdu()
            event = self._next_fragment() if self._kind == DATA_TF else self._next_pdu()
            if event is not None:
                return event
        return None

    def _open_pdu(self) -> None:
        self._kind, self._left = struct.unpack(">BxL", self._header)
        if self._kind not in _KINDS:
            raise ProtocolViolation(UNRECOGNISED_PDU, "a PDU of no known type")
        if self._kind not in _EXPECTED[self.state]:
            raise ProtocolViolation(UNEXPECTED_PDU, "a PDU that is not expected now")
        if self._left > self._limits.get(self._kind, _MAXIMUM_SHORT_BYTES):
            raise ProtocolViolation(INVALID_PARAMETER, "a PDU is longer than allowed")
        if self._left < HEADER_BYTES and self._kind == DATA_TF:
            raise ProtocolViolation(INVALID_PARAMETER, "a P-DATA-TF holds no value")
        self._body.clear()

    def _next_pdu(self) -> Event | None:
        """Collect a PDU that is not data; its limit is small."""
        before = len(self._body)
        self._collect(self._body, before + self._left)
        self._left -= len(self._body) - before
        if self._left:
            return None
        pdu = bytes(self._header + self._body)
        self._close_pdu()
        if self._kind == ASSOCIATE_RQ:
            return AssociateRequest(pdu)
        return ReleaseRequest() if self._kind == RELEASE_RQ else Aborted()

    def _next_fragment(self) -> Fragment | None:
        if len(self._value_header) < HEADER_BYTES:
            before = len(self._value_header)
            self._collect(self._value_header, HEADER_BYTES)
            self._left -= len(self._value_header) - before
            if len(self._value_header) < HEADER_BYTES:
                return None
            self._open_value()
        data = self._take(self._value_left)
        self._left -= len(data)
        self._value_left -= len(data)
        ends = self._value_left == 0
        if ends:
            self._close_value()
        if not data and not ends:
            return None
        return Fragment(
            self._context_id, bool(self._control & 1), ends and bool(self._control & 2), data
        )

    def _open_value(self) -> None:
        length, self._context_id, self._control = struct.unpack(">LBB", self._value_header)
        # The length counts the two bytes of context and control, which have been taken already.
        self._value_left = length - 2
        rest = self._left - self._value_left
        # What follows a value is another one, with a header, or the end of the PDU.
        if self._value_left < 0 or rest < 0 or 0 < rest < HEADER_BYTES:
            raise ProtocolViolation(INVALID_PARAMETER, "a fragment does not fit into its PDU")

    def _close_value(self) -> None:
        self._value_header.clear()
        if not self._left:
            self._close_pdu()

    def _close_pdu(self) -> None:
        self._header.clear()
        self._ended += 1

    def _take(self, size: int) -> memoryview:
        taken, self._input = self._input[:size], self._input[size:]
        return taken

    def _collect(self, target: bytearray, size: int) -> None:
        """Fill ``target`` up to ``size`` bytes with what is there."""
        target += self._take(size - len(target))


def abort_pdu(reason: int) -> bytes:
    """Return an A-ABORT by the service provider (PS3.8 9.3.8)."""
    return struct.pack(">BxLxxBB", ABORT, 4, 2, reason)


def reject_pdu(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BxLxBBB", ASSOCIATE_RJ, 4, result, source, reason)


RELEASE_RESPONSE = struct.pack(">BxL4x", RELEASE_RP, 4)
"""An A-RELEASE-RP (PS3.8 9.3.7)."""


def data_pdus(context_id: int, command: bytes, maximum_pdu_bytes: int) -> bytes:
    """Return a command set as P-DATA-TF PDUs, none longer than the peer takes (0: any length)."""
    room = max((maximum_pdu_bytes or 1 << 30) - HEADER_BYTES, 1)
    pdus = []
    for start in range(0, len(command), room):
        piece = command[start : start + room]
        control = 3 if start + room >= len(command) else 1
        length = len(piece) + 2
        header = struct.pack(">BxLLBB", DATA_TF, length + 4, length, context_id, control)
        pdus.append(header + piece)
    return b"".join(pdus)
