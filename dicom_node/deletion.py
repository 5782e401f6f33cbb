"""Files that go after their rows: the rows and a list of files in one commit, then the files.

A crash in between leaves the list, and the next start deletes what is left on it. So no row ever
names a file that is gone, and no file is left that nobody remembers.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from sqlmodel import Session, col, select

from dicom_node.database import Database, insert_if_absent
from dicom_node.durable import sync_folder
from dicom_node.known import filed_digests
from dicom_node.life_models import PendingDeletion

_BATCH = 500


def salted_key(identifier: str, salt: bytes) -> str:
    """Return HMAC-SHA256 (RFC 2104, hex) of a UID: it can be asked for and not be read."""
    return hmac.new(salt, identifier.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def list_for_deletion(session: Session, paths: Iterable[str], now: dt.datetime) -> None:
    """Note files, relative to the data folder, that must go once this transaction is committed."""
    rows = [{"path": path, "recorded_at": now} for path in sorted(set(paths))]
    insert_if_absent(session, PendingDeletion, rows)


def finish_deletions(database: Database, root: Path) -> int:
    """Delete every listed file that no row names again; return how many are gone.

    The caller sees to it that nothing is indexed meanwhile.

    Raises:
        OSError: a file could not be deleted; it stays on the list.
        OutOfSpace, StorageFailed: a folder could not be synced; the list stays.
    """
    with database.read() as session:
        listed = list(session.exec(select(PendingDeletion.path).order_by(PendingDeletion.path)))
    for start in range(0, len(listed), _BATCH):
        _delete(database, root, listed[start : start + _BATCH])
    return len(listed)


def _delete(database: Database, root: Path, paths: list[str]) -> None:
    with database.read() as session:
        stems = {Path(path).stem for path in paths}
        named = filed_digests(session, stems)
    folders = set()
    for path in paths:
        file = root / path
        if Path(path).stem in named:
            continue  # the same bytes came again and were indexed since
        file.unlink(missing_ok=True)
        folders.add(file.parent)
    for folder in folders:
        if folder.is_dir():
            sync_folder(folder)
    with database.write() as session:
        for row in session.exec(
            select(PendingDeletion).where(col(PendingDeletion.path).in_(paths))
        ):
            session.delete(row)
