"""The folder store: what was acknowledged is on disk, under a name that no peer can choose.

    spool/                    received and acknowledged, not yet indexed
    archive/ab/abcdef....dcm  indexed
    quarantine/               kept, but not to be used; a notice beside it says why
    commitments/              requests and reports of storage commitment, not yet filed
    asked_for.jsonl           which studies this node asked for
    tmp/                      being written; whatever lies here at start was never acknowledged

An object reaches its name by temporary file, write, fsync, rename, fsync of the folder. The name is
the SHA-256 digest of what was sent, so the same bytes always have the same name, different bytes
never share one, and a folder listing tells nothing about a patient.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dicom_node.asked_for import AskedFor
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
)

__all__ = [
    "DicomStore",
    "Notice",
    "OutOfSpace",
    "ReceivedObject",
    "StorageFailed",
    "is_digest",
]


log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Tell whether a text has the form of a digest, and so may be part of a path."""
    return _DIGEST.fullmatch(text) is not None


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
        self.make_folders()
        orphans = list(self._temporary.glob(f"*{TEMPORARY_SUFFIX}"))
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        return len(orphans)

    def make_folders(self) -> None:
        """Make every folder that is missing."""
        for folder in (
            self._spool,
            self._archive,
            self._quarantine,
            self.folders.commitments,
            self._temporary,
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        sync_folder(self.root)

    @cached_property
    def asked_for(self) -> AskedFor:
        """The studies that this node asked for, whatever becomes of the database."""
        return AskedFor(self.root)

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

    def spooled_digests(self) -> set[str]:
        """Return what waits for the indexer, in no order and without a look at the files."""
        try:
            names = os.listdir(self._spool)
        except FileNotFoundError:
            return set()  # nothing was ever received
        end = len(OBJECT_SUFFIX)
        return {name[:-end] for name in names if name.endswith(OBJECT_SUFFIX)}

    def spooled_count(self) -> int:
        """Return how many files wait for the indexer."""
        return sum(1 for _ in self._spool.glob(f"*{OBJECT_SUFFIX}"))

    def notices(self) -> list[Notice]:
        """Return the notices of quarantined objects that are not yet in the database.

        One that is damaged stays where it is: it must not keep others from the index.
        """
        found: list[Notice] = []
        for path in _in_order_of_arrival(self._spool, NOTICE_SUFFIX):
            try:
                found.append(Notice(**json.loads(path.read_text())))
            except (ValueError, TypeError) as error:
                log.warning("a notice in the spool is damaged: %s", type(error).__name__)
        return found

    def path(self, digest: str) -> Path:
        """Return where an object lies whose place is the archive.

        Between commit and rename it is still where it came from.
        """
        archived = self.folders.archived(digest)
        ways = (archived, self.folders.spooled(digest), self.quarantined_path(digest))
        return next((path for path in ways if path.exists()), archived)

    def quarantined_path(self, digest: str) -> Path:
        """Return where a quarantined object lies."""
        return self.folders.quarantined(digest)

    def archived(self) -> Iterator[Path]:
        """Yield every file of the archive, in no order."""
        with os.scandir(self._archive) as folders:
            parents = [entry.path for entry in folders if entry.is_dir(follow_symlinks=False)]
        for parent in parents:
            yield from _files(Path(parent), OBJECT_SUFFIX)

    def quarantined(self) -> Iterator[Path]:
        """Yield every object in quarantine, in no order."""
        yield from _files(self._quarantine, OBJECT_SUFFIX)

    def notice_path(self, digest: str) -> Path:
        """Return where the notice of a quarantined object lies."""
        return self.folders.notice(digest)

    def notice_waits(self, digest: str) -> bool:
        """Tell whether the notice of a receiver is not yet in the database."""
        return self.folders.received_notice(digest).exists()

    def quarantine_notices(self) -> Iterator[Path]:
        """Yield every notice in quarantine, in no order; its object may be in the archive."""
        yield from _files(self._quarantine, NOTICE_SUFFIX)

    def archive(self, digests: Sequence[str]) -> None:
        """Move spooled files to the archive, after their rows are committed.

        A crash in between leaves a spooled file whose digest has a row: the next run moves it.
        Bytes that are archived already are only removed from the spool.
        """
        changed: set[Path] = set()
        for digest in digests:
            target = self.folders.archived(digest)
            spooled = self.folders.spooled(digest)
            if target.exists():
                spooled.unlink(missing_ok=True)
                continue
            if not target.parent.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                changed.add(self._archive)
            spooled.replace(target)
            changed.add(target.parent)
        # The new names first: no moment may be without a name that survives. On a journalling
        # file system the first of these syncs does the work of all.
        for folder in sorted(changed):
            sync_folder(folder)
        if digests:
            sync_folder(self._spool)

    def set_aside(self, digest: str, notice: bytes, received_at_ns: int) -> None:
        """Move a spooled file to quarantine with its notice, after its row is committed.

        A file that lies there already stays where it bears the time of arrival of the row:
        then the spooled one is the same bytes again.
        """
        self.keep_notice(digest, notice)
        spooled, target = self.folders.spooled(digest), self.quarantined_path(digest)
        if _bears(target, received_at_ns):
            spooled.unlink(missing_ok=True)
        else:
            spooled.replace(target)
        sync_folder(self._quarantine)
        sync_folder(self._spool)

    def release(self, digest: str) -> None:
        """Move a quarantined file to the archive; harmless where that is done already."""
        quarantined, target = self.quarantined_path(digest), self.folders.archived(digest)
        if target.exists():
            quarantined.unlink(missing_ok=True)
        elif quarantined.exists():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            quarantined.replace(target)
            sync_folder(target.parent)
            sync_folder(self._archive)
        sync_folder(self._quarantine)

    def withdraw(self, digest: str) -> None:
        """Move an archived file to quarantine; harmless where that is done already."""
        archived = self.folders.archived(digest)
        if archived.exists():
            archived.replace(self.quarantined_path(digest))
            sync_folder(self._quarantine)
            sync_folder(archived.parent)

    def keep_notice(self, digest: str, notice: bytes) -> None:
        """Write the notice beside a quarantined object, over an earlier one."""
        self.intake.write(self.notice_path(digest), (notice,))

    def remove_notice(self, digest: str) -> None:
        """Remove the notice of an object that is not in quarantine any more."""
        self.notice_path(digest).unlink(missing_ok=True)
        sync_folder(self._quarantine)

    def file_notice(self, digest: str, notice: bytes, received_at_ns: int) -> None:
        """Move a receiver's notice beside its object, after its row is committed.

        A spooled file of the same digest stays: the same bytes may have come properly since. The
        object keeps the time at which it was first refused.
        """
        self.keep_notice(digest, notice)
        with suppress(FileNotFoundError):
            os.utime(self.quarantined_path(digest), ns=(received_at_ns, received_at_ns))
        self.folders.received_notice(digest).unlink(missing_ok=True)

    def drop_notice(self, digest: str) -> None:
        """Drop a receiver's notice about bytes that the index holds already."""
        self.folders.received_notice(digest).unlink(missing_ok=True)

    def date_spooled(self, digest: str, received_at_ns: int) -> None:
        """Give a spooled file another time of arrival."""
        os.utime(self.folders.spooled(digest), ns=(received_at_ns, received_at_ns))


def _in_order_of_arrival(folder: Path, suffix: str) -> list[Path]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix):
                with suppress(FileNotFoundError):  # the indexer may have moved it meanwhile
                    found.append((entry.stat().st_mtime_ns, entry.name))
    return [folder / name for _, name in sorted(found)]


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _bears(path: Path, modified_ns: int) -> bool:
    """Tell whether a file exists and has this modification time, to the microsecond."""
    try:
        return path.stat().st_mtime_ns // 1000 == modified_ns // 1000
    except FileNotFoundError:
        return False
