"""Stage: lists of studies that are fetched from an archive: made, shown, stopped, resumed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, col, select

from dicom_node.retrieval.models import MISSING, Backfill, Retrieval, State, Task
from dicom_node.retrieval.rows import counts, is_finished
from plugin.context import Context
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.archives import asked_peer
from plugin.stages.backfill_requests import read_requests

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ON_ARRIVAL = "priors-of-"
_MOST_PRIORS = 20


def start_backfill(
    context: Context, path: str, *, peer: str, priors: int, name: str
) -> dict[str, Any]:
    """Write down what a file asks for; the running node fetches it.

    Args:
        context: the open node.
        path: CSV with a header; see deploy/backfill.md.
        peer: name of the archive; empty: the only one with ``retrieve``.
        priors: how many earlier studies are fetched with each.
        name: of the list; empty: made of the day.

    Returns:
        Its ``name``, how many studies it ``asks`` for, and the lines that are ``refused``.

    Raises:
        Permanent: the name is taken or is none, or the file asks for nothing.
        dicom_node.errors.InvalidSettings: no such archive may be asked.
    """
    where = asked_peer(context.settings, peer).name
    if not 0 <= priors <= _MOST_PRIORS:
        raise Permanent(f"priors are 0 to {_MOST_PRIORS}")
    wanted, refused = read_requests(Path(path))
    now = context.clock()
    with context.database.write() as session:
        called = name or _free_name(session, f"backfill-{now:%Y%m%d}")
        if _NAME.fullmatch(called) is None or called.startswith(_ON_ARRIVAL):
            raise Permanent("a name has letters, digits, dots, dashes and underscores, 64 at most")
        if session.exec(select(Backfill.id).where(Backfill.name == called)).first() is not None:
            raise Permanent(f"there is a backfill {called} already; radloop backfill list")
        backfill = Backfill(name=called, peer=where, priors=priors, created_at=now)
        session.add(backfill)
        session.flush()
        # As dictionaries: half a million objects of the mapper take minutes to make.
        blank = Retrieval(backfill_id=backfill.id or 0, task=Task.STUDY.value, next_at=now)
        common = blank.model_dump(exclude={"id"})
        session.execute(insert(Retrieval), [common | each.values for each in wanted])
    return {"name": called, "from": where, "asks": len(wanted), "refused": refused}


def _free_name(session: Session, stem: str) -> str:
    taken = set(session.exec(select(Backfill.name)))
    return next(name for n in range(1, len(taken) + 2) if (name := f"{stem}-{n}") not in taken)


def list_backfills(session: Session) -> dict[str, Any]:
    """Return every backfill with how far it is."""
    rows = session.exec(select(Backfill).order_by(col(Backfill.id)))
    return {"backfills": [_summary(session, row) for row in rows]}


def _summary(session: Session, row: Backfill) -> dict[str, Any]:
    found = counts(session, row.id or 0)
    done = "waits for arrivals" if row.on_arrival else "finished"
    state = "stopped" if row.stopped else done if is_finished(found) else "running"
    return {
        "name": row.name,
        "from": row.peer,
        "priors": row.priors,
        "state": state,
        "studies": sum(found.values()),
        **found,
        "trouble": "" if is_finished(found) else _trouble(session, row.id or 0),
    }


def _trouble(session: Session, backfill_id: int) -> str:
    """Say why the last row that waits was not done yet; empty where nothing went wrong."""
    query = (
        select(Retrieval.detail)
        .where(
            Retrieval.backfill_id == backfill_id,
            Retrieval.state == State.WAITING.value,
            Retrieval.detail != "",
        )
        .order_by(col(Retrieval.next_at).desc(), col(Retrieval.id).desc())
        .limit(1)
    )
    return session.exec(query).first() or ""


def show_backfill(session: Session, settings: Settings, name: str, now: Any) -> dict[str, Any]:
    """Return how far a backfill is, and what was not fetched and why; empty: the newest.

    Raises:
        Permanent: there is none of this name.
    """
    row = _named(session, name)
    rows = session.exec(
        select(Retrieval)
        .where(
            Retrieval.backfill_id == row.id, col(Retrieval.state).in_([s.value for s in MISSING])
        )
        .order_by(col(Retrieval.line), col(Retrieval.id))
    ).all()
    return {
        **_summary(session, row),
        "asks_now": row.on_arrival or settings.retrieval.open_at(now),
        "missing": [describe(each) for each in rows],
    }


def describe(row: Retrieval) -> dict[str, Any]:
    """Return a row for people, JSON-ready."""
    return {
        "line": row.line or None,
        "task": row.task,
        "accession": row.accession_number,
        "study_instance_uid": row.study_instance_uid,
        "state": row.state,
        "detail": row.detail,
        "arrived": row.arrived,
        "expected": row.expected,
        "failed": row.failed,
        "failed_instances": list(row.failed_uids),
        "attempts": row.attempts,
    }


def stop_backfill(context: Context, name: str) -> dict[str, Any]:
    """Ask for nothing more of a backfill until it is resumed; what was asked for still arrives.

    Raises:
        Permanent: there is none of this name, or it has finished.
    """
    with context.database.write() as session:
        row = _named(session, name)
        if not row.on_arrival and is_finished(counts(session, row.id or 0)):
            raise Permanent(f"the backfill {row.name} has finished: there is nothing to stop")
        row.stopped = True
        session.add(row)
        session.flush()
        return _summary(session, row)


def resume_backfill(context: Context, name: str, *, again: bool) -> dict[str, Any]:
    """Go on with a backfill; with ``again`` also with what was not fetched.

    Raises:
        Permanent: there is none of this name.
    """
    now = context.clock()
    with context.database.write() as session:
        row = _named(session, name)
        row.stopped = False
        session.add(row)
        some = [state.value for state in MISSING] if again else []
        query = select(Retrieval).where(
            Retrieval.backfill_id == row.id, col(Retrieval.state).in_(some)
        )
        for each in session.exec(query):
            each.state, each.attempts, each.next_at = State.WAITING.value, 0, now
            each.detail, each.finished_at = "", None
            session.add(each)
        session.flush()
        return _summary(session, row)


def _named(session: Session, name: str) -> Backfill:
    query = select(Backfill).order_by(col(Backfill.id).desc())
    row = session.exec(query.where(Backfill.name == name) if name else query).first()
    if row is None:
        raise Permanent("there is no such backfill: radloop backfill list")
    return row


def named_on_arrival(model: str) -> str:
    """Return the name of the list of priors that arrive for a model's studies."""
    return f"{_ON_ARRIVAL}{model}"
