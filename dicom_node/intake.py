"""Taking an object in: it streams into a temporary file and gets its name when it is durable.

However large an object is, only its first bytes are held in memory. The order that survives a power
cut at any moment: write, sync the file, rename it to the digest of its content, sync the folder;
only then may the sender be told Success.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dicom_node.durable import (
    OutOfSpace,
    SharedFolderSync,
    storage_error,
    sync_folder,
)
from dicom_node.file_meta import ROUTED, encode_file_meta

HEAD_BYTES = 16 * 1024
"""How much of an object stays in memory, to compare its UIDs with those of the command."""

OBJECT_SUFFIX = ".dcm"
NOTICE_SUFFIX = ".json"
TEMPORARY_SUFFIX = ".part"
_SPACE_CHECK_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Origin:
    """What is known about an object before its data set comes.

    Attributes:
        sop_class_uid: Affected SOP Class UID.
        sop_instance_uid: Affected SOP Instance UID.
        transfer_syntax_uid: how the data set is encoded.
        calling_ae_title: of the sender.
        called_ae_title: ours, as the sender has it.
        way: how it came, one of those of :mod:`dicom_node.file_meta`.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    way: str = field(default=ROUTED, kw_only=True)

    def new_digest(self) -> hashlib._Hash:
        """Return SHA-256 over transfer syntax, SOP class and SOP instance; the data set follows.

        Each part goes in behind its length, so that no two different objects give the same input.
        AE titles and way are left out: the same object from another route is the same object.
        """
        sha = hashlib.sha256()
        for text in (self.transfer_syntax_uid, self.sop_class_uid, self.sop_instance_uid):
            part = text.encode("utf-8", "surrogatepass")
            sha.update(len(part).to_bytes(4, "big"))
            sha.update(part)
        return sha

    def file_meta(self) -> bytes:
        """Return preamble, prefix and File Meta Information (PS3.10 section 7.1)."""
        return encode_file_meta(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            calling_ae_title=self.calling_ae_title,
            called_ae_title=self.called_ae_title,
            way=self.way,
        )


@dataclass(frozen=True)
class Notice:
    """Why bytes lie in quarantine; the reason holds no value of the peer's."""

    digest: str
    reason: str
    sender: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


@dataclass(frozen=True)
class Folders:
    """Where objects lie, under one root and on one file system."""

    root: Path

    @property
    def spool(self) -> Path:
        """Received and acknowledged, not yet indexed."""
        return self.root / "spool"

    @property
    def archive(self) -> Path:
        """Indexed, in one folder for each first two characters of the digest."""
        return self.root / "archive"

    @property
    def quarantine(self) -> Path:
        """Kept, but not to be used."""
        return self.root / "quarantine"

    @property
    def commitments(self) -> Path:
        """Requests and reports of storage commitment, acknowledged and not yet filed."""
        return self.root / "commitments"

    @property
    def temporary(self) -> Path:
        """Being written; whatever lies here at start was never acknowledged."""
        return self.root / "tmp"

    def spooled(self, digest: str) -> Path:
        """Return where an object lies until it is indexed."""
        return self.spool / f"{digest}{OBJECT_SUFFIX}"

    def archived(self, digest: str) -> Path:
        """Return where an indexed object lies."""
        return self.archive / digest[:2] / f"{digest}{OBJECT_SUFFIX}"

    def quarantined(self, digest: str) -> Path:
        """Return where a quarantined object lies."""
        return self.quarantine / f"{digest}{OBJECT_SUFFIX}"

    def notice(self, digest: str) -> Path:
        """Return where the notice of a quarantined object lies."""
        return self.quarantine / f"{digest}{NOTICE_SUFFIX}"

    def received_notice(self, digest: str) -> Path:
        """Return where a receiver leaves its notice for the indexer."""
        return self.spool / f"{digest}{NOTICE_SUFFIX}"


class Intake:
    """Opens incoming objects; safe for several threads and processes at once.

    Args:
        folders: where objects go; the folders exist.
        minimum_free_bytes: what must stay free on the file system after an object is stored.
    """

    def __init__(self, folders: Folders, *, minimum_free_bytes: int = 0) -> None:
        self.folders = folders
        self._minimum_free_bytes = minimum_free_bytes
        self.sync_spool = SharedFolderSync(folders.spool).wait
        self.sync_quarantine = SharedFolderSync(folders.quarantine).wait
        self.sync_commitments = SharedFolderSync(folders.commitments).wait

    @property
    def free_bytes(self) -> int:
        """Bytes that may still be written to the file system."""
        found = os.statvfs(self.folders.root)
        return found.f_bavail * found.f_frsize

    @property
    def has_room(self) -> bool:
        """Tell whether new associations should be accepted; inodes count as well."""
        found = os.statvfs(self.folders.root)
        # A file system that counts no inodes reports none in total.
        has_inodes = found.f_files == 0 or found.f_favail > 0
        return has_inodes and found.f_bavail * found.f_frsize >= self._minimum_free_bytes

    def begin(self, origin: Origin) -> IncomingObject:
        """Open a temporary file for an object.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        self.check_room(0)
        return IncomingObject(self, origin)

    def check_room(self, size: int) -> None:
        """Raise :class:`OutOfSpace` where ``size`` more bytes would pass the free-space mark."""
        if self.free_bytes - size < self._minimum_free_bytes:
            raise OutOfSpace("the store's file system is full")

    def write(self, target: Path, parts: Sequence[bytes | memoryview]) -> None:
        """Write a file durably under a temporary name, then give it its own.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        self.check_room(sum(len(part) for part in parts))
        file = TemporaryFile(self.folders.temporary)
        for part in parts:
            file.write(part)
        file.keep_as(target)
        sync_folder(target.parent)


class TemporaryFile:
    """A file under a name of chance; whatever fails, it is removed before the error goes on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{secrets.token_hex(16)}{TEMPORARY_SUFFIX}"
        self._descriptor = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with self.guard():
            self._descriptor = os.open(self._path, flags, 0o600)

    @property
    def path(self) -> Path:
        """Where it lies until it is kept."""
        return self._path

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``."""
        rest = memoryview(data)
        with self.guard():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def keep_as(self, target: Path) -> None:
        """Sync the content, then give the file its name, which is not yet synced."""
        now = time.time_ns()
        # The kernel's own time stamps are too coarse to order objects that arrive together.
        with self.guard():
            os.utime(self._descriptor, ns=(now, now))
            os.fdatasync(self._descriptor)
            self._path.rename(target)
        self._close()

    def discard(self) -> None:
        """Remove the file."""
        self._close()
        with suppress(OSError):
            # A failing disk may refuse; the next start removes what lies here.
            self._path.unlink(missing_ok=True)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Remove the file where the disk fails while the block runs."""
        try:
            yield
        except OSError as error:
            self.discard()
            raise storage_error(error) from error

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                # What mattered was synced before; a close has nothing left to tell.
                os.close(descriptor)


class IncomingObject:
    """An object that is being received.

    Attributes:
        origin: what the association says about it.
        head: its first bytes, at most :data:`HEAD_BYTES`.
        size: bytes of the data set so far.
    """

    def __init__(self, intake: Intake, origin: Origin) -> None:
        self.origin = origin
        self.head = bytearray()
        self.size = 0
        self._intake = intake
        self._sha = origin.new_digest()
        self._next_check = _SPACE_CHECK_BYTES
        self._file = TemporaryFile(intake.folders.temporary)
        self._file.write(origin.file_meta())

    @property
    def digest(self) -> str:
        """The name that the content received so far would have."""
        return self._sha.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append a piece of the data set.

        Raises:
            OutOfSpace: no room; the object is discarded.
            StorageFailed: the disk failed; the object is discarded.
        """
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.size += len(data)
        if self.size >= self._next_check:
            self._next_check = self.size + _SPACE_CHECK_BYTES
            self._check_room()
        self._sha.update(data)
        self._file.write(data)

    def keep(self) -> str:
        """Name the object in the spool; return its digest once it would survive a power cut.

        Keeping the same bytes again changes nothing.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        folders = self._intake.folders
        digest = self.digest
        if folders.spooled(digest).exists():
            # Another writer may have renamed it a moment ago and not yet synced the folder.
            self._file.discard()
            self._intake.sync_spool()
        elif folders.archived(digest).exists():
            # The indexer may have moved it there a moment ago, before its first writer's sync.
            self._file.discard()
            sync_folder(folders.archived(digest).parent)
        else:
            self._check_room()
            self._file.keep_as(folders.spooled(digest))
            self._intake.sync_spool()
        return digest

    def hand_over(self, target: Path) -> None:
        """Name the file outside the store, where it is the caller's to remove; nothing is synced.

        Raises:
            StorageFailed: the disk failed; the file was removed.
        """
        with self._file.guard():
            self._file.path.rename(target)

    def set_aside(self, reason: str) -> str:
        """Keep the object in quarantine and leave a notice in the spool for the indexer.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        folders = self._intake.folders
        digest = self.digest
        self._check_room()
        self._file.keep_as(folders.quarantined(digest))
        self._intake.sync_quarantine()
        notice = Notice(
            digest=digest,
            reason=reason,
            sender=self.origin.calling_ae_title,
            sop_instance_uid=self.origin.sop_instance_uid,
        )
        self._intake.write(folders.received_notice(digest), (notice_bytes(notice),))
        return digest

    def discard(self) -> None:
        """Forget the object; harmless after it was kept."""
        self._file.discard()

    def _check_room(self) -> None:
        try:
            self._intake.check_room(0)
        except OutOfSpace:
            self._file.discard()
            raise


def notice_bytes(notice: Notice) -> bytes:
    """Return a notice as the JSON that lies beside its object."""
    return json.dumps(asdict(notice)).encode()
