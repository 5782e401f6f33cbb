"""A person decides about a quarantined object; the studies concerned are filed again.

Filing again with the decisions that are in force is what makes every decision reversible: nothing
remains of one that was taken back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from sqlalchemy import delete, or_
from sqlmodel import Session, col, select

from dicom_node.arrivals import declared_identity, just_after
from dicom_node.database import Clock, Database
from dicom_node.errors import Permanent
from dicom_node.headers import Header, Unreadable
from dicom_node.indexing import OnStudy
from dicom_node.inspection import DirectInspector, Inspector
from dicom_node.known import filed_digests
from dicom_node.models import (
    Instance,
    Quarantined,
    QuarantineDecision,
    Series,
    Study,
    SupersededInstance,
)
from dicom_node.quarantine import (
    ACCEPTED,
    DICOM,
    STATE_AFTER,
    UNREADABLE,
    Decision,
    QuarantineNotice,
    find_quarantined,
    notice_row,
    notices_of,
)
from dicom_node.register import Register
from dicom_node.reidentification import follow_identity
from dicom_node.replay import StoredFile, drop_unless_referenced, groups, read_again, replay
from dicom_node.settings import DicomSettings
from dicom_node.settling import misplace, settle
from dicom_node.solicited import mark_first_come, mark_listed
from dicom_node.storage import DicomStore, is_digest
from dicom_node.study_rows import identity_of


@dataclass(frozen=True)
class Outcome:
    """What a decision did.

    Attributes:
        state: of the object now.
        studies: how many studies were filed again.
        superseded: how many instances are out of use now and were not before.
    """

    state: str
    studies: int
    superseded: int


def decide(
    database: Database,
    store: DicomStore,
    settings: DicomSettings,
    clock: Clock,
    digest: str,
    action: str,
    *,
    by: str,
    reason: str,
    on_study: OnStudy | None = None,
    inspector: Inspector | None = None,
) -> Outcome:
    """Accept or reject a quarantined object, and record who decided and why.

    Accepting files it: over the object that has its SOP Instance UID, and with the identity that it
    gives its study; what was not sent under that identity is then out of use. Rejecting leaves it
    out, also after it was accepted. Either can be decided again.

    Args:
        database: takes the rows.
        store: where the objects lie.
        settings: which issuers to assume for which sender.
        clock: when it was decided.
        digest: names the object.
        action: "accept" or "reject".
        by: who decides.
        reason: why.
        on_study: the linker.
        inspector: reads the objects; None: this process does.

    Raises:
        Permanent: there is no such object, it cannot be accepted, or that was decided before.
    """
    if not by.strip() or not reason.strip():
        raise Permanent("a decision needs who decides and why")
    if action not in STATE_AFTER:
        raise Permanent(f"a decision is one of {', '.join(STATE_AFTER)}")
    reader = inspector or DirectInspector()
    with database.filing:
        settle(database, store)
        with database.write() as session:
            case = _Case(session, store, settings, clock, reader)
            notice, received_at = case.take(digest, action)
            outcome = case.decide(notice, received_at, Decision(action, by, reason, clock()))
            case.link(on_study)
        settle(database, store)
    return outcome


class _Case:
    """One decision inside its transaction."""

    def __init__(
        self,
        session: Session,
        store: DicomStore,
        settings: DicomSettings,
        clock: Clock,
        inspector: Inspector,
    ) -> None:
        self.session = session
        self.store = store
        self.settings = settings
        self.clock = clock
        self.inspector = inspector
        self.rebuilt: set[str] = set()
        self.identities: dict[str, tuple[object, ...]] = {}

    def take(self, digest: str, action: str) -> tuple[QuarantineNotice, dt.datetime]:
        """Return the object's notice, completed by what its header says, and when it arrived.

        Raises:
            Permanent: nothing can be decided about it.
        """
        row = find_quarantined(self.session, digest) if is_digest(digest) else None
        if row is None:
            raise Permanent("no object of this digest is or was in quarantine")
        if row.state == STATE_AFTER[action]:
            raise Permanent(f"this object is {row.state} already")
        (notice,) = notices_of(self.session, [row])
        (header,) = self.inspector.headers([self.store.path(digest)])
        if isinstance(header, Unreadable):
            if STATE_AFTER[action] == ACCEPTED:
                raise Permanent(f"an object that cannot be read cannot be accepted: {header}")
            return notice, row.received_at
        return _completed(notice, header), row.received_at

    def decide(
        self, notice: QuarantineNotice, received_at: dt.datetime, decision: Decision
    ) -> Outcome:
        """Record the decision and file the studies that it concerns again."""
        uids = self._entangled(notice)
        files = self._files(uids, notice.digest)
        moments = [received_at, *(each.received_at for each in files)]
        moments += [each.decided_at for file in files for each in _decisions(file)]
        moments += [each.decided_at for each in notice.decisions]
        decided_at = max(decision.decided_at, just_after(max(moments)))
        notice = replace(
            notice, decisions=(*notice.decisions, replace(decision, decided_at=decided_at))
        )
        self._record(notice, received_at)
        files = sorted(
            [*files, StoredFile(notice.digest, received_at, notice)],
            key=lambda each: (each.received_at, each.digest),
        )
        digests = [each.digest for each in files]
        before, superseded = self._filed(digests), self._superseded(uids)
        self._file_again(uids, files, notice.digest)
        changed = before ^ self._filed(digests)
        misplace(self.session, {*changed, notice.digest})
        return Outcome(notice.state, len(uids), max(0, self._superseded(uids) - superseded))

    def link(self, on_study: OnStudy | None) -> None:
        """Let links follow what the studies are now, and know again which were asked for."""
        mark_first_come(self.session, self.rebuilt, self.clock)
        mark_listed(self.session, self.store.asked_for, self.rebuilt)
        for uid in sorted(self.rebuilt):
            study = self.session.get_one(Study, uid)
            if self.identities.get(uid, identity_of(study)) != identity_of(study):
                follow_identity(self.session, uid, self.clock())
            if on_study is not None:
                on_study(self.session, study)

    def _entangled(self, notice: QuarantineNotice) -> set[str]:
        """Return the studies whose rows depend on the object, or on one another through others."""
        current = self.session.exec(
            select(Series.study_instance_uid)
            .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
            .where(Instance.sop_instance_uid == notice.sop_instance_uid)
        )
        owner = self.session.exec(
            select(Series.study_instance_uid).where(
                Series.series_instance_uid == notice.series_instance_uid
            )
        )
        named = {notice.study_instance_uid, notice.other_study_instance_uid}
        found: set[str] = set()
        new = {*named, *current, *owner} - {""}
        while new:
            found |= new
            rows = self.session.exec(
                select(Quarantined.study_instance_uid, Quarantined.other_study_instance_uid).where(
                    Quarantined.kind == DICOM,
                    or_(
                        col(Quarantined.study_instance_uid).in_(new),
                        col(Quarantined.other_study_instance_uid).in_(new),
                    ),
                )
            )
            new = {uid for pair in rows for uid in pair} - found - {""}
        return found

    def _files(self, uids: Collection[str], but: str) -> list[StoredFile]:
        """Return every file of the studies, but the one that is decided about."""
        current = self.session.exec(
            select(Instance.digest, Instance.received_at)
            .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
            .where(col(Series.study_instance_uid).in_(uids))
        )
        earlier = self.session.exec(
            select(SupersededInstance.digest, SupersededInstance.received_at).where(
                col(SupersededInstance.study_instance_uid).in_(uids)
            )
        )
        files = {digest: StoredFile(digest, when) for digest, when in (*current, *earlier)}
        rows = self.session.exec(
            select(Quarantined).where(
                Quarantined.kind == DICOM, col(Quarantined.study_instance_uid).in_(uids)
            )
        ).all()
        for row, notice in zip(rows, notices_of(self.session, rows), strict=True):
            files[row.digest] = StoredFile(row.digest, row.received_at, notice)
        files.pop(but, None)
        return list(files.values())

    def _record(self, notice: QuarantineNotice, received_at: dt.datetime) -> None:
        last = notice.decisions[-1]
        self.session.add(
            QuarantineDecision(
                digest=notice.digest,
                action=last.action,
                decided_by=last.decided_by,
                reason=last.reason,
                decided_at=last.decided_at,
            )
        )
        row = find_quarantined(self.session, notice.digest)
        if row is not None:
            row.sqlmodel_update(notice_row(notice, received_at))
            self.session.add(row)
        self.session.flush()

    def _file_again(self, uids: Collection[str], files: list[StoredFile], decided: str) -> None:
        studies = self.session.exec(
            select(Study).where(col(Study.study_instance_uid).in_(uids))
        ).all()
        self.identities = {each.study_instance_uid: identity_of(each) for each in studies}
        self._delete_rows(uids, decided)
        register = Register(
            self.session, self.store, self.settings, self.inspector, rebuilt=self.rebuilt
        )
        accepted = [
            each for each in files if each.notice is not None and each.notice.state == ACCEPTED
        ]
        events = (read_again(self.store, self.inspector, group) for group in groups(files))
        for failed, why in replay(register, events, accepted).items():
            whose = "" if failed == decided else "an earlier decision could not stand: "
            raise Permanent(f"{whose}{why}")
        drop_unless_referenced(self.session, sorted(set(self.identities) - self.rebuilt))

    def _delete_rows(self, uids: Collection[str], decided: str) -> None:
        self.session.expunge_all()
        series = select(Series.series_instance_uid).where(col(Series.study_instance_uid).in_(uids))
        for statement in (
            delete(Instance).where(col(Instance.series_instance_uid).in_(series)),
            delete(Series).where(col(Series.study_instance_uid).in_(uids)),
            delete(SupersededInstance).where(col(SupersededInstance.study_instance_uid).in_(uids)),
            # By study: bytes that a receiver refused as well have a row that names none.
            delete(Quarantined).where(
                col(Quarantined.kind) == DICOM,
                or_(
                    col(Quarantined.study_instance_uid).in_(uids),
                    col(Quarantined.digest) == decided,
                ),
            ),
        ):
            self.session.execute(statement)

    def _filed(self, digests: Iterable[str]) -> set[str]:
        return {
            digest for group in groups(digests) for digest in filed_digests(self.session, group)
        }

    def _superseded(self, uids: Collection[str]) -> int:
        rows = self.session.exec(
            select(SupersededInstance.digest).where(
                col(SupersededInstance.study_instance_uid).in_(uids)
            )
        )
        return len(rows.all())


def _completed(notice: QuarantineNotice, header: Header) -> QuarantineNotice:
    """Return the notice with what a receiver did not know."""
    if notice.study_instance_uid or notice.cause == UNREADABLE:
        return notice
    return replace(
        notice,
        sop_instance_uid=header.sop_instance_uid,
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        declared_identity=declared_identity(header),
    )


def _decisions(file: StoredFile) -> tuple[Decision, ...]:
    return file.notice.decisions if file.notice is not None else ()
