"""Making bytes survive a power cut: files that are whole or absent, syncs that many can share."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path

from dicom_node.errors import DicomNodeError, Permanent, Transient

# Conditions that pass without repair; any other failed write or sync means a failing disk.
_PASSING = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class OutOfSpace(Transient):
    """There is no room to store an object now."""


class StorageFailed(Permanent):
    """The disk failed to keep what was written: nothing may be acknowledged until it is repaired.

    An fsync is never tried again: after a failure the kernel may have dropped the pages, and a
    second call would report success for bytes that are gone.
    """


def storage_error(error: OSError) -> DicomNodeError:
    """Return the error of the node that a failed write or sync means."""
    name = errno.errorcode.get(error.errno or 0, "an unknown error")
    if error.errno in _PASSING:
        return OutOfSpace(f"an object could not be stored: {name}")
    return StorageFailed(f"the disk failed: {name}")


def write_durably(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that it survives a power cut; mode 0600."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut.

    Raises:
        OutOfSpace: no room for the folder's own blocks.
        StorageFailed: the disk failed.
    """
    try:
        _sync(folder)
    except OSError as error:
        raise storage_error(error) from error


class SharedFolderSync:
    """One sync of a folder for everybody who renamed a file into it before that sync began.

    A sync that is already running may have missed a rename made meanwhile, so whoever comes during
    one waits for the next. A failed sync fails for all who waited for it, and for good.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._begun = self._finished = 0
        self._running = False
        self._failure: DicomNodeError | None = None

    def wait(self) -> None:
        """Return once every name that is in the folder now would survive a power cut.

        Raises:
            OutOfSpace: no room for the folder's own blocks.
            StorageFailed: the disk failed, now or earlier.
        """
        with self._changed:
            needed = self._begun + 1
            while self._finished < needed:
                if isinstance(self._failure, StorageFailed):
                    raise self._failure
                if self._running:
                    self._changed.wait()
                else:
                    self._sync_for_all()

    def _sync_for_all(self) -> None:
        self._running = True
        self._begun += 1
        self._changed.release()
        failure: DicomNodeError | None = None
        try:
            sync_folder(self._folder)
        except DicomNodeError as error:
            failure = error
        finally:
            self._changed.acquire()
            self._running = False
            self._changed.notify_all()
        if failure is not None:
            self._failure = failure
            raise failure
        self._finished = self._begun


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
