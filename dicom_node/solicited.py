"""Studies that are here because we asked for them: they may train and are never answered.

A prior that was fetched, a backfilled year and an imported archive look like any other study once
they are stored. What tells them apart is written down at two moments, and either suffices: before
anything is asked for (:func:`expect`), because not every archive says for whom it sends (Move
Originator Application Entity Title (0000,1030) is optional, PS3.7 9.1.1.1); and when a first image
arrives that says so itself (:func:`mark_first_come`). What was written down before asking is in a
row and in a list of its own (:mod:`dicom_node.asked_for`), from which :func:`mark_listed` restores
rows that are gone. A study that was routed to us before we asked for more of it stays what it was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping

from sqlmodel import Session, col, or_, select

from dicom_node.asked_for import AskedFor
from dicom_node.database import Clock, chunks, insert_if_absent
from dicom_node.file_meta import IMPORTED, RETRIEVED, ROUTED
from dicom_node.life_models import SolicitedStudy
from dicom_node.models import Instance, QuarantineDecision, Series, SupersededInstance
from dicom_node.studies import images_only

_BROUGHT_ALONG = {
    RETRIEVED: "its first image came because this node asked for it",
    IMPORTED: "its first image was imported",
}


def expect(
    session: Session, study_instance_uids: Iterable[str], way: str, reason: str, clock: Clock
) -> set[str]:
    """Write down what will be asked for; commit before asking.

    Args:
        session: a writing session.
        study_instance_uids: studies that will be asked for.
        way: ``file_meta.RETRIEVED`` or ``file_meta.IMPORTED``.
        reason: what for, without a word about the patient.
        clock: gives the time.

    Returns:
        Those that are never answered from now on: images of the others were here already.
    """
    asked = set(study_instance_uids)
    asked -= with_images(session, asked)
    _mark(session, dict.fromkeys(asked, (way, reason)), clock)
    return asked


def take_back(session: Session, study_instance_uid: str) -> None:
    """Take back what :func:`expect` wrote down, because nothing was asked for after all."""
    row = session.get(SolicitedStudy, study_instance_uid)
    if row is not None:
        session.delete(row)


def mark_first_come(session: Session, study_instance_uids: Iterable[str], clock: Clock) -> set[str]:
    """Mark those studies whose first image says that somebody here asked for it; return them."""
    first: dict[str, str] = {}
    for chunk in chunks(sorted(set(study_instance_uids))):
        accepted = _accepted(session, chunk)
        # What a person let in came, for its study, after what came without: it lay aside.
        came = sorted((digest in accepted, when, digest, uid, way)
                      for when, digest, uid, way in _ways(session, chunk))  # fmt: skip
        for _, _, _, uid, way in came:
            first.setdefault(uid, way)
    asked = {uid: (way, _BROUGHT_ALONG[way]) for uid, way in first.items() if way != ROUTED}
    _mark(session, asked, clock)
    return set(asked)


def mark_listed(session: Session, asked_for: AskedFor, study_instance_uids: Iterable[str]) -> None:
    """Mark those studies that the list says were asked for, whatever their images say.

    Raises:
        OSError: the list cannot be read.
    """
    rows = [
        {
            "study_instance_uid": uid,
            "way": each.way,
            "reason": "the list of what was asked for says so",
            "asked_at": each.asked_at,
        }
        for uid, each in sorted(asked_for.look_up(set(study_instance_uids)).items())
    ]
    insert_if_absent(session, SolicitedStudy, rows)


def solicited_studies(
    session: Session, study_instance_uids: Collection[str] | None = None
) -> dict[str, SolicitedStudy]:
    """Return the studies that are never answered, by Study Instance UID; None: of all."""
    if study_instance_uids is None:
        found = list(session.exec(select(SolicitedStudy)))
    else:
        found = [
            row
            for chunk in chunks(sorted(set(study_instance_uids)))
            for row in session.exec(
                select(SolicitedStudy).where(col(SolicitedStudy.study_instance_uid).in_(chunk))
            )
        ]
    return {row.study_instance_uid: row for row in found}


def _mark(session: Session, asked: Mapping[str, tuple[str, str]], clock: Clock) -> None:
    """Write down way and reason by study; what is marked already stays as it is."""
    now = clock()
    rows = [
        {"study_instance_uid": uid, "way": way, "reason": reason, "asked_at": now}
        for uid, (way, reason) in sorted(asked.items())
    ]
    insert_if_absent(session, SolicitedStudy, rows)


def _ways(session: Session, uids: Collection[str]) -> list[tuple[dt.datetime, str, str, str]]:
    """Return when and how each image of some studies came, earlier versions of images included.

    What was fetched may be the newer version of an image that was routed.
    """
    now = (
        select(Instance.received_at, Instance.digest, Series.study_instance_uid, Instance.way)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Series.study_instance_uid).in_(uids), images_only())
    )
    earlier = SupersededInstance
    before = (
        select(earlier.received_at, earlier.digest, earlier.study_instance_uid, earlier.way)
        .join(
            Instance,
            col(Instance.sop_instance_uid) == col(earlier.sop_instance_uid),
            isouter=True,
        )
        # Of one that nothing took the place of, nobody knows any more what it was.
        .where(
            col(earlier.study_instance_uid).in_(uids),
            or_(images_only(), col(Instance.sop_instance_uid).is_(None)),
        )
    )
    return [*session.exec(now), *session.exec(before)]


def _accepted(session: Session, uids: Collection[str]) -> set[str]:
    """Return the objects of some studies that a person let in out of quarantine."""
    query = (
        select(QuarantineDecision.digest)
        .join(Instance, col(Instance.digest) == col(QuarantineDecision.digest))
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Series.study_instance_uid).in_(uids))
    )
    return set(session.exec(query))


def with_images(session: Session, uids: Collection[str]) -> set[str]:
    """Return those studies of which images are indexed."""
    return {
        uid
        for chunk in chunks(sorted(uids))
        for uid in session.exec(
            select(Series.study_instance_uid)
            .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
            .where(col(Series.study_instance_uid).in_(chunk), images_only())
            .distinct()
        )
    }
