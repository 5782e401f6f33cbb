"""The index of what arrived: spool files become rows, then move to archive or quarantine.

The row comes first, then the rename. A crash in between leaves a spooled file whose digest the
index knows already, which the next run merely moves. Files are indexed in groups, one transaction
each, and the linker runs inside the same transaction, so nobody sees a study that was not linked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from dicom_node.arrivals import Arrival, arrival_time, nanoseconds, spool_arrivals
from dicom_node.comparison import decoded_content, known_contents
from dicom_node.database import Clock, Database
from dicom_node.deletion import finish_deletions, list_for_deletion
from dicom_node.errors import Transient
from dicom_node.file_meta import ROUTED
from dicom_node.filing import file_object
from dicom_node.headers import Header
from dicom_node.inspection import DirectInspector, Inspector
from dicom_node.intake import Notice
from dicom_node.known import filed_digests, known_objects
from dicom_node.models import Quarantined, Study
from dicom_node.quarantine import (
    DICOM,
    REFUSED,
    QuarantineNotice,
    find_quarantined,
    notice_text,
    notices_of,
)
from dicom_node.register import Register
from dicom_node.reidentification import follow_identity
from dicom_node.settings import DicomSettings
from dicom_node.settling import misplace, settle
from dicom_node.solicited import mark_first_come, mark_listed
from dicom_node.storage import DicomStore, StorageFailed

OnStudy = Callable[[Session, Study], object]
"""Called for each study that is new or has changed, in the transaction that changes it."""

_GROUP = 256

# Not the fault of one study: whatever else were tried now would fail as well.
_COMMON_FAILURES = (OSError, Transient, StorageFailed, OperationalError)

_log = logging.getLogger(__name__)


@dataclass
class IndexResult:
    """What one run did.

    Attributes:
        indexed: objects that are the current version of an instance now.
        duplicates: objects that had rows already.
        quarantined: objects that were set aside.
        removed: objects of studies that were being fetched when their patient was erased.
        left: objects that stay in the spool, because their study could not be indexed or linked.
        studies: Study Instance UIDs that are new or have changed.
    """

    indexed: int = 0
    duplicates: int = 0
    quarantined: int = 0
    removed: int = 0
    left: int = 0
    studies: set[str] = field(default_factory=set)


def index_spool(
    database: Database,
    store: DicomStore,
    settings: DicomSettings,
    clock: Clock,
    on_study: OnStudy | None = None,
    inspector: Inspector | None = None,
) -> IndexResult:
    """Index everything that lies in the spool now.

    Safe to run twice and after a crash at any point. An object that must not be used is kept in
    quarantine with the reason. What fails with the linker of one study stays in the spool, and
    only that: the next run tries it again.

    Args:
        database: takes the rows.
        store: whose spool is read.
        settings: which issuers to assume for which sender.
        clock: when links that end were withdrawn.
        on_study: the linker.
        inspector: reads the objects; None: this process does.

    Raises:
        Transient: no room for a notice, or no parser; what was not moved waits for the next run.
        StorageFailed: the disk failed.
        OSError: the disk cannot be read or written.
    """
    run = _Run(database, store, settings, clock, on_study, inspector or DirectInspector())
    with database.filing:
        settle(database, store)
        run.record_notices()
        for paths in _groups(store.spooled()):
            run.index(paths)
    return run.result


def _groups(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), _GROUP):
        yield paths[start : start + _GROUP]


@dataclass
class _Run:
    database: Database
    store: DicomStore
    settings: DicomSettings
    clock: Clock
    on_study: OnStudy | None
    inspector: Inspector
    result: IndexResult = field(default_factory=IndexResult)

    def record_notices(self) -> None:
        """Make rows of what receivers refused; bytes that have rows already need no other."""
        received = self.store.notices()
        if not received:
            return
        digests = [each.digest for each in received]
        with self.database.write() as session:
            register = Register(session, self.store, self.settings, self.inspector)
            filed = filed_digests(session, digests)
            misplace(session, filed)
            for each in received:
                path = self.store.quarantined_path(each.digest)
                if each.digest in filed or find_quarantined(session, each.digest):
                    continue
                if path.exists():
                    register.record(_of_receiver(each), arrival_time(path.stat()))
                    self.result.quarantined += 1
            session.flush()
            rows = _rows(session, set(digests) - filed)
            notices = notices_of(session, rows)
        for row, notice in zip(rows, notices, strict=True):
            self.store.file_notice(row.digest, notice_text(notice), nanoseconds(row.received_at))
        for digest in set(digests) - {row.digest for row in rows}:
            self.store.drop_notice(digest)
        settle(self.database, self.store)

    def index(self, paths: Sequence[Path]) -> None:
        """Index a group of files; where that fails, study by study."""
        arrivals = self._without_erased(spool_arrivals(self.inspector, paths))
        if not arrivals:
            return
        try:
            self._index(arrivals)
        except _COMMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - a linker may come from anywhere
            studies = _by_study(arrivals)
            if len(studies) == 1:
                self._leave(arrivals, error)
                return
            for each in studies:
                self._index_alone(each)

    def _without_erased(self, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        """Remove what an archive still sends of a patient who was erased during a fetch."""
        uids = {each.header.study_instance_uid for each in arrivals} - {""}
        erased = self.store.asked_for.removed(uids, self.clock())
        gone = [each.digest for each in arrivals if each.header.study_instance_uid in erased]
        if not gone:
            return arrivals
        paths = [self.store.folders.spooled(digest) for digest in gone]
        with self.database.write() as session:
            names = (str(path.relative_to(self.store.root)) for path in paths)
            list_for_deletion(session, names, self.clock())
        finish_deletions(self.database, self.store.root)
        _log.warning("%d objects of an erased patient came late and were removed", len(gone))
        self.result.removed += len(gone)
        return [each for each in arrivals if each.header.study_instance_uid not in erased]

    def _index_alone(self, arrivals: Sequence[Arrival]) -> None:
        try:
            self._index(arrivals)
        except _COMMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - a linker may come from anywhere
            self._leave(arrivals, error)

    def _leave(self, arrivals: Sequence[Arrival], error: Exception) -> None:
        # The class only: the text of an unexpected error may name a patient.
        _log.error(
            "%d objects of one study wait in the spool: %s", len(arrivals), type(error).__name__
        )
        self.result.left += len(arrivals)

    def _index(self, arrivals: Sequence[Arrival]) -> None:
        decoded = self._decode_conflicts(arrivals)
        digests = [each.digest for each in arrivals]
        with self.database.write() as session:
            register = Register(session, self.store, self.settings, self.inspector, decoded=decoded)
            register.look_up(arrivals)
            for each in arrivals:
                file_object(register, each)
            register.write()
            for uid in sorted(register.reidentified):
                _log.warning("a study came again under another identity: its links are judged anew")
                follow_identity(session, uid, self.clock())
            mark_first_come(session, _asked_for(arrivals) & register.grown, self.clock)
            mark_listed(session, self.store.asked_for, register.grown)
            for uid in sorted(register.grown):
                if self.on_study is not None:
                    self.on_study(session, session.get_one(Study, uid))
            misplace(session, register.moved)
            session.flush()
            filed = filed_digests(session, digests)
            aside = _rows(session, set(digests) - filed)
            notices = notices_of(session, aside)
        self.store.archive([each for each in digests if each in filed])
        for row, notice in zip(aside, notices, strict=True):
            self.store.set_aside(row.digest, notice_text(notice), nanoseconds(row.received_at))
        settle(self.database, self.store)
        self.result.indexed += register.added
        self.result.duplicates += register.repeated
        self.result.quarantined += register.set_aside
        self.result.studies |= register.grown

    def _decode_conflicts(self, arrivals: Sequence[Arrival]) -> dict[str, str]:
        """Decode what must be compared, before the database is locked for everybody else."""
        with self.database.read() as session:
            known = known_objects(session, arrivals)
            pairs = _same_names(
                arrivals, known.held, {uid: each.digest for uid, each in known.instances.items()}
            )
            cached = known_contents(session, sorted(pairs))
        return {
            digest: decoded_content(self.store, self.inspector, digest)
            for digest in sorted(pairs - cached.keys())
        }


def _same_names(arrivals: Sequence[Arrival], held: set[str], current: dict[str, str]) -> set[str]:
    """Return the digests of objects that share their SOP Instance UID with another one."""
    first = dict(current)
    found: set[str] = set()
    for each in arrivals:
        if each.digest in held or not isinstance(each.header, Header):
            continue
        other = first.setdefault(each.header.sop_instance_uid, each.digest)
        if other != each.digest:
            found |= {other, each.digest}
    return found


def _rows(session: Session, digests: Collection[str]) -> Sequence[Quarantined]:
    query = select(Quarantined).where(
        Quarantined.kind == DICOM, col(Quarantined.digest).in_(digests)
    )
    return session.exec(query).all()


def _by_study(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    """Return the objects of each study, in order of arrival."""
    found: dict[str, list[Arrival]] = {}
    for each in arrivals:
        found.setdefault(each.header.study_instance_uid, []).append(each)
    return list(found.values())


def _asked_for(arrivals: Iterable[Arrival]) -> set[str]:
    """Return the studies of objects that came because this node asked for them."""
    return {
        each.header.study_instance_uid
        for each in arrivals
        if isinstance(each.header, Header) and each.header.way != ROUTED
    }


def _of_receiver(notice: Notice) -> QuarantineNotice:
    return QuarantineNotice(
        digest=notice.digest,
        reason=notice.reason,
        cause=REFUSED,
        sender=notice.sender,
        sop_instance_uid=notice.sop_instance_uid,
    )
