"""Files follow their rows: what a transaction decided about older files is done after its commit.

The row comes first, then the rename. A row of :class:`MisplacedFile` that is committed with the
decision stays until the file has moved, so a crash at any point only delays the move.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete
from sqlmodel import Session, col, select

from dicom_node.database import Database, insert_if_absent
from dicom_node.known import filed_digests
from dicom_node.models import MisplacedFile
from dicom_node.quarantine import QuarantineNotice, find_quarantined, notice_text, notices_of
from dicom_node.storage import DicomStore


def misplace(session: Session, digests: Iterable[str]) -> None:
    """Note that these files must be moved, or have their notices written, after the commit."""
    insert_if_absent(session, MisplacedFile, [{"digest": digest} for digest in sorted(digests)])


def settle(database: Database, store: DicomStore) -> int:
    """Move every file that does not lie where its rows say; return how many were noted.

    Safe to run at any time and again after a crash.

    Raises:
        OutOfSpace: no room for a notice; the next run goes on.
        StorageFailed: the disk failed.
        OSError: a file cannot be moved.
    """
    with database.filing:
        with database.read() as session:
            noted = session.exec(select(MisplacedFile.digest)).all()
        # What is spooled is moved by the indexer: that copy is the one that its rows describe.
        digests = [each for each in noted if not store.folders.spooled(each).exists()]
        for digest in digests:
            with database.read() as session:
                filed = digest in filed_digests(session, [digest])
                row = find_quarantined(session, digest)
                notice = notices_of(session, [row])[0] if row is not None else None
            _place(store, digest, filed, notice)
        if digests:
            with database.write() as session:
                session.execute(delete(MisplacedFile).where(col(MisplacedFile.digest).in_(digests)))
    return len(digests)


def _place(store: DicomStore, digest: str, filed: bool, notice: QuarantineNotice | None) -> None:
    if notice is None:
        store.remove_notice(digest)
    else:
        store.keep_notice(digest, notice_text(notice))
    if filed:
        store.release(digest)
    elif notice is not None:
        store.withdraw(digest)
