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

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dicom_node.durable import OutOfSpace, StorageFailed, sync_folder
from dicom_node.intake import (
    NOTICE_SUFFIX,
    OBJECT_SUFFIX,
    TEMPORARY_SUFFIX,
    Folders,
    IncomingObject,
    Intake,
    Notice,
    Origin,
    notice_bytes,
)

__all__ = [
    "DicomStore",
    "Notice",
    "OutOfSpace",
    "ReceivedObject",
    "StorageFailed",
]


@dataclass(frozen=True)
class ReceivedObject(Origin):
    """A composite object in memory; ``data`` is the encoded data set."""

    data: bytes | memoryview

    @cached_property
    def digest(self) -> str:
        """The name of the object: see :meth:`Origin.new_digest`."""
        sha = self.new_digest()
        sha.update(self.data)
        return sha.hexdigest()


class DicomStore:
    """Stores objects under ``root``; safe for several threads and processes at once.

    Args:
        root: the data folder.
        minimum_free_bytes: what must stay free on its file system after an object is stored.
    """

    def __init__(self, root: Path, *, minimum_free_bytes: int = 0) -> None:
        self.root = root
        self.folders = Folders(root)
        self.intake = Intake(self.folders, minimum_free_bytes=minimum_free_bytes)
        self._spool = self.folders.spool
        self._archive = self.folders.archive
        self._quarantine = self.folders.quarantine
        self._temporary = self.folders.temporary

    def recover(self) -> int:
        """Make the folders and remove what earlier writers left half-written.

        Only the process that owns the data folder may call this, before anything is received.

        Returns:
            How many temporary files were removed; none of them was ever acknowledged.
        """
        for folder in (self._spool, self._archive, self._quarantine, self._temporary):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        sync_folder(self.root)
        orphans = list(self._temporary.glob(f"*{TEMPORARY_SUFFIX}"))
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        return len(orphans)

    @property
    def has_room(self) -> bool:
        """Tell whether new associations should be accepted."""
        return self.intake.has_room

    def store(self, received: ReceivedObject) -> str:
        """Keep an object in the spool and return its digest once it would survive a power cut.

        Storing the same bytes again changes nothing.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        return self._take(received).keep()

    def quarantine(self, received: ReceivedObject, reason: str) -> str:
        """Keep an object aside and leave a notice in the spool for the indexer.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        return self._take(received).set_aside(reason)

    def _take(self, received: ReceivedObject) -> IncomingObject:
        incoming = self.intake.begin(received)
        incoming.write(received.data)
        return incoming

    def spooled(self) -> list[Path]:
        """Return the files that wait for the indexer, in order of arrival."""
        return _in_order_of_arrival(self._spool, OBJECT_SUFFIX)

    def spooled_count(self) -> int:
        """Return how many files wait for the indexer."""
        return sum(1 for _ in self._spool.glob(f"*{OBJECT_SUFFIX}"))

    def notices(self) -> list[Notice]:
        """Return the notices of quarantined objects that are not yet in the database."""
        return [
            Notice(**json.loads(path.read_text()))
            for path in _in_order_of_arrival(self._spool, NOTICE_SUFFIX)
        ]

    def path(self, digest: str) -> Path:
        """Return where an indexed object lies; between commit and rename it is still spooled."""
        archived = self._archived(digest)
        spooled = self._spool / f"{digest}{OBJECT_SUFFIX}"
        return spooled if not archived.exists() and spooled.exists() else archived

    def quarantined_path(self, digest: str) -> Path:
        """Return where a quarantined object lies."""
        return self._quarantine / f"{digest}{OBJECT_SUFFIX}"

    def archive(self, digests: Sequence[str]) -> None:
        """Move spooled files to the archive, after their rows are committed.

        A crash in between leaves a spooled file whose digest has a row: the next run moves it.
        """
        for digest in digests:
            target = self._archived(digest)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            (self._spool / f"{digest}{OBJECT_SUFFIX}").replace(target)
        if digests:
            # A journalling file system commits renames in order: one sync covers all of them.
            sync_folder(self._spool)

    def set_aside(self, notice: Notice) -> None:
        """Move a spooled file to quarantine with its notice, after its row is committed."""
        self._keep_notice(notice)
        spooled = self._spool / f"{notice.digest}{OBJECT_SUFFIX}"
        spooled.replace(self.quarantined_path(notice.digest))

    def file_notice(self, notice: Notice) -> None:
        """Move a receiver's notice beside its object, after its row is committed.

        A spooled file of the same digest stays: the same bytes may have come properly since.
        """
        self._keep_notice(notice)
        (self._spool / f"{notice.digest}{NOTICE_SUFFIX}").unlink(missing_ok=True)

    def _keep_notice(self, notice: Notice) -> None:
        target = self._quarantine / f"{notice.digest}{NOTICE_SUFFIX}"
        self.intake.write(target, (notice_bytes(notice),))

    def _archived(self, digest: str) -> Path:
        return self.folders.archived(digest)


def _in_order_of_arrival(folder: Path, suffix: str) -> list[Path]:
    with os.scandir(folder) as entries:
        found = [(e.stat().st_mtime_ns, e.name) for e in entries if e.name.endswith(suffix)]
    return [folder / name for _, name in sorted(found)]
