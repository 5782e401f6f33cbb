"""The journal of imports of objects: one at a time, how far each is, how it ended."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

import dicom_node.errors
from dicom_node.database import insert_if_absent
from dicom_node.imports.fates import Fate, Taken
from dicom_node.imports.models import ImportedObject, ObjectImport
from plugin.context import Context
from plugin.errors import Permanent, PluginError
from plugin.import_desk import Going

FINISHED = "finished"

_LOCK = "import.lock"

# Their texts hold no patient data; of any other error only the class is kept.
_TOLD = (dicom_node.errors.DicomNodeError, PluginError)
_TRIES, _BETWEEN_SECONDS = 5, 0.1


class Journal:
    """Keeps the row of one import; use as a context manager around its work."""

    def __init__(self, context: Context, going: Going) -> None:
        self._context = context
        self._going = going

    def begin(self, kind: str, sender: str, by: str, reason: str) -> None:
        """Write down that it runs."""
        with self._context.database.write() as session:
            row = ObjectImport(
                kind=kind,
                sender=sender,
                started_by=by,
                reason=reason,
                started_at=self._context.clock(),
            )
            session.add(row)
            session.flush()
            self._going.key = row.id

    def note(self, taken: Taken, marks: Sequence[dict[str, str]] = ()) -> None:
        """Write down how far it is, and what need not be read again."""
        counts = {str(fate): number for fate, number in taken.fates.items()}
        with self._context.database.write() as session:
            insert_if_absent(session, ImportedObject, marks)
            row = session.get_one(ObjectImport, self._going.key)
            row.counts = counts
            session.add(row)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._going.key is None:
            return
        with self._context.database.write() as session:
            row = session.get_one(ObjectImport, self._going.key)
            row.outcome = _outcome(self._going.why, error)
            row.finished_at = self._context.clock()
            session.add(row)


def _outcome(stopped_by: str, error: BaseException | None) -> str:
    if stopped_by:
        return f"stopped by {stopped_by}"
    if error is None:
        return FINISHED
    return f"failed: {error if isinstance(error, _TOLD) else type(error).__name__}"


def stop_import(context: Context, key: int | None, *, by: str) -> dict[str, Any]:
    """Have an import end; what was taken stays, and the same command goes on from there.

    Args:
        context: the node in which it runs.
        key: of the import; None: everything that runs, trials too.
        by: who wants it.

    Returns:
        What was stopped, and whether it has ended: one that waits for a slow disk ends later.

    Raises:
        Permanent: nothing of that kind runs in this node, or nobody says who.
    """
    if not by.strip():
        raise Permanent("to stop an import needs who")
    return {
        "stopped": [
            {
                "import": "a trial" if each.key is None else each.key,
                "state": "ended" if each.ended.is_set() else "is ending",
            }
            for each in context.imports.stop(by, key)
        ]
    }


def list_imports(session: Session, root: Path) -> dict[str, Any]:
    """Return every import, the newest first, with who, why, how far it is and how it ended.

    Args:
        session: any session.
        root: the data folder, whose lock tells a run from one that was cut off.
    """
    rows = session.exec(select(ObjectImport).order_by(col(ObjectImport.id).desc())).all()
    going = next((row.id for row in rows if not row.finished_at), None) if _runs(root) else None
    return {
        "imports": [
            {
                "import": row.id,
                "state": _state(row, going),
                "source": row.kind,
                "sender": row.sender,
                "looked_at": sum(row.counts.values()),
                **{str(fate): row.counts.get(str(fate), 0) for fate in Fate},
                "started": row.started_at.isoformat(timespec="seconds"),
                "ended": row.finished_at.isoformat(timespec="seconds") if row.finished_at else "",
                "by": row.started_by,
                "reason": row.reason,
            }
            for row in rows
        ]
    }


def _state(row: ObjectImport, going: int | None) -> str:
    if row.outcome or row.finished_at:
        return row.outcome or FINISHED  # earlier layouts kept no outcome, and an end of whole ones
    return "running" if row.id == going else "cut off"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold off a second import: it would read the same again, beside the first.

    Raises:
        Permanent: one runs.
    """
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    why = "an import is running already: wait for its end, or radloop import stop"
                    raise Permanent(why) from None
                time.sleep(_BETWEEN_SECONDS)  # somebody may only be looking
        yield
    finally:
        os.close(descriptor)


def _runs(root: Path) -> bool:
    """Tell whether an import runs, in the node or in a command of its own."""
    try:
        descriptor = os.open(root / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
