"""Association requests: what is agreed, held against pynetdicom, and what hostile ones cost."""

import struct
import tracemalloc
from collections.abc import Sequence

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from dicom_node.file_meta import (
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from dicom_node.negotiation import (
    APPLICATION_CONTEXT,
    VERIFICATION,
    AcceptedContext,
    AssociationRequest,
    agree,
    decode_request,
)
from dicom_node.upper_layer import INVALID_PARAMETER, MAXIMUM_ASSOCIATE_BYTES, ProtocolViolation
from tests.raw_dicom import EXPLICIT, accepted_contexts, associate_request, pdu

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
OURS = (frozenset((MR,)), frozenset((EXPLICIT, IMPLICIT_VR_LITTLE_ENDIAN)))


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def context(number: int, abstract: bytes = MR.encode(), *syntaxes: bytes) -> bytes:
    parts = item(0x30, abstract) + b"".join(item(0x40, each) for each in syntaxes)
    return item(0x20, bytes((number, 0, 0, 0)) + parts)


GOOD = context(1, MR.encode(), EXPLICIT.encode())
APPLICATION = item(0x10, APPLICATION_CONTEXT.encode())
USER = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))


def request(
    items: bytes, calling: bytes = b"SCANNER".ljust(16), called: bytes = b"RADLOOP".ljust(16)
) -> bytes:
    return pdu(1, struct.pack(">HH", 1, 0) + called + calling + bytes(range(32)) + items)


def agreed(data: bytes) -> tuple[dict[int, int], dict[int, AcceptedContext], bytes]:
    answer, accepted = agree(decode_request(data), *OURS, 65536)
    assert int.from_bytes(answer[2:6], "big") == len(answer) - 6
    return accepted_contexts(answer[6:]), dict(accepted), answer


def refused(data: bytes) -> str:
    with pytest.raises(ProtocolViolation) as caught:
        decode_request(data)
    assert caught.value.reason == INVALID_PARAMETER
    return str(caught.value)


def library_request(contexts: Sequence[tuple[str, list[str]]]) -> bytes:
    """Return a request with every kind of user information, encoded by pynetdicom."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "SCANNER", "RADLOOP"
    proposed = []
    for number, (abstract, syntaxes) in enumerate(contexts):
        built = build_context(abstract, syntaxes)
        built.context_id = 2 * number + 1
        proposed.append(built)
    primitive.presentation_context_definition_list = proposed
    length, role = MaximumLengthNotification(), SCP_SCU_RoleSelectionNegotiation()
    length.maximum_length_received = 28672
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "SOMEBODY"
    window, extended = AsynchronousOperationsWindowNegotiation(), SOPClassExtendedNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    role.sop_class_uid, role.scu_role, role.scp_role = MR, True, True
    extended.sop_class_uid, extended.service_class_application_information = MR, b"\2\0\3\0\1\0"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 2, b"user"
    identity.secondary_field = b"password"
    primitive.user_information = [length, implementation, version, window, role, extended, identity]
    encoded = A_ASSOCIATE_RQ()
    encoded.from_primitive(primitive)
    return bytes(encoded.encode())


def test_a_request_of_the_library_with_everything_in_it() -> None:
    proposed = [
        (VERIFICATION, [IMPLICIT_VR_LITTLE_ENDIAN]),
        (MR, [EXPLICIT_VR_BIG_ENDIAN, EXPLICIT, IMPLICIT_VR_LITTLE_ENDIAN]),
        (MR, [EXPLICIT_VR_BIG_ENDIAN]),
        (CT, [EXPLICIT]),
    ]
    data = library_request(proposed)
    found = decode_request(data)
    assert (found.calling_ae_title, found.called_ae_title) == ("SCANNER", "RADLOOP")
    assert found.maximum_pdu_bytes == 28672
    assert [(each.abstract_syntax, list(each.transfer_syntaxes)) for each in found.contexts] == [
        (abstract, syntaxes) for abstract, syntaxes in proposed
    ]
    results, accepted, _ = agreed(data)
    assert results == {1: 0, 3: 0, 5: 4, 7: 3}
    # The first that we take of the peer's order, not of ours.
    assert accepted == {
        1: AcceptedContext(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN),
        3: AcceptedContext(MR, EXPLICIT),
    }


def test_the_library_reads_the_answer() -> None:
    _, _, answer = agreed(library_request([(MR, [EXPLICIT]), (CT, [EXPLICIT])]))
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer)
    primitive = decoded.to_primitive()
    assert primitive.result == 0
    assert primitive.application_context_name == APPLICATION_CONTEXT
    assert primitive.maximum_length_received == 65536
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert decoded.user_information.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    results = primitive.presentation_context_definition_results_list
    assert [(each.context_id, each.result) for each in results] == [(1, 0), (3, 3)]
    assert results[0].transfer_syntax == [EXPLICIT]


def test_titles_and_reserved_bytes_are_repeated() -> None:
    data = request(APPLICATION + GOOD + USER, calling=b"  A B".ljust(16))
    assert agreed(data)[2][10:74] == data[10:74]


@pytest.mark.parametrize("count", [1, 127, 128])
def test_as_many_contexts_as_there_are_odd_numbers(count: int) -> None:
    data = associate_request("RADLOOP", "SCANNER", [(MR, EXPLICIT)] * count)
    results, accepted, _ = agreed(data)
    assert results == dict.fromkeys(range(1, 2 * count, 2), 0)
    assert len(accepted) == count


def test_a_repeated_context_id_is_refused() -> None:
    assert "repeated" in refused(request(APPLICATION + GOOD + GOOD + USER))


@pytest.mark.parametrize("number", [0, 2, 128, 254])
def test_an_even_context_id_is_refused(number: int) -> None:
    data = request(APPLICATION + context(number, MR.encode(), EXPLICIT.encode()) + USER)
    assert "not well formed" in refused(data)


@pytest.mark.parametrize(
    "broken",
    [
        item(0x20, b""),
        item(0x20, b"\1\0"),
        item(0x20, b"\1\0\0\0"),
        item(0x20, b"\1\0\0\0" + item(0x30, MR.encode())),
        item(0x20, b"\1\0\0\0" + item(0x40, EXPLICIT.encode())),
        item(0x20, b"\1\0\0\0" + item(0x30, b"1") * 2 + item(0x40, EXPLICIT.encode())),
    ],
)
def test_a_context_without_its_parts_is_refused(broken: bytes) -> None:
    assert "not well formed" in refused(request(APPLICATION + broken + USER))


def test_a_request_that_proposes_nothing_is_refused() -> None:
    assert "lacks contexts" in refused(request(APPLICATION + USER))
    assert "lacks contexts" in refused(request(b""))


@pytest.mark.parametrize("size", [6, 7, 41, 73])
def test_a_request_that_ends_in_its_fixed_part_is_refused(size: int) -> None:
    assert "cannot be decoded" in refused(request(b"")[:size])


def test_items_that_do_not_fit_are_refused() -> None:
    whole = APPLICATION + GOOD + USER
    for size in range(len(whole)):
        try:
            decode_request(request(whole[:size]))
        except ProtocolViolation:
            continue
        # Cut between two items: what is there is complete.
        assert size == len(APPLICATION + GOOD)


@pytest.mark.parametrize(
    "user",
    [
        item(0x51, b""),
        item(0x51, bytes(3)),
        item(0x51, bytes(8)),
        b"\x51\0\0",
        b"\x52\0\xff\xff",
        item(0x51, bytes(4))[:-1],
    ],
)
def test_malformed_user_information_is_refused(user: bytes) -> None:
    assert "cannot be decoded" in refused(request(APPLICATION + GOOD + item(0x50, user)))


def test_a_request_without_user_information_or_with_unknown_items_is_taken() -> None:
    """Unknown items are to be ignored (PS3.8 9.3.1)."""
    assert decode_request(request(APPLICATION + GOOD)).maximum_pdu_bytes == 0
    strange = item(0x99, b"x" * 300) + item(0x00, b"")
    user = item(0x50, strange + item(0x51, struct.pack(">L", 7)) + item(0x58, b"\xff" * 40))
    assert decode_request(request(strange + GOOD + strange + user)).maximum_pdu_bytes == 7


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"SCANNER         ", "SCANNER"),
        (b"     SCANNER    ", "SCANNER"),
        (b"SCANNER\0\0\0\0\0\0\0\0\0", "SCANNER"),
        (b"A B             ", "A B"),
        (b"0123456789ABCDEF", "0123456789ABCDEF"),
    ],
)
def test_titles_lose_their_padding(sent: bytes, read: str) -> None:
    found = decode_request(request(GOOD, calling=sent, called=sent))
    assert found.calling_ae_title == found.called_ae_title == read


@pytest.mark.parametrize(
    "title",
    [
        b" " * 16,
        bytes(16),
        "MÜLLER".encode().ljust(16),
        "漢字".encode().ljust(16),
        b"A\\B".ljust(16),
        b"A\nB".ljust(16),
        b"A\0B".ljust(16),
        b"\x1b[2J".ljust(16),
        b"\x7f" * 16,
    ],
)
def test_odd_titles_are_refused(title: bytes) -> None:
    assert "AE title" in refused(request(GOOD, calling=title))
    assert "AE title" in refused(request(GOOD, called=title))


@pytest.mark.parametrize(
    "abstract",
    [b"", b"\0", b" ", b"x" * 200, b"../../etc/passwd", b"\xff\xfe", MR.encode() + b".1", b"1.2"],
)
def test_what_is_no_sop_class_of_ours_is_refused_alone(abstract: bytes) -> None:
    data = request(APPLICATION + context(3, abstract, EXPLICIT.encode()) + GOOD + USER)
    results, accepted, answer = agreed(data)
    assert results == {3: 3, 1: 0}
    assert list(accepted) == [1]
    # What a peer made up does not come back as a UID of ours.
    assert len(abstract) < 4 or abstract not in answer


def test_padded_uids_are_read_without_their_padding() -> None:
    data = request(APPLICATION + context(1, MR.encode() + b"\0", EXPLICIT.encode() + b"\0") + USER)
    assert agreed(data)[1] == {1: AcceptedContext(MR, EXPLICIT)}


def test_verification_is_taken_whatever_is_stored() -> None:
    data = associate_request("RADLOOP", "SCANNER", [(VERIFICATION, EXPLICIT)])
    assert agree(decode_request(data), frozenset(), OURS[1], 0)[1] == {
        1: AcceptedContext(VERIFICATION, EXPLICIT)
    }


def _hostile_requests() -> dict[str, bytes]:
    fill = 12000  # bytes; what is quadratic shows here already
    many = item(0x40, b"1") * 1200
    return {
        "empty items": APPLICATION + GOOD + item(0x10, b"") * (fill // 4),
        "empty user information": APPLICATION + GOOD + item(0x50, b"") * (fill // 4),
        "empty syntaxes": APPLICATION + context(1, MR.encode(), *[b""] * 3000) + USER,
        "short syntaxes": APPLICATION
        + b"".join(
            item(0x20, bytes((number, 0, 0, 0)) + item(0x30, MR.encode()) + many)
            for number in (1, 3)
        ),
        "sub-items": APPLICATION + GOOD + item(0x50, item(0x52, b"1.2") * 1700),
    }


@pytest.mark.parametrize("name", _hostile_requests())
def test_a_request_of_many_items_costs_no_more_than_its_bytes(name: str) -> None:
    data = request(_hostile_requests()[name])
    tracemalloc.start()
    try:
        found = decode_request(data)
        agree(found, *OURS, 65536)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(found, AssociationRequest)
    assert peak < 32 * len(data)


def test_the_answer_is_never_longer_than_a_request_may_be() -> None:
    data = associate_request("RADLOOP", "SCANNER", [(MR, EXPLICIT)] * 128)
    assert len(agreed(data)[2]) < MAXIMUM_ASSOCIATE_BYTES


def test_the_library_as_requestor_understands_a_refused_context() -> None:
    """A refused context needs a transfer syntax, though it says nothing (PS3.8 9.3.3.2)."""
    _, _, answer = agreed(request(APPLICATION + context(1, b"junk", b"\xff" * 9) + GOOD[:0] + USER))
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer)
    assert decoded.presentation_context[0].result == 3
    assert decoded.presentation_context[0].transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
