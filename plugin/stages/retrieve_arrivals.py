"""What was sent is looked for: a study that is whole ends its row, one that stays short waits.

While objects of it lie in the spool, or more of it is here than at the last look, the study is on
its way, however long that takes; only then is what is missing asked for again.
"""

from __future__ import annotations

import datetime as dt
import logging

from dicom_node.durable import StorageFailed
from dicom_node.retrieval.archive import Stopped
from dicom_node.retrieval.models import Retrieval, State
from dicom_node.retrieval.rows import arriving, instances_here
from dicom_node.retrieval.spooled import Spooled
from plugin.context import Context
from plugin.stages.retrieval_book import Book
from plugin.stages.retrieve_wanted import has_come, lack_of

log = logging.getLogger("radloop")


class Arrivals:
    """Looks at rows whose objects are expected."""

    def __init__(self, context: Context, book: Book, spooled: Spooled) -> None:
        self._context = context
        self._book = book
        self._spooled = spooled
        self._wait = dt.timedelta(seconds=context.settings.retrieval.arrival_seconds)

    def look(self) -> None:
        """Look at each row by itself: one that cannot be judged keeps none of the others."""
        with self._context.database.read() as session:
            rows = [row for row, _ in arriving(session)]
        for row in rows:
            try:
                self._look_at(row)
            except (Stopped, StorageFailed):
                raise
            except Exception as error:
                log.error("arrivals could not be looked for: %s", type(error).__name__)
                log.debug("traceback", exc_info=True)

    def _look_at(self, row: Retrieval) -> None:
        waiting = self._spooled.holds(row.study_instance_uid)  # before the tables
        with self._context.database.read() as session:
            here = instances_here(session, row.study_instance_uid)
        now, arrived = self._context.clock(), len(here)
        if has_come(row, here):
            self._book.end(row.id, State.FETCHED, arrived=arrived)
        elif waiting or arrived > row.arrived:
            self._book.change(row.id, arrived=arrived, next_at=now + self._wait)
        elif now >= row.next_at or row.next_at > self._book.latest(now):
            self._end_of_waiting(row, here)

    def _end_of_waiting(self, row: Retrieval, here: set[str]) -> None:
        arrived = len(here)
        told = row.detail or f"{arrived} of {row.expected or 'some'} instances came"
        if here and not (row.wanted_uids or row.expected or row.completed or row.detail):
            # Counts are optional in a response (PS3.7 9.1.4.1), and this archive tells no other.
            told = f"the PACS told no number of instances: {arrived} came"
            self._book.end(row.id, State.FETCHED, told, arrived=arrived)
            return
        lack = lack_of(row.wanted_uids, here)
        if lack and lack == row.lacked and row.attempts:
            # Asked for twice, and nothing came of it: a third time would bring nothing either.
            self._book.give_up(row.id, told, arrived=arrived)
        else:
            self._book.try_again(row.id, told, arrived=arrived)
