"""Requests and reports as files: what a receiver writes before it answers, and the node reads.

A receiver knows no database. A file is one JSON line that says from whom, when and how it came,
then the data set as it was sent. Its name is of chance.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dicom_node.commitment.information import (
    Information,
    TooManyReferences,
    decode_information,
)
from dicom_node.commitment.vocabulary import (
    FAILURES_EXIST,
    MAXIMUM_INFORMATION_BYTES,
    REQUEST_COMMITMENT,
)
from dicom_node.dimse import INVALID_ARGUMENT, RESOURCE_LIMITATION, SUCCESS
from dicom_node.durable import storage_error, sync_folder
from dicom_node.intake import Intake, TemporaryFile
from dicom_node.repeated_logs import RepeatFilter

REQUEST, REPORT = "N-ACTION", "N-EVENT-REPORT"

_SUFFIX = ".commitment"
_DAMAGED_SUFFIX = ".damaged"
_FULL_SUFFIX = ".full"
_LONGEST_LINE = 4096
_MOST_FILES = 4096

log = logging.getLogger(__name__)
log.addFilter(RepeatFilter())


@dataclass(frozen=True)
class Sender:
    """Who speaks: titles as the association gave them, address and certificate of the connection.

    ``certificate`` is its SHA-256 in hexadecimal, empty without TLS.
    """

    calling_ae_title: str
    called_ae_title: str
    address: str
    certificate: str = ""


@dataclass(frozen=True)
class Notice:
    """What came, and from whom.

    Attributes:
        kind: REQUEST or REPORT.
        type_id: Action Type ID or Event Type ID.
        sender: who sent it.
        transfer_syntax_uid: of the data set.
        received_at_ns: when it began to come, nanoseconds since 1970.
        data: the data set as it was sent.
        name: of its file.
    """

    kind: str
    type_id: int
    sender: Sender
    transfer_syntax_uid: str
    received_at_ns: int
    data: bytes = b""
    name: str = ""

    def information(self) -> Information:
        """Read the data set.

        Raises:
            ValueError: it cannot be read; a receiver refuses such a one.
        """
        return decode_information(self.data, self.transfer_syntax_uid)


class IncomingNotice:
    """A request or report that is being received; it streams to its file as objects do.

    Raises:
        OutOfSpace: no room; nothing was kept.
        StorageFailed: the disk failed; the caller must stop acknowledging.
    """

    def __init__(
        self, intake: Intake, kind: str, type_id: int, sender: Sender, transfer_syntax_uid: str
    ) -> None:
        self._intake = intake
        self._head = Notice(kind, type_id, sender, transfer_syntax_uid, time.time_ns())
        self._line = _line_of(self._head)
        intake.check_room(0)
        self._file = TemporaryFile(intake.folders.temporary)
        self._file.write(self._line)

    @property
    def calling_ae_title(self) -> str:
        """Against whose quota its bytes count."""
        return self._head.sender.calling_ae_title

    def write(self, data: bytes | memoryview) -> None:
        """Append a piece of the data set.

        Raises:
            OutOfSpace: no room; it is discarded.
            StorageFailed: the disk failed; it is discarded.
        """
        self._file.write(data)

    def keep(self) -> tuple[int, str]:
        """Read what came and keep it durably; return the status of the response and a comment.

        Raises:
            OutOfSpace: no room; nothing was kept.
            StorageFailed: the disk failed; the caller must stop acknowledging.
        """
        status, comment = self._judge()
        if status != SUCCESS:
            self._file.discard()
            return status, comment
        self._file.keep_as(self._intake.folders.commitments / f"{secrets.token_hex(16)}{_SUFFIX}")
        self._intake.sync_commitments()
        return SUCCESS, ""

    def discard(self) -> None:
        """Forget it; harmless after it was kept."""
        self._file.discard()

    def _judge(self) -> tuple[int, str]:
        if self._head.kind == REQUEST and self._is_full():
            return RESOURCE_LIMITATION, "too many requests wait for their reports"
        try:
            data = self._file.path.read_bytes()[len(self._line) :]
            found = decode_information(data, self._head.transfer_syntax_uid)
        except OSError as error:
            raise storage_error(error) from error
        except TooManyReferences as error:
            return RESOURCE_LIMITATION, str(error)
        except ValueError as error:
            return INVALID_ARGUMENT, f"the data set cannot be understood: {error}"
        reason = _what_is_missing(self._head, found)
        return (INVALID_ARGUMENT if reason else SUCCESS), reason

    def _is_full(self) -> bool:
        folder = self._intake.folders.commitments
        if _full_mark(folder, self.calling_ae_title).exists():
            return True
        try:
            return len(os.listdir(folder)) >= _MOST_FILES
        except OSError as error:
            raise storage_error(error) from error


def _full_mark(folder: Path, ae_title: str) -> Path:
    return folder / f"{hashlib.sha256(ae_title.encode()).hexdigest()}{_FULL_SUFFIX}"


def mark_full(folder: Path, ae_titles: Collection[str]) -> None:
    """Have receivers take no more requests of these peers, and of all others again."""
    if not folder.is_dir():
        return
    wanted = {_full_mark(folder, title) for title in ae_titles}
    present = set(folder.glob(f"*{_FULL_SUFFIX}"))
    for path in wanted - present:
        path.touch(mode=0o600)
    for path in present - wanted:
        path.unlink(missing_ok=True)
    if wanted != present:
        sync_folder(folder)


def _what_is_missing(head: Notice, found: Information) -> str:
    if head.kind == REQUEST or head.type_id != FAILURES_EXIST:
        if not found.referenced:
            return "no instance is referenced"
    elif not found.failed:
        return "no instance has failed"
    return ""


def waiting_notices(folder: Path) -> Iterator[Notice]:
    """Yield what waits to be filed, in order of arrival; what is damaged is put aside."""
    if not folder.is_dir():
        return  # nothing was ever received
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX):
                with suppress(OSError):
                    found.append((entry.stat().st_mtime_ns, entry.name))
    for _, name in sorted(found):
        try:
            yield _read(folder / name)
        except OSError as error:
            # It stays and is tried again; the others must not wait for it.
            log.warning("a file of storage commitment cannot be read: %s", type(error).__name__)
        except (ValueError, TypeError, KeyError) as error:
            path = folder / name
            log.error("a file of storage commitment is damaged: %s", type(error).__name__)
            path.rename(path.with_suffix(_DAMAGED_SUFFIX))


def remove_notice(folder: Path, name: str) -> None:
    """Remove a file whose rows are committed."""
    (folder / name).unlink(missing_ok=True)
    sync_folder(folder)


def _line_of(head: Notice) -> bytes:
    said = {each.name: getattr(head, each.name) for each in fields(head)}
    del said["data"], said["name"]
    return json.dumps({**said, "sender": asdict(head.sender)}).encode() + b"\n"


def _read(path: Path) -> Notice:
    with path.open("rb") as file:
        said = json.loads(file.readline(_LONGEST_LINE))
        data = file.read(MAXIMUM_INFORMATION_BYTES + 1)
    sender = Sender(**said.pop("sender"))
    notice = Notice(**said, sender=sender, data=data, name=path.name)
    if notice.kind not in (REQUEST, REPORT) or notice.type_id < REQUEST_COMMITMENT:
        raise ValueError("neither a request nor a report")
    notice.information()
    return notice
