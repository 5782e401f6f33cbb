"""The index rebuilt from files: archive, quarantine and the notices there say all that it needs.

Rows that only persons and reports made stay: links, labels, cohorts, predictions. What still lies
in the spool was never indexed and is left to :func:`dicom_node.indexing.index_spool`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import delete, func, insert
from sqlmodel import Session, SQLModel, col, select

from dicom_node.database import Clock, Database
from dicom_node.indexing import OnStudy
from dicom_node.inspection import DirectInspector, Inspector
from dicom_node.known import filed_digests
from dicom_node.life_models import ExpiredStudy, PendingDeletion
from dicom_node.models import (
    DecodedContent,
    Instance,
    MisplacedFile,
    Quarantined,
    QuarantineDecision,
    Series,
    Study,
    SupersededInstance,
)
from dicom_node.quarantine import ACCEPTED, DICOM, OPEN, REFUSED, QuarantineNotice, read_notice
from dicom_node.register import Register
from dicom_node.reidentification import follow_identity
from dicom_node.replay import (
    Replayed,
    StoredFile,
    drop_unless_referenced,
    groups,
    read_again,
    replay,
)
from dicom_node.scratch import ARCHIVE, QUARANTINE, Scratch
from dicom_node.settings import DicomSettings
from dicom_node.settling import misplace, settle
from dicom_node.solicited import mark_first_come, mark_listed
from dicom_node.storage import DicomStore, is_digest
from dicom_node.study_rows import identity_of

_REBUILT: tuple[type[SQLModel], ...] = (
    Instance,
    Series,
    SupersededInstance,
    QuarantineDecision,
    MisplacedFile,
)

_log = logging.getLogger(__name__)


@dataclass
class ReindexResult:
    """What was rebuilt.

    Attributes:
        files: files that were read.
        instances, superseded, quarantined, decisions, studies: rows that there are now.
        moved: files that lay elsewhere than their rows say.
        reidentified: studies that have another identity than before.
        without_files: Study Instance UIDs of studies that other rows need and no file shows, though
            no rule of retention deleted them.
        not_accepted: digests that a person accepted and that could not be filed again.
        not_linked: studies with which the linker failed.
        damaged_notices: notices that could not be read.
    """

    files: int = 0
    instances: int = 0
    superseded: int = 0
    quarantined: int = 0
    decisions: int = 0
    studies: int = 0
    moved: int = 0
    reidentified: int = 0
    without_files: list[str] = field(default_factory=list)
    not_accepted: list[str] = field(default_factory=list)
    not_linked: int = 0
    damaged_notices: int = 0


class _Undone(Exception):
    """Everything was rebuilt, and nothing of it is kept."""


def reindex(
    database: Database,
    store: DicomStore,
    settings: DicomSettings,
    clock: Clock,
    on_study: OnStudy | None = None,
    inspector: Inspector | None = None,
    *,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> ReindexResult:
    """Rebuild every row of the index from files, in one transaction.

    Args:
        database: takes the rows.
        store: whose archive and quarantine are read.
        settings: which issuers to assume for which sender.
        clock: when links that end were withdrawn.
        on_study: the linker; it is asked about every study.
        inspector: reads the objects; None: this process does.
        dry_run: rebuild, count, and undo everything.
        progress: takes a line now and then.

    Raises:
        Transient: no parser, or no room; nothing has changed.
        OSError: a file cannot be read; nothing has changed.
    """
    run = _Rebuild(store, settings, clock, on_study, inspector or DirectInspector(), progress)
    with database.filing, Scratch() as scratch:
        try:
            with database.write() as session:
                run.rebuild(session, scratch)
                if dry_run:
                    raise _Undone
        except _Undone:
            return run.result
        settle(database, store)
    return run.result


@dataclass
class _Rebuild:
    store: DicomStore
    settings: DicomSettings
    clock: Clock
    on_study: OnStudy | None
    inspector: Inspector
    progress: Callable[[str], None]
    result: ReindexResult = field(default_factory=ReindexResult)
    rebuilt: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    def rebuild(self, session: Session, scratch: Scratch) -> None:
        self._look(session, scratch)
        _clear(session)
        decided = self._read_decisions(session, scratch)
        register = Register(
            session, self.store, self.settings, self.inspector, rebuilt=self.rebuilt
        )
        accepted = [each for each in decided.values() if _state(each) == ACCEPTED]
        events = self._events(session, scratch, decided)
        self.result.not_accepted = sorted(replay(register, events, accepted))
        self._drop_stale(session, scratch)
        _forget_contents(session)
        self._misplace(session, scratch)
        self._link(session, scratch)
        self._count(session)
        self.result.damaged_notices = len(self.damaged)

    def _look(self, session: Session, scratch: Scratch) -> None:
        """List the files, and who every study was."""
        root = self.store.root
        gone = {root / each for each in session.exec(select(PendingDeletion.path))}
        for paths, place in (
            (self.store.archived(), ARCHIVE),
            (self.store.quarantined(), QUARANTINE),
        ):
            scratch.add_files((path for path in paths if path not in gone), place)
        scratch.add_studies(
            (study.study_instance_uid, _identity(study))
            for study in session.exec(select(Study).execution_options(yield_per=500))
        )
        session.expunge_all()

    def _read_decisions(self, session: Session, scratch: Scratch) -> dict[str, StoredFile]:
        """Take the decisions of persons from the notices; they are few."""
        found: dict[str, StoredFile] = {}
        for path in self.store.quarantine_notices():
            received_at = scratch.received_at(path.stem)
            notice = self._notice(path.stem) if is_digest(path.stem) else None
            if notice is None or not notice.decisions or received_at is None:
                continue
            found[notice.digest] = StoredFile(notice.digest, received_at, notice)
            session.execute(
                insert(QuarantineDecision),
                [
                    {
                        "digest": notice.digest,
                        "action": each.action,
                        "decided_by": each.decided_by,
                        "reason": each.reason,
                        "decided_at": each.decided_at,
                    }
                    for each in notice.decisions
                ],
            )
        return found

    def _notice(self, digest: str) -> QuarantineNotice | None:
        try:
            notice = read_notice(self.store.notice_path(digest).read_bytes())
        except ValueError:
            self.damaged.add(digest)
            return None
        return notice if notice.digest == digest else None

    def _events(
        self, session: Session, scratch: Scratch, decided: dict[str, StoredFile]
    ) -> Iterator[list[Replayed]]:
        """Read the files group by group, in order of arrival."""
        for group in groups(self._files(scratch, decided)):
            # What the group before wrote is not needed in memory.
            session.flush()
            session.expunge_all()
            yield read_again(self.store, self.inspector, group)
            self.result.files += len(group)
            self.progress(f"{self.result.files} files")

    def _files(self, scratch: Scratch, decided: dict[str, StoredFile]) -> Iterator[StoredFile]:
        for digest, received_at, place in scratch.files():
            if digest in decided or place == ARCHIVE:
                if place == ARCHIVE or not scratch.lies_in_both(digest):
                    yield decided.get(digest, StoredFile(digest, received_at))
            elif not scratch.lies_in_both(digest):
                yield from self._quarantined(digest, received_at)

    def _quarantined(self, digest: str, received_at: dt.datetime) -> Iterator[StoredFile]:
        if not self.store.notice_path(digest).exists():
            # A receiver was killed between object and notice, or the notice is not filed yet.
            if not self.store.notice_waits(digest):
                yield StoredFile(digest, received_at, _unexplained(digest))
            return
        notice = self._notice(digest)
        refused = notice is not None and notice.cause == REFUSED
        yield StoredFile(digest, received_at, notice if refused else None)

    def _drop_stale(self, session: Session, scratch: Scratch) -> None:
        for uids in groups(uid for uid in scratch.studies() if uid not in self.rebuilt):
            kept = drop_unless_referenced(session, uids)
            expired = session.exec(
                select(ExpiredStudy.study_instance_uid).where(
                    col(ExpiredStudy.study_instance_uid).in_(kept)
                )
            )
            self.result.without_files += sorted(set(kept) - set(expired))

    def _misplace(self, session: Session, scratch: Scratch) -> None:
        """Note every file whose rows say that it belongs elsewhere."""
        for group in groups(scratch.files()):
            filed = filed_digests(session, [digest for digest, _, _ in group])
            wrong = {
                digest for digest, _, place in group if (digest in filed) != (place == ARCHIVE)
            }
            misplace(session, wrong)
            self.result.moved += len(wrong)

    def _link(self, session: Session, scratch: Scratch) -> None:
        for uids in groups(sorted(self.rebuilt)):
            for uid in uids:
                self._link_study(session, uid, scratch.identity(uid))
            mark_first_come(session, uids, self.clock)
            mark_listed(session, self.store.asked_for, uids)
            session.flush()
            session.expunge_all()

    def _link_study(self, session: Session, uid: str, identity: str) -> None:
        study = session.get_one(Study, uid)
        if identity and identity != _identity(study):
            follow_identity(session, uid, self.clock())
            self.result.reidentified += 1
        if self.on_study is None:
            return
        try:
            with session.begin_nested():
                self.on_study(session, study)
        except Exception as error:  # noqa: BLE001 - a linker may come from anywhere
            _log.error("the linker failed with one study: %s", type(error).__name__)
            self.result.not_linked += 1

    def _count(self, session: Session) -> None:
        def count(table: type[SQLModel]) -> int:
            return session.exec(select(func.count()).select_from(table)).one()

        self.result.instances = count(Instance)
        self.result.superseded = count(SupersededInstance)
        self.result.decisions = count(QuarantineDecision)
        self.result.studies = count(Study)
        self.result.quarantined = session.exec(
            select(func.count()).select_from(Quarantined).where(Quarantined.kind == DICOM)
        ).one()


def _clear(session: Session) -> None:
    for table in _REBUILT:
        session.execute(delete(table))
    session.execute(delete(Quarantined).where(col(Quarantined.kind) == DICOM))
    session.expire_all()


def _forget_contents(session: Session) -> None:
    """Forget what objects showed that are not here any more."""
    digest = col(DecodedContent.digest)
    session.execute(
        delete(DecodedContent).where(
            digest.not_in(select(Instance.digest)),
            digest.not_in(select(SupersededInstance.digest)),
            digest.not_in(select(Quarantined.digest)),
        )
    )


def _unexplained(digest: str) -> QuarantineNotice:
    return QuarantineNotice(digest, "the receiver ended before it said why", REFUSED)


def _state(each: StoredFile) -> str:
    return each.notice.state if each.notice is not None else OPEN


def _identity(study: Study) -> str:
    return hashlib.sha256(json.dumps(identity_of(study)).encode()).hexdigest()
