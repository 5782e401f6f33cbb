"""Stage: what rows of retrieval ask for is fetched from archives, within rate and hours.

A row is committed before anything is asked, and the study is marked as asked for
(:mod:`dicom_node.solicited`) in the transaction before its C-MOVE or C-GET. So a stop at any moment
leaves rows that say what is left to do; what is here already is not fetched again.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dicom_node.durable import StorageFailed
from dicom_node.errors import InvalidSettings, NeedsReview, Permanent, Transient
from dicom_node.retrieval.answers import ImageFound, StudyFound
from dicom_node.retrieval.archive import Archive, Away, Stopped
from dicom_node.retrieval.fetching import SubOperations, get_study, move_study
from dicom_node.retrieval.finding import Finder, finder
from dicom_node.retrieval.looking import Issuers, Several, find_priors, look_up, reference_to
from dicom_node.retrieval.models import Backfill, Retrieval, State, Task
from dicom_node.retrieval.receiving import Receiving
from dicom_node.retrieval.rows import allowance, arriving, due, instances_here
from dicom_node.settings import PacsPeer
from dicom_node.sop_classes import STORAGE_SOP_CLASSES
from dicom_node.storage import DicomStore
from dicom_node.studies import is_image
from plugin.context import Context
from plugin.stages.archives import archive_of, issuers_of, own_reference
from plugin.stages.retrieval_book import LONGEST_PAUSE, Book

log = logging.getLogger("radloop")

_KEPT_UIDS = 200
_MOST_SOP_CLASSES = 127
# What is proposed where the archive does not tell SOP classes: those of images first.
_LIKELY = sorted(STORAGE_SOP_CLASSES, key=lambda kind: (not is_image(kind), kind))


@dataclass(frozen=True)
class Wanted:
    """A study that an archive holds and that is to be fetched, and what it consists of.

    ``images`` is None where the archive does not answer at image level.
    """

    study: StudyFound
    images: tuple[ImageFound, ...] | None
    patient_root: bool

    @property
    def uids(self) -> frozenset[str] | None:
        """The SOP Instance UIDs, where they are known."""
        return None if self.images is None else frozenset(i.sop_instance_uid for i in self.images)

    @property
    def number(self) -> int | None:
        """How many instances there are, where that is known."""
        return self.study.instances if self.images is None else len(self.images)

    def is_whole(self, here: set[str]) -> bool:
        """Tell whether all of it is among the instances that are here."""
        if self.uids is not None:
            return self.uids <= here
        return bool(self.number) and len(here) >= (self.number or 0)


class Retriever:
    """Works on the rows of retrieval; :meth:`attend` is called again and again while the node runs.

    Args:
        context: the open node.
        stopping: whether the node is ending.
        monotonic: seconds, for pauses.
    """

    def __init__(
        self,
        context: Context,
        stopping: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._settings = context.settings.retrieval
        self._stopping = stopping
        self._monotonic = monotonic
        self._book = Book(context)
        self._away: dict[str, tuple[float, float]] = {}  # peer: until when, and how long it was
        self._broken = False
        dicom = context.settings.dicom
        store = DicomStore(context.folder.root, minimum_free_bytes=dicom.minimum_free_bytes)
        self._intake = store.intake

    def attend(self) -> int:
        """Do what is due, and wait for it; return the number of rows that were worked on."""
        if self._broken or self._stopping():
            return 0
        self._look_for_arrivals()
        now, most = self._context.clock(), self._settings.parallel
        away = [name for name, (until, _) in self._away.items() if self._monotonic() < until]
        with self._context.database.read() as session:
            number = allowance(session, now, self._settings.studies_per_hour, most)
            is_open = self._settings.open_at(now)
            rows = due(session, now, number, is_open=is_open, away=away) if number else []
        if not rows:
            return 0
        with ThreadPoolExecutor(most, "retrieval") as pool:
            return sum(pool.map(self._attempt, rows))

    def _attempt(self, key: int) -> bool:
        """Work on one row; whatever happens is written into it."""
        with self._context.database.read() as session:
            row = session.get(Retrieval, key)
            backfill = session.get(Backfill, row.backfill_id) if row is not None else None
        if row is None or backfill is None:
            return False
        try:
            peer = self._context.settings.peer(backfill.peer)
        except InvalidSettings as error:
            self._book.end(key, State.REFUSED, str(error))
            return True
        try:
            self._work(row, backfill, peer)
            self._away.pop(peer.name, None)
        except Stopped:
            return False  # the row waits as it stands
        except Away as error:
            self._pause(peer, str(error))
            return False
        except StorageFailed as error:
            self._broken = True  # a failed sync is never tried again
            log.critical("nothing is retrieved any more: %s", error)
        except Transient as error:
            self._book.try_again(key, peer, str(error))
        except Several as error:
            self._book.end(key, State.SEVERAL, str(error))
        except (Permanent, NeedsReview) as error:
            self._book.end(key, State.REFUSED, str(error))
        except Exception as error:
            # A row that breaks something must not keep the others from being worked on.
            log.error("a retrieval failed: %s", type(error).__name__)
            log.debug("traceback", exc_info=True)
            self._book.try_again(key, peer, f"an unexpected error ({type(error).__name__})")
        return True

    def _work(self, row: Retrieval, backfill: Backfill, peer: PacsPeer) -> None:
        if not peer.retrieve:
            raise Permanent("the [[pacs]] has no retrieve: it is not asked")
        archive = archive_of(self._context, peer, self._stopping)
        issuers = issuers_of(self._context, peer)
        with finder(archive) as asked:
            if row.task == Task.PRIORS:
                self._search(asked, row, backfill, issuers)
                return
            study = look_up(asked, row, issuers)
            if study is None:
                self._book.end(row.id, State.UNKNOWN)
                return
            wanted = Wanted(study, self._content(asked, study), asked.patient_root)
            priors: list[StudyFound] = []
            if row.task == Task.STUDY and backfill.priors:
                reference = reference_to(asked, study)
                priors, _ = find_priors(asked, reference, issuers, backfill.priors)
        if not self._is_settled(row, wanted, priors):
            self._book.ask(row, study, wanted.number, priors)
            self._note_asked(row, wanted, self._fetch(archive, peer, wanted))

    def _content(self, asked: Finder, study: StudyFound) -> tuple[ImageFound, ...] | None:
        """Return what a study consists of; None where only queries of studies are answered."""
        try:
            return tuple(asked.content(study, self._settings.maximum_instances)) or None
        except Permanent:
            return None

    def _is_settled(self, row: Retrieval, wanted: Wanted, priors: list[StudyFound]) -> bool:
        """End a row whose study needs no fetching, or must not be fetched."""
        uid, most = wanted.study.study_instance_uid, self._settings.maximum_instances
        found: dict[str, Any] = {"study_instance_uid": uid, "expected": wanted.number}
        if wanted.number is not None and wanted.number > most:
            self._book.end(row.id, State.TOO_LARGE, f"more than {most} instances", **found)
            return True
        with self._context.database.read() as session:
            here = instances_here(session, uid)
        if not wanted.is_whole(here):
            return False
        state = State.PRESENT if row.asked_at is None else State.FETCHED
        arrived = wanted.number or len(here)
        self._book.end(row.id, state, "", priors, arrived=arrived, **found)
        return True

    def _fetch(self, archive: Archive, peer: PacsPeer, wanted: Wanted) -> SubOperations:
        study = wanted.study
        uid, patient, patient_root = study.study_instance_uid, study.patient_id, wanted.patient_root
        if peer.retrieve == "move":
            return move_study(archive, uid, patient, patient_root=patient_root)
        classes = sorted({image.sop_class_uid for image in wanted.images or ()} - {""})
        dicom = self._context.settings.dicom
        receiving = Receiving(
            self._intake,
            peer.ae_title,
            dicom.ae_title,
            wanted.uids,
            maximum_object_bytes=dicom.maximum_object_bytes,
            maximum_bytes=self._settings.maximum_bytes,
        )
        some = (classes or _LIKELY)[:_MOST_SOP_CLASSES]
        return get_study(archive, uid, receiving, some, patient, patient_root=patient_root)

    def _note_asked(self, row: Retrieval, wanted: Wanted, ended: SubOperations) -> None:
        """Write down what the archive says that it did; what came is looked for from now on."""
        wait = dt.timedelta(seconds=self._settings.arrival_seconds)
        self._book.change(
            row.id,
            state=State.ARRIVING.value,
            detail="" if ended.all_done else ended.in_words,
            completed=ended.completed,
            failed=ended.failed,
            warning=ended.warning,
            remaining=ended.remaining,
            failed_uids=list(ended.failed_uids[:_KEPT_UIDS]),
            expected=wanted.number,
            next_at=self._context.clock() + (wait if ended.all_done else dt.timedelta()),
        )

    def _look_for_arrivals(self) -> None:
        """End the rows whose study is whole; ask once more for those that stay short."""
        with self._context.database.read() as session:
            rows = [
                (row, len(instances_here(session, row.study_instance_uid)), backfill.peer)
                for row, backfill in arriving(session)
            ]
        for row, arrived, name in rows:
            if arrived and arrived >= (row.expected or row.completed):
                self._book.end(row.id, State.FETCHED, arrived=arrived)
            elif self._context.clock() >= row.next_at:
                told = row.detail or f"{arrived} of {row.expected or 'some'} instances came"
                peer = self._context.settings.peer(name)
                self._book.try_again(row.id, peer, told, arrived=arrived)

    def _search(self, asked: Finder, row: Retrieval, backfill: Backfill, issuers: Issuers) -> None:
        """Look for the priors of a study that is here, and have them fetched."""
        with self._context.database.read() as session:
            reference = own_reference(session, row.study_instance_uid, issuers)
        if reference is None:
            self._book.end(row.id, State.SEARCHED, "the study is not here any more")
            return
        priors, why = find_priors(asked, reference, issuers, backfill.priors)
        self._book.end(row.id, State.SEARCHED, why, priors)

    def _pause(self, peer: PacsPeer, reason: str) -> None:
        last = self._away.get(peer.name, (0.0, 0.0))[1]
        pause = min(max(peer.first_retry_seconds, last * 2), LONGEST_PAUSE)
        self._away[peer.name] = self._monotonic() + pause, pause
        log.warning("an archive cannot be asked now: %s", reason)
