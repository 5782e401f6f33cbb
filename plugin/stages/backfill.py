"""Stage: lists of studies that are fetched from an archive: made, shown, stopped, resumed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.errors import NeedsReview
from dicom_node.errors import Permanent as Refused
from dicom_node.file_meta import is_uid
from dicom_node.history.tables import RefusedRow, Row, read_text_table
from dicom_node.retrieval.answers import exact_key
from dicom_node.retrieval.finding import Finder, finder
from dicom_node.retrieval.looking import Issuers, Several, find_priors, look_up, reference_to
from dicom_node.retrieval.models import MISSING, Backfill, Retrieval, State, Task
from dicom_node.retrieval.rows import counts, instances_here, is_finished
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.archives import archive_of, asked_peer, issuers_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ON_ARRIVAL = "priors-of-"
_MOST_PRIORS = 20
_COLUMNS = {
    "accession_number": ("accession_number", "accession"),
    "issuer_of_accession_number": ("issuer_of_accession_number", "issuer"),
    "study_instance_uid": ("study_instance_uid",),
    "patient_id": ("patient_id",),
}


@dataclass(frozen=True)
class Asked:
    """One line of the file."""

    line: int
    accession_number: str = ""
    issuer_of_accession_number: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two lines the same request."""
        return self.accession_number, self.issuer_of_accession_number, self.study_instance_uid


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
        session.add_all(_row(backfill, each, now) for each in wanted)
    return {"name": called, "from": where, "asks": len(wanted), "refused": refused}


def try_backfill(
    context: Context, path: str, progress: Progress, *, peer: str, priors: int
) -> dict[str, Any]:
    """Ask the archive about each line of a file, and fetch nothing.

    Raises:
        Permanent, InvalidSettings: as :func:`start_backfill`.
        dicom_node.errors.Transient: the archive cannot be asked.
    """
    where = asked_peer(context.settings, peer)
    wanted, refused = read_requests(Path(path))
    issuers = issuers_of(context, where)
    rows: list[dict[str, Any]] = []
    with finder(archive_of(context, where)) as asked:
        for number, each in enumerate(wanted, start=1):
            rows.append(_tried(context, asked, each, issuers, priors))
            progress(f"{number} of {len(wanted)} asked about")
    found: dict[str, int] = {}
    for row in rows:
        found[row["state"]] = found.get(row["state"], 0) + 1
    return {
        "dry_run": True,
        "from": where.name,
        "would": found,
        "instances": sum(row["instances"] or 0 for row in rows if row["state"] == _FETCH),
        "priors": sum(row["priors"] for row in rows),
        "studies": rows,
        "refused": refused,
    }


_FETCH = "fetch"


def _tried(
    context: Context, asked: Finder, each: Asked, issuers: Issuers, priors: int
) -> dict[str, Any]:
    row = Retrieval(**_values(each), backfill_id=0, next_at=context.clock())
    told = {"line": each.line, "accession": each.accession_number, "instances": None, "priors": 0}
    try:
        study = look_up(asked, row, issuers)
        if study is None:
            return {**told, "state": State.UNKNOWN.value}
        content = asked.content(study, context.settings.retrieval.maximum_instances)
        if priors:
            reference = reference_to(asked, study)
            told["priors"] = len(find_priors(asked, reference, issuers, priors)[0])
    except Several:
        return {**told, "state": State.SEVERAL.value}
    except (Refused, NeedsReview) as error:
        return {**told, "state": State.REFUSED.value, "detail": str(error)}
    with context.database.read() as session:
        here = instances_here(session, study.study_instance_uid)
    state = _FETCH
    if len(content) > context.settings.retrieval.maximum_instances:
        state = State.TOO_LARGE.value
    elif content and {image.sop_instance_uid for image in content} <= here:
        state = State.PRESENT.value
    return {**told, "state": state, "instances": len(content)}


def read_requests(path: Path) -> tuple[list[Asked], list[dict[str, Any]]]:
    """Read a file of requests; return them, each once, and the lines that are none.

    Raises:
        Permanent: it cannot be read, or asks for nothing.
    """
    found: dict[tuple[str, str, str], Asked] = {}
    refused: list[dict[str, Any]] = []
    try:
        for each in _lines(path):
            if isinstance(each, RefusedRow):
                refused.append({"line": each.line, "reason": each.reason})
            else:
                found.setdefault(each.key, each)
    except OSError as error:
        raise Permanent(f"the file cannot be read: {error.strerror}") from error
    except Refused as error:
        raise Permanent(str(error)) from error
    if not found:
        raise Permanent(
            "the file asks for nothing: it needs a header with accession_number or "
            "study_instance_uid, and rows"
        )
    return list(found.values()), refused


def _lines(path: Path) -> Iterator[Asked | RefusedRow]:
    for row in read_text_table(path):
        if isinstance(row, RefusedRow):
            yield row
            continue
        try:
            yield _asked(row)
        except Refused as error:
            yield RefusedRow(row.line, str(error))


def _asked(row: Row) -> Asked:
    """Read one row.

    Raises:
        Refused: it names no study, or would match others.
    """
    cells = {name.strip().lower().replace(" ", "_"): value for name, value in row.cells.items()}
    values = {
        name: next((cells[each].strip() for each in names if cells.get(each, "").strip()), "")
        for name, names in _COLUMNS.items()
    }
    if values["study_instance_uid"] and not is_uid(values["study_instance_uid"]):
        raise Refused("the Study Instance UID is none")
    if not (values["accession_number"] or values["study_instance_uid"]):
        raise Refused("neither an accession number nor a Study Instance UID")
    asked = {name: exact_key(value) if value else "" for name, value in values.items()}
    return Asked(row.line, **asked)


def _values(each: Asked) -> dict[str, Any]:
    return {
        "line": each.line,
        "accession_number": each.accession_number,
        "issuer_of_accession_number": each.issuer_of_accession_number,
        "study_instance_uid": each.study_instance_uid,
        "patient_id": each.patient_id,
    }


def _row(backfill: Backfill, each: Asked, now: Any) -> Retrieval:
    return Retrieval(
        **_values(each), backfill_id=backfill.id or 0, task=Task.STUDY.value, next_at=now
    )


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
    }


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
        Permanent: there is none of this name.
    """
    with context.database.write() as session:
        row = _named(session, name)
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
