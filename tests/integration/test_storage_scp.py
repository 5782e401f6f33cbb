"""Real receiver processes on a real socket: every syntax byte-exact, hostile peers, kill -9."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dicom_node.receiver import Receivers
from dicom_node.settings import CallingPeer, DicomSettings
from dicom_node.sop_classes import DEFLATED, STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.storage import DicomStore
from tests.builders import COMPRESSED_SYNTAX, compressed_image, encode, mr_image, uid
from tests.raw_dicom import (
    EXPLICIT,
    RawAssociation,
    associate_request,
    fragment,
    pdu,
    store_command,
)

MR = "1.2.840.10008.5.1.4.1.1.4"
START_SECONDS = 20.0


class Node:
    """Receivers on a free port with an empty store."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.store = DicomStore(root)
        self.store.recover()
        values = {"port": 0, "minimum_free_bytes": 0, "accept_unknown_peers": True} | settings
        self.receivers = Receivers(DicomSettings.model_validate(values), root)
        self.receivers.start()
        self.receivers.wait_until_ready()
        self.address = self.receivers.address

    def mr(self, **names: Any) -> RawAssociation:
        return RawAssociation(self.address, [(MR, EXPLICIT)], **names)

    def echoes(self) -> bool:
        with RawAssociation(self.address) as association:
            return association.answer == 2 and association.echo() == 0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("node"), network_timeout_seconds=3.0)
    yield node
    node.receivers.stop()


def until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("the condition did not come true in time")
        threading.Event().wait(0.02)


def closed_within(connection: socket.socket, seconds: float) -> bool:
    """Tell whether the peer closes the connection in time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            continue
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_library_peer_verifies_and_every_storage_class_is_offered(node: Node) -> None:
    ae = AE("SCANNER")
    ae.add_requested_context(Verification)
    for sop_class in sorted(STORAGE_SOP_CLASSES)[:127]:
        ae.add_requested_context(sop_class, EXPLICIT)
    association = ae.associate(*node.address, ae_title="RADLOOP")
    try:
        assert association.is_established
        assert len(association.accepted_contexts) == 128
        assert association.send_c_echo().Status == 0
    finally:
        association.release()


def test_every_syntax_but_deflated_is_accepted(node: Node) -> None:
    syntaxes = sorted(TRANSFER_SYNTAXES)
    association = RawAssociation(node.address, [(MR, syntax) for syntax in syntaxes])
    with association:
        assert association.answer == 2
        results = []
        position = association.body.index(b"\x21\x00")
        while association.body[position] == 0x21:
            results.append(association.body[position + 6])
            length = int.from_bytes(association.body[position + 2 : position + 4], "big")
            position += 4 + length
    assert results == [4 if syntax in DEFLATED else 0 for syntax in syntaxes]


def test_compressed_object_is_stored_byte_exact(node: Node) -> None:
    image = compressed_image(patient="compressed", study="compressed")
    data = encode(image, COMPRESSED_SYNTAX)
    before = set(node.store.spooled())
    with RawAssociation(node.address, [(MR, str(COMPRESSED_SYNTAX))]) as association:
        assert association.store(MR, image.SOPInstanceUID, data) == 0
        association.release()
    (path,) = set(node.store.spooled()) - before
    assert path.read_bytes().endswith(data)
    read = dcmread(path)
    assert read.file_meta.TransferSyntaxUID == COMPRESSED_SYNTAX
    assert read.file_meta.SendingApplicationEntityTitle == "SCANNER"
    assert read.PatientID == "compressed"


def test_repeated_object_gets_success_and_one_file(node: Node) -> None:
    image = mr_image(study="repeated")
    before = node.store.spooled_count()
    for _ in range(2):
        with node.mr() as association:
            assert association.store(MR, image.SOPInstanceUID, encode(image)) == 0
            association.release()
    assert node.store.spooled_count() == before + 1


def test_every_process_serves(node: Node) -> None:
    served: set[int] = set()
    held: list[RawAssociation] = []

    def every_process_has_one() -> bool:
        held.append(RawAssociation(node.address))
        served.update(_processes_with_connections(node))
        return served == set(node.receivers.process_ids)

    try:
        until(every_process_has_one)
        assert all(association.echo() == 0 for association in held if association.answer == 2)
    finally:
        for association in held:
            association.socket.close()


def _processes_with_connections(node: Node) -> set[int]:
    """Return receivers that hold a socket besides the listening one."""
    found = set()
    for pid in node.receivers.process_ids:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()]
        if sum(1 for link in links if link.startswith("socket:")) > 1:
            found.add(pid)
    return found


@pytest.mark.parametrize(
    "named",
    [b"../../x", b"/etc/passwd", b"1.2.3.aX", b"1" * 65, b"1.2\\3", b"\xff\xfe", b"1.2\n3"],
)
def test_hostile_uid_is_quarantined_and_refused(node: Node, named: bytes) -> None:
    data = encode(mr_image(study="hostile", PatientComments=named.hex()))
    before = {notice.digest for notice in node.store.notices()}
    with node.mr() as association:
        assert association.store(MR, named, data) == 0xA900
    new = [notice for notice in node.store.notices() if notice.digest not in before]
    assert len(new) == 1
    assert node.store.quarantined_path(new[0].digest).read_bytes().endswith(data)
    assert new[0].reason


def test_store_request_that_names_nothing_ends_the_association(node: Node) -> None:
    with node.mr() as association, pytest.raises(ConnectionError):
        association.store(MR, b"", encode(mr_image()))
    assert node.echoes()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"this is not a data set", 0xC000),
        (b"", 0xC000),
        (encode(mr_image(study="another object")), 0xA900),
    ],
)
def test_data_set_that_is_not_the_named_object_is_refused(
    node: Node, data: bytes, status: int
) -> None:
    with node.mr() as association:
        assert association.store(MR, uid("named"), data) == status
        assert association.store(MR, uid("named"), data) == status


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        bytes(4096),
        pdu(1, b"garbage"),
        pdu(4, b"garbage"),
        b"\x01\x00\xff\xff\xff\xff",
        associate_request("RADLOOP", "SCANNER", [])[:-7] + b"\x51\x00\xff\xff\x00\x00\x00",
    ],
)
def test_garbage_is_cut_off_and_others_are_served(node: Node, data: bytes) -> None:
    with socket.create_connection(node.address, 5) as connection:
        connection.sendall(data)
        assert closed_within(connection, 12)
    assert node.echoes()


def test_silent_connections_do_not_keep_others_out(node: Node) -> None:
    silent = []
    for number in range(60):
        connection = socket.create_connection(node.address, 5)
        connection.sendall(b"\x01\x00\x00"[: number % 4])
        silent.append(connection)
    started = time.monotonic()
    assert node.echoes()
    assert time.monotonic() - started < 3
    assert closed_within(silent[0], 15)
    assert closed_within(silent[3], 15)
    for connection in silent:
        connection.close()


def test_the_living_of_an_address_get_through_its_silent_ones(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1, connections_per_address=8)
    silent = [socket.create_connection(node.address, 5) for _ in range(8)]
    held: list[RawAssociation] = []
    try:
        held = [RawAssociation(node.address) for _ in range(8)]
        assert all(each.echo() == 0 for each in held)
        assert all(closed_within(each, 5) for each in silent)
        # Now all places of the address are taken by associations: it has to wait.
        with RawAssociation(node.address) as late:
            assert late.answer == 0
        assert all(each.echo() == 0 for each in held)
        elsewhere = socket.create_connection(node.address, 5, source_address=("127.0.0.9", 0))
        elsewhere.sendall(associate_request("RADLOOP", "OTHER", [(MR, EXPLICIT)]))
        assert elsewhere.recv(1) == b"\x02"
        elsewhere.close()
    finally:
        for each in [*silent, *(association.socket for association in held)]:
            each.close()
        node.receivers.stop()


def test_announced_gigabytes_end_the_association_at_once(node: Node) -> None:
    with node.mr() as association:
        association.socket.sendall(b"\x04\x00\xff\xff\xff\xff")
        kind, _ = association.read_pdu()
        assert kind in (0, 7)
        assert closed_within(association.socket, 2)
    assert node.echoes()


def test_stalled_fragment_ends_the_association(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1, network_timeout_seconds=1.0)
    try:
        with node.mr() as association:
            association.socket.sendall(fragment(1, 3, store_command(MR.encode(), b"1.2.3")))
            association.socket.sendall(b"\x04\x00\x00")
            assert closed_within(association.socket, 5)
        assert node.echoes()
        assert node.store.spooled() == []
    finally:
        node.receivers.stop()


def test_endless_object_is_cut_off_and_not_kept(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1, maximum_object_bytes=1_000_000)
    try:
        with node.mr() as association:
            piece = fragment(1, 0, bytes(16_000))
            association.socket.sendall(fragment(1, 3, store_command(MR.encode(), b"1.2.3")))
            with pytest.raises(ConnectionError):
                association.socket.sendall(piece * 10_000)
        assert node.echoes()
        assert node.store.spooled() == []
    finally:
        node.receivers.stop()


def test_unfinished_objects_of_one_sender_have_a_quota(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1, unfinished_bytes_per_peer=150_000)
    started = fragment(1, 3, store_command(MR.encode(), b"1.2.3")) + fragment(1, 0, bytes(100_000))
    try:
        with node.mr() as first, node.mr() as second, node.mr(calling="OTHER") as other:
            first.socket.sendall(started)
            until(lambda: any((node.store.root / "tmp").iterdir()))
            other.socket.sendall(started)
            second.socket.sendall(started)
            assert second.read_status() == 0xA700
            assert closed_within(second.socket, 5)
            first.socket.sendall(fragment(1, 2, b""))
            assert first.read_status() == 0xC000
            image = mr_image(study="quota", rows=192)
            assert first.store(MR, image.SOPInstanceUID, encode(image)) == 0
        until(lambda: not any((node.store.root / "tmp").iterdir()))
    finally:
        node.receivers.stop()


def test_admission_by_titles_and_free_space(tmp_path: Path) -> None:
    known = CallingPeer(ae_title="SCANNER", host="127.0.0.1")
    elsewhere = CallingPeer(ae_title="FAR", host="192.0.2.7")
    node = Node(
        tmp_path / "a",
        receiver_processes=1,
        accept_unknown_peers=False,
        peers=[known.model_dump(), elsewhere.model_dump()],
    )
    try:
        answers = {
            names: _rejection(node.mr(called=names[0], calling=names[1]))
            for names in (
                ("RADLOOP", "SCANNER"),
                ("OTHER", "SCANNER"),
                ("RADLOOP", "STRANGER"),
                ("RADLOOP", "FAR"),
            )
        }
    finally:
        node.receivers.stop()
    assert answers == {
        ("RADLOOP", "SCANNER"): (),
        ("OTHER", "SCANNER"): (1, 1, 7),
        ("RADLOOP", "STRANGER"): (1, 1, 3),
        ("RADLOOP", "FAR"): (1, 1, 3),
    }


def test_full_disk_turns_associations_away_for_now(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1, minimum_free_bytes=2**60)
    try:
        assert _rejection(node.mr()) == (2, 3, 1)
    finally:
        node.receivers.stop()


def test_more_associations_than_places_are_turned_away_for_now(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1, associations_per_process=2)
    held = []
    try:
        held = [node.mr() for _ in range(2)]
        assert _rejection(node.mr()) == (2, 3, 2)
        held.pop().release()
        until(lambda: _rejection(node.mr()) == ())
    finally:
        for association in held:
            association.socket.close()
        node.receivers.stop()


def _rejection(association: RawAssociation) -> tuple[int, ...]:
    """Return result, source and reason of a rejection; empty for an accepted association."""
    with association:
        if association.answer == 2:
            association.release()
            return ()
        assert association.answer == 3
        return tuple(association.body[1:4])


def test_killed_receiver_loses_nothing_acknowledged_and_is_replaced(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1)
    acknowledged: set[str] = set()
    images = [mr_image(study="killed", instance=number, rows=256) for number in range(400)]

    def send() -> None:
        try:
            with node.mr() as association:
                for image in images:
                    if association.store(MR, image.SOPInstanceUID, encode(image)) == 0:
                        acknowledged.add(str(image.SOPInstanceUID))
        except OSError:
            return

    try:
        sender = threading.Thread(target=send)
        sender.start()
        until(lambda: len(acknowledged) >= 10)
        (killed,) = node.receivers.process_ids
        os.kill(killed, signal.SIGKILL)
        sender.join()
        stored = {str(dcmread(path).SOPInstanceUID) for path in node.store.spooled()}
        assert 10 <= len(acknowledged) < len(images)
        assert acknowledged <= stored
        sizes = {path.stat().st_size for path in node.store.spooled()}
        assert all(size > 256 * 256 * 2 for size in sizes)
        until(lambda: node.receivers.alive == 1 and node.receivers.process_ids != [killed])
        assert node.echoes()
    finally:
        node.receivers.stop()


def test_a_successor_waits_for_the_port_of_a_node_that_was_just_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dying:
        port = dying.getsockname()[1]
        threading.Timer(0.3, dying.close).start()
        node = Node(tmp_path, receiver_processes=1, port=port)
    try:
        assert node.echoes()
    finally:
        node.receivers.stop()


def test_receivers_end_with_their_parent(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=2)
    until(node.echoes)
    pids = node.receivers.process_ids
    for child in node.receivers._children._children:
        assert child.process.stdin is not None
        child.process.stdin.close()
    until(lambda: not any(pid in node.receivers.process_ids and _runs(pid) for pid in pids))
    node.receivers.stop()


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_stop_lets_a_running_association_finish(tmp_path: Path) -> None:
    node = Node(tmp_path, receiver_processes=1)
    image = mr_image(study="stopping")
    with node.mr() as association:
        stopping = threading.Thread(target=node.receivers.stop)
        stopping.start()
        assert association.store(MR, image.SOPInstanceUID, encode(image)) == 0
        association.release()
        stopping.join(15)
        assert not stopping.is_alive()
    assert node.receivers.alive == 0
    assert node.store.spooled_count() == 1
