"""Rows of retrieval: what is to do, what was done, and how much of a study is here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable

from sqlalchemy import delete
from sqlmodel import Session, col, func, literal, or_, select

from dicom_node.database import chunks
from dicom_node.models import Instance, Quarantined, Series
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.models import OPEN, Asking, Backfill, PriorStudy, Retrieval, State, Task

_HOUR = dt.timedelta(hours=1)


def instances_here(session: Session, study_instance_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of a study that are here, those in quarantine included."""
    stored = session.exec(
        select(Instance.sop_instance_uid)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Series.study_instance_uid) == study_instance_uid)
    )
    aside = session.exec(
        select(Quarantined.sop_instance_uid).where(
            Quarantined.study_instance_uid == study_instance_uid, Quarantined.kind == "dicom"
        )
    )
    return {*stored, *aside} - {""}


def allowance(session: Session, now: dt.datetime, studies_per_hour: int, most: int) -> int:
    """Return how many studies may be asked for now, at most ``most``.

    Each asking counts, also the second for the same study. One that lies in the future was made
    while the clock was ahead, and is none of the last hour's.
    """
    if not studies_per_hour:
        return most
    query = select(func.count(col(Asking.id))).where(
        col(Asking.asked_at) > now - _HOUR, col(Asking.asked_at) <= now
    )
    return max(0, min(most, studies_per_hour - session.exec(query).one()))


def note_asking(session: Session, now: dt.datetime) -> None:
    """Count an asking, and forget those that do not count any more."""
    session.execute(
        delete(Asking).where(or_(col(Asking.asked_at) <= now - _HOUR, col(Asking.asked_at) > now))
    )
    session.add(Asking(asked_at=now))


def due(
    session: Session,
    now: dt.datetime,
    number: int,
    *,
    is_open: bool,
    latest: dt.datetime,
    away: Collection[str] = (),
) -> list[int]:
    """Return rows that wait to be worked on, in order; outside of the hours, arrivals' priors.

    Args:
        session: any session.
        now: the time.
        number: how many at most.
        is_open: whether backfills may ask now.
        latest: until when a row may wait; one that waits longer was put off while the clock was
            ahead, and is due.
        away: names of archives that are not asked now.
    """
    query = (
        select(Retrieval.id)
        .join(Backfill, col(Backfill.id) == col(Retrieval.backfill_id))
        .where(
            Retrieval.state == State.WAITING.value,
            or_(col(Retrieval.next_at) <= now, col(Retrieval.next_at) > latest),
            col(Backfill.stopped).is_(False),
            or_(literal(is_open), col(Backfill.on_arrival)),
            col(Backfill.peer).not_in(away),
        )
        .order_by(col(Backfill.on_arrival).desc(), col(Retrieval.id))
        .limit(number)
    )
    return [key for key in session.exec(query) if key is not None]


def arriving(session: Session) -> list[tuple[Retrieval, Backfill]]:
    """Return the rows whose objects are expected."""
    query = (
        select(Retrieval, Backfill)
        .join(Backfill, col(Backfill.id) == col(Retrieval.backfill_id))
        .where(Retrieval.state == State.ARRIVING.value)
        .order_by(col(Retrieval.id))
    )
    return [(row, backfill) for row, backfill in session.exec(query)]


def add_priors(
    session: Session,
    backfill_id: int,
    study_instance_uid: str,
    priors: Iterable[StudyFound],
    now: dt.datetime,
) -> int:
    """Ask for priors of a study and note whose they are; return how many are new."""
    added = 0
    for each in priors:
        uid = each.study_instance_uid
        if session.get(PriorStudy, (study_instance_uid, uid)) is None:
            session.add(
                PriorStudy(
                    study_instance_uid=study_instance_uid, prior_instance_uid=uid, found_at=now
                )
            )
        known = select(Retrieval.id).where(
            Retrieval.backfill_id == backfill_id, Retrieval.study_instance_uid == uid
        )
        if session.exec(known).first() is None:
            added += 1
            session.add(
                Retrieval(
                    backfill_id=backfill_id,
                    task=Task.PRIOR.value,
                    study_instance_uid=uid,
                    patient_id=each.patient_id,
                    prior_of=study_instance_uid,
                    next_at=now,
                )
            )
    session.flush()
    return added


def priors_of(session: Session, study_instance_uid: str) -> list[str]:
    """Return the Study Instance UIDs of the priors that were found for a study."""
    query = select(PriorStudy.prior_instance_uid).where(
        PriorStudy.study_instance_uid == study_instance_uid
    )
    return sorted(session.exec(query))


def searched_for_priors(
    session: Session, study_instance_uids: Iterable[str], backfill_id: int | None
) -> set[str]:
    """Return those studies whose priors are or were looked for by a list, because they arrived."""
    found: set[str] = set()
    for part in chunks(sorted(study_instance_uids)):
        found |= set(
            session.exec(
                select(Retrieval.study_instance_uid).where(
                    Retrieval.task == Task.PRIORS.value,
                    Retrieval.backfill_id == backfill_id,
                    col(Retrieval.study_instance_uid).in_(part),
                )
            )
        )
    return found


def counts(session: Session, backfill_id: int) -> dict[str, int]:
    """Return the number of rows of a backfill in each state that occurs."""
    rows = session.exec(
        select(Retrieval.state, func.count(col(Retrieval.id)))
        .where(Retrieval.backfill_id == backfill_id)
        .group_by(Retrieval.state)
    ).all()
    found = dict(rows)
    return {state.value: found[state.value] for state in State if state.value in found}


def is_finished(found: dict[str, int]) -> bool:
    """Tell whether nothing of a backfill is left to do."""
    return not any(found.get(state.value) for state in OPEN)
