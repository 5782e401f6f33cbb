"""Targets that read what comes before and around messages: PDUs, negotiation, command sets."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from dicom_node import dimse
from dicom_node.commitment.information import data_set_of, decode_information
from dicom_node.commitment.vocabulary import STORAGE_COMMITMENT
from dicom_node.commitment.vocabulary import TRANSFER_SYNTAXES as COMMITMENT_SYNTAXES
from dicom_node.dimse import decode_command, encode_response
from dicom_node.negotiation import VERIFICATION, agree, decode_request
from dicom_node.upper_layer import (
    MAXIMUM_ASSOCIATE_BYTES,
    AssociateRequest,
    Fragment,
    ProtocolViolation,
    State,
    UpperLayer,
)
from tests.builders import encode, mr_image
from tests.commitment_room import missing, outcome
from tests.conversation import CONTEXTS, MR
from tests.fuzz.source import Source
from tests.raw_dicom import (
    EXPLICIT,
    accepted_contexts,
    associate_request,
    echo_command,
    fragment,
    notice_command,
    pdu,
    store_command,
)

_MAXIMUM_PDU = 4096
_OURS = (frozenset((MR,)), frozenset((EXPLICIT, "1.2.840.10008.1.2")))

Told = tuple[object, ...]


def upper_layer(data: bytes) -> None:
    """Any cut of a stream gives the same events, and nothing but headers is held."""
    source = Source(data)
    sizes = source.sizes()
    stream = source.rest()
    at_once = _told(stream, ())
    assert at_once[-1:] == [] or at_once[-1][0] != "violation" or at_once[-1][1] in (1, 2, 6)
    assert _told(stream, sizes) == at_once
    assert _told(stream, [1] * len(stream)) == at_once


def _told(stream: bytes, sizes: Sequence[int]) -> list[Told]:
    """Return the events and the violation, pieces of a value joined."""
    layer = UpperLayer(_MAXIMUM_PDU)
    told: list[Told] = []
    at = 0
    try:
        for size in [*sizes, len(stream)]:
            layer.supply(memoryview(stream[at : at + size]))
            at += size
            while (event := layer.next_event()) is not None:
                _tell(told, event)
                if isinstance(event, AssociateRequest):
                    layer.state = State.ESTABLISHED
            _check_held(layer)
    except ProtocolViolation as violation:
        told.append(("violation", violation.reason, str(violation)))
    return told


def _tell(told: list[Told], event: object) -> None:
    if not isinstance(event, Fragment):
        told.append((type(event).__name__, getattr(event, "pdu", b"")))
        return
    key = (event.context_id, event.is_command)
    if told and told[-1][:2] == key and not told[-1][2]:
        told[-1] = (*key, event.is_last, told[-1][3] + bytes(event.data))  # type: ignore[operator]
    else:
        told.append((*key, event.is_last, bytes(event.data)))


def _check_held(layer: UpperLayer) -> None:
    limit = MAXIMUM_ASSOCIATE_BYTES if layer.state is State.AWAITING_REQUEST else 1024
    assert len(layer._header) <= 6
    assert len(layer._value_header) <= 6
    assert len(layer._body) <= max(limit, _MAXIMUM_PDU)


def command(data: bytes) -> None:
    """A command set is decoded or refused; every request that is decoded can be answered."""
    try:
        found = decode_command(data)
    except ValueError:
        return
    assert sum(len(value) + 8 for value in found.elements.values()) == len(data)
    if found.is_response or found.field == dimse.C_CANCEL_RQ:
        return
    answer = decode_command(encode_response(found, 0xA700, "because " + found.sop_class_uid))
    assert answer.is_response
    assert answer.field & 0x7FFF == found.field
    assert answer.elements[0x0120] == found.elements[0x0110]
    assert all(len(value) % 2 == 0 and len(value) <= 64 for value in answer.elements.values())


def negotiation(data: bytes) -> None:
    """A request is refused, or each of its contexts has one answer and only ours are taken."""
    request = pdu(1, data)
    try:
        found = decode_request(request)
    except ProtocolViolation:
        return
    assert all(" " <= each <= "~" for each in found.calling_ae_title + found.called_ae_title)
    answer, accepted = agree(found, *_OURS, 65536)
    assert struct.unpack_from(">BxL", answer) == (2, len(answer) - 6)
    results = accepted_contexts(answer[6:])
    assert list(results) == [each.context_id for each in found.contexts]
    assert {number for number, result in results.items() if not result} == set(accepted)
    assert all(number % 2 for number in results)
    for context in accepted.values():
        assert context.abstract_syntax in (MR, VERIFICATION, STORAGE_COMMITMENT)
        assert context.roles in (None, found.roles)
        assert context.transfer_syntax in _OURS[1]


def commitment(data: bytes) -> None:
    """A data set is refused, or what it says can be written and says the same."""
    for syntax in COMMITMENT_SYNTAXES:
        try:
            found = decode_information(data, syntax)
        except ValueError:
            continue
        again = encode(data_set_of(found), syntax)
        assert decode_information(again, syntax) == found


@lru_cache(maxsize=1)
def seeds() -> dict[str, list[bytes]]:
    """Return sound inputs of each target here."""
    instance = str(mr_image().SOPInstanceUID).encode()
    request = associate_request("RADLOOP", "FUZZ", CONTEXTS)
    store = fragment(1, 3, store_command(MR.encode(), instance)) + fragment(1, 2, b"x" * 300)
    two_values = pdu(4, struct.pack(">LBB", 3, 1, 0) + b"x" + struct.pack(">LBB", 2, 1, 2))
    session = fragment(3, 3, echo_command()) + store + two_values + pdu(5, bytes(4))
    cut = bytes((5, 1, 6, 12, 100, 255))
    roles = ((STORAGE_COMMITMENT, EXPLICIT), (MR, EXPLICIT))
    with_roles = associate_request("RADLOOP", "FUZZ", roles, roles=(1, 1))
    many = associate_request("A", "B", [(MR, EXPLICIT)] * 20)
    event = outcome("2.25.1", [missing(1), missing(2)], {missing(3): 0x0112})
    return {
        "commitment": [encode(event, syntax) for syntax in COMMITMENT_SYNTAXES],
        "upper_layer": [cut + request + session, bytes(1) + request + pdu(7, bytes(4))],
        "command": [store_command(MR.encode(), instance), echo_command(), notice_command()],
        "negotiation": [request[6:], with_roles[6:], many[6:]],
    }
