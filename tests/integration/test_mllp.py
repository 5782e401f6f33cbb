"""The listener on real sockets, with a real journal; what hostile and broken peers do to it."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import socket
import ssl
import struct
import threading
from pathlib import Path

import pytest

from dicom_node.errors import Transient
from dicom_node.feeds.profile import FeedProfile
from dicom_node.mllp.client import send_messages
from dicom_node.mllp.conversation import Conversation
from dicom_node.mllp.framing import END, frame
from dicom_node.settings import Hl7Settings, Hl7TlsSettings
from dicom_node.tls import client_context, fingerprint
from tests.certificates import CertificateOffice, Identity
from tests.hl7_builders import oru
from tests.mllp_room import HOST, SETTINGS, answers, code, codes, eventually, listening, peer


def _still_accepts(port: int) -> None:
    (result,) = send_messages(HOST, port, [oru(control_id="AFTER")], timeout=20)
    assert result.accepted


def _with(**values: object) -> Hl7Settings:
    return SETTINGS.model_copy(update=values)


def test_many_messages_on_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    messages = [oru(control_id=f"M{number}") for number in range(20)]
    with listening(tmp_path) as room:
        results = list(send_messages(HOST, room.port, messages, timeout=20))
        records = room.records()
    assert [each.message_control_id for each in results] == [f"M{n}" for n in range(20)]
    assert all(each.accepted for each in results)
    assert [each.content for each in records] == messages
    assert {(each.kind, each.peer) for each in records} == {("message", HOST)}
    assert records[0].digest == hashlib.sha256(messages[0]).hexdigest()


def test_a_thousand_messages_in_one_piece_are_all_answered_in_order(tmp_path: Path) -> None:
    messages = [oru(control_id=f"M{number}", lines=["x" * 500]) for number in range(1000)]
    with listening(tmp_path) as room, peer(room.port) as connection:
        sender = threading.Thread(
            target=connection.sendall, args=(b"".join(frame(each) for each in messages),)
        )
        sender.start()
        found = answers(connection, 1000)
        sender.join()
        assert [each.split(b"\rMSA|AA|")[1].strip() for each in found] == [
            f"M{number}".encode() for number in range(1000)
        ]
        assert [each.content for each in room.records()] == messages


def test_thousands_of_tiny_frames_are_kept_and_answered(tmp_path: Path) -> None:
    with listening(tmp_path) as room, peer(room.port) as connection:
        sender = threading.Thread(target=connection.sendall, args=(frame(b"x") * 3000,))
        sender.start()
        found = answers(connection, 3000)
        sender.join()
        assert len(found) == len(room.records()) == 3000
        # Not HL7 at all, but safe: answered AA, with ERR.
        assert {code(each) for each in found} == {"AA"}
        assert b"ERR|" in found[0]
        _still_accepts(room.port)


def test_each_message_of_a_batch_is_stored_and_answered_by_itself(tmp_path: Path) -> None:
    bound = FeedProfile(sender="OTHER|SITE", networks=("192.0.2.0/24",))
    one, two = oru(control_id="B1"), oru(control_id="B2", filler="F2")
    stranger = oru(control_id="B3", sender="OTHER|SITE")
    with listening(tmp_path, _with(feeds=(bound,))) as room, peer(room.port) as connection:
        connection.sendall(
            frame(b"FHS|^~\\&\rBHS|^~\\&\r" + one + two + stranger + b"BTS|3\rFTS|1\r")
        )
        found = answers(connection, 3)
        assert [code(each) for each in found] == ["AA", "AA", "AR"]
        assert [each.split(b"\rMSA|")[1][3:5] for each in found] == [b"B1", b"B2", b"B3"]
        connection.close()
        assert [(each.kind, each.content) for each in room.records()] == [
            ("message", one),
            ("message", two),
            ("refused", stranger),
        ]


def test_a_batch_whose_trailer_counts_others_is_at_fault_as_a_whole(tmp_path: Path) -> None:
    batch = b"BHS|^~\\&\r" + oru() + b"BTS|2\r"
    with listening(tmp_path) as room, peer(room.port) as connection:
        connection.sendall(frame(batch))
        (found,) = answers(connection, 1)
        assert code(found) == "AA"
        assert b"\rERR|" in found
        assert b"BTS^1^1" in found
        assert [each.content for each in room.records()] == [batch]


def test_a_message_in_single_bytes_is_one_message(tmp_path: Path) -> None:
    with listening(tmp_path, _with(frame_deadline_seconds=30.0)) as room:
        with peer(room.port) as connection:
            for byte in frame(oru(lines=["x"])):
                connection.sendall(bytes([byte]))
            assert codes(connection, 1) == ["AA"]
        assert room.kinds() == ["message"]


def test_the_sync_comes_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_sync, real = threading.Event(), os.fdatasync

    def sync(descriptor: int) -> None:
        assert may_sync.wait(20)
        real(descriptor)

    with listening(tmp_path) as room, peer(room.port) as connection:
        monkeypatch.setattr(os, "fdatasync", sync)
        connection.sendall(frame(oru()))
        eventually(lambda: room.kinds() == ["message"])  # written
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        may_sync.set()
        assert codes(connection, 1) == ["AA"]


def test_one_sync_serves_all_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_sync, real, sizes = threading.Event(), os.fdatasync, []

    def sync(descriptor: int) -> None:
        assert may_sync.wait(20)
        sizes.append(os.fstat(descriptor).st_size)
        real(descriptor)

    with listening(tmp_path) as room, peer(room.port) as connection:
        monkeypatch.setattr(os, "fdatasync", sync)
        connection.sendall(frame(oru(control_id="FIRST")))
        eventually(lambda: room.kinds() == ["message"])
        connection.sendall(b"".join(frame(oru(control_id=f"M{n}")) for n in range(50)))
        # The next message of another peer proves that the loop has read what came before.
        eventually(lambda: len(room.listener._waiting) == 50)
        may_sync.set()
        assert codes(connection, 51) == ["AA"] * 51
    assert len(sizes) == 2


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x0b" + oru() + b"\x1c\r part: NO CANCER\x1c\r", "its own end mark"),
        (b"\x0b" + oru() + b"\x0b" + oru() + END, "never ended"),
        (b"\x0b" + b"x" * 70000, "longer than"),
        (b"GET / HTTP/1.1\r\n" * 500, "no VT"),
    ],
    ids=["embedded end", "embedded start", "too long", "noise"],
)
def test_a_bad_stream_gets_ar_and_is_kept(tmp_path: Path, stream: bytes, reason: str) -> None:
    with listening(tmp_path) as room:
        with peer(room.port) as connection:
            connection.sendall(stream)
            (answer,) = answers(connection, 5)
            assert code(answer) == "AR"
            assert reason.encode() in answer
        (record,) = room.records()
        assert (record.kind, reason in record.reason) == ("refused", True)
        assert stream.lstrip(b"\x0b").startswith(record.content[:1000])
        _still_accepts(room.port)


def test_bytes_behind_an_answered_frame_name_it_as_suspect(tmp_path: Path) -> None:
    head = oru(lines=["first"])
    with listening(tmp_path) as room:
        with peer(room.port) as connection:
            connection.sendall(frame(head))
            assert codes(connection, 1) == ["AA"]
            connection.sendall(b" part: NO CANCER\r\x1c\r")
            (answer,) = answers(connection, 2)
        assert code(answer) == "AR"
        assert b"\rMSA|AR|M1\r" in answer
        message, refused, suspect = room.records()
        assert (message.kind, refused.kind, suspect.kind) == ("message", "refused", "suspect")
        assert suspect.digest == message.digest == hashlib.sha256(head).hexdigest()
        assert suspect.content == head.split(b"\r")[0]
        assert refused.content == b" part: NO CANCER\r\x1c\r"


def test_a_frame_that_turns_out_cut_short_before_its_answer_never_gets_aa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_sync, real = threading.Event(), os.fdatasync

    def sync(descriptor: int) -> None:
        assert may_sync.wait(20)
        real(descriptor)

    with listening(tmp_path) as room:
        monkeypatch.setattr(os, "fdatasync", sync)
        with peer(room.port) as connection:
            connection.sendall(frame(oru()))
            eventually(lambda: room.kinds() == ["message"])
            connection.sendall(b"tail")
            eventually(lambda: len(room.listener._waiting) == 1)
            may_sync.set()
            assert codes(connection, 5) == ["AR"]
        assert room.kinds() == ["message", "refused", "suspect"]


def test_hostile_cuts_around_an_embedded_end_mark_never_leave_a_part_unnamed(
    tmp_path: Path,
) -> None:
    whole = frame(oru(lines=["first \x1c\r part: NO CANCER"]))
    middle = whole.index(END)
    with listening(tmp_path) as room:
        for at in range(middle - 2, middle + 5):
            with peer(room.port) as connection:
                connection.sendall(whole[:at])
                threading.Event().wait(0.01)
                connection.sendall(whole[at:])
                assert "AR" in codes(connection, 5)
        records = room.records()
    handed_out = {each.digest for each in records if each.kind == "message"}
    assert handed_out <= {each.digest for each in records if each.kind == "suspect"}


def test_a_truncated_frame_is_kept_without_a_positive_answer(tmp_path: Path) -> None:
    with listening(tmp_path) as room:
        with peer(room.port) as connection:
            connection.sendall(b"\x0b" + oru())
            connection.shutdown(socket.SHUT_WR)
            assert codes(connection, 1) == ["AR"]
        with peer(room.port) as connection:
            connection.sendall(b"\x0b" + oru(control_id="M2")[:50])
        eventually(lambda: room.kinds() == ["refused"] * 2)
        _still_accepts(room.port)


def test_a_peer_that_shuts_down_its_side_still_gets_every_answer(tmp_path: Path) -> None:
    with listening(tmp_path) as room, peer(room.port) as connection:
        connection.sendall(b"".join(frame(oru(control_id=f"M{n}")) for n in range(100)))
        connection.shutdown(socket.SHUT_WR)
        assert codes(connection, 101) == ["AA"] * 100


def test_a_peer_that_resets_leaves_its_whole_messages_and_harms_nobody(tmp_path: Path) -> None:
    with listening(tmp_path) as room:
        for number in range(20):
            connection = socket.create_connection((HOST, room.port))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(frame(oru(control_id=f"M{number}")) + b"\x0bMSH|half")
            connection.close()
        _still_accepts(room.port)
        assert all(
            each.kind == "message" or each.content.startswith(b"MSH|half")
            for each in room.records()
        )


def test_drip_feeding_ends_at_the_deadline_of_the_whole_frame(tmp_path: Path) -> None:
    with listening(tmp_path) as room, peer(room.port) as connection:
        connection.settimeout(0.05)
        answer = b""
        connection.sendall(b"\x0bMSH|^~\\&|")
        for _ in range(400):
            try:
                answer += connection.recv(4096)
                break
            except TimeoutError:
                connection.sendall(b"x")
        assert code(answer) == "AR"
        assert b"within the time allowed" in answer
        assert room.kinds() == ["refused"]


def test_a_peer_that_takes_no_answers_is_left(tmp_path: Path) -> None:
    with listening(tmp_path) as room:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect((HOST, room.port))
        connection.settimeout(20)
        with connection:
            assert _send_until_cut_off(connection)
        _still_accepts(room.port)


def _send_until_cut_off(connection: socket.socket) -> bool:
    try:
        while True:
            connection.sendall(frame(b"MSH|^~\\&|" + b"y" * 200) * 100)
    except ConnectionError:
        return True


def test_silent_connections_hold_no_place(tmp_path: Path) -> None:
    settings = _with(maximum_connections=64, connections_per_address=64)
    with listening(tmp_path, settings) as room:
        silent = [socket.create_connection((HOST, room.port)) for _ in range(64)]
        eventually(lambda: len(room.listener._door) == 64)
        # The places are kept for a moment; who tries again gets one.
        eventually(lambda: _gets_an_answer(room.port))
        for each in silent:
            each.close()


def _gets_an_answer(port: int) -> bool:
    try:
        with peer(port) as connection:
            connection.sendall(frame(oru()))
            return codes(connection, 1) == ["AA"]
    except OSError:
        return False


def test_a_connection_with_a_message_under_way_keeps_its_place(tmp_path: Path) -> None:
    settings = _with(maximum_connections=2, connections_per_address=2, frame_deadline_seconds=30.0)
    with listening(tmp_path, settings) as room, peer(room.port) as one, peer(room.port) as two:
        for each in (one, two):
            each.sendall(b"\x0b" + oru())
        eventually(lambda: all(each.buffered for each in room.listener._door.all()))
        threading.Event().wait(1.2)  # longer than a silent one is spared
        with peer(room.port) as three:
            assert three.recv(1) == b""
        for each in (one, two):
            each.sendall(END)
            assert codes(each, 1) == ["AA"]


def test_a_full_disk_is_ae_and_nothing_is_stored(tmp_path: Path) -> None:
    with listening(tmp_path, _with(minimum_free_bytes=1 << 62)) as room, peer(room.port) as one:
        one.sendall(frame(oru()) + frame(oru(control_id="M2")))
        found = answers(one, 2)
        assert [code(each) for each in found] == ["AE", "AE"]
        assert b"|207^Application internal error^HL70357|" in found[0]
        enhanced = oru().replace(b"|P|2.5.1|||", b"|P|2.5.1|||AL|NE", 1)
        one.sendall(frame(enhanced))
        assert codes(one, 1) == ["CE"]
        assert room.records() == []
        # What is suspect must reach filing all the same: it may have been filed before.
        one.sendall(b"tail")
        answers(one, 1)
        eventually(lambda: room.kinds() == ["suspect"])


def test_a_disk_without_room_is_ae_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 100:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data)

    with listening(tmp_path) as room, peer(room.port) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            connection.sendall(frame(oru()))
            assert codes(connection, 1) == ["AE"]
        connection.sendall(frame(oru()))
        assert codes(connection, 1) == ["AA"]
        assert room.kinds() == ["message"]


def test_a_failed_sync_ends_the_listener_and_names_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    with caplog.at_level(logging.INFO), listening(tmp_path) as room:
        with peer(room.port) as connection:
            monkeypatch.setattr(os, "fdatasync", fail)
            connection.sendall(frame(oru()) + frame(oru(control_id="M2")))
            assert set(codes(connection, 2)) == {"AE"}
        room.thread.join(20)
        assert room.listener.failure == "the disk failed: EIO"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, room.port))
    assert "the disk failed" in caplog.text
    assert "DOE" not in caplog.text


def test_content_faults_are_answered_by_the_profile(tmp_path: Path) -> None:
    feeds = tuple(
        FeedProfile(sender=f"RIS{code}|H", on_content_fault=code, charset="ascii")
        for code in ("AA", "AE", "AR")
    )
    with listening(tmp_path, _with(feeds=feeds)) as room, peer(room.port) as connection:
        for number, expected in enumerate(("AA", "AE", "AR")):
            message = oru(sender=f"RIS{expected}|H", name="MÜLLER^JÖRG", encoding="latin-1")
            for _ in range(2):  # the same content gets the same code again
                connection.sendall(frame(message))
                (answer,) = answers(connection, 1)
                assert code(answer) == expected
                assert b"\rERR||MSH^1^18|102^Data type error^HL70357|" in answer
            assert room.kinds() == ["message"] * 2 * (number + 1)


def test_enhanced_mode_answers_twice_where_both_are_asked_for(tmp_path: Path) -> None:
    both = oru().replace(b"|P|2.5.1|||", b"|P|2.5.1|||AL|AL", 1)
    with listening(tmp_path) as room:
        with peer(room.port) as connection:
            connection.sendall(frame(both))
            assert codes(connection, 2) == ["CA", "AA"]
        results = list(send_messages(HOST, room.port, [both, oru(control_id="M2")], timeout=20))
        assert [each.code for each in results] == ["AA", "AA"]


def test_a_long_message_is_checked_beside_the_loop_and_keeps_its_place_in_the_order(
    tmp_path: Path,
) -> None:
    long = oru(control_id="LONG", lines=["x" * 1000] * 900)
    with listening(tmp_path, _with(maximum_message_bytes=2**24)) as room:
        with peer(room.port) as connection:
            connection.sendall(frame(long) + frame(oru(control_id="SHORT")))
            found = answers(connection, 2)
        assert [each.split(b"\rMSA|AA|")[1].strip() for each in found] == [b"LONG", b"SHORT"]
        assert [len(each.content) for each in room.records()] == [len(long), len(oru()) + 3]


def test_a_sender_is_bound_to_its_networks(tmp_path: Path) -> None:
    feeds = (
        FeedProfile(sender="RIS|FAR", networks=("192.0.2.0/24",)),
        FeedProfile(sender="RIS|NEAR", networks=("127.0.0.0/8",)),
    )
    with listening(tmp_path, _with(feeds=feeds)) as room, peer(room.port) as connection:
        for sender, expected in (("RIS|FAR", "AR"), ("RIS|NEAR", "AA"), ("RIS|FREE", "AA")):
            connection.sendall(frame(oru(sender=sender)))
            assert codes(connection, 1) == [expected]
        assert room.kinds() == ["refused", "message", "message"]


def test_stopping_answers_what_has_arrived(tmp_path: Path) -> None:
    with listening(tmp_path) as room:
        connection = socket.create_connection((HOST, room.port), timeout=20)
        connection.sendall(frame(oru()))
        assert codes(connection, 1) == ["AA"]
    assert connection.recv(1) == b""
    connection.close()
    assert room.kinds() == ["message"]


def test_answers_that_cannot_be_sent_keep_nobody_else_from_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = Conversation.flush

    def fail_once(conversation: Conversation) -> None:
        monkeypatch.setattr(Conversation, "flush", flush)
        raise RuntimeError("the handler is closed")

    with listening(tmp_path) as room, peer(room.port) as connection:
        monkeypatch.setattr(Conversation, "flush", fail_once)
        connection.sendall(frame(oru()))
        assert answers(connection, 1) == []
        _still_accepts(room.port)
        assert room.kinds() == ["message", "message"]


def test_an_idle_journal_lets_its_segment_go(tmp_path: Path) -> None:
    with listening(tmp_path) as room:
        _still_accepts(room.port)
        eventually(lambda: len(list((tmp_path / "hl7").glob("*.journal"))) == 2)


def test_a_receiver_that_is_away_is_transient() -> None:
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Transient, match="cannot be reached"):
        list(send_messages(HOST, port, [oru()]))


def test_late_and_foreign_acknowledgements_are_never_attributed_to_another_message() -> None:
    """A receiver that answers each message under the id of the one before it."""

    def serve(listener: socket.socket) -> None:
        before = b"NONE"
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over
            with connection:
                while data := connection.recv(65536):
                    control_id = data.split(b"|")[9]
                    answer = b"MSH|^~\\&|\rMSA|AA|%b\r"
                    late = control_id if control_id.endswith(b"0") else before
                    # Every second right answer is followed by one that nobody asked for.
                    extra = frame(answer % before) if control_id.endswith(b"00") else b""
                    connection.sendall(frame(answer % late) + extra)
                    before = control_id

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        messages = [oru(control_id=f"M{number}") for number in range(1, 41)]
        results = list(send_messages(HOST, listener.getsockname()[1], messages, timeout=20))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    told = {each.message_control_id: each.code for each in results}
    assert {key for key, value in told.items() if value == "AA"} == {"M10", "M20", "M30", "M40"}


@pytest.mark.peer
def test_tls_asks_for_a_certificate_and_binds_senders_to_theirs(tmp_path: Path) -> None:
    office = CertificateOffice(tmp_path / "certificates")
    authority, stranger = office.authority("authority"), office.authority("stranger")
    node = office.issue(authority, "node")
    ris, other = office.issue(authority, "ris"), office.issue(authority, "other")
    foreign = office.issue(stranger, "foreign")
    tls = Hl7TlsSettings.model_validate(node.settings(authority).model_dump())
    feeds = (FeedProfile(sender="RIS|HOSPITAL", certificates=(fingerprint(ris.der),)),)

    def send(identity: Identity, port: int) -> str:
        context = client_context(identity.settings(authority))
        (result,) = send_messages(HOST, port, [oru()], timeout=20, context=context)
        return result.code

    with listening(tmp_path, _with(tls=tls, feeds=feeds)) as room:
        assert send(ris, room.tls_port) == "AA"
        assert send(other, room.tls_port) == "AR"
        assert send(foreign, room.tls_port) == ""
        with peer(room.tls_port) as plain:
            plain.sendall(frame(oru()))
            assert b"MSA" not in plain.recv(65536)
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # shows no certificate
        bare.load_verify_locations(authority.certificate)
        (result,) = send_messages(HOST, room.tls_port, [oru()], timeout=20, context=bare)
        assert result.code == ""
        # Without TLS the sender shows no certificate.
        (result,) = send_messages(HOST, room.port, [oru()], timeout=20)
        assert result.code == "AR"
        assert room.kinds() == ["message", "refused", "refused"]
