"""Storage commitment in the receiver: roles, commands, data sets, and what is on the disk."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_AC

from dicom_node.commitment.information import (
    Information,
    Reference,
    TooManyReferences,
    data_set_of,
    decode_information,
)
from dicom_node.commitment.notices import waiting_notices
from dicom_node.commitment.verifying import digest_of_file
from dicom_node.commitment.vocabulary import MAXIMUM_REFERENCES
from dicom_node.durable import StorageFailed
from dicom_node.negotiation import Roles, agree, decode_request
from dicom_node.storage import DicomStore
from dicom_node.upper_layer import INVALID_PARAMETER, ProtocolViolation
from tests.builders import encode, mr_image, received
from tests.commitment_room import CLASS, INSTANCE, MR, action, missing, outcome
from tests.conversation import ABORTED, Conversation, CountingProvider, files, new_provider
from tests.raw_dicom import (
    EXPLICIT,
    associate_request,
    echo_command,
    fragment,
    notice_command,
    pdu,
    role_selection,
    store_command,
)

IMPLICIT = str(ImplicitVRLittleEndian)
SYNTAXES = [str(ExplicitVRLittleEndian), IMPLICIT]
CONTEXTS = ((CLASS, EXPLICIT), (MR, EXPLICIT))
OURS = (frozenset((MR,)), frozenset((EXPLICIT, IMPLICIT)), 65536)
GOOD = encode(action("2.25.1", [missing(1), missing(2)]))


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[CountingProvider]:
    provider = new_provider(tmp_path)
    yield provider
    provider.close()


@pytest.fixture
def peer(provider: CountingProvider) -> Conversation:
    talk = Conversation(provider)
    assert talk.associate(CONTEXTS) == 2
    return talk


def message(command: bytes, data: bytes = GOOD, context: int = 1) -> bytes:
    return fragment(context, 3, command) + fragment(context, 2, data)


def kept(provider: CountingProvider) -> list[Path]:
    return sorted((provider.store.root / "commitments").iterdir())


# Negotiation


@pytest.mark.parametrize("user", [0, 1])
@pytest.mark.parametrize("provider_role", [0, 1])
def test_roles_are_answered_as_they_are_asked(user: int, provider_role: int) -> None:
    asked = associate_request("RADLOOP", "PACS", CONTEXTS, roles=(user, provider_role))
    answer, accepted = agree(decode_request(asked), *OURS)
    library = A_ASSOCIATE_AC()
    library.decode(answer)
    (item,) = library.user_information.role_selection.values()
    assert (item.uid, item.scu_role, item.scp_role) == (CLASS, user, provider_role)
    assert accepted[1].roles == Roles(bool(user), bool(provider_role))
    assert accepted[3].roles is None


def test_no_role_is_answered_that_nobody_asked_for_or_that_has_no_context() -> None:
    for contexts, roles in ((CONTEXTS, None), (((CLASS, "1.2.840.10008.1.2.2"),), (1, 1))):
        asked = associate_request("RADLOOP", "PACS", contexts, roles=roles)
        answer, _ = agree(decode_request(asked), *OURS)
        assert b"\x54\x00" not in answer[-120:]
    asked = associate_request("RADLOOP", "PACS", ((MR, EXPLICIT),), roles=(1, 1))
    request = decode_request(asked)
    assert request.roles is None
    assert b"\x54\x00" not in agree(request, *OURS)[0][-120:]


def request_with(user_items: bytes) -> bytes:
    """Return a request whose user information holds more items."""
    plain = associate_request("RADLOOP", "PACS", CONTEXTS)
    position = plain.rindex(b"\x50\x00", 0, plain.rindex(b"\x51\x00\x00\x04"))
    body = plain[6:position] + b"\x50\x00"
    user = plain[position + 4 :] + user_items
    return pdu(1, body + struct.pack(">H", len(user)) + user)


def test_a_role_selection_is_read_beside_what_is_there_already() -> None:
    found = decode_request(request_with(role_selection(CLASS, 1, 0)))
    assert found.roles == Roles(user=True, provider=False)
    assert found.maximum_pdu_bytes == 131072


@pytest.mark.parametrize(
    "items",
    [
        role_selection(CLASS, 2, 1),
        role_selection(CLASS, 1, 255),
        role_selection(CLASS, 1, 1) * 2,
        b"\x54\x00\x00\x00",
        b"\x54\x00\x00\x03\x00\x00\x01",
        b"\x54\x00\x00\x04\x00\x01\x01\x01",
        b"\x54\x00\x00\x04\xff\xff\x01\x01",
        role_selection(CLASS, 1, 1)[:-1],
        role_selection(MR, 1, 1)[:-1],
    ],
)
def test_hostile_role_selections_are_refused(items: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode_request(request_with(items))
    assert caught.value.reason == INVALID_PARAMETER


def test_roles_of_other_classes_are_of_no_interest() -> None:
    items = role_selection(MR, 7, 7) + role_selection("nonsense", 0, 0)
    assert decode_request(request_with(items)).roles is None


# Commands


def test_a_request_is_a_file_before_it_is_answered(
    peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(message(notice_command()))
    assert peer.statuses == [0]
    (path,) = kept(provider)
    (found,) = waiting_notices(path.parent)
    assert found.kind == "N-ACTION"
    assert found.sender.calling_ae_title == "SCANNER"
    assert found.sender.address == "127.0.0.1"
    assert found.transfer_syntax_uid == EXPLICIT
    assert found.data == GOOD
    assert json.loads(path.read_bytes().split(b"\n")[0])["sender"]["called_ae_title"] == "RADLOOP"
    assert path.stat().st_mode & 0o777 == 0o600
    (response,) = peer.responses
    assert response.elements[0x0100] == struct.pack("<H", 0x8130)
    assert response.elements[0x0002].rstrip(b"\0").decode() == CLASS
    assert response.elements[0x1000].rstrip(b"\0").decode() == INSTANCE
    assert response.elements[0x1008] == struct.pack("<H", 1)
    assert 0x0003 not in response.elements


@pytest.mark.parametrize(("event_type", "status"), [(1, 0), (2, 0), (3, 0x0113)])
def test_a_report_is_taken_likewise(
    peer: Conversation, provider: CountingProvider, event_type: int, status: int
) -> None:
    failed = {missing(1): 0x0112} if event_type == 2 else {}
    data = encode(outcome("2.25.1", [missing(2)], failed))
    peer.say(message(notice_command(field=0x0100, type_id=event_type), data))
    assert peer.statuses == [status]
    assert len(kept(provider)) == (status == 0)
    (response,) = peer.responses
    assert response.elements[0x1002] == struct.pack("<H", event_type)


@pytest.mark.parametrize(
    ("command", "data", "status"),
    [
        (notice_command(type_id=0), GOOD, 0x0123),
        (notice_command(type_id=2), GOOD, 0x0123),
        (notice_command(instance="1.2.3"), GOOD, 0x0112),
        (notice_command(instance=""), GOOD, 0x0112),
        (notice_command(sop_class=MR), GOOD, 0x0118),
        (notice_command(field=0x0110), GOOD, 0x0211),
        (store_command(CLASS.encode(), INSTANCE.encode()), GOOD, 0x0211),
        (notice_command(), b"", 0x0115),
        (notice_command(), b"no data set at all", 0x0115),
        (notice_command(), GOOD[:-3], 0x0115),
        (notice_command(), encode(action("2.25.1", [])), 0x0115),
        (notice_command(), GOOD.replace(b"2.25.1", b"2.25.x"), 0x0115),
        (notice_command(), encode(outcome("2.25.1", [], {missing(1): 1})), 0x0115),
        (notice_command(field=0x0100, type_id=2), GOOD, 0x0115),
        (notice_command(field=0x0100, type_id=1), b"", 0x0115),
    ],
)
def test_what_is_refused_leaves_nothing(
    peer: Conversation, provider: CountingProvider, command: bytes, data: bytes, status: int
) -> None:
    peer.say(message(command, data), fragment(1, 3, echo_command()))
    assert peer.statuses == [status, 0]
    assert files(provider) == {"spool": 0, "quarantine": 0, "tmp": 0}
    assert kept(provider) == []


def test_who_is_not_admitted_cannot_ask(tmp_path: Path) -> None:
    listed = [{"ae_title": "MODALITY", "host": "192.0.2.7"}]
    provider = new_provider(tmp_path, peers=listed, accept_unknown_peers=False)
    for calling in ("STRANGER", "MODALITY"):
        talk = Conversation(provider)
        assert talk.associate(CONTEXTS, calling=calling, roles=(1, 1)) == 3
        talk.say(message(notice_command()))
        assert talk.answers == []
    assert kept(provider) == []
    provider.close()


def test_a_request_without_a_data_set_is_answered_at_once(peer: Conversation) -> None:
    peer.say(fragment(1, 3, notice_command(has_data_set=False)))
    assert peer.statuses == [0x0115]


def test_the_operations_are_not_known_on_another_context(
    peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(message(notice_command(), context=3))
    assert peer.statuses == [0x0211]
    assert kept(provider) == []


@pytest.mark.parametrize(
    ("roles", "statuses"),
    [((1, 1), [0, 0]), ((1, 0), [0, 0x0124]), ((0, 1), [0x0124, 0]), ((0, 0), [0x0124, 0x0124])],
)
def test_roles_bind(
    provider: CountingProvider, roles: tuple[int, int], statuses: list[int]
) -> None:
    talk = Conversation(provider)
    talk.associate(CONTEXTS, roles=roles)
    talk.say(message(notice_command()), message(notice_command(field=0x0100)))
    assert talk.statuses == statuses


def test_a_request_that_is_too_long_ends_the_association(
    peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(fragment(1, 3, notice_command()))
    for _ in range(42):
        peer.say(fragment(1, 0, bytes(100_000)))
    assert peer.statuses == [0x0213]
    assert peer.kinds[-1] == ABORTED
    assert files(provider)["tmp"] == 0


def test_a_disk_without_room(peer: Conversation, provider: CountingProvider) -> None:
    provider.fill_disk()
    peer.say(message(notice_command()))
    assert peer.statuses == [0x0213]
    assert kept(provider) == []
    provider.store.intake._minimum_free_bytes = 0
    peer.say(message(notice_command()))
    assert peer.statuses == [0x0213, 0]


def test_a_disk_that_fails_acknowledges_nothing(
    peer: Conversation, provider: CountingProvider
) -> None:
    (provider.store.root / "commitments").rmdir()
    peer.say(message(notice_command()))
    assert peer.statuses == [0x0213]
    assert provider.disk_failed


def test_nothing_is_answered_before_the_sync_of_the_folder(provider: CountingProvider) -> None:
    synced: list[int] = []
    intake = provider.store.intake
    sync = intake.sync_commitments
    talk = Conversation(provider, at_once=False)
    talk.associate(CONTEXTS)

    def note() -> None:
        synced.append(len(talk.line.sent))
        sync()

    intake.sync_commitments = note
    talk.say(message(notice_command()))
    assert talk.answers == []
    talk.work()
    assert synced == [0]
    assert talk.statuses == [0]


def test_a_sync_that_fails_is_no_success_and_the_end(
    peer: Conversation, provider: CountingProvider
) -> None:
    def fail() -> None:
        raise StorageFailed("the disk failed: EIO")

    provider.store.intake.sync_commitments = fail
    peer.say(message(notice_command()))
    assert peer.statuses == [0x0213]
    assert provider.disk_failed


@pytest.mark.parametrize("how", ["lose", "cut_off"])
def test_a_request_that_is_not_whole_leaves_nothing(
    peer: Conversation, provider: CountingProvider, how: str
) -> None:
    peer.say(fragment(1, 3, notice_command()), fragment(1, 0, GOOD[:40]))
    assert files(provider)["tmp"] == 1
    (peer.lose if how == "lose" else peer.association.cut_off)()
    assert files(provider)["tmp"] == 0
    assert kept(provider) == []


# Data sets


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_what_pydicom_writes_is_read(syntax: str, undefined: bool) -> None:
    data_set = outcome("2.25.1", [missing(1), missing(2)], {missing(3): 0x0119})
    data_set.StudyInstanceUID = "1.2.3"
    data_set.RetrieveAETitle = "PACS"
    for sequence in (data_set.ReferencedSOPSequence, data_set.FailedSOPSequence):
        for item in sequence:
            item.is_undefined_length_sequence_item = undefined
            item.add_new(0x00091010, "UN", b"private ")
    for keyword in ("ReferencedSOPSequence", "FailedSOPSequence"):
        data_set[keyword].is_undefined_length = undefined
    found = decode_information(encode(data_set, syntax), syntax)
    assert found == Information(
        "2.25.1",
        (Reference(*missing(1)), Reference(*missing(2))),
        (Reference(*missing(3), 0x0119),),
    )
    assert decode_information(encode(data_set_of(found), syntax), syntax) == found


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_of_others_are_skipped(syntax: str) -> None:
    inner, item = Dataset(), Dataset()
    inner.ReferencedSOPSequence = [Dataset()]
    item.ReferencedSeriesSequence = [inner]
    item["ReferencedSeriesSequence"].is_undefined_length = True
    data_set = action("2.25.1", [missing(1)])
    data_set.ReferencedStudySequence = [item]
    data_set["ReferencedStudySequence"].is_undefined_length = True
    found = decode_information(encode(data_set, syntax), syntax)
    assert found == Information("2.25.1", (Reference(*missing(1)),))


def test_an_instance_that_is_named_twice_counts_once() -> None:
    data = encode(action("2.25.1", [missing(1), missing(2), missing(1)]))
    assert len(decode_information(data, EXPLICIT).referenced) == 2


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_uids_that_real_equipment_writes_go_back_as_they_came(syntax: str) -> None:
    odd = Information("2.25.007", (Reference("1.02.3", "1.2.03"),), (Reference("1.0", "01", 1),))
    assert decode_information(encode(data_set_of(odd), syntax), syntax) == odd


def test_the_number_of_instances_is_bounded() -> None:
    most = [(MR, f"1.{number}") for number in range(MAXIMUM_REFERENCES)]
    assert len(decode_information(encode(action("2.25.1", most)), EXPLICIT).referenced) == len(most)
    with pytest.raises(TooManyReferences):
        decode_information(encode(action("2.25.1", [*most, missing(1)])), EXPLICIT)


def test_sequences_in_sequences_are_not_followed_for_ever() -> None:
    deep = b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    with pytest.raises(ValueError, match="nested too deep"):
        decode_information(deep, EXPLICIT)


# Files


def test_a_damaged_file_is_put_aside_and_keeps_nothing_from_being_filed(
    peer: Conversation, provider: CountingProvider
) -> None:
    peer.say(message(notice_command()), message(notice_command()))
    first, second = kept(provider)
    first.write_bytes(first.read_bytes()[:-5])
    assert [each.name for each in waiting_notices(first.parent)] == [second.name]
    assert first.with_suffix(".damaged").exists()


def test_a_stored_file_is_digested_to_its_name(tmp_path: Path) -> None:
    store = DicomStore(tmp_path)
    store.recover()
    digest = store.store(received(mr_image()))
    path = store.path(digest)
    content = path.read_bytes()
    assert digest_of_file(path) == digest
    for place in (content.index(b"1.2.840.10008.5.1.4.1.1.4"), len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert digest_of_file(path) != digest
    path.write_bytes(content[:-1])
    assert digest_of_file(path) != digest
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="ends inside"):
        digest_of_file(path)
