"""The journal of the HL7 listener: what was received, appended and synced before it is answered.

A segment is a file ``<number>.journal`` of records; numbers only grow. A record is a header of
fixed size, the peer's address, the reason, and the content::

    magic 4 | CRC-32 4 | length of what follows the header 4 | kind 1 | length of the peer 2
    | length of the reason 2 | received, microseconds since 1970 8 | SHA-256 32

The CRC covers the rest of the header and all that follows. Bytes at the end of the newest segment
that are no whole record were never acknowledged (a crash cut them short): readers stop before them
and opening the journal removes them. Every opening begins a new segment, and no segment is written
to again once there is a newer one, so a position that was filed never comes to mean other bytes.
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import hashlib
import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from dicom_node.durable import StorageFailed, storage_error, sync_folder
from dicom_node.errors import Transient

log = logging.getLogger(__name__)

Kind = Literal["message", "refused", "suspect"]

DAMAGED = "the journal is damaged here: these bytes are no whole record"
"""The reason of a record that stands for bytes which cannot be read as records."""

SEGMENT_BYTES = 64 * 1024**2
_HEADER = struct.Struct(">4sIIBHHq32s")
_CHECKED = struct.Struct(">IBHHq32s")  # the header after magic and CRC
_MAGIC = b"RLJ1"
_KINDS: tuple[Kind, ...] = ("message", "refused", "suspect")
_SUFFIX = ".journal"
_LOCK = "lock"
_LOCK_SECONDS = 10.0
_LOCK_AGAIN_SECONDS = 0.02
_READ_AHEAD = 256 * 1024
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Record:
    """Something that the listener received.

    Args:
        kind: ``message``: a whole frame that was or will be acknowledged; ``refused``: what arrived
            of a stream that got AR; ``suspect``: an earlier frame of the same connection may have
            been cut short by its own end mark and must not count.
        content: the bytes; of a suspect frame its first segment only.
        received_at: when the last byte came, in UTC.
        peer: IP address of the sender.
        reason: why it was refused or is suspect; of a message why its acknowledgement was negative.
        digest: SHA-256 of the content in hexadecimal; of a suspect frame that of its whole content.
    """

    kind: Kind
    content: bytes
    received_at: dt.datetime
    peer: str = ""
    reason: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records: ``offset`` bytes of the segment lie before it."""

    segment: int
    offset: int


class Journal:
    """The writing end; one process has it at a time. Not to be shared between threads.

    Args:
        folder: where the segments lie; made where it is missing.
        segment_bytes: a segment of this size is followed by a new one.
        clock: seconds since 1970; numbers of segments start from it, so that they grow even where
            the folder was emptied.
        patience_seconds: how long to wait for the listener of a node that was just killed.

    Raises:
        OutOfSpace: there is no room for a segment.
        StorageFailed: the disk failed.
        Transient: another process still writes the journal.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = _LOCK_SECONDS,
    ) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._descriptor = -1
        self._size = 0
        self._failure: StorageFailed | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder / _LOCK, patience_seconds)
        except OSError as error:
            raise storage_error(error) from error
        try:
            _mend(folder)
            self._begin()
        except OSError as error:
            os.close(self._lock)
            raise storage_error(error) from error

    @property
    def idle(self) -> bool:
        """Whether nothing was written to the newest segment."""
        return self._size == 0

    def append(self, records: Iterable[Record]) -> None:
        """Append records and return once all of them would survive a power cut.

        Raises:
            OutOfSpace: there is no room; nothing was appended, later calls may succeed.
            StorageFailed: the disk failed, now or earlier; nothing may be acknowledged any more.
        """
        self.append_encoded([encode(each) for each in records])

    def append_encoded(self, encoded: list[bytes]) -> None:
        """Append records in the form that :func:`encode` gives, as :meth:`append` does."""
        if self._failure is not None:
            raise self._failure
        try:
            if self._descriptor < 0 or self._size >= self._segment_bytes:
                self._begin()
            data = b"".join(encoded)
            _write(self._descriptor, data)
            os.fdatasync(self._descriptor)
            self._size += len(data)
        except OSError as error:
            self._fail(error)

    def rotate(self) -> None:
        """Begin a new segment unless the newest is empty, so that a filed one can be dropped.

        Raises:
            OutOfSpace: there is no room; the journal goes on all the same.
            StorageFailed: the disk failed.
        """
        if self._failure is not None:
            raise self._failure
        if self._size == 0:
            return
        try:
            self._begin()
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Let another process have the journal."""
        self._end()
        os.close(self._lock)

    def _begin(self) -> None:
        """Begin the next segment; its name is durable before anything is written to it."""
        self._end()
        last = max((number for number, _ in _segments(self._folder)), default=0)
        number = max(last + 1, int(self._clock()))
        path = self._folder / f"{number:020d}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor, self._size = os.open(path, flags, 0o600), 0
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _end(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _fail(self, error: OSError) -> None:
        """Take back what was written of a failed group and tell what the failure means.

        The next group goes to a new segment: a reader may have seen what is taken back, and its
        position must not come to mean other bytes.
        """
        failure = storage_error(error)
        try:
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, self._size)
                self._end()
        except OSError as second:
            failure = storage_error(second)
        if isinstance(failure, StorageFailed):
            self._failure = failure
        raise failure from error


def encode(record: Record) -> bytes:
    """Return a record as it lies in a segment.

    Raises:
        ValueError: the peer or the reason is longer than 65535 bytes.
    """
    received = (record.received_at - _EPOCH) // _MICROSECOND
    digest = bytes.fromhex(record.digest) or hashlib.sha256(record.content).digest()
    peer, reason = record.peer.encode(), record.reason.encode()
    if max(len(peer), len(reason)) > 0xFFFF:
        raise ValueError("a record holds a text that is too long for it")
    rest = b"".join((peer, reason, record.content))
    kind = _KINDS.index(record.kind)
    checked = _CHECKED.pack(len(rest), kind, len(peer), len(reason), received, digest)
    return b"".join((_MAGIC, _crc(checked, rest).to_bytes(4, "big"), checked, rest))


def read_records(folder: Path, after: Position | None = None) -> Iterator[tuple[Position, Record]]:
    """Yield the records after a position, in order, each with the position behind it.

    It ends where nothing more is there now; call again with the last position for what came since.
    The journal may be written meanwhile. Bytes that are no record are passed over, except at the
    end of the newest segment; a record of kind ``refused`` with the reason :data:`DAMAGED` stands
    for them.

    Raises:
        OSError: a segment cannot be read.
    """
    # Listed before anything is read: a segment that has a successor in this list is complete.
    found = _segments(folder)
    for place, (number, path) in enumerate(found):
        if after is not None and number < after.segment:
            continue
        offset = after.offset if after is not None and number == after.segment else 0
        is_newest = place == len(found) - 1
        try:
            with path.open("rb", buffering=_READ_AHEAD) as file:
                for end, record in _records(file, offset, is_newest=is_newest):
                    yield Position(number, end), record
        except FileNotFoundError:
            continue  # filed and dropped since it was listed


def drop_filed(folder: Path, position: Position) -> int:
    """Delete the segments whose records all lie before ``position``; return how many.

    The newest segment stays: it is being written.
    """
    dropped = 0
    for number, path in _segments(folder)[:-1]:
        if number < position.segment or (
            number == position.segment and position.offset >= path.stat().st_size
        ):
            path.unlink(missing_ok=True)
            dropped += 1
    if dropped:
        sync_folder(folder)
    return dropped


def waiting_bytes(folder: Path, after: Position | None = None) -> int:
    """Return how many bytes of the journal lie after a position: how far filing is behind."""
    waiting = 0
    for number, path in _segments(folder):
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            continue
        if after is None or number > after.segment:
            waiting += size
        elif number == after.segment:
            waiting += max(0, size - after.offset)
    return waiting


def _crc(checked: bytes, rest: bytes) -> int:
    return zlib.crc32(rest, zlib.crc32(checked))


def _segments(folder: Path) -> list[tuple[int, Path]]:
    """Return the segments, oldest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
    numbers = sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())
    return [(number, folder / f"{number:020d}{_SUFFIX}") for number in numbers]


def _records(file: BinaryIO, offset: int, *, is_newest: bool) -> Iterator[tuple[int, Record]]:
    file.seek(offset)
    while True:
        record, length = _next_record(file)
        if record is None:
            size = os.fstat(file.fileno()).st_size
            if is_newest or offset >= size:
                return
            record, length = _pass_over(file, offset)
        offset += length
        yield offset, record


def _next_record(file: BinaryIO) -> tuple[Record | None, int]:
    """Read the record that begins here; None where no whole record does."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None, 0
    magic, crc, length, kind, peer_length, reason_length, received, digest = _HEADER.unpack(header)
    if magic != _MAGIC or kind >= len(_KINDS) or peer_length + reason_length > length:
        return None, 0
    left = os.fstat(file.fileno()).st_size - file.tell()
    if length > left:
        return None, 0  # before reading: a damaged length must not ask for gigabytes
    rest = file.read(length)
    if len(rest) < length or _crc(header[8:], rest) != crc:
        return None, 0
    content_at = peer_length + reason_length
    record = Record(
        kind=_KINDS[kind],
        content=rest[content_at:],
        received_at=_EPOCH + received * _MICROSECOND,
        peer=rest[:peer_length].decode(errors="replace"),
        reason=rest[peer_length:content_at].decode(errors="replace"),
        digest=digest.hex(),
    )
    return record, _HEADER.size + length


def _pass_over(file: BinaryIO, offset: int) -> tuple[Record, int]:
    """Return a record for the bytes up to the next whole record or the end of the segment."""
    file.seek(offset)
    rest = file.read()
    end = _next_whole(file, offset, rest)
    log.critical("%d bytes of the HL7 journal are damaged and cannot be read", end)
    damaged = rest[:end]
    modified = dt.datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, dt.UTC)
    digest = hashlib.sha256(damaged).hexdigest()
    file.seek(offset + end)
    return Record("refused", damaged, modified, "", DAMAGED, digest), end


def _next_whole(file: BinaryIO, offset: int, rest: bytes) -> int:
    at = rest.find(_MAGIC, 1)
    while at >= 0:
        file.seek(offset + at)
        if _next_record(file)[0] is not None:
            return at
        at = rest.find(_MAGIC, at + 1)
    return len(rest)


def _mend(folder: Path) -> None:
    """Cut off what a crash left behind the last whole record of the newest segment.

    Whole records behind damaged bytes are kept: the disk may have lost a block between them.
    """
    found = _segments(folder)
    if not found:
        return
    path = found[-1][1]
    with path.open("r+b", buffering=_READ_AHEAD) as file:
        size = os.fstat(file.fileno()).st_size
        end = whole = 0
        for end, record in _records(file, 0, is_newest=False):
            if record.reason != DAMAGED:
                whole = end
        if whole < size:
            log.warning("%d bytes at the end of the HL7 journal were cut off", size - whole)
            os.ftruncate(file.fileno(), whole)
            os.fsync(file.fileno())


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.write(descriptor, view)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]


def _locked(path: Path, patience_seconds: float) -> int:
    """Lock the journal, waiting up to so many seconds for who holds it.

    Raises:
        Transient: another process holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise Transient("another process writes the HL7 journal") from None
        else:
            return descriptor
        time.sleep(_LOCK_AGAIN_SECONDS)
