"""DIMSE command sets (PS3.7 sections 6.3 and 9.3): the elements that a provider reads and writes.

A command set is always Implicit VR Little Endian. The library's way through a data set object costs
more than receiving an image; values are kept as bytes until somebody asks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Command Field values (PS3.7 table E.1-1).
C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
_RESPONSE = 0x8000

# Statuses (PS3.4 table B.2-1, PS3.7 annex C).
SUCCESS = 0x0000
UNRECOGNISED_OPERATION = 0x0211
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115
NO_SUCH_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

NO_DATA_SET = 0x0101

_AFFECTED_SOP_CLASS_UID = 0x0002
_REQUESTED_SOP_CLASS_UID = 0x0003
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_RESPONDED_MESSAGE_ID = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_REQUESTED_SOP_INSTANCE_UID = 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_MOVE_ORIGINATOR_AE_TITLE = 0x1030
_LONGEST_UID = 64
_LONGEST_COMMENT = 64


@dataclass(frozen=True)
class Command:
    """A command set; ``elements`` holds encoded values by element number of group 0000."""

    elements: Mapping[int, bytes]

    @property
    def field(self) -> int:
        """Which operation or notification it is."""
        return self._number(_COMMAND_FIELD)

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & _RESPONSE)

    @property
    def message_id(self) -> int:
        """The number by which a response refers to it."""
        return self._number(_MESSAGE_ID)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self._number(_DATA_SET_TYPE) != NO_DATA_SET

    @property
    def sop_class_uid(self) -> str:
        """Affected SOP Class UID, of N-ACTION the Requested one, as sent."""
        return self._text(self._named[0])

    @property
    def sop_instance_uid(self) -> str:
        """Affected SOP Instance UID, of N-ACTION the Requested one, as sent."""
        return self._text(self._named[1])

    @property
    def type_id(self) -> int:
        """Action Type ID or Event Type ID; 0 where there is none."""
        number = self.type_element
        # Element 0 is the group length, which a peer may write with two bytes.
        value = self.elements.get(number, b"") if number else b""
        return int.from_bytes(value, "little") if len(value) == 2 else 0

    @property
    def type_element(self) -> int:
        """The element that holds :attr:`type_id`; 0 where the command has none."""
        return {N_ACTION_RQ: _ACTION_TYPE, N_EVENT_REPORT_RQ: _EVENT_TYPE}.get(self.field, 0)

    @property
    def _named(self) -> tuple[int, int]:
        if self.field == N_ACTION_RQ:
            return _REQUESTED_SOP_CLASS_UID, _REQUESTED_SOP_INSTANCE_UID
        return _AFFECTED_SOP_CLASS_UID, _AFFECTED_SOP_INSTANCE_UID

    @property
    def named(self) -> tuple[bytes, bytes]:
        """Encoded SOP class and instance that the command is about."""
        first, second = (self.elements.get(number, b"") for number in self._named)
        return first, second

    @property
    def move_originator_ae_title(self) -> str:
        """Who asked for the object by C-MOVE; empty where nobody did."""
        return self._text(_MOVE_ORIGINATOR_AE_TITLE)

    def _text(self, number: int) -> str:
        return self.elements.get(number, b"").decode("latin-1").rstrip("\0 ")

    def _number(self, number: int) -> int:
        value = self.elements.get(number, b"")
        if len(value) != 2:
            raise ValueError("a command lacks a number that it must have")
        return int.from_bytes(value, "little")


def decode_command(data: bytes | bytearray) -> Command:
    """Decode a command set.

    Raises:
        ValueError: the bytes are no command set, or it lacks field, message id or data set type.
    """
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("a command ends inside an element")
        group, number, length = struct.unpack_from("<HHL", data, position)
        position += 8
        if group or number in elements or position + length > len(data):
            raise ValueError("a command is not well formed")
        elements[number] = bytes(data[position : position + length])
        position += length
    command = Command(elements)
    # Asked for here, so that what follows need not expect an error.
    if command.field != C_CANCEL_RQ and not command.is_response:
        _ = command.message_id
    _ = command.has_data_set
    return command


def encode_response(command: Command, status: int, comment: str = "") -> bytes:
    """Return the response to a request; ``comment`` tells a person why it failed.

    UIDs go back as they came, unless they are longer than any UID.
    """
    elements: list[tuple[int, bytes]] = [
        (_COMMAND_FIELD, struct.pack("<H", command.field | _RESPONSE)),
        (_RESPONDED_MESSAGE_ID, struct.pack("<H", command.message_id)),
        (_DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
        (_STATUS, struct.pack("<H", status)),
    ]
    affected = (_AFFECTED_SOP_CLASS_UID, _AFFECTED_SOP_INSTANCE_UID)
    for number, value in zip(affected, command.named, strict=True):
        if 0 < len(value) <= _LONGEST_UID:
            elements.append((number, _even(value, b"\0")))
    if command.type_id:
        elements.append((command.type_element, struct.pack("<H", command.type_id)))
    if comment:
        text = comment.encode("ascii", "replace")[:_LONGEST_COMMENT]
        elements.append((_ERROR_COMMENT, _even(text, b" ")))
    return _command_set(sorted(elements))


def _command_set(elements: Sequence[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack("<HHL", 0, number, len(v)) + v for number, v in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
