"""The folder store: what was acknowledged is on disk, under a name that no peer can choose.

    spool/                    received and acknowledged, not yet indexed
    archive/ab/abcdef....dcm  indexed
    quarantine/               kept, but not to be used; a notice beside it says why
    tmp/                      being written; whatever lies here at start was never acknowledged

An object reaches its name by temporary file, write, fsync, rename, fsync of the folder. The name is
the SHA-256 digest of what was sent, so the same bytes always have the same name, different bytes
never share one, and a folder listing tells nothing about a patient.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from dicom_node.errors import Permanent, Transient
from dicom_node.file_meta import encode_file_meta

# Conditions that pass without repair; any other failed write or sync means a failing disk.
_PASSING = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM))

_SUFFIX = ".dcm"
_NOTICE_SUFFIX = ".json"
_TEMPORARY_SUFFIX = ".part"


class OutOfSpace(Transient):
    """There is no room to store an object now."""


class StorageFailed(Permanent):
    """The disk failed to keep what was written: nothing may be acknowledged until it is repaired.

    An fsync is never tried again: after a failure the kernel may have dropped the pages, and a
    second call would report success for bytes that are gone.
    """


@dataclass(frozen=True)
class ReceivedObject:
    """A composite object as an association delivered it; ``data`` is the encoded data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    data: bytes | memoryview

    @cached_property
    def digest(self) -> str:
        """SHA-256 over transfer syntax, SOP class, SOP instance and data set, in hexadecimal.

        Each part goes in behind its length, so that no two different objects give the same input.
        The AE titles are left out: the same object from another route is the same object.
        """
        sha = hashlib.sha256()
        for text in (self.transfer_syntax_uid, self.sop_class_uid, self.sop_instance_uid):
            part = text.encode("utf-8", "surrogatepass")
            sha.update(len(part).to_bytes(4, "big"))
            sha.update(part)
        sha.update(self.data)
        return sha.hexdigest()


@dataclass(frozen=True)
class Notice:
    """Why bytes lie in quarantine; the reason holds no value of the peer's."""

    digest: str
    reason: str
    sender: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


class DicomStore:
    """Stores objects under ``root``; safe for several threads and processes at once.

    Args:
        root: the data folder.
        minimum_free_bytes: what must stay free on its file system after an object is stored.
    """

    def __init__(self, root: Path, *, minimum_free_bytes: int = 0) -> None:
        self.root = root
        self._minimum_free_bytes = minimum_free_bytes
        self._spool = root / "spool"
        self._archive = root / "archive"
        self._quarantine = root / "quarantine"
        self._temporary = root / "tmp"

    def recover(self) -> int:
        """Make the folders and remove what earlier writers left half-written.

        Only the process that owns the data folder may call this, before anything is received.

        Returns:
            How many temporary files were removed; none of them was ever acknowledged.
        """
        for folder in (self._spool, self._archive, self._quarantine, self._temporary):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        _sync_folder(self.root)
        orphans = list(self._temporary.glob(f"*{_TEMPORARY_SUFFIX}"))
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        return len(orphans)

    @property
    def free_bytes(self) -> int:
        """Bytes that may still be written to the store's file system."""
        return shutil.disk_usage(self._spool).free

    @property
    def has_room(self) -> bool:
        """Tell whether new associations should be accepted."""
        return self.free_bytes >= self._minimum_free_bytes

    def store(self, received: ReceivedObject) -> str:
        """Keep an object in the spool and return its digest once it would survive a power cut.

        Storing the same bytes again changes nothing.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        target = self._spool / f"{received.digest}{_SUFFIX}"
        if target.exists():
            # Another writer may have renamed it a moment ago and not yet synced the folder.
            _sync_folder(self._spool)
        elif not self._archived(received.digest).exists():
            self._write(target, _file_parts(received))
        return received.digest

    def quarantine(self, received: ReceivedObject, reason: str) -> str:
        """Keep an object aside and leave a notice in the spool for the indexer.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        digest = received.digest
        notice = Notice(
            digest=digest,
            reason=reason,
            sender=received.calling_ae_title,
            sop_instance_uid=received.sop_instance_uid,
        )
        self._write(self._quarantine / f"{digest}{_SUFFIX}", _file_parts(received))
        self._write(self._spool / f"{digest}{_NOTICE_SUFFIX}", (_notice_bytes(notice),))
        return digest

    def spooled(self) -> list[Path]:
        """Return the files that wait for the indexer, in order of arrival."""
        return _in_order_of_arrival(self._spool, _SUFFIX)

    def spooled_count(self) -> int:
        """Return how many files wait for the indexer."""
        return sum(1 for _ in self._spool.glob(f"*{_SUFFIX}"))

    def notices(self) -> list[Notice]:
        """Return the notices of quarantined objects that are not yet in the database."""
        return [
            Notice(**json.loads(path.read_text()))
            for path in _in_order_of_arrival(self._spool, _NOTICE_SUFFIX)
        ]

    def path(self, digest: str) -> Path:
        """Return where an indexed object lies; between commit and rename it is still spooled."""
        archived = self._archived(digest)
        spooled = self._spool / f"{digest}{_SUFFIX}"
        return spooled if not archived.exists() and spooled.exists() else archived

    def quarantined_path(self, digest: str) -> Path:
        """Return where a quarantined object lies."""
        return self._quarantine / f"{digest}{_SUFFIX}"

    def archive(self, digests: Sequence[str]) -> None:
        """Move spooled files to the archive, after their rows are committed.

        A crash in between leaves a spooled file whose digest has a row: the next run moves it.
        """
        for digest in digests:
            target = self._archived(digest)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            (self._spool / f"{digest}{_SUFFIX}").replace(target)
        if digests:
            # A journalling file system commits renames in order: one sync covers all of them.
            _sync_folder(self._spool)

    def set_aside(self, notice: Notice) -> None:
        """Move a spooled file to quarantine with its notice, after its row is committed."""
        self._keep_notice(notice)
        spooled = self._spool / f"{notice.digest}{_SUFFIX}"
        spooled.replace(self.quarantined_path(notice.digest))

    def file_notice(self, notice: Notice) -> None:
        """Move a receiver's notice beside its object, after its row is committed.

        A spooled file of the same digest stays: the same bytes may have come properly since.
        """
        self._keep_notice(notice)
        (self._spool / f"{notice.digest}{_NOTICE_SUFFIX}").unlink(missing_ok=True)

    def _keep_notice(self, notice: Notice) -> None:
        target = self._quarantine / f"{notice.digest}{_NOTICE_SUFFIX}"
        self._write(target, (_notice_bytes(notice),))

    def _archived(self, digest: str) -> Path:
        return self._archive / digest[:2] / f"{digest}{_SUFFIX}"

    def _write(self, target: Path, parts: Sequence[bytes | memoryview]) -> None:
        """Write durably under a temporary name, then give the file its own."""
        size = sum(len(part) for part in parts)
        if self.free_bytes - size < self._minimum_free_bytes:
            raise OutOfSpace("the store's file system is full")
        temporary = self._temporary / f"{secrets.token_hex(16)}{_TEMPORARY_SUFFIX}"
        try:
            _write_and_sync(temporary, parts)
            temporary.rename(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _failure(error) from error
        _sync_folder(target.parent)


def _file_parts(received: ReceivedObject) -> tuple[bytes | memoryview, ...]:
    meta = encode_file_meta(
        sop_class_uid=received.sop_class_uid,
        sop_instance_uid=received.sop_instance_uid,
        transfer_syntax_uid=received.transfer_syntax_uid,
        calling_ae_title=received.calling_ae_title,
        called_ae_title=received.called_ae_title,
    )
    return meta, received.data


def _notice_bytes(notice: Notice) -> bytes:
    return json.dumps(asdict(notice)).encode()


def _in_order_of_arrival(folder: Path, suffix: str) -> list[Path]:
    with os.scandir(folder) as entries:
        found = [(e.stat().st_mtime_ns, e.name) for e in entries if e.name.endswith(suffix)]
    return [folder / name for _, name in sorted(found)]


def _write_and_sync(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failure(error) from error


def _failure(error: OSError) -> Transient | Permanent:
    name = errno.errorcode.get(error.errno or 0, "an unknown error")
    if error.errno in _PASSING:
        return OutOfSpace(f"an object could not be stored: {name}")
    return StorageFailed(f"the disk failed: {name}")
