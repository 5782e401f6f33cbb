"""The register of objects: what stands against one, and the rows that each outcome writes.

See :mod:`dicom_node.filing` for which outcome an object has.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, insert, update
from sqlmodel import Session, col, select

from dicom_node import quarantine, study_rows
from dicom_node.arrivals import Arrival, declared_identity, just_after, nanoseconds
from dicom_node.comparison import ContentComparison
from dicom_node.database import insert_if_absent
from dicom_node.headers import Header
from dicom_node.inspection import Inspector
from dicom_node.known import Current, Known, known_objects
from dicom_node.models import Instance, Patient, Quarantined, Series, Study, SupersededInstance
from dicom_node.quarantine import QuarantineNotice
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore

_SAME_UID = "another object with the same SOP Instance UID is stored already"


@dataclass(frozen=True)
class Objection:
    """Why an object must not be filed."""

    cause: str
    reason: str
    other_study_instance_uid: str = ""


class Register:
    """The rows of objects inside one transaction; :meth:`look_up` comes first for each group.

    Args:
        session: the writing session; the caller commits.
        store: where the files lie; nothing is moved.
        settings: which issuers to assume for which sender.
        inspector: reads what must be read again.
        decoded: contents that were decoded before the transaction began, by digest.
        rebuilt: None while objects arrive. While rows are rebuilt from files, the studies that
            were met so far; other rows of studies are taken for absent and are written over.

    Attributes:
        grown: Study Instance UIDs of studies with a new instance or version.
        reidentified: those that have another identity now.
        moved: digests whose place changed though they were filed earlier.
        added, repeated, set_aside: counts.
    """

    def __init__(
        self,
        session: Session,
        store: DicomStore,
        settings: DicomSettings,
        inspector: Inspector,
        *,
        decoded: Mapping[str, str] | None = None,
        rebuilt: set[str] | None = None,
    ) -> None:
        self.session = session
        self.store = store
        self.settings = settings
        self.inspector = inspector
        self.contents = ContentComparison(session, store, inspector, decoded)
        self.known = Known()
        self.grown: set[str] = set()
        self.reidentified: set[str] = set()
        self.moved: set[str] = set()
        self.added = self.repeated = self.set_aside = 0
        self._rebuilt = rebuilt
        self._pending: list[dict[str, Any]] = []
        self._patients: dict[tuple[str, str], dt.datetime] = {}

    def look_up(self, arrivals: Sequence[Arrival]) -> None:
        """Load what the index holds about the objects that come next."""
        self.write()
        self.known = known_objects(self.session, arrivals)
        if self._rebuilt is not None:
            studies = self.known.studies
            self.known.studies = {uid: studies[uid] for uid in studies.keys() & self._rebuilt}

    def objection(self, each: Arrival, header: Header, standing: str = "") -> Objection | None:
        """Return why an object must not be filed now.

        Args:
            each: the object.
            header: its header.
            standing: the declared identity that its study has just been given, where it was.
        """
        known = self.known
        uid = header.study_instance_uid
        current = known.instances.get(header.sop_instance_uid)
        owner = known.series.get(header.series_instance_uid, uid)
        if current and current.study_instance_uid != uid:
            return Objection(quarantine.PLACE, _SAME_UID, current.study_instance_uid)
        if current and current.series_instance_uid != header.series_instance_uid:
            return Objection(quarantine.PLACE, f"{_SAME_UID}, in another series")
        if owner != uid:
            return Objection(quarantine.PLACE, "its series belongs to another study", owner)
        if current and not self._shows_the_same(each, header, current):
            return Objection(quarantine.CONTENT, f"{_SAME_UID}, with other content")
        identity = declared_identity(header)
        if identity == standing:
            return None
        if current and identity != self._identity_of(header.sop_instance_uid, current):
            return Objection(
                quarantine.IDENTITY, "the same object is stored already, with another identity"
            )
        study = known.studies.get(uid)
        if study is not None and (
            study_rows.contradicts(study, header) or identity in known.waiting.get(uid, ())
        ):
            return Objection(quarantine.IDENTITY, "its study belongs to another patient")
        return None

    def enter(self, each: Arrival, header: Header, reason: str) -> None:
        """Make an object the current version of its instance; an earlier one is superseded."""
        current = self.known.instances.get(header.sop_instance_uid)
        if current is not None:
            self.supersede(header.sop_instance_uid, current.study_instance_uid, each.digest, reason)
        self._add_parents(header, each.received_at)
        self.known.instances[header.sop_instance_uid] = Current(
            each.digest,
            header.sop_class_uid,
            header.series_instance_uid,
            header.study_instance_uid,
            declared_identity(header),
        )
        self._pending.append(study_rows.instance_row(each, header))
        self.known.held.add(each.digest)
        self._count_again(header.study_instance_uid)
        self.known.note_event(header.study_instance_uid, each.received_at)
        self.grown.add(header.study_instance_uid)
        self.added += 1
        if current is not None:
            self._describe_again(header)

    def supersede(self, sop_instance_uid: str, study: str, by: str, reason: str) -> None:
        """Take the current version of an instance out of use; its file stays in the archive."""
        self.write()
        row = self.session.exec(
            select(
                Instance.digest,
                Instance.series_instance_uid,
                Instance.received_at,
                Instance.way,
            ).where(Instance.sop_instance_uid == sop_instance_uid)
        ).one()
        self.session.execute(
            insert(SupersededInstance),
            [
                {
                    "digest": row[0],
                    "sop_instance_uid": sop_instance_uid,
                    "series_instance_uid": row[1],
                    "study_instance_uid": study,
                    "superseded_by": by,
                    "reason": reason,
                    "received_at": row[2],
                    "way": row[3],
                }
            ],
        )
        gone = delete(Instance).where(col(Instance.sop_instance_uid) == sop_instance_uid)
        self.session.execute(gone)
        self.known.instances.pop(sop_instance_uid, None)
        self._count_again(study)
        self.grown.add(study)

    def confine(self, each: Arrival, objection: Objection) -> None:
        """Write the row of an object that must not be used."""
        header = each.header
        notice = QuarantineNotice(
            digest=each.digest,
            reason=objection.reason,
            cause=objection.cause,
            other_study_instance_uid=objection.other_study_instance_uid,
            study_instance_uid=header.study_instance_uid,
        )
        if isinstance(header, Header):
            notice = replace(
                notice,
                sender=header.calling_ae_title,
                sop_instance_uid=header.sop_instance_uid,
                series_instance_uid=header.series_instance_uid,
                declared_identity=declared_identity(header),
            )
        self.record(notice, each.received_at)
        if objection.cause == quarantine.IDENTITY:
            waiting = self.known.waiting.setdefault(notice.study_instance_uid, set())
            waiting.add(notice.declared_identity)
        self.set_aside += 1

    def record(self, notice: QuarantineNotice, received_at: dt.datetime) -> None:
        """Write the row that a notice describes, over one that the same bytes have already."""
        row = quarantine.find_quarantined(self.session, notice.digest)
        columns = quarantine.notice_row(notice, received_at)
        if row is None:
            row = Quarantined(**columns)
        else:
            row.sqlmodel_update(columns)
        self.session.add(row)
        self.known.held.add(notice.digest)
        for uid in (notice.study_instance_uid, notice.other_study_instance_uid):
            self.known.note_event(uid, received_at)

    def forget_refusal(self, digest: str) -> None:
        """Drop the row of bytes that a receiver refused once and that now came properly."""
        if digest in self.known.refused:
            self.known.refused.discard(digest)
            self.session.flush()
            self.session.execute(
                delete(Quarantined).where(
                    col(Quarantined.kind) == quarantine.DICOM, col(Quarantined.digest) == digest
                )
            )
            self.moved.add(digest)

    def write(self) -> None:
        """Write the rows of instances that were only collected so far."""
        self.session.flush()
        if self._pending:
            self.session.execute(insert(Instance), self._pending)
            self._pending = []
        identities = [
            {"issuer_of_patient_id": issuer, "patient_id": patient_id, "first_seen_at": when}
            for (issuer, patient_id), when in sorted(self._patients.items())
        ]
        insert_if_absent(self.session, Patient, identities)
        self._patients = {}

    def note_patient(self, study: Study, when: dt.datetime) -> None:
        """Remember that a study has this patient."""
        if study.patient_id:
            key = (study.issuer_of_patient_id, study.patient_id)
            self._patients[key] = min(when, self._patients.get(key, when))

    def _count_again(self, study_instance_uid: str) -> None:
        """Forget what is missing of a study whose instances have changed."""
        missing = self.known.missing
        for key in [key for key in missing if key[0] == study_instance_uid]:
            del missing[key]

    def in_sequence(self, each: Arrival) -> Arrival:
        """Give an object a time of arrival behind everything that it is judged by.

        Two receivers may name files in another order than they dated them, and clocks are set
        back; the order in which objects were judged must still be the one that the files tell.
        """
        if self._rebuilt is not None:
            return each
        known, header = self.known, each.header
        studies = {header.study_instance_uid}
        if isinstance(header, Header):
            studies.add(known.series.get(header.series_instance_uid, ""))
            if current := known.instances.get(header.sop_instance_uid):
                studies.add(current.study_instance_uid)
        last = max((known.last[uid] for uid in studies if uid in known.last), default=None)
        if last is None or each.received_at > last:
            return each
        self.store.date_spooled(each.digest, nanoseconds(just_after(last)))
        return replace(each, received_at=just_after(last))

    def _shows_the_same(self, each: Arrival, header: Header, current: Current) -> bool:
        return header.sop_class_uid == current.sop_class_uid and self.contents.same(
            current.digest, each.digest
        )

    def _identity_of(self, sop_instance_uid: str, current: Current) -> str:
        """Return the declared identity of a current version; early rows do not hold it."""
        if not current.declared_identity:
            (header,) = self.inspector.headers([self.store.path(current.digest)])
            if isinstance(header, Header):
                current = replace(current, declared_identity=declared_identity(header))
                self.known.instances[sop_instance_uid] = current
        return current.declared_identity

    def _add_parents(self, header: Header, received_at: dt.datetime) -> None:
        """Make or touch the rows above an instance."""
        known = self.known
        study = known.studies.get(header.study_instance_uid)
        if study is None:
            study = study_rows.new_study(header, self.settings, received_at)
            if self._rebuilt is not None:
                self._rebuilt.add(study.study_instance_uid)
                study = self.session.merge(study)
            known.studies[study.study_instance_uid] = study
        elif not study.patient_id:
            # The first instance was silent about its patient: the first that speaks decides.
            study_rows.identify_patient(study, header, self.settings)
        study.first_received_at = min(study.first_received_at, received_at)
        study.last_received_at = max(study.last_received_at, received_at)
        self.session.add(study)
        self.note_patient(study, received_at)
        if header.series_instance_uid not in known.series:
            known.series[header.series_instance_uid] = header.study_instance_uid
            # Parents first: there is no relationship that would tell the session this order.
            self.session.flush()
            self.session.add(study_rows.new_series(header))

    def _describe_again(self, header: Header) -> None:
        """Take the descriptions of study and series from a new version."""
        study_rows.describe_study(self.known.studies[header.study_instance_uid], header)
        described = update(Series).where(
            col(Series.series_instance_uid) == header.series_instance_uid
        )
        self.session.flush()
        self.session.execute(described.values(**study_rows.series_texts(header)))
