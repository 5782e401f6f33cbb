"""The oracle on invented traces: it must notice every order that is wrong."""

import random
import struct

import pytest

from tests.acceptance.disk_events import Event, Sent, Written, events
from tests.acceptance.power_cut import Disk
from tests.acceptance.strace_log import read_calls, unescape
from tests.acceptance.sync_oracle import Trace, Verdict, message_answers, store_answers
from tests.raw_dicom import fragment

ROOT, PORT = "/data", 104
CREATE = '1 openat(AT_FDCWD</>, "/data/tmp/a.part", O_WRONLY|O_CREAT|O_EXCL, 0600) = 7</data/x>'
WRITE = '1 write(7</data/tmp/a.part>, "\\x61bc", 3) = 3'
SYNC = "1 fdatasync(7</data/tmp/a.part>) = 0"
RENAME = '1 rename("/data/tmp/a.part", "/data/spool/f00d.dcm") = 0'
SYNC_FOLDER = "1 fsync(8</data/spool>) = 0"
SYNC_NAMED = SYNC.replace("tmp/a.part", "spool/f00d.dcm")
FAILED_SYNC = SYNC.replace("= 0", "= -1 EIO (Input/output error)")
LATE_WRITE = '1 write(7</data/spool/f00d.dcm>, "d", 1) = 1'


def quoted(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def answer_pdu(uid: str = "1.2.3", status: int = 0) -> bytes:
    elements = [
        (0x0002, b"1.2.840.10008.5.1.4.1.1.4\0"),
        (0x0100, struct.pack("<H", 0x8001)),
        (0x0120, struct.pack("<H", 1)),
        (0x0800, struct.pack("<H", 0x0101)),
        (0x0900, struct.pack("<H", status)),
        (0x1000, uid.encode() + b"\0" * (len(uid) % 2)),
    ]
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in elements)
    return fragment(1, 3, body)


def send(data: bytes, port: int = PORT, remote: int = 5000) -> str:
    where = f"TCP:[127.0.0.1:{port}->127.0.0.1:{remote}]"
    return f'1 sendto(9<{where}>, "{quoted(data)}", {len(data)}, 0, NULL, 0) = {len(data)}'


ANSWER = send(answer_pdu())


def read(*lines: str) -> list[Event]:
    return events(read_calls(lines), ROOT)


def verdict(*lines: str) -> Verdict:
    happened = read(*lines)
    (answer,) = store_answers(happened, PORT)
    assert (answer.key, answer.status) == ("1.2.3", 0)
    return Trace(happened).verdict(answer, b"f00d")


def test_the_right_order_is_durable() -> None:
    assert verdict(CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER, ANSWER).durable


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ((CREATE, WRITE, RENAME, SYNC_FOLDER, ANSWER), "data"),
        ((CREATE, WRITE, SYNC, RENAME, ANSWER), "name"),
        ((CREATE, WRITE, SYNC, SYNC_FOLDER, RENAME, ANSWER), "name"),
        ((CREATE, WRITE, SYNC, RENAME, ANSWER, SYNC_FOLDER), "name"),
        ((CREATE, WRITE, RENAME, SYNC_FOLDER, ANSWER, SYNC), "data"),
        ((CREATE, SYNC, WRITE, RENAME, SYNC_FOLDER, ANSWER), "data"),
        ((CREATE, WRITE, SYNC, RENAME, LATE_WRITE, SYNC_FOLDER, ANSWER), "data"),
        ((CREATE, WRITE, RENAME, SYNC_NAMED, SYNC_FOLDER, ANSWER), "data_before_name"),
        ((ANSWER, CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER), "written"),
        ((CREATE, WRITE, FAILED_SYNC, RENAME, SYNC_FOLDER, ANSWER), "data"),
    ],
)  # fmt: skip
def test_a_wrong_order_is_noticed(lines: tuple[str, ...], wrong: str) -> None:
    found = verdict(*lines)
    assert not found.durable
    assert not getattr(found, wrong)


def test_a_sync_that_overlaps_the_answer_proves_nothing() -> None:
    begun, ended = "2 fsync(8</data/spool> <unfinished ...>", "2 <... fsync resumed>) = 0"
    assert not verdict(CREATE, WRITE, SYNC, RENAME, begun, ANSWER, ended).durable
    assert verdict(CREATE, WRITE, SYNC, RENAME, begun, ended, ANSWER).durable
    # It began before the name was there, so the name may have missed it.
    assert not verdict(CREATE, WRITE, SYNC, begun, RENAME, ended, ANSWER).durable


def test_an_answer_counts_from_its_first_byte() -> None:
    first, rest = send(answer_pdu()[:4]), send(answer_pdu()[4:])
    assert not verdict(CREATE, WRITE, SYNC, RENAME, first, SYNC_FOLDER, rest).durable


def test_a_file_that_was_removed_does_not_count() -> None:
    gone = '1 unlink("/data/spool/f00d.dcm") = 0'
    assert not verdict(CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER, gone, ANSWER).durable


def test_a_name_that_moved_on_to_the_archive_still_counts() -> None:
    moved = '1 rename("/data/spool/f00d.dcm", "/data/archive/f0/f00d.dcm") = 0'
    assert verdict(CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER, moved, ANSWER).durable


# A transaction of two frames: the second one's header states the size of the database.
WAL = "/data/node.sqlite-wal"
MADE = f'1 openat(AT_FDCWD</>, "{WAL}", O_RDWR|O_CREAT, 0644) = 5<{WAL}>'
NAMED = "1 fsync(8</data>) = 0"
PAGES = tuple(
    f'1 pwrite64(5<{WAL}>, "{quoted(data)}", {len(data)}, {offset}) = {len(data)}'
    for data, offset in (
        (struct.pack(">LL", 3, 0) + bytes(16), 32),
        (b"M1".ljust(512), 56),
        (struct.pack(">LL", 4, 9) + bytes(16), 568),
        (bytes(512), 592),
    )
)
WAL_SYNC = f"1 fdatasync(5<{WAL}>) = 0"
ACK = send(b"\x0bMSH|^~\\&|A\rMSA|AA|M1\r\x1c\r", 2575)


@pytest.mark.parametrize(
    ("lines", "synced"),
    [
        ((MADE, NAMED, *PAGES, WAL_SYNC, ACK), True),
        ((MADE, *PAGES, WAL_SYNC, ACK), False),
        ((MADE, NAMED, *PAGES, ACK, WAL_SYNC), False),
        ((MADE, NAMED, *PAGES[:2], WAL_SYNC, *PAGES[2:], ACK), False),
        ((MADE, NAMED, *PAGES[:2], WAL_SYNC, ACK), False),
    ],
)
def test_a_commit_must_be_synced_before_its_acknowledgement(
    lines: tuple[str, ...], synced: bool
) -> None:
    happened = read(*lines)
    (answer,) = message_answers(happened, 2575)
    assert Trace(happened).record_synced(answer, b"M1") is synced


def test_only_positive_acknowledgements_are_promises() -> None:
    assert message_answers(read(ACK.replace(quoted(b"AA"), quoted(b"AE"))), 2575) == []


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("\\x00\\xff", b"\0\xff"),
        ("a\\n\\0\\377", b"a\n\0\xff"),
        ('\\"\\\\', b'"\\'),
        ("\\1234", b"S4"),
    ],
)
def test_strings_are_unescaped(text: str, data: bytes) -> None:
    assert unescape(text) == data


def test_vectors_threads_and_positions_are_read() -> None:
    parts = '[{iov_base="\\x61", iov_len=1}, {iov_base="bc", iov_len=2}]'
    happened = read(
        CREATE,
        f"1 writev(7</data/tmp/a.part>, {parts}, 2 <unfinished ...>",
        send(b"x", 1),
        "1 <... writev resumed>) = 3",
        WRITE,
        "1 lseek(7</data/tmp/a.part>, 1, SEEK_SET) = 1",
        WRITE,
    )
    written = [(each.offset, each.data) for each in happened if isinstance(each, Written)]
    assert written == [(0, b"abc"), (3, b"abc"), (1, b"abc")]
    assert sum(isinstance(each, Sent) for each in happened) == 1


def test_a_trace_that_was_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        read(CREATE, '1 write(7</data/tmp/a.part>, "ab"..., 3) = 3')


FOLDERS = tuple(f'1 mkdir("/data/{name}", 0700) = 0' for name in ("tmp", "spool"))
SYNC_ROOT = "1 fsync(8</data>) = 0"


def states(*lines: str) -> set[bytes | None]:
    """The contents under the final name in many crash states; None where it is absent."""
    happened = read(*FOLDERS, SYNC_ROOT, *lines)
    end = max(event.end for event in happened) + 1
    chance = random.Random(1)
    found = [Disk(happened).crash(end, chance, ROOT) for _ in range(200)]
    assert all("spool" in each for each in found)
    return {each.get("spool/f00d.dcm") for each in found}


def test_what_was_synced_in_order_survives_every_power_cut() -> None:
    assert states(CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER) == {b"abc"}


def test_without_a_folder_sync_the_name_may_be_absent_but_the_file_never_torn() -> None:
    assert states(CREATE, WRITE, SYNC, RENAME) == {b"abc", None}


def test_without_a_data_sync_the_file_may_be_torn() -> None:
    assert {b"", b"abc"} < states(CREATE, WRITE, RENAME, SYNC_FOLDER)
