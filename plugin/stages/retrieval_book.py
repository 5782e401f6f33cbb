"""What became of each row of retrieval; one that was erased meanwhile stays gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

from sqlmodel import Session

from dicom_node.errors import Transient
from dicom_node.file_meta import IMPORTED, RETRIEVED
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.archive import Stopped
from dicom_node.retrieval.models import Backfill, Retrieval, State, Task
from dicom_node.retrieval.rows import add_priors, note_asking
from dicom_node.solicited import expect, solicited_studies, take_back, with_images
from dicom_node.storage import DicomStore
from plugin.context import Context

LONGEST_PAUSE = 900.0
"""Seconds between two tries, at most; but where the settings say that the first are further."""


class Unfiled(Transient):
    """Objects of the study wait for the index: what they make of it is not known yet."""


class Book:
    """Writes rows of retrieval.

    Args:
        context: the open node.
        store: beside whose archive what was asked for is listed.
    """

    def __init__(self, context: Context, store: DicomStore) -> None:
        self._database = context.database
        self._clock = context.clock
        self._settings = context.settings.retrieval
        self._asked_for = store.asked_for
        self._longest = max(LONGEST_PAUSE, self._settings.retry_seconds)

    def latest(self, now: dt.datetime) -> dt.datetime:
        """Return until when a row may wait; one that waits longer was written by another clock."""
        return now + dt.timedelta(seconds=max(self._longest, self._settings.arrival_seconds))

    def list_marks(self) -> None:
        """Write into the list what the rows say was asked for, where the list does not say it.

        Raises:
            StorageFailed, OutOfSpace, OSError: it cannot be written or read.
        """
        with self._database.read() as session:
            marked = solicited_studies(session)
        listed = self._asked_for.look_up(marked)
        for way in (RETRIEVED, IMPORTED):
            uids = {uid for uid, row in marked.items() if row.way == way} - listed.keys()
            self._asked_for.note(uids, way, self._clock())

    def ask(
        self,
        row: Retrieval,
        study: StudyFound,
        number: int | None,
        priors: Iterable[StudyFound],
        lacked: str,
        in_spool: Callable[[str], bool],
    ) -> None:
        """Commit that a study will be asked for, and whose priors; it is never answered.

        Args:
            row: for which.
            study: as the archive answers it.
            number: of its instances, where known.
            priors: of the study, found in the archive.
            lacked: what is missing of it, as ``lack_of`` puts it.
            in_spool: tells whether objects of a study wait for the index.

        Raises:
            Stopped: the row is gone, because the patient was erased, or a person has stopped it.
            Unfiled: objects came in this moment, before anything was asked for.
            StorageFailed, Transient: it could not be written down; nothing may be asked for.
        """
        uid = study.study_instance_uid
        with self._database.write() as session:
            stored, backfill = _open(session, row)
            what = "a prior" if row.task == Task.PRIOR else "a study"
            known = solicited_studies(session, [uid])
            reason = f"{what} of the backfill {backfill.name}"
            marked = expect(session, [uid], RETRIEVED, reason, self._clock) - known.keys()
            stored.study_instance_uid = uid  # an erasure finds the row by it
            session.add(stored)
        if marked and self._has_come(uid, in_spool):
            # Nothing was asked for yet: these were routed to us, and are to be answered.
            with self._database.write() as session:
                take_back(session, uid)
            raise Unfiled("objects of the study came in this moment")
        try:
            self._commit_asking(row, uid, number, priors, lacked)
        except Stopped:
            if marked:
                with self._database.write() as session:
                    take_back(session, uid)
            raise

    def _commit_asking(
        self,
        row: Retrieval,
        uid: str,
        number: int | None,
        priors: Iterable[StudyFound],
        lacked: str,
    ) -> None:
        now = self._clock()
        with self._database.write() as session:
            stored, _ = _open(session, row)
            if solicited_studies(session, [uid]):
                self._list(uid, now)
            note_asking(session, now)
            stored.study_instance_uid, stored.asked_at = uid, now
            stored.expected, stored.lacked = number, lacked
            session.add(stored)
            add_priors(session, row.backfill_id, uid, priors, now)

    def end(
        self,
        key: int | None,
        state: State,
        detail: str = "",
        priors: Iterable[StudyFound] = (),
        **values: Any,
    ) -> None:
        """Take a row for done, or for one that cannot be done."""
        now = self._clock()
        with self._database.write() as session:
            stored = session.get(Retrieval, key)
            if stored is None:
                return
            _set(stored, {**values, "wanted_uids": []})
            stored.state, stored.detail, stored.finished_at = state.value, detail, now
            session.add(stored)
            if stored.study_instance_uid:
                uid = stored.study_instance_uid
                add_priors(session, stored.backfill_id, uid, priors, now)

    def try_again(self, key: int | None, detail: str, **values: Any) -> None:
        """Have a row tried again later, or end it where it was tried often enough."""
        with self._database.write() as session:
            stored = session.get(Retrieval, key)
            if stored is None:
                return
            _set(stored, {**values, "wanted_uids": []})
            stored.attempts += 1
            stored.detail = detail
            now = self._clock()
            delay = self._settings.retry_seconds * 2.0 ** min(stored.attempts - 1, 30)
            stored.next_at = now + dt.timedelta(seconds=min(delay, self._longest))
            stored.state = State.WAITING.value
            if stored.attempts >= self._settings.maximum_attempts:
                state = State.FAILED if stored.asked_at is None else State.INCOMPLETE
                stored.state, stored.finished_at = state.value, now
            session.add(stored)

    def give_up(self, key: int | None, detail: str, **values: Any) -> None:
        """End a row whose study stays incomplete however often it is asked for; count the try."""
        with self._database.write() as session:
            stored = session.get(Retrieval, key)
            if stored is None:
                return
            _set(stored, {**values, "wanted_uids": [], "detail": detail})
            stored.attempts += 1
            stored.state, stored.finished_at = State.INCOMPLETE.value, self._clock()
            session.add(stored)

    def put_off(self, key: int | None, seconds: float) -> None:
        """Have a row looked at later; that costs no attempt."""
        self.change(key, next_at=self._clock() + dt.timedelta(seconds=seconds))

    def change(self, key: int | None, **values: Any) -> None:
        """Set values of a row."""
        with self._database.write() as session:
            stored = session.get(Retrieval, key)
            if stored is not None:
                _set(stored, values)
                session.add(stored)

    def _has_come(self, uid: str, in_spool: Callable[[str], bool]) -> bool:
        if in_spool(uid):
            return True
        with self._database.read() as session:
            return bool(with_images(session, {uid}))

    def _list(self, uid: str, now: dt.datetime) -> None:
        """Write a study down where the list does not hold it, or says that it was erased."""
        entry = self._asked_for.look_up([uid]).get(uid)
        if entry is None or entry.removed_until is not None:
            self._asked_for.note([uid], RETRIEVED, now)


def _open(session: Session, row: Retrieval) -> tuple[Retrieval, Backfill]:
    """Return a row and its backfill as they are stored; raises Stopped where it may not ask."""
    stored = session.get(Retrieval, row.id)
    backfill = session.get(Backfill, row.backfill_id)
    if stored is None or backfill is None or backfill.stopped:
        raise Stopped("the row is gone")
    return stored, backfill


def _set(row: Retrieval, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)
