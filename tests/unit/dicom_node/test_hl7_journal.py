from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.durable import OutOfSpace, StorageFailed
from dicom_node.mllp import journal as module
from dicom_node.mllp.journal import (
    DAMAGED,
    Journal,
    Position,
    Record,
    drop_filed,
    encode,
    read_records,
    waiting_bytes,
)

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


def _record(content: bytes = b"MSH|one", **values: str) -> Record:
    digest = hashlib.sha256(content).hexdigest()
    return Record("message", content, NOW, "192.0.2.1", values.get("reason", ""), digest)


def _contents(folder: Path, after: Position | None = None) -> list[bytes]:
    return [record.content for _, record in read_records(folder, after)]


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = [
        _record(),
        Record("refused", b"\x00\xff" * 1000, NOW, "2001:db8::1", "wörds", "ab" * 32),
        Record("suspect", b"", NOW, "", "", "cd" * 32),
    ]
    journal = Journal(tmp_path / "hl7")
    journal.append(records)
    found = list(read_records(tmp_path / "hl7"))
    assert [record for _, record in found] == records
    assert sorted(position for position, _ in found) == [position for position, _ in found]
    journal.close()


def test_reading_goes_on_behind_any_position(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=200)
    contents = [f"message {number}".encode() for number in range(20)]
    for each in contents:
        journal.append([_record(each)])
    positions = [position for position, _ in read_records(tmp_path)]
    assert len(_segments(tmp_path)) > 3
    for number, position in enumerate(positions):
        assert _contents(tmp_path, position) == contents[number + 1 :]
    journal.append([_record(b"later")])
    assert _contents(tmp_path, positions[-1]) == [b"later"]
    journal.close()


def test_nothing_is_there_before_anything_was_written(tmp_path: Path) -> None:
    assert _contents(tmp_path / "missing") == []
    assert waiting_bytes(tmp_path / "missing") == 0
    Journal(tmp_path).close()
    assert _contents(tmp_path) == []


@pytest.mark.parametrize("kept", [1, 20, 57, 60])
def test_a_torn_tail_is_ignored_and_cut_off_at_the_next_opening(tmp_path: Path, kept: int) -> None:
    journal = Journal(tmp_path)
    journal.append([_record(b"whole")])
    journal.close()
    (segment,) = _segments(tmp_path)
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(encode(_record(b"torn"))[:kept])
    assert _contents(tmp_path) == [b"whole"]
    again = Journal(tmp_path)
    assert segment.stat().st_size == size
    again.append([_record(b"next")])
    assert _contents(tmp_path) == [b"whole", b"next"]
    again.close()


def test_zeros_that_a_power_cut_left_are_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([_record(b"whole")])
    journal.close()
    with _segments(tmp_path)[0].open("ab") as file:
        file.write(bytes(8192))
    Journal(tmp_path).close()
    assert _contents(tmp_path) == [b"whole"]


def test_damage_hides_no_record_behind_it_and_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([_record(each) for each in (b"first", b"second", b"third")])
    journal.close()
    (segment,) = _segments(tmp_path)
    content = bytearray(segment.read_bytes())
    content[content.index(b"second")] ^= 1
    segment.write_bytes(content)
    Journal(tmp_path).close()
    found = [record for _, record in read_records(tmp_path)]
    assert [each.content for each in found[::2]] == [b"first", b"third"]
    assert (found[1].kind, found[1].reason) == ("refused", DAMAGED)
    assert b"recond" in found[1].content
    positions = [position for position, _ in read_records(tmp_path)]
    assert _contents(tmp_path, positions[1]) == [b"third"]


@pytest.mark.parametrize("at", range(0, 60, 5))
def test_a_damaged_header_asks_for_nothing_that_is_not_there(tmp_path: Path, at: int) -> None:
    journal = Journal(tmp_path)
    journal.append([_record(b"first"), _record(b"second")])
    journal.close()
    (segment,) = _segments(tmp_path)
    content = bytearray(segment.read_bytes())
    content[at] ^= 0xFF
    segment.write_bytes(content)
    Journal(tmp_path).close()
    assert _contents(tmp_path)[-1] == b"second"


def test_filed_segments_are_dropped_and_the_newest_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1)
    for number in range(3):
        journal.append([_record(f"{number}".encode())])
    positions = [position for position, _ in read_records(tmp_path)]
    assert drop_filed(tmp_path, Position(positions[0].segment, 0)) == 0
    assert drop_filed(tmp_path, positions[1]) == 2
    assert _contents(tmp_path, positions[1]) == [b"2"]
    assert drop_filed(tmp_path, positions[2]) == 0
    journal.rotate()
    assert drop_filed(tmp_path, positions[2]) == 1
    journal.append([_record(b"3")])
    assert _contents(tmp_path, positions[2]) == [b"3"]
    journal.close()


def test_numbers_of_segments_grow_though_the_folder_was_emptied(tmp_path: Path) -> None:
    journal = Journal(tmp_path, clock=lambda: 1_000.0)
    journal.append([_record(b"old")])
    ((position, _),) = read_records(tmp_path)
    journal.close()
    for path in tmp_path.iterdir():
        path.unlink()
    again = Journal(tmp_path, clock=lambda: 2_000.0)
    again.append([_record(b"new")])
    assert _contents(tmp_path, position) == [b"new"]
    again.close()


def test_numbers_grow_though_the_clock_went_back(tmp_path: Path) -> None:
    Journal(tmp_path, clock=lambda: 2_000.0).close()
    Journal(tmp_path, clock=lambda: 1_000.0).close()
    assert [int(path.stem) for path in _segments(tmp_path)] == [2000, 2001]


def test_an_idle_journal_rotates_only_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.rotate()
    journal.append([_record()])
    journal.rotate()
    journal.rotate()
    assert len(_segments(tmp_path)) == 2
    assert journal.idle
    journal.close()


def test_how_much_waits(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1)
    for number in range(3):
        journal.append([_record(f"{number}".encode())])
    size = len(encode(_record(b"0")))
    positions = [position for position, _ in read_records(tmp_path)]
    assert waiting_bytes(tmp_path) == 3 * size
    assert [waiting_bytes(tmp_path, each) for each in positions] == [2 * size, size, 0]
    journal.close()


def test_a_full_disk_takes_the_group_back_and_later_ones_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.append([_record(b"before")])
    real = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutOfSpace):
            journal.append([_record(b"x" * 300), _record(b"y" * 300)])
    assert _contents(tmp_path) == [b"before"]
    seen = [position for position, _ in read_records(tmp_path)][-1]
    journal.append([_record(b"after")])
    assert _contents(tmp_path) == [b"before", b"after"]
    # What a reader saw of the group that was taken back does not hide what came since.
    assert _contents(tmp_path, Position(seen.segment, seen.offset + 500)) == [b"after"]
    journal.close()


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_failed_disk_ends_the_journal_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    journal = Journal(tmp_path)
    calls: list[int] = []

    def fail(descriptor: int, *_: object) -> int:
        calls.append(descriptor)
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageFailed):
            journal.append([_record()])
    assert len(calls) == 1
    for act in (lambda: journal.append([_record()]), journal.rotate):
        with pytest.raises(StorageFailed):
            act()
    journal.close()


def test_every_record_is_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    synced: list[int] = []
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fdatasync", sync)
    journal.append([_record(b"one"), _record(b"two")])
    assert synced == [_segments(tmp_path)[0].stat().st_size]
    journal.close()


def test_a_second_writer_waits_for_the_first_to_die(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from dicom_node.mllp.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first.stdin is not None
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(module.Transient, match="another process"):
            Journal(tmp_path, patience_seconds=0)
        first.kill()
        Journal(tmp_path).close()
    finally:
        first.kill()
        first.wait()
        first.stdin.close()
        first.stdout.close()


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    Journal(tmp_path / "hl7").close()
    assert (tmp_path / "hl7").stat().st_mode & 0o777 == 0o700
    assert _segments(tmp_path / "hl7")[0].stat().st_mode & 0o777 == 0o600
