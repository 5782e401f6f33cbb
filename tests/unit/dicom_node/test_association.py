"""An association message by message, with a real store and a line without sockets or threads."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.association import _EVENTS_AT_A_TIME
from dicom_node.dimse import (
    CANNOT_UNDERSTAND,
    DATA_SET_MISMATCH,
    OUT_OF_RESOURCES,
    SUCCESS,
    UNRECOGNISED_OPERATION,
)
from dicom_node.intake import Origin
from tests.builders import encode, mr_image, uid
from tests.conversation import (
    ABORTED,
    ACCEPTED,
    DATA,
    MR,
    REJECTED,
    RELEASED,
    Conversation,
    CountingProvider,
    files,
    new_provider,
)
from tests.raw_dicom import (
    EXPLICIT,
    VERIFICATION,
    associate_request,
    echo_command,
    fragment,
    pdu,
    store_command,
)

EMPTY = {"spool": 0, "quarantine": 0, "tmp": 0}
RELEASE = pdu(5, bytes(4))
ABORT = pdu(7, bytes(4))
ECHO = fragment(3, 3, echo_command())


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[CountingProvider]:
    made = new_provider(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def peer(provider: CountingProvider) -> Conversation:
    """A peer with an association; what is deferred runs at once."""
    talk = Conversation(provider)
    assert talk.associate() == ACCEPTED
    return talk


@pytest.fixture
def waiting_peer(provider: CountingProvider) -> Conversation:
    """A peer with an association; what is deferred waits for ``work``."""
    talk = Conversation(provider, at_once=False)
    assert talk.associate() == ACCEPTED
    return talk


def image(number: int = 1) -> tuple[bytes, bytes]:
    data_set = mr_image(instance=number)
    return str(data_set.SOPInstanceUID).encode(), encode(data_set)


def store(number: int = 1, pieces: int = 1) -> bytes:
    """Return a whole C-STORE request in context 1 with the message id ``number``."""
    instance, data = image(number)
    size = -(-len(data) // pieces)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return fragment(1, 3, store_command(MR.encode(), instance, number)) + b"".join(
        fragment(1, 2 * (at == len(parts) - 1), part) for at, part in enumerate(parts)
    )


def command(field: int, *, data_set: bool = False, message_id: int = 1) -> bytes:
    parts = ((0x0100, field), (0x0110, message_id), (0x0800, 1 if data_set else 0x0101))
    return b"".join(struct.pack("<HHLH", 0, number, 2, value) for number, value in parts)


def digest(number: int = 1) -> str:
    instance, data = image(number)
    sha = Origin(MR, instance.decode(), EXPLICIT, "SCANNER", "RADLOOP").new_digest()
    sha.update(data)
    return sha.hexdigest()


def test_a_store_is_kept_whole_and_then_acknowledged(
    peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(store(7, pieces=5))
    (response,) = peer.responses
    assert (response.status, response.message_id, response.context_id) == (SUCCESS, 7, 1)
    assert files(provider) == {"spool": 1, "quarantine": 0, "tmp": 0}
    (path,) = provider.store.spooled()
    assert path.stem == digest(7)
    assert path.read_bytes().endswith(image(7)[1])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_any_cut_of_the_stream_gives_the_same(
    size: int, peer: Conversation, provider: CountingProvider
) -> None:
    stream = store(1, pieces=3) + ECHO + store(2) + RELEASE
    peer.say(stream, sizes=[size] * (len(stream) // size))
    assert peer.statuses == [SUCCESS] * 3
    assert peer.kinds == [DATA] * 3 + [RELEASED]
    assert {path.stem for path in provider.store.spooled()} == {digest(1), digest(2)}


def test_nothing_is_acknowledged_before_the_sync(
    waiting_peer: Conversation, provider: CountingProvider
) -> None:
    waiting_peer.say(store())
    assert waiting_peer.line.paused
    assert waiting_peer.answers == []
    assert files(provider) == {"spool": 0, "quarantine": 0, "tmp": 1}
    waiting_peer.work()
    assert not waiting_peer.line.paused
    assert waiting_peer.statuses == [SUCCESS]


def test_messages_that_come_while_a_sync_is_pending_are_dealt_with_in_order(
    waiting_peer: Conversation, provider: CountingProvider
) -> None:
    waiting_peer.say(store(1), ECHO, store(2), store(3), ECHO)
    assert waiting_peer.answers == []
    waiting_peer.work()
    assert [each.message_id for each in waiting_peer.responses] == [1, 1, 2, 3, 1]
    assert [each.context_id for each in waiting_peer.responses] == [1, 3, 1, 1, 3]
    assert waiting_peer.statuses == [SUCCESS] * 5
    assert {path.stem for path in provider.store.spooled()} == {digest(n) for n in (1, 2, 3)}


def test_a_release_while_a_sync_is_pending_follows_the_answer(waiting_peer: Conversation) -> None:
    waiting_peer.say(store(), RELEASE)
    assert waiting_peer.kinds == []
    waiting_peer.work()
    assert waiting_peer.kinds == [DATA, RELEASED]
    assert waiting_peer.line.ended


def test_a_loss_while_a_sync_is_pending_loses_the_answer_and_nothing_else(
    waiting_peer: Conversation, provider: CountingProvider
) -> None:
    waiting_peer.say(store(), store(2)[:100])
    waiting_peer.lose()
    waiting_peer.work()
    assert waiting_peer.answers == []
    assert files(provider) == {"spool": 1, "quarantine": 0, "tmp": 0}
    assert provider.left_count == 1


def test_no_answer_follows_an_abort(waiting_peer: Conversation) -> None:
    """The sync outlives the association, when the process ends or the peer reads nothing."""
    waiting_peer.say(store(), ECHO)
    waiting_peer.association.cut_off()
    waiting_peer.work()
    assert waiting_peer.kinds == [ABORTED]


@pytest.mark.parametrize("cut", [0, 1, 5, 6, 7, 11, 12, 100, 200, 300, 400, -20])
@pytest.mark.parametrize("how", ["lost", "abort", "cut off", "release"])
def test_an_object_that_is_not_whole_leaves_nothing(
    cut: int, how: str, peer: Conversation, provider: CountingProvider
) -> None:
    stream = store(1, pieces=2)
    peer.say(stream[:cut])
    if how == "lost":
        peer.lose()
    elif how == "cut off":
        peer.association.cut_off()
    else:
        # Inside a fragment these bytes are data of it; then the connection is lost.
        peer.say(ABORT if how == "abort" else RELEASE)
        peer.lose()
    assert files(provider) == EMPTY
    assert SUCCESS not in peer.statuses
    assert provider.unfinished.take("SCANNER", 8 * 1024**3)


def test_a_release_between_command_and_data_set_leaves_nothing(
    peer: Conversation, provider: CountingProvider
) -> None:
    instance, data = image()
    peer.say(fragment(1, 3, store_command(MR.encode(), instance)), fragment(1, 0, data[:50]))
    assert files(provider)["tmp"] == 1
    peer.say(RELEASE)
    assert peer.kinds == [RELEASED]
    assert files(provider) == EMPTY


def test_no_room_when_an_object_begins(peer: Conversation, provider: CountingProvider) -> None:
    provider.fill_disk()
    peer.say(store(1, pieces=3), ECHO)
    assert peer.statuses == [OUT_OF_RESOURCES, SUCCESS]
    assert files(provider) == EMPTY


def test_no_room_while_an_object_comes(peer: Conversation, provider: CountingProvider) -> None:
    instance, _ = image()
    peer.say(fragment(1, 3, store_command(MR.encode(), instance)), fragment(1, 0, b"x" * 100))
    provider.fill_disk()
    piece = fragment(1, 0, b"x" * 131000)
    for _ in range(130):  # the room is looked at again every 16 MiB
        peer.say(piece)
    assert files(provider) == EMPTY
    assert peer.answers == []
    peer.say(fragment(1, 2, b"x"), ECHO)
    assert peer.statuses == [OUT_OF_RESOURCES, SUCCESS]


def test_no_room_when_an_object_is_whole(
    waiting_peer: Conversation, provider: CountingProvider
) -> None:
    waiting_peer.say(store(), ECHO)
    provider.fill_disk()
    waiting_peer.work()
    assert waiting_peer.statuses == [OUT_OF_RESOURCES, SUCCESS]
    assert files(provider) == EMPTY


def test_room_that_comes_back_is_used(peer: Conversation, provider: CountingProvider) -> None:
    provider.fill_disk()
    peer.say(store())
    provider.store.intake._minimum_free_bytes = 0
    peer.say(store())
    assert peer.statuses == [OUT_OF_RESOURCES, SUCCESS]
    assert provider.left_count == 0


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_disk_that_fails_at_the_beginning(peer: Conversation, provider: CountingProvider) -> None:
    _remove(provider.store.root / "tmp")
    peer.say(store(1), store(2))
    assert peer.statuses == [OUT_OF_RESOURCES] * 2
    assert provider.disk_failed


def test_a_disk_that_fails_at_the_end_acknowledges_nothing_ever_again(
    waiting_peer: Conversation, provider: CountingProvider
) -> None:
    other = Conversation(provider, at_once=False)
    other.associate()
    waiting_peer.say(store(1), store(3))
    other.say(store(2))
    # The other's object is safe; but its answer comes after the disk has failed.
    job, then = other.line.jobs.popleft()
    outcome = job()
    assert outcome == (SUCCESS, "")
    _remove(provider.store.root / "spool")
    waiting_peer.work()
    assert waiting_peer.statuses == [OUT_OF_RESOURCES] * 2
    assert provider.disk_failed
    other.line.jobs.append((lambda: outcome, then))
    other.work()
    assert other.statuses == [OUT_OF_RESOURCES]


def test_a_disk_that_has_failed_takes_no_association(
    peer: Conversation, provider: CountingProvider
) -> None:
    provider.disk_failed = True
    assert Conversation(provider).associate() == REJECTED
    peer.say(store())
    assert peer.statuses == [OUT_OF_RESOURCES]
    assert files(provider) == EMPTY


def test_an_object_over_its_limit_is_refused_and_the_association_ends(tmp_path: Path) -> None:
    provider = new_provider(tmp_path / "data", maximum_object_bytes=1000)
    talk = Conversation(provider)
    talk.associate()
    instance, _ = image()
    start = fragment(1, 3, store_command(MR.encode(), instance))
    talk.say(start, fragment(1, 0, bytes(1000)))
    assert talk.answers == []
    talk.say(fragment(1, 0, b"x"), ECHO)
    assert talk.kinds == [DATA, ABORTED]
    assert talk.statuses == [OUT_OF_RESOURCES]
    assert files(provider) == EMPTY
    provider.close()


def test_an_object_of_exactly_the_limit_is_stored(tmp_path: Path) -> None:
    provider = new_provider(tmp_path / "data", maximum_object_bytes=len(image()[1]))
    talk = Conversation(provider)
    talk.associate()
    talk.say(store(1, pieces=4))
    assert talk.statuses == [SUCCESS]
    provider.close()


@pytest.mark.parametrize("full", [True, False])
def test_a_data_set_that_is_not_kept_cannot_be_endless_either(tmp_path: Path, full: bool) -> None:
    provider = new_provider(tmp_path / "data", maximum_object_bytes=1000)
    talk = Conversation(provider)
    talk.associate()
    if full:
        provider.fill_disk()
        talk.say(fragment(1, 3, store_command(MR.encode(), b"1.2.3")))
    else:
        talk.say(fragment(1, 3, command(0x0020, data_set=True)))
    for _ in range(20):
        talk.say(fragment(1, 0, bytes(100)))
    assert talk.kinds == [DATA, ABORTED]
    assert files(provider) == EMPTY
    provider.close()


def test_unfinished_bytes_count_against_the_sender(tmp_path: Path) -> None:
    provider = new_provider(tmp_path / "data", unfinished_bytes_per_peer=1000)
    talks = [Conversation(provider) for _ in range(3)]
    for number, talk in enumerate(talks):
        talk.associate(calling="OTHER" if number == 2 else "SCANNER")
        talk.say(fragment(1, 3, store_command(MR.encode(), b"1.2.3")), fragment(1, 0, bytes(600)))
    assert [talk.kinds for talk in talks] == [[], [DATA, ABORTED], []]
    assert talks[1].statuses == [OUT_OF_RESOURCES]
    talks[0].lose()
    assert provider.unfinished.take("SCANNER", 1000)
    assert not provider.unfinished.take("SCANNER", 1)
    provider.close()


@pytest.mark.parametrize("field", [0x0010, 0x0020, 0x0021, 0x0140, 0x0150, 0x7FFF])
@pytest.mark.parametrize("data_set", [True, False])
def test_an_operation_that_is_not_ours_is_answered_and_the_association_goes_on(
    field: int, data_set: bool, peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(fragment(3, 3, command(field, data_set=data_set, message_id=9)))
    if data_set:
        assert peer.answers == []
        peer.say(fragment(3, 0, b"identifier"), fragment(3, 2, b""))
    peer.say(store())
    assert peer.statuses == [UNRECOGNISED_OPERATION, SUCCESS]
    assert peer.responses[0].message_id == 9
    assert files(provider)["spool"] == 1


def test_a_cancel_is_not_answered(peer: Conversation) -> None:
    cancel = struct.pack("<HHLH", 0, 0x0100, 2, 0x0FFF) + struct.pack("<HHLH", 0, 0x0120, 2, 5)
    peer.say(fragment(1, 3, cancel + struct.pack("<HHLH", 0, 0x0800, 2, 0x0101)), ECHO)
    assert peer.statuses == [SUCCESS]


def test_a_response_that_nobody_asked_for_ends_the_association(peer: Conversation) -> None:
    peer.say(fragment(1, 3, command(0x8001)), ECHO)
    assert peer.kinds == [ABORTED]


def test_an_echo_with_a_data_set_is_answered_after_it(peer: Conversation) -> None:
    peer.say(fragment(3, 3, command(0x0030, data_set=True)))
    assert peer.answers == []
    peer.say(fragment(3, 2, b"what for"))
    assert peer.statuses == [SUCCESS]


BROKEN = {
    "a data set without a command": fragment(1, 2, b"x"),
    "a command where data are due": fragment(1, 3, store_command(MR.encode(), b"1.2")) * 2,
    "a command in a context that was refused": fragment(5, 3, echo_command()),
    "a command in no context": fragment(0, 3, echo_command()),
    "data in another context": fragment(1, 3, store_command(MR.encode(), b"1.2"))
    + fragment(3, 2, b"x"),
    "a command that changes its context": fragment(1, 1, echo_command()[:20])
    + fragment(3, 3, echo_command()[20:]),
    "an empty command that changes its context": fragment(1, 1, b"")
    + fragment(3, 3, echo_command()),
    "no command set": fragment(1, 3, b"nonsense"),
    "an empty command": fragment(1, 3, b""),
    "a command without end": fragment(1, 1, bytes(60_000)) * 2,
    "a store without a data set": fragment(1, 3, command(0x0001)),
    "a store without a name": fragment(1, 3, store_command(MR.encode(), b"")),
    "a store without a class": fragment(1, 3, store_command(b"", b"1.2")),
    "a second request": associate_request("RADLOOP", "SCANNER", [(MR, EXPLICIT)]),
    "a PDU of no known type": pdu(0x99, b""),
    "an acceptance": pdu(2, bytes(100)),
    "a release response": pdu(6, bytes(4)),
    "a PDU that is too long": struct.pack(">BxL", 4, 0xFFFFFFFF),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_protocol_is_aborted_and_leaves_nothing(
    name: str, peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(BROKEN[name], ECHO, store())
    assert peer.kinds == [ABORTED]
    assert peer.line.ended
    assert files(provider) == EMPTY
    peer.lose()
    assert provider.left_count == 1


@pytest.mark.parametrize(
    "start",
    [
        ECHO,
        RELEASE,
        pdu(1, b"short"),
        pdu(0x99, b""),
        struct.pack(">BxL", 1, 0xFFFFFFFF),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_association_request_is_aborted(
    start: bytes, provider: CountingProvider
) -> None:
    talk = Conversation(provider)
    talk.say(start)
    assert talk.kinds == [ABORTED]
    assert not talk.line.established
    talk.lose()
    assert provider.left_count == 0


def test_a_refused_association_ends_and_is_not_counted(provider: CountingProvider) -> None:
    talk = Conversation(provider)
    assert talk.associate(called="SOMEBODY") == REJECTED
    assert talk.line.ended
    assert not talk.line.established
    talk.lose()
    assert provider.left_count == 0


def test_an_abort_ends_without_an_answer(peer: Conversation, provider: CountingProvider) -> None:
    peer.say(ABORT, ECHO)
    assert peer.kinds == []
    assert peer.line.ended
    peer.lose()
    peer.lose()
    assert provider.left_count == 1


def test_what_contradicts_itself_is_quarantined_and_said(
    peer: Conversation, provider: CountingProvider
) -> None:
    instance, data = image()
    other = uid("another").encode()
    for named, sop_class, sent in (
        (other, MR.encode(), data),
        (b"../../evil", MR.encode(), data),
        (instance, b"1.2.840.10008.5.1.4.1.1.2", data),
        (instance, MR.encode(), b"no data set at all"),
    ):
        peer.say(fragment(1, 3, store_command(sop_class, named)), fragment(1, 2, sent))
    assert peer.statuses == [DATA_SET_MISMATCH] * 3 + [CANNOT_UNDERSTAND]
    assert all(len(each.elements[0x0902]) <= 64 for each in peer.responses)
    assert files(provider) == {"spool": 4, "quarantine": 4, "tmp": 0}
    assert {path.suffix for path in (provider.store.root / "spool").iterdir()} == {".json"}


def test_an_empty_data_set_is_answered(peer: Conversation, provider: CountingProvider) -> None:
    peer.say(fragment(1, 3, store_command(MR.encode(), b"1.2.3")), fragment(1, 2, b""))
    assert peer.statuses == [CANNOT_UNDERSTAND]


def test_a_message_in_fragments_of_one_byte_lets_others_in_between(
    waiting_peer: Conversation, provider: CountingProvider
) -> None:
    instance, data = image()
    tiny = b"".join(struct.pack(">LBB", 3, 1, 0) + data[at : at + 1] for at in range(len(data) - 1))
    waiting_peer.say(
        fragment(1, 3, store_command(MR.encode(), instance)),
        pdu(4, tiny),
        fragment(1, 2, data[-1:]),
        ECHO,
    )
    turns = 0
    while waiting_peer.line.jobs and not waiting_peer.answers:
        assert waiting_peer.line.paused
        waiting_peer.line.run_jobs(1)
        turns += 1
    waiting_peer.work()
    assert turns == len(data) // _EVENTS_AT_A_TIME + 1
    assert waiting_peer.statuses == [SUCCESS, SUCCESS]
    assert [path.stem for path in provider.store.spooled()] == [digest()]


def test_a_flood_of_requests_is_answered_in_turns(waiting_peer: Conversation) -> None:
    waiting_peer.say(ECHO * (2 * _EVENTS_AT_A_TIME + 10))
    assert len(waiting_peer.responses) == _EVENTS_AT_A_TIME
    waiting_peer.lose()
    waiting_peer.work()
    assert len(waiting_peer.responses) == _EVENTS_AT_A_TIME


def test_a_flood_ends_whether_it_is_dealt_with_at_once_or_later(peer: Conversation) -> None:
    count = 2 * _EVENTS_AT_A_TIME + 10
    peer.say(ECHO * count, RELEASE)
    assert len(peer.responses) == count
    assert peer.kinds[-1] == RELEASED


def test_a_command_that_makes_no_headway_counts_as_a_message(peer: Conversation) -> None:
    """Else empty fragments could keep an association busy for ever."""
    peer.say(fragment(1, 1, b""))
    assert peer.connection._window_began is not None
    peer.say(fragment(1, 3, echo_command()))
    assert peer.connection._window_began is None


def test_bytes_that_waited_are_counted_once(waiting_peer: Conversation) -> None:
    start = fragment(1, 3, store_command(MR.encode(), b"1.2.3")) + fragment(1, 0, b"x" * 100)
    waiting_peer.say(store(), start)
    waiting_peer.work()
    assert waiting_peer.connection._window_bytes == 0
    waiting_peer.say(fragment(1, 0, b"y" * 88))
    assert waiting_peer.connection._window_bytes == 100


def test_what_a_peer_proposed_is_not_kept(peer: Conversation) -> None:
    kept = peer.association._peer
    assert kept is not None
    assert kept.contexts == ()


@pytest.mark.parametrize("room", [1, 7, 20, 128, 16384])
def test_answers_fit_into_what_the_peer_takes(room: int, provider: CountingProvider) -> None:
    talk = Conversation(provider)
    talk.say(
        associate_request(
            "RADLOOP", "SCANNER", [(MR, EXPLICIT), (VERIFICATION, EXPLICIT)], maximum_pdu=room
        )
    )
    talk.line.sent.clear()
    talk.say(ECHO)
    assert all(len(body) <= max(room, 7) for _, body in talk.answers)
    assert talk.statuses == [SUCCESS]


def test_the_same_object_twice_is_one_file(peer: Conversation, provider: CountingProvider) -> None:
    peer.say(store(), store(pieces=9))
    assert peer.statuses == [SUCCESS, SUCCESS]
    assert files(provider)["spool"] == 1
