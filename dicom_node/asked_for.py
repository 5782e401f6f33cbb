"""The studies that this node asked for, in a file beside the archive: it outlives the database.

Not every archive says for whom it sends, so what a study is here for cannot always be read from its
files. Each study is written down before anything of it is asked for, under a salted digest of its
UID: whoever knows a UID can ask for it, and nobody can read one. So the list need not forget a
patient who is erased, and what still comes of a study that was being fetched is known as that.

    {"salt": ...}                                    the first line
    {"key": ..., "way": "retrieved", "at": ...}      was asked for
    {"key": ..., "way": ..., "at": ..., "until": ..} was erased; what comes until then is removed

Lines are only added, each synced before anything is asked for. The last line of a study counts.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.deletion import salted_key
from dicom_node.durable import StorageFailed, storage_error, write_durably
from dicom_node.file_meta import IMPORTED, RETRIEVED

LIST_NAME = "asked_for.jsonl"

_SALT_BYTES = 32
_WAYS = frozenset({RETRIEVED, IMPORTED})
_adding = threading.Lock()  # one process writes: the one that holds the data folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """When a study was asked for, and until when what comes of it is removed (None: it stays)."""

    way: str
    asked_at: dt.datetime
    removed_until: dt.datetime | None = None

    def is_removed(self, now: dt.datetime) -> bool:
        """Tell whether what comes now is removed; a clock that was once ahead does not count."""
        if self.removed_until is None:
            return False
        return self.asked_at - (self.removed_until - self.asked_at) <= now < self.removed_until


class AskedFor:
    """Reads and extends the list; safe for several threads.

    Args:
        root: the data folder.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / LIST_NAME
        self._lock = threading.Lock()
        self._forget()

    def note(
        self, study_instance_uids: Iterable[str], way: str, now: dt.datetime, until: Any = None
    ) -> None:
        """Write studies down durably; commit to nothing and ask for nothing before this returns.

        Args:
            study_instance_uids: the studies.
            way: ``file_meta.RETRIEVED`` or ``file_meta.IMPORTED``.
            now: the time.
            until: until when what comes of them is removed, because their patient was erased.

        Raises:
            OutOfSpace: no room; nothing may be asked for.
            StorageFailed: the disk failed, or the list is damaged.
        """
        uids = sorted(set(study_instance_uids))
        if not uids:
            return
        with _adding:
            if not self._path.exists():
                self._begin()
            salt = self._read_salt()
            if not salt:
                raise StorageFailed(f"{LIST_NAME} is damaged: nothing may be asked for")
            record: dict[str, str] = {"way": way, "at": now.isoformat()}
            if until is not None:
                record["until"] = until.isoformat()
            lines = [json.dumps({"key": salted_key(uid, salt), **record}) for uid in uids]
            self._add("".join(f"{line}\n" for line in lines).encode())

    def look_up(self, study_instance_uids: Iterable[str]) -> dict[str, Asked]:
        """Return those studies that were asked for.

        Raises:
            OSError: the list cannot be read.
        """
        uids = list(study_instance_uids)
        with self._lock:
            self._read_on()
            if not self._found:
                return {}
            known = ((uid, self._found.get(salted_key(uid, self._salt))) for uid in uids)
            return {uid: asked for uid, asked in known if asked is not None}

    def removed(self, study_instance_uids: Iterable[str], now: dt.datetime) -> set[str]:
        """Return those studies of which what comes now is removed; raises as above."""
        found = self.look_up(study_instance_uids)
        return {uid for uid, asked in found.items() if asked.is_removed(now)}

    def _begin(self) -> None:
        salt = json.dumps({"salt": secrets.token_bytes(_SALT_BYTES).hex()})
        try:
            write_durably(self._path, f"{salt}\n".encode())
        except OSError as error:
            raise storage_error(error) from error

    def _add(self, lines: bytes) -> None:
        """Append lines behind whatever a power cut left of the last one."""
        try:
            with self._path.open("r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    lines = lines if file.read(1) == b"\n" else b"\n" + lines
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error) from error

    def _forget(self) -> None:
        self._read_up_to = 0
        self._file: tuple[int, int] = (0, 0)
        self._salt = b""
        self._found: dict[str, Asked] = {}

    def _read_salt(self) -> bytes:
        with self._lock:
            self._read_on()
            return self._salt

    def _read_on(self) -> None:
        """Read the lines that were added since the last look."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._forget()
            return
        with file:
            status = os.fstat(file.fileno())
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._read_up_to:
                self._forget()
                self._file = status.st_dev, status.st_ino
            if status.st_size == self._read_up_to:
                return
            file.seek(self._read_up_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written, or torn by a power cut
                self._take(line)
                self._read_up_to += len(line)

    def _take(self, line: bytes) -> None:
        if self._read_up_to == 0:
            self._salt = _salt_of(line)
            if not self._salt:
                _log.critical("%s is damaged: what was asked for is in rows alone", LIST_NAME)
            return
        read = _entry_of(line)
        if read is not None and self._salt:
            key, entry = read
            self._found[key] = entry


def _salt_of(line: bytes) -> bytes:
    try:
        salt = bytes.fromhex(json.loads(line)["salt"])
    except (ValueError, TypeError, KeyError):
        return b""
    return salt if len(salt) == _SALT_BYTES else b""


def _entry_of(line: bytes) -> tuple[str, Asked] | None:
    """Return the key and what a line says; None where it is none."""
    try:
        record = json.loads(line)
        until = record.get("until")
        times = [dt.datetime.fromisoformat(each) for each in (record["at"], until or record["at"])]
        key, way = str(record["key"]), str(record["way"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if way not in _WAYS or any(each.tzinfo is None for each in times):
        return None
    return key, Asked(way, times[0], times[1] if until else None)
