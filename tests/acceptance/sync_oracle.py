"""Was it durable when it was acknowledged? An oracle over a trace of system calls.

For each answer: were the object's bytes synced after their last write, did the file get its final
name only after that, and was the folder synced after the name? For a record in a SQLite WAL: was
the WAL synced after the commit frame? A rename is taken to be atomic across folders, as journalling
file systems have it; nothing else is assumed.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.acceptance.disk_events import (
    Created,
    Event,
    Linked,
    Removed,
    Renamed,
    Sent,
    Synced,
    Truncated,
    Written,
)

_DATA_TRANSFER = 4
_STORE_RESPONSE = 0x8001
_WAL_FRAME_HEADER = 24
_ACCEPTED = re.compile(rb"\rMSA\|AA\|([^|\r]*)")
_START, _END = b"\x0b", b"\x1c\r"


@dataclass(frozen=True)
class Answer:
    """A response that went out at a position of the log; the key is known to the sender too."""

    position: int
    remote_port: int
    key: str  # SOP Instance UID or message control id
    status: int = 0


@dataclass(frozen=True)
class Verdict:
    """What was true when an answer left."""

    answer: Answer
    written: bool  # a file with the object was there at all
    data: bool  # its bytes were synced after the last write
    data_before_name: bool  # ... and before it got its final name
    name: bool  # the folder was synced after the name

    @property
    def durable(self) -> bool:
        """Whether a power cut at this moment keeps the object, and never shows a part of it."""
        return self.data and self.data_before_name and self.name


@dataclass
class _File:
    head: bytearray = field(default_factory=bytearray)
    writes: list[Event] = field(default_factory=list)
    syncs: list[Event] = field(default_factory=list)
    names: list[tuple[str, Event]] = field(default_factory=list)
    removals: list[tuple[str, Event]] = field(default_factory=list)


_HEAD_BYTES = 4096


class Trace:
    """The life of every file in a trace.

    Args:
        happened: events in the order of their ends.
        temporary: names of folders in which a name promises nothing.
    """

    def __init__(self, happened: Iterable[Event], temporary: Sequence[str] = ("tmp",)) -> None:
        self._temporary = frozenset(temporary)
        self._current: dict[str, _File] = {}
        self._files: list[_File] = []
        self._syncs: dict[str, list[Event]] = {}
        for event in happened:
            self._take(event)

    def verdict(self, answer: Answer, token: bytes) -> Verdict:
        """Judge an answer about the object whose file holds ``token`` in a name or at its head."""
        found = [self._judge(each, answer) for each in self._files if self._owns(each, token)]
        best = [verdict for verdict in found if verdict.durable] or sorted(
            found, key=lambda v: (v.data, v.name, v.written)
        )
        return best[-1] if best else Verdict(answer, False, False, False, False)

    def record_synced(self, answer: Answer, token: bytes, suffix: str = "-wal") -> bool:
        """Tell whether a WAL that holds ``token`` was synced, commit frame and all, before."""
        for path, each in self._named(suffix):
            commits = [
                commit
                for holding in each.writes
                if isinstance(holding, Written) and token in holding.data
                for commit in [_commit_after(each.writes, holding)]
                if commit is not None
            ]
            for commit in commits:
                synced = any(
                    commit.end < sync.begin and sync.end < answer.position for sync in each.syncs
                )
                if synced and self._name_synced(path, each.names[0][1], answer.position):
                    return True
        return False

    def appended_synced(self, answer: Answer, token: bytes, suffix: str = ".journal") -> bool:
        """Tell whether a journal to which ``token`` was appended was synced after it, and before.

        A segment's own name must be synced as well: a file without one is lost with its bytes.
        """
        for path, each in self._named(suffix):
            for write in each.writes:
                if not isinstance(write, Written) or token not in write.data:
                    continue
                synced = any(
                    write.end < sync.begin and sync.end < answer.position for sync in each.syncs
                )
                if synced and self._name_synced(path, each.names[0][1], answer.position):
                    return True
        return False

    def _named(self, suffix: str) -> list[tuple[str, _File]]:
        return [
            (each.names[-1][0], each)
            for each in self._files
            if each.names and each.names[-1][0].endswith(suffix)
        ]

    def _take(self, event: Event) -> None:
        if isinstance(event, Created):
            if event.path not in self._current:
                made = self._current[event.path] = _File(names=[(event.path, event)])
                self._files.append(made)
            elif event.truncated:
                self._current[event.path].writes.append(event)
        elif isinstance(event, Written):
            self._write(event)
        elif isinstance(event, Truncated):
            self._file(event.path).writes.append(event)
        elif isinstance(event, Synced):
            self._syncs.setdefault(event.path, []).append(event)
            if event.path in self._current:
                self._current[event.path].syncs.append(event)
        elif isinstance(event, Renamed):
            moved = self._current.pop(event.source, None) or self._new()
            moved.names.append((event.path, event))
            self._current[event.path] = moved
        elif isinstance(event, Linked):
            linked = self._file(event.source)
            linked.names.append((event.path, event))
            self._current[event.path] = linked
        elif isinstance(event, Removed) and event.path in self._current:
            self._current.pop(event.path).removals.append((event.path, event))

    def _new(self) -> _File:
        self._files.append(_File())
        return self._files[-1]

    def _file(self, path: str) -> _File:
        if path not in self._current:
            self._current[path] = self._new()
        return self._current[path]

    def _write(self, event: Written) -> None:
        file = self._file(event.path)
        file.writes.append(event)
        if event.offset == len(file.head) < _HEAD_BYTES:
            file.head += event.data[:_HEAD_BYTES]

    @staticmethod
    def _owns(file: _File, token: bytes) -> bool:
        named = any(token.decode("latin-1") in os.path.basename(path) for path, _ in file.names)
        return named or token in file.head

    def _judge(self, file: _File, answer: Answer) -> Verdict:
        at = answer.position
        writes = [each for each in file.writes if each.begin < at]
        last = max((each.end for each in writes), default=-1)
        syncs = [each for each in file.syncs if each.begin > last and each.end < at]
        synced_at = min((each.end for each in syncs), default=None)
        removed = {path for path, each in file.removals if each.begin < at}
        names = [
            (path, event)
            for path, event in file.names
            if event.end < at and not self._is_temporary(path) and path not in removed
        ]
        return Verdict(
            answer,
            written=bool(writes) and bool(names),
            data=bool(syncs) and bool(writes),
            data_before_name=synced_at is not None
            and bool(names)
            and all(synced_at < event.begin for _, event in names),
            name=any(self._name_synced(path, event, at) for path, event in names),
        )

    def _is_temporary(self, path: str) -> bool:
        return os.path.basename(os.path.dirname(path)) in self._temporary

    def _name_synced(self, path: str, named: Event, at: int) -> bool:
        syncs = self._syncs.get(os.path.dirname(path), ())
        return any(named.end < each.begin and each.end < at for each in syncs)


def _commit_after(writes: Sequence[Event], holding: Event) -> Event | None:
    """Return the write that ends the transaction: the page behind the commit frame's header.

    A frame header has 24 bytes; its second word is the size of the database after a commit, and
    zero in every other frame (SQLite file format, section 4.1). SQLite writes it apart from its
    page, or both at once.
    """
    start = writes.index(holding)
    for number in range(max(start - 1, 0), len(writes)):
        write = writes[number]
        if isinstance(write, Written) and _is_commit_header(write.data):
            apart = len(write.data) == _WAL_FRAME_HEADER
            last = number + 1 if apart else number
            if last >= start and last < len(writes):
                return writes[last]
    return None


def _is_commit_header(data: bytes) -> bool:
    return (
        len(data) >= _WAL_FRAME_HEADER
        and (len(data) - _WAL_FRAME_HEADER) % 512 == 0
        and struct.unpack_from(">L", data, 4)[0] != 0
    )


def store_answers(happened: Iterable[Event], port: int) -> list[Answer]:
    """Return every C-STORE response that left from ``port``, at the call in which it began."""
    answers = []
    for remote, pieces in _streams(happened, port).items():
        starts, size = [], 0
        for piece in pieces:
            starts.append((size, piece.begin))
            size += len(piece.data)
        for position, (key, status) in _responses(b"".join(piece.data for piece in pieces)):
            begin = max(begun for offset, begun in starts if offset <= position)
            answers.append(Answer(begin, remote, key, status))
    return sorted(answers, key=lambda answer: answer.position)


def read_store_responses(stream: bytes) -> list[tuple[str, int]]:
    """Return SOP Instance UID and status of every C-STORE response in what an acceptor sent."""
    return [response for _, response in _responses(stream)]


def _responses(stream: bytes) -> Iterable[tuple[int, tuple[str, int]]]:
    position = 0
    while position + 6 <= len(stream):
        end = position + 6 + int.from_bytes(stream[position + 2 : position + 6], "big")
        if stream[position] == _DATA_TRANSFER:
            values = dict(_command_elements(stream[position + 12 : end]))
            if int.from_bytes(values.get(0x0100, b""), "little") == _STORE_RESPONSE:
                key = values.get(0x1000, b"").rstrip(b"\0 ").decode("latin-1")
                yield position, (key, int.from_bytes(values[0x0900], "little"))
        position = end


def _command_elements(command: bytes) -> Iterable[tuple[int, bytes]]:
    position = 0
    while position + 8 <= len(command):
        _, element, size = struct.unpack_from("<HHL", command, position)
        yield element, command[position + 8 : position + 8 + size]
        position += 8 + size


def message_answers(happened: Iterable[Event], port: int) -> list[Answer]:
    """Return every positive HL7 acknowledgement (AA) that left from ``port``."""
    answers = []
    for remote, pieces in _streams(happened, port).items():
        for piece in pieces:
            for control_id in _ACCEPTED.findall(piece.data):
                answers.append(Answer(piece.begin, remote, control_id.decode("ascii")))
    return sorted(answers, key=lambda answer: answer.position)


def _streams(happened: Iterable[Event], port: int) -> Mapping[int, list[Sent]]:
    streams: dict[int, list[Sent]] = {}
    for event in happened:
        if isinstance(event, Sent) and event.local_port == port:
            streams.setdefault(event.remote_port, []).append(event)
    return streams
