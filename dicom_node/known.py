"""What the index holds about the objects of a group, kept up to date while the group is filed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from dicom_node.arrivals import Arrival
from dicom_node.headers import Header
from dicom_node.models import (
    Instance,
    Quarantined,
    QuarantineDecision,
    Series,
    Study,
    SupersededInstance,
)
from dicom_node.quarantine import DICOM, IDENTITY, OPEN, REFUSED


@dataclass(frozen=True)
class Current:
    """The version of an instance that counts now."""

    digest: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    declared_identity: str


@dataclass
class Known:
    """What the index holds about some objects.

    Args:
        held: digests that have rows already.
        refused: digests that receivers refused and nobody decided about; they may still come.
        instances: by SOP Instance UID.
        studies: by Study Instance UID.
        series: Study Instance UID by Series Instance UID.
        waiting: by Study Instance UID the identities under which objects of it wait.
        last: by Study Instance UID when the last thing happened to it.
        missing: by Study Instance UID and identity the SOP Instance UIDs that have not come under
            that identity; only where it was asked for.
    """

    held: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    instances: dict[str, Current] = field(default_factory=dict)
    studies: dict[str, Study] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, set[str]] = field(default_factory=dict)
    last: dict[str, dt.datetime] = field(default_factory=dict)
    missing: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def note_event(self, study_instance_uid: str, when: dt.datetime) -> None:
        """Remember that something happened to a study."""
        last = self.last.get(study_instance_uid)
        if study_instance_uid and (last is None or last < when):
            self.last[study_instance_uid] = when


def known_objects(session: Session, arrivals: Sequence[Arrival]) -> Known:
    """Look up everything that the index holds about these objects, in few queries."""
    headers = [each.header for each in arrivals if isinstance(each.header, Header)]
    held, refused = _held(session, [each.digest for each in arrivals])
    known = Known(
        held=held,
        refused=refused,
        instances=_instances(session, {each.sop_instance_uid for each in headers}),
        series=_series(session, {each.series_instance_uid for each in headers}),
    )
    uids = {each.study_instance_uid for each in headers}
    uids.update(each.study_instance_uid for each in known.instances.values())
    uids.update(known.series.values())
    uids.update(
        each.header.study_instance_uid
        for each in arrivals
        if not isinstance(each.header, Header) and each.header.study_instance_uid
    )
    rows = session.exec(select(Study).where(col(Study.study_instance_uid).in_(uids)))
    known.studies = {study.study_instance_uid: study for study in rows}
    for uid, study in known.studies.items():
        known.note_event(uid, study.last_received_at)
    _add_quarantined(session, known, uids)
    return known


def filed_digests(session: Session, digests: Collection[str]) -> set[str]:
    """Return those of the digests whose files belong in the archive."""
    current = session.exec(select(Instance.digest).where(col(Instance.digest).in_(digests)))
    earlier = session.exec(
        select(SupersededInstance.digest).where(col(SupersededInstance.digest).in_(digests))
    )
    return {*current, *earlier}


def _held(session: Session, digests: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the digests that have rows, apart from those that were only refused."""
    rows = session.exec(
        select(Quarantined.digest, Quarantined.cause, Quarantined.state).where(
            Quarantined.kind == DICOM, col(Quarantined.digest).in_(digests)
        )
    ).all()
    refused = {digest for digest, cause, state in rows if (cause, state) == (REFUSED, OPEN)}
    return filed_digests(session, digests) | {row[0] for row in rows} - refused, refused


def _instances(session: Session, uids: Collection[str]) -> dict[str, Current]:
    rows = session.execute(
        sa.select(
            col(Instance.sop_instance_uid),
            col(Instance.digest),
            col(Instance.sop_class_uid),
            col(Instance.series_instance_uid),
            col(Series.study_instance_uid),
            col(Instance.declared_identity),
        )
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Instance.sop_instance_uid).in_(uids))
    )
    return {uid: Current(*rest) for uid, *rest in rows}


def _series(session: Session, uids: Collection[str]) -> dict[str, str]:
    rows = session.exec(
        select(Series.series_instance_uid, Series.study_instance_uid).where(
            col(Series.series_instance_uid).in_(uids)
        )
    )
    return dict(rows.all())


def _add_quarantined(session: Session, known: Known, uids: Collection[str]) -> None:
    rows = session.execute(
        sa.select(
            col(Quarantined.study_instance_uid),
            col(Quarantined.other_study_instance_uid),
            col(Quarantined.cause),
            col(Quarantined.state),
            col(Quarantined.declared_identity),
            func.max(col(Quarantined.received_at)),
            func.max(col(QuarantineDecision.decided_at)),
        )
        .join(
            QuarantineDecision,
            col(QuarantineDecision.digest) == col(Quarantined.digest),
            isouter=True,
        )
        .where(
            col(Quarantined.kind) == DICOM,
            or_(
                col(Quarantined.study_instance_uid).in_(uids),
                col(Quarantined.other_study_instance_uid).in_(uids),
            ),
        )
        .group_by(
            col(Quarantined.study_instance_uid),
            col(Quarantined.other_study_instance_uid),
            col(Quarantined.cause),
            col(Quarantined.state),
            col(Quarantined.declared_identity),
        )
    )
    for study, other, cause, state, identity, received_at, decided_at in rows:
        for uid in (study, other):
            known.note_event(uid, max(received_at, decided_at or received_at))
        if cause == IDENTITY and state == OPEN and identity:
            known.waiting.setdefault(study, set()).add(identity)
