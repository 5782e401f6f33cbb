"""Stage: what rows of retrieval ask for is fetched from archives, within rate and hours.

A row is committed before anything is asked, and the study is marked as asked for
(:mod:`dicom_node.solicited`) in the transaction before its C-MOVE or C-GET. So a stop at any moment
leaves rows that say what is left to do. Nothing is asked for while objects of the study wait for
the index; of a study that is here in part, what is missing is asked for, where the archive tells.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from dicom_node.archive_settings import PacsPeer
from dicom_node.durable import StorageFailed
from dicom_node.errors import InvalidSettings, NeedsReview, Permanent, Transient
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.archive import Archive, Away, Stopped
from dicom_node.retrieval.fetching import Part, SubOperations, get_study, move_study
from dicom_node.retrieval.finding import Finder, finder
from dicom_node.retrieval.looking import (
    Issuers,
    Several,
    TooLarge,
    content_of,
    find_priors,
    look_up,
    priors_of_found,
)
from dicom_node.retrieval.models import Backfill, Retrieval, State, Task
from dicom_node.retrieval.receiving import Receiving
from dicom_node.retrieval.rows import allowance, due, instances_here
from dicom_node.retrieval.spooled import Spooled
from dicom_node.sop_classes import STORAGE_SOP_CLASSES
from dicom_node.storage import DicomStore
from dicom_node.studies import is_image
from plugin.context import Context
from plugin.stages.archives import archive_of, issuers_of, own_reference
from plugin.stages.retrieval_book import LONGEST_PAUSE, Book, Unfiled
from plugin.stages.retrieve_arrivals import Arrivals
from plugin.stages.retrieve_wanted import Wanted, lack_of

log = logging.getLogger("radloop")

_KEPT_UIDS = 200
_MOST_SOP_CLASSES = 127
_UNFILED_SECONDS = 30.0
_STILL_SECONDS = 60.0
# What is proposed where the archive does not tell SOP classes: those of images first.
_LIKELY = sorted(STORAGE_SOP_CLASSES, key=lambda kind: (not is_image(kind), kind))


class _Unanswered(Transient):
    """The archive did not answer a query: nothing was asked for."""


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
        self._working = threading.Lock()
        self._counting = threading.Lock()
        self._held = 0
        self._listed = False
        self._away: dict[str, tuple[float, float]] = {}  # peer: until when, and how long it was
        self._broken = False
        dicom = context.settings.dicom
        store = DicomStore(context.folder.root, minimum_free_bytes=dicom.minimum_free_bytes)
        self._intake = store.intake
        self._book = Book(context, store)
        self._spooled = Spooled(store, context.sandbox, self._is_stopping)
        self._arrivals = Arrivals(context, self._book, self._spooled)

    def attend(self) -> int:
        """Do what is due, and wait for it; return the number of rows that were worked on."""
        if self._broken or self._is_stopping():
            return 0
        with self._working:
            try:
                return self._attend()
            except Stopped:
                return 0
            except StorageFailed as error:
                self._break(error)
                return 0

    @contextmanager
    def still(self) -> Iterator[None]:
        """Cancel what is being fetched, wait for its end, and fetch nothing while this lasts.

        An archive that does not end within a minute is waited for no longer: what it sends of an
        erased patient is removed (:mod:`dicom_node.asked_for`).
        """
        with self._counting:
            self._held += 1
        ended = False
        try:
            ended = self._working.acquire(timeout=_STILL_SECONDS)
            if not ended:
                log.warning("an archive does not end what it was asked for")
            yield
        finally:
            if ended:
                self._working.release()
            with self._counting:
                self._held -= 1

    def _break(self, error: StorageFailed) -> None:
        self._broken = True  # a failed sync is never tried again
        log.critical("nothing is retrieved any more: %s", error)

    def _is_stopping(self) -> bool:
        return self._held > 0 or self._stopping()

    def _attend(self) -> int:
        if not self._listed:
            self._book.list_marks()
            self._listed = True
        self._arrivals.look()
        now, most = self._context.clock(), self._settings.parallel
        away = [name for name, (until, _) in self._away.items() if self._monotonic() < until]
        with self._context.database.read() as session:
            number = allowance(session, now, self._settings.studies_per_hour, most)
            is_open = self._settings.open_at(now)
            latest = self._book.latest(now)
            rows = due(session, now, number, is_open=is_open, latest=latest, away=away)
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
        except Unfiled:
            self._book.put_off(key, _UNFILED_SECONDS)
            return False
        except Away as error:
            self._pause(peer, str(error))
            self._book.change(key, detail=str(error))
            return False
        except StorageFailed as error:
            self._break(error)
        except _Unanswered as error:
            # The others would fare no better: the archive is left alone for a while.
            self._pause(peer, str(error))
            self._book.try_again(key, str(error))
        except Transient as error:
            self._book.try_again(key, str(error))
        except TooLarge as error:
            self._book.end(key, State.TOO_LARGE, str(error))
        except Several as error:
            self._book.end(key, State.SEVERAL, str(error))
        except (Permanent, NeedsReview) as error:
            self._book.end(key, State.REFUSED, str(error))
        except Exception as error:
            # A row that breaks something must not keep the others from being worked on.
            log.error("a retrieval failed: %s", type(error).__name__)
            log.debug("traceback", exc_info=True)
            self._book.try_again(key, f"an unexpected error ({type(error).__name__})")
        return True

    def _work(self, row: Retrieval, backfill: Backfill, peer: PacsPeer) -> None:
        if not peer.retrieve:
            raise Permanent("the [[pacs]] has no retrieve: it is not asked")
        archive = archive_of(self._context, peer, self._is_stopping)
        issuers = issuers_of(self._context, peer)
        if row.task != Task.PRIORS and self._is_spooled(row.study_instance_uid):
            raise Unfiled("objects of the study wait for the index")  # not worth a question
        try:
            found = self._find(archive, row, backfill, issuers)
        except (Away, Stopped):
            raise
        except Transient as error:
            raise _Unanswered(str(error)) from error
        if found is None:
            return
        wanted, priors = found
        uid = wanted.study.study_instance_uid
        if self._is_spooled(uid):  # before the tables are asked
            self._book.change(row.id, study_instance_uid=uid)
            raise Unfiled("objects of the study wait for the index")
        with self._context.database.read() as session:
            here = instances_here(session, uid)
        if not self._is_settled(row, wanted, priors, here):
            lacked = lack_of(wanted.uids, here)
            self._book.ask(
                row, wanted.study, wanted.number, priors, lacked, in_spool=self._is_spooled
            )
            self._note_asked(row, wanted, self._fetch(archive, peer, wanted, here))

    def _find(
        self, archive: Archive, row: Retrieval, backfill: Backfill, issuers: Issuers
    ) -> tuple[Wanted, list[StudyFound]] | None:
        """Return what is to be fetched and its priors; None: the row is done with."""
        with finder(archive) as asked:
            if row.task == Task.PRIORS:
                self._search(asked, row, backfill, issuers)
                return None
            study = look_up(asked, row, issuers)
            if study is None:
                self._book.end(row.id, State.UNKNOWN)
                return None
            content = content_of(asked, study, self._settings.maximum_instances)
            wanted = Wanted(study, content, asked.patient_root)
            priors: list[StudyFound] = []
            if row.task == Task.STUDY and backfill.priors:
                priors, why = priors_of_found(asked, study, issuers, backfill.priors)
                log.debug("priors of row %s: %s", row.id, why or len(priors))
        return wanted, priors

    def _is_spooled(self, uid: str) -> bool:
        try:
            return bool(uid) and self._spooled.holds(uid)
        except Stopped:
            raise
        except Transient as error:
            raise Unfiled(str(error)) from error  # no fault of the archive's

    def _is_settled(
        self, row: Retrieval, wanted: Wanted, priors: list[StudyFound], here: set[str]
    ) -> bool:
        """End a row whose study needs no fetching, or must not be fetched."""
        uid, most = wanted.study.study_instance_uid, self._settings.maximum_instances
        found: dict[str, Any] = {"study_instance_uid": uid, "expected": wanted.number}
        if wanted.number is not None and wanted.number > most:
            self._book.end(row.id, State.TOO_LARGE, f"more than {most} instances", **found)
            return True
        if not wanted.is_whole(here, row.failed):
            return False
        state = State.PRESENT if row.asked_at is None else State.FETCHED
        arrived = wanted.number or len(here)
        self._book.end(row.id, state, "", priors, arrived=arrived, **found)
        return True

    def _fetch(
        self, archive: Archive, peer: PacsPeer, wanted: Wanted, here: set[str]
    ) -> SubOperations:
        """Ask for what is missing; an archive that cannot part a study is asked for all of it."""
        parts = wanted.parts(here)
        if parts:
            try:
                return self._fetch_some(archive, peer, wanted, [*parts], here)
            except StorageFailed:
                raise
            except Permanent as error:
                log.info("an archive sends whole studies alone: %s", error)
        return self._fetch_some(archive, peer, wanted, [None], set())

    def _fetch_some(
        self,
        archive: Archive,
        peer: PacsPeer,
        wanted: Wanted,
        parts: list[Part | None],
        here: set[str],
    ) -> SubOperations:
        study, ended = wanted.study, SubOperations(0)
        uid, patient, root = study.study_instance_uid, study.patient_id, wanted.patient_root
        expected = None if wanted.uids is None else wanted.uids - here
        receiving, classes = self._receiving(peer, expected), self._classes(wanted)
        for part in parts:
            if self._is_stopping():
                raise Stopped("the node is stopping")
            if peer.retrieve == "move":
                one = move_study(archive, uid, patient, patient_root=root, part=part)
            else:
                one = get_study(
                    archive, uid, receiving, classes, patient, patient_root=root, part=part
                )
            ended = ended.and_then(one)
        return ended

    def _receiving(self, peer: PacsPeer, expected: frozenset[str] | None) -> Receiving:
        dicom = self._context.settings.dicom
        return Receiving(
            self._intake,
            peer.ae_title,
            dicom.ae_title,
            expected,
            maximum_object_bytes=dicom.maximum_object_bytes,
            maximum_bytes=self._settings.maximum_bytes,
        )

    def _classes(self, wanted: Wanted) -> list[str]:
        told = sorted({image.sop_class_uid for image in wanted.images or ()} - {""})
        return (told or _LIKELY)[:_MOST_SOP_CLASSES]

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
            wanted_uids=sorted(wanted.uids or ()),
            next_at=self._context.clock() + (wait if ended.all_done else dt.timedelta()),
        )

    def _search(self, asked: Finder, row: Retrieval, backfill: Backfill, issuers: Issuers) -> None:
        """Look for the priors of a study that is here, and have them fetched."""
        with self._context.database.read() as session:
            reference = own_reference(session, row.study_instance_uid, issuers)
        if reference is None:
            self._book.end(row.id, State.SEARCHED, "the study is not here any more")
            return
        try:
            priors, why = find_priors(asked, reference, issuers, backfill.priors)
        except Permanent as error:
            priors, why = [], f"no priors can be looked for: {error}"
        self._book.end(row.id, State.SEARCHED, why, priors)

    def _pause(self, peer: PacsPeer, reason: str) -> None:
        last = self._away.get(peer.name, (0.0, 0.0))[1]
        pause = min(max(peer.first_retry_seconds, last * 2), LONGEST_PAUSE)
        self._away[peer.name] = self._monotonic() + pause, pause
        log.warning("the archive %s cannot be asked for %.0f s: %s", peer.name, pause, reason)
