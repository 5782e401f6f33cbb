"""Command sets: strict about their form, indifferent to what the values say."""

import struct
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode as library_decode
from pynetdicom.dsutils import encode as library_encode

from dicom_node.dimse import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    NO_DATA_SET,
    OUT_OF_RESOURCES,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    Command,
    decode_command,
    encode_response,
)
from tests.raw_dicom import echo_command, store_command

MR = "1.2.840.10008.5.1.4.1.1.4"


def elements(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in parts)


def number(value: int) -> bytes:
    return struct.pack("<H", value)


FIELD, MESSAGE, NO_DATA = (
    (0x0100, number(C_STORE_RQ)),
    (0x0110, number(7)),
    (0x0800, number(NO_DATA_SET)),
)


def answer_of(command: Command, status: int, comment: str = "") -> Dataset:
    """Decode our response with pydicom; its group length must be true."""
    encoded = encode_response(command, status, comment)
    found = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert found.CommandGroupLength == len(encoded) - 12
    assert list(found.keys()) == sorted(found.keys())
    return found


def test_a_request_as_the_library_sends_it() -> None:
    data_set = Dataset()
    data_set.AffectedSOPClassUID = MR
    data_set.CommandField = C_STORE_RQ
    data_set.MessageID = 65535
    data_set.Priority = 2
    data_set.CommandDataSetType = 1
    data_set.AffectedSOPInstanceUID = "1.2.3"
    data_set.MoveOriginatorApplicationEntityTitle = "MOVER"
    data_set.MoveOriginatorMessageID = 3
    encoded = library_encode(data_set, True, True)
    assert encoded is not None
    command = decode_command(encoded)
    assert command.field == C_STORE_RQ
    assert command.message_id == 65535
    assert command.has_data_set
    assert not command.is_response
    assert (command.sop_class_uid, command.sop_instance_uid) == (MR, "1.2.3")
    assert command.move_originator_ae_title == "MOVER"


def test_the_response_to_a_store_is_read_by_the_library() -> None:
    command = decode_command(store_command(MR.encode(), b"1.2.3", message_id=513))
    found = answer_of(command, OUT_OF_RESOURCES, "no room")
    assert found.CommandField == 0x8001
    assert found.MessageIDBeingRespondedTo == 513
    assert found.CommandDataSetType == NO_DATA_SET
    assert found.Status == OUT_OF_RESOURCES
    assert found.AffectedSOPClassUID == MR
    assert found.AffectedSOPInstanceUID == "1.2.3"
    assert found.ErrorComment == "no room"
    response = C_STORE()
    response.AffectedSOPClassUID = found.AffectedSOPClassUID
    response.Status = found.Status
    assert not response.is_valid_request


def test_the_response_to_an_echo_is_read_by_the_library() -> None:
    encoded = encode_response(decode_command(echo_command(9)), SUCCESS)
    found = library_decode(BytesIO(encoded), True, True)
    assert (found.CommandField, found.MessageIDBeingRespondedTo, found.Status) == (0x8030, 9, 0)
    assert "ErrorComment" not in found
    echo = C_ECHO()
    echo.AffectedSOPClassUID = found.AffectedSOPClassUID
    assert str(echo.AffectedSOPClassUID) == "1.2.840.10008.1.1"


@pytest.mark.parametrize("message_id", [0, 1, 255, 256, 65535])
def test_every_message_id_comes_back(message_id: int) -> None:
    found = answer_of(decode_command(echo_command(message_id)), SUCCESS)
    assert found.MessageIDBeingRespondedTo == message_id


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"1.2.3\0", "1.2.3"),
        (b"1.2.3 ", "1.2.3"),
        (b"1.2.3\0\0\0", "1.2.3"),
        (b" 1.2.3", " 1.2.3"),
        (b"\xff\xfe\x00\x01", "\xff\xfe\x00\x01"),
        (b"", ""),
    ],
)
def test_uids_are_read_without_padding_and_go_back_as_they_came(sent: bytes, read: str) -> None:
    command = decode_command(elements((0x0002, sent), FIELD, MESSAGE, NO_DATA, (0x1000, sent)))
    assert command.sop_class_uid == command.sop_instance_uid == read
    response = decode_command(encode_response(command, SUCCESS))
    assert response.elements.get(0x0002, b"") == sent
    assert response.elements.get(0x1000, b"") == sent


def test_a_uid_of_odd_length_is_padded_and_an_over_long_one_left_out() -> None:
    for length in (1, 63, 64, 65, 66, 4000):
        uid = b"1" * length
        response = decode_command(
            encode_response(decode_command(elements(FIELD, MESSAGE, NO_DATA, (0x1000, uid))), 0)
        )
        expected = uid + b"\0" * (length % 2) if length <= 64 else b""
        assert response.elements.get(0x1000, b"") == expected


@pytest.mark.parametrize(
    "comment", ["odd", "even", "x" * 64, "x" * 65, "x" * 500, "Müller 漢字 \ud800", "\0\r\n"]
)
def test_a_comment_is_short_ascii_of_even_length(comment: str) -> None:
    command = decode_command(echo_command())
    value = decode_command(encode_response(command, 1, comment)).elements[0x0902]
    assert len(value) <= 64
    assert len(value) % 2 == 0
    value.decode("ascii")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        elements(FIELD)[:-1],
        elements(FIELD, MESSAGE),
        elements(FIELD, NO_DATA),
        elements(MESSAGE, NO_DATA),
        elements(FIELD, MESSAGE, NO_DATA) + b"\0\0\0",
        elements(FIELD, FIELD, MESSAGE, NO_DATA),
        struct.pack("<HHL", 8, 0x16, 0) + elements(FIELD, MESSAGE, NO_DATA),
        elements((0x0100, b"\1"), MESSAGE, NO_DATA),
        elements((0x0100, bytes(4)), MESSAGE, NO_DATA),
        elements(FIELD, (0x0110, b""), NO_DATA),
        elements(FIELD, MESSAGE, (0x0800, bytes(3))),
        struct.pack("<HHL", 0, 0x0100, 0xFFFFFFFF) + bytes(32),
        struct.pack("<HHL", 0, 0x0100, 0x80000000) + bytes(32),
    ],
)
def test_what_is_no_command_set_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="a command"):
        decode_command(data)


def test_a_wrong_group_length_and_any_order_are_let_through() -> None:
    command = decode_command(elements((0, bytes(4)), NO_DATA, MESSAGE, FIELD))
    assert (command.field, command.message_id) == (C_STORE_RQ, 7)


def test_a_cancel_and_a_response_need_no_message_id() -> None:
    assert decode_command(elements((0x0100, number(C_CANCEL_RQ)), NO_DATA)).field == C_CANCEL_RQ
    assert decode_command(elements((0x0100, number(0x8001)), NO_DATA)).is_response
    with pytest.raises(ValueError, match="lacks a number"):
        decode_command(elements((0x0100, number(C_ECHO_RQ)), NO_DATA))


@pytest.mark.parametrize("field", [0x0010, 0x0020, 0x0021, 0x0100, 0x0140, 0x7ABC])
def test_an_unknown_operation_is_answered_as_its_own_response(field: int) -> None:
    command = decode_command(elements((0x0100, number(field)), MESSAGE, NO_DATA))
    found = answer_of(command, UNRECOGNISED_OPERATION, "no")
    assert found.CommandField == field | 0x8000
    assert found.Status == UNRECOGNISED_OPERATION


@pytest.mark.parametrize("kind", [0x0000, 0x0001, 0x0102, 0xFFFF])
def test_every_data_set_type_but_one_announces_a_data_set(kind: int) -> None:
    assert decode_command(elements(FIELD, MESSAGE, (0x0800, number(kind)))).has_data_set
    assert not decode_command(elements(FIELD, MESSAGE, NO_DATA)).has_data_set


def test_a_group_length_of_two_bytes_is_no_action_type() -> None:
    numbers = ((0x0000, 0x0130), (0x0110, 1), (0x0800, 0), (0x0100, 0x0030))
    command = decode_command(
        b"".join(struct.pack("<HHLH", 0, number, 2, value) for number, value in numbers)
    )
    assert command.type_id == 0
    assert decode_command(encode_response(command, OUT_OF_RESOURCES)).field == 0x8030
