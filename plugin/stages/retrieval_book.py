"""What became of each row of retrieval; one that was erased meanwhile stays gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from dicom_node.file_meta import RETRIEVED
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.archive import Stopped
from dicom_node.retrieval.models import Backfill, Retrieval, State, Task
from dicom_node.retrieval.rows import add_priors
from dicom_node.settings import PacsPeer
from dicom_node.solicited import expect
from plugin.context import Context

LONGEST_PAUSE = 900.0
"""Seconds between two tries, at most."""


class Book:
    """Writes rows of retrieval."""

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._clock = context.clock
        self._most_attempts = context.settings.retrieval.maximum_attempts

    def ask(
        self, row: Retrieval, study: StudyFound, number: int | None, priors: Iterable[StudyFound]
    ) -> None:
        """Commit that a study will be asked for, and whose priors; it is never answered.

        Raises:
            Stopped: the row is gone, because the patient was erased, or a person has stopped it.
        """
        uid = study.study_instance_uid
        with self._database.write() as session:
            stored = session.get(Retrieval, row.id)
            backfill = session.get(Backfill, row.backfill_id)
            if stored is None or backfill is None or backfill.stopped:
                raise Stopped("the row is gone")
            what = "a prior" if row.task == Task.PRIOR else "a study"
            reason = f"{what} of the backfill {backfill.name}"
            expect(session, [uid], RETRIEVED, reason, self._clock)
            stored.study_instance_uid, stored.asked_at = uid, self._clock()
            stored.expected = number
            session.add(stored)
            add_priors(session, row.backfill_id, uid, priors, self._clock())

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
            _set(stored, values)
            stored.state, stored.detail, stored.finished_at = state.value, detail, now
            session.add(stored)
            if stored.study_instance_uid:
                uid = stored.study_instance_uid
                add_priors(session, stored.backfill_id, uid, priors, now)

    def try_again(self, key: int | None, peer: PacsPeer, detail: str, **values: Any) -> None:
        """Have a row tried again later, or end it where it was tried often enough."""
        with self._database.write() as session:
            stored = session.get(Retrieval, key)
            if stored is None:
                return
            _set(stored, values)
            stored.attempts += 1
            stored.detail = detail
            now = self._clock()
            delay = min(peer.first_retry_seconds * 2.0 ** (stored.attempts - 1), LONGEST_PAUSE)
            stored.state, stored.next_at = State.WAITING.value, now + dt.timedelta(seconds=delay)
            if stored.attempts >= self._most_attempts:
                state = State.FAILED if stored.asked_at is None else State.INCOMPLETE
                stored.state, stored.finished_at = state.value, now
            session.add(stored)

    def change(self, key: int | None, **values: Any) -> None:
        """Set values of a row."""
        with self._database.write() as session:
            stored = session.get(Retrieval, key)
            if stored is not None:
                _set(stored, values)
                session.add(stored)


def _set(row: Retrieval, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)
