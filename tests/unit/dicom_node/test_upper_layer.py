"""The state table of an acceptor, the limits of every length, and any cut of the stream."""

import struct
from collections.abc import Iterable
from io import BytesIO

import pytest
from pynetdicom import pdu as library

from dicom_node.upper_layer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    DATA_TF,
    INVALID_PARAMETER,
    MAXIMUM_ASSOCIATE_BYTES,
    RELEASE_RESPONSE,
    RELEASE_RP,
    RELEASE_RQ,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    Aborted,
    AssociateRequest,
    Event,
    Fragment,
    ProtocolViolation,
    ReleaseRequest,
    State,
    UpperLayer,
    abort_pdu,
    data_pdus,
    reject_pdu,
)
from tests.raw_dicom import fragment, pdu

MAXIMUM_PDU = 4096
SLACK = 1024
Piece = tuple[int, bool, bool, bytes]


def layer(state: State = State.ESTABLISHED) -> UpperLayer:
    made = UpperLayer(MAXIMUM_PDU)
    made.state = state
    return made


def feed(made: UpperLayer, *parts: bytes) -> list[Event | Piece]:
    found: list[Event | Piece] = []
    for part in parts:
        made.supply(memoryview(part))
        while (event := made.next_event()) is not None:
            if isinstance(event, Fragment):
                found.append((event.context_id, event.is_command, event.is_last, bytes(event.data)))
            else:
                found.append(event)
    return found


def whole(events: Iterable[Event | Piece]) -> list[Event | Piece]:
    """Put together what was cut only because its bytes came in parts."""
    found: list[Event | Piece] = []
    open_value = False
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, tuple) and isinstance(last, tuple) and open_value:
            found[-1] = (*event[:3], last[3] + event[3])
        else:
            found.append(event)
        open_value = isinstance(event, tuple) and not event[2]
    return found


def reason(made: UpperLayer, data: bytes) -> int:
    with pytest.raises(ProtocolViolation) as caught:
        feed(made, data)
    return caught.value.reason


REQUEST = pdu(ASSOCIATE_RQ, b"anything")
ACCEPTANCE = {
    (State.AWAITING_REQUEST, ASSOCIATE_RQ): AssociateRequest(REQUEST),
    (State.AWAITING_REQUEST, ABORT): Aborted(),
    (State.ESTABLISHED, DATA_TF): (1, True, True, b"anything"),
    (State.ESTABLISHED, RELEASE_RQ): ReleaseRequest(),
    (State.ESTABLISHED, ABORT): Aborted(),
}
SAMPLES = {
    ASSOCIATE_RQ: REQUEST,
    ASSOCIATE_AC: pdu(ASSOCIATE_AC, b"anything"),
    ASSOCIATE_RJ: reject_pdu(1, 1, 1),
    DATA_TF: fragment(1, 3, b"anything"),
    RELEASE_RQ: pdu(RELEASE_RQ, bytes(4)),
    RELEASE_RP: RELEASE_RESPONSE,
    ABORT: abort_pdu(0),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", SAMPLES)
def test_each_pdu_in_each_state(state: State, kind: int) -> None:
    expected = ACCEPTANCE.get((state, kind))
    if expected is None:
        assert reason(layer(state), SAMPLES[kind]) == UNEXPECTED_PDU
        # The header alone decides: nobody waits for the body of what is not wanted.
        assert reason(layer(state), SAMPLES[kind][:6]) == UNEXPECTED_PDU
    else:
        assert feed(layer(state), SAMPLES[kind]) == [expected]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", [0x00, 0x08, 0x47, 0xFF])
def test_an_unknown_type_is_refused_by_its_first_byte_and_length(state: State, kind: int) -> None:
    assert reason(layer(state), struct.pack(">BxL", kind, 0)) == UNRECOGNISED_PDU


@pytest.mark.parametrize(
    ("state", "kind", "limit"),
    [
        (State.AWAITING_REQUEST, ASSOCIATE_RQ, MAXIMUM_ASSOCIATE_BYTES),
        (State.AWAITING_REQUEST, ABORT, 1024),
        (State.ESTABLISHED, DATA_TF, MAXIMUM_PDU + SLACK),
        (State.ESTABLISHED, RELEASE_RQ, 1024),
        (State.ESTABLISHED, ABORT, 1024),
    ],
)
def test_each_length_is_held_to_its_limit_by_the_header(
    state: State, kind: int, limit: int
) -> None:
    assert feed(layer(state), struct.pack(">BxL", kind, limit)) == []
    for length in (limit + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        assert reason(layer(state), struct.pack(">BxL", kind, length)) == INVALID_PARAMETER


def test_pdus_without_a_body_are_events_at_once() -> None:
    assert feed(layer(), pdu(RELEASE_RQ, b"")) == [ReleaseRequest()]
    assert feed(layer(), pdu(ABORT, b"")) == [Aborted()]
    assert feed(layer(State.AWAITING_REQUEST), pdu(ASSOCIATE_RQ, b"")) == [
        AssociateRequest(pdu(ASSOCIATE_RQ, b""))
    ]


@pytest.mark.parametrize("length", range(6))
def test_a_data_pdu_without_room_for_a_value_is_refused(length: int) -> None:
    assert reason(layer(), struct.pack(">BxL", DATA_TF, length)) == INVALID_PARAMETER


@pytest.mark.parametrize("length", [0, 1, 7, 100, 0xFFFFFFFF])
def test_a_value_must_fit_into_its_pdu(length: int) -> None:
    """Its length counts context and control; four bytes of data are there."""
    assert (
        reason(layer(), pdu(DATA_TF, struct.pack(">LBB", length, 1, 3) + bytes(4)))
        == INVALID_PARAMETER
    )


def test_a_fragment_that_would_end_in_another_pdu_is_refused() -> None:
    first = pdu(DATA_TF, struct.pack(">LBB", 12, 1, 3) + b"12345")
    assert reason(layer(), first + fragment(1, 3, b"67890")) == INVALID_PARAMETER


@pytest.mark.parametrize("rest", range(1, 6))
def test_a_pdu_must_not_end_inside_the_header_of_a_value(rest: int) -> None:
    body = struct.pack(">LBB", 3, 1, 1) + b"x" + bytes(rest)
    assert reason(layer(), pdu(DATA_TF, body)) == INVALID_PARAMETER


def test_empty_values_are_events_and_only_the_last_is_last() -> None:
    empty, last = struct.pack(">LBB", 2, 1, 0), struct.pack(">LBB", 2, 1, 2)
    assert feed(layer(), pdu(DATA_TF, empty + empty + last)) == [
        (1, False, False, b""),
        (1, False, False, b""),
        (1, False, True, b""),
    ]


def test_only_the_two_defined_bits_of_the_control_header_count() -> None:
    for control in range(256):
        found = feed(layer(), fragment(5, control, b"x"))
        assert found == [(5, bool(control & 1), bool(control & 2), b"x")]


def test_values_of_several_contexts_in_one_pdu_keep_their_order() -> None:
    values = [(1, 1, b"ab"), (3, 3, b""), (1, 2, b"cde")]
    body = b"".join(struct.pack(">LBB", len(d) + 2, c, k) + d for c, k, d in values)
    assert feed(layer(), pdu(DATA_TF, body)) == [
        (1, True, False, b"ab"),
        (3, True, True, b""),
        (1, False, True, b"cde"),
    ]


def _library_stream() -> bytes:
    """What pynetdicom's own encoder writes for a message of several values and PDUs."""
    stream = b""
    for start in range(0, 700, 100):
        primitive = library.P_DATA_TF()
        for context, control in ((1, 0), (3, 2)):
            item = library.PresentationDataValueItem()
            item.presentation_context_id = context
            item.presentation_data_value = bytes([control]) + bytes(range(start % 256, 256))
            primitive.presentation_data_value_items.append(item)
        stream += primitive.encode()
    return stream + library.A_RELEASE_RQ().encode()


def test_any_cut_gives_what_the_library_encoded() -> None:
    stream = _library_stream()
    expected: list[Event | Piece] = []
    source = BytesIO(stream)
    while header := source.read(6):
        body = source.read(int.from_bytes(header[2:], "big"))
        if header[0] == RELEASE_RQ:
            expected.append(ReleaseRequest())
            continue
        decoded = library.P_DATA_TF()
        decoded.decode(header + body)
        for item in decoded.presentation_data_value_items:
            control = item.presentation_data_value[0]
            expected.append(
                (
                    item.presentation_context_id,
                    bool(control & 1),
                    bool(control & 2),
                    item.presentation_data_value[1:],
                )
            )
    assert feed(layer(), stream) == expected
    for size in (1, 2, 5, 6, 7, 11, 12, 13, 100, 255):
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        pieces = feed(layer(), *parts)
        data = {c: b"".join(p[3] for p in pieces if isinstance(p, tuple) and p[0] == c)
                for c in (1, 3)}  # fmt: skip
        assert data == {
            c: b"".join(p[3] for p in expected if isinstance(p, tuple) and p[0] == c)
            for c in (1, 3)
        }
        ends = [p[0] for p in pieces if isinstance(p, tuple) and p[2]]
        assert ends == [p[0] for p in expected if isinstance(p, tuple) and p[2]]
        assert pieces[-1] == ReleaseRequest()


def test_a_fragment_is_cut_only_where_its_bytes_were() -> None:
    stream = fragment(1, 1, b"abcdef") + fragment(1, 3, b"gh")
    for cut in range(len(stream)):
        assert whole(feed(layer(), stream[:cut], stream[cut:])) == [(1, True, True, b"abcdefgh")]


def test_taken_back_bytes_go_on_where_they_stopped() -> None:
    made = layer()
    stream = fragment(1, 3, b"one") + fragment(1, 3, b"two")
    made.supply(memoryview(stream + stream[:4]))
    first = made.next_event()
    assert isinstance(first, Fragment)
    assert bytes(first.data) == b"one"
    rest = made.take_back()
    assert made.next_event() is None
    assert [event[3] for event in feed(made, rest, stream[4:]) if isinstance(event, tuple)] == [
        b"two",
        b"one",
        b"two",
    ]


def test_each_pdu_has_a_number_while_it_is_unfinished() -> None:
    made = layer()
    stream = fragment(1, 3, b"x" * 10)
    assert made.unfinished_pdu == 0
    feed(made, stream[:1])
    assert made.unfinished_pdu == 1
    feed(made, stream[1:-1])
    assert made.unfinished_pdu == 1
    feed(made, stream[-1:])
    assert made.unfinished_pdu == 0
    # Never a moment between two PDUs, and yet another one.
    feed(made, stream + stream[:3])
    assert made.unfinished_pdu == 3


def test_nothing_but_headers_is_held_of_a_fragment() -> None:
    made = layer()
    stream = fragment(1, 2, bytes(MAXIMUM_PDU - 6))
    for at in range(len(stream)):
        feed(made, stream[at : at + 1])
        held = len(made._header) + len(made._body) + len(made._value_header)
        assert held <= 12


@pytest.mark.parametrize("room", [0, 1, 6, 7, 8, 13, 100, 16384])
@pytest.mark.parametrize("size", [0, 1, 2, 99, 100, 1000])
def test_a_command_goes_out_in_pdus_that_the_peer_takes(size: int, room: int) -> None:
    command = bytes(index % 251 for index in range(size))
    stream = data_pdus(7, command, room)
    lengths, position = [], 0
    while position < len(stream):
        decoded = library.P_DATA_TF()
        length = int.from_bytes(stream[position + 2 : position + 6], "big")
        decoded.decode(stream[position : position + 6 + length])
        lengths.append(length)
        position += 6 + length
    # A value takes six bytes and at least one of data, whatever a peer says.
    assert all(length <= max(room or length, 7) for length in lengths)
    if not size:
        assert stream == b""
        return
    receiver = UpperLayer(1 << 20)
    receiver.state = State.ESTABLISHED
    found = feed(receiver, stream)
    assert b"".join(event[3] for event in found if isinstance(event, tuple)) == command
    assert [event[:3] for event in found if isinstance(event, tuple)][-1] == (7, True, True)
    assert [event[2] for event in found if isinstance(event, tuple)].count(True) == 1


def test_the_library_reads_what_ends_an_association() -> None:
    abort, reject, release = library.A_ABORT_RQ(), library.A_ASSOCIATE_RJ(), library.A_RELEASE_RP()
    abort.decode(abort_pdu(INVALID_PARAMETER))
    assert (abort.source, abort.reason_diagnostic) == (2, INVALID_PARAMETER)
    reject.decode(reject_pdu(2, 3, 2))
    assert (reject.result, reject.source, reject.reason_diagnostic) == (2, 3, 2)
    release.decode(RELEASE_RESPONSE)
    assert len(RELEASE_RESPONSE) == 10
