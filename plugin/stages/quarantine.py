"""Stage: a person looks at what lies in quarantine and decides; the index is rebuilt from files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.decisions import decide
from dicom_node.headers import Header
from dicom_node.indexing import index_spool
from dicom_node.inspection import Inspector
from dicom_node.models import Instance, Quarantined
from dicom_node.quarantine import CAUSES, DICOM, OPEN, notices_of
from dicom_node.reindexing import reindex
from dicom_node.storage import DicomStore
from dicom_node.studies import frozen_studies
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.linking import study_linker

_SHORTEST_NAME = 8
_HEX = frozenset("0123456789abcdef")
# They differ between any two files and say nothing about the dispute.
_NOT_COMPARED = frozenset({"size"})


def list_quarantined(session: Session) -> dict[str, Any]:
    """Return every quarantined DICOM object, open ones first, and the studies that are frozen."""
    rows = session.exec(
        select(Quarantined)
        .where(Quarantined.kind == DICOM)
        .order_by(col(Quarantined.state) != OPEN, col(Quarantined.received_at))
    ).all()
    return {
        "quarantined": [
            {
                "digest": row.digest,
                "state": row.state,
                "cause": row.cause,
                "reason": row.reason,
                "study_instance_uid": row.study_instance_uid,
                "sender": row.sender,
                "received_at": row.received_at.isoformat(),
            }
            for row in rows
        ],
        "frozen": [
            {"study_instance_uid": uid, "reasons": reasons}
            for uid, reasons in frozen_studies(session).items()
        ],
    }


def show_quarantined(
    session: Session, store: DicomStore, inspector: Inspector, name: str
) -> dict[str, Any]:
    """Return one quarantined object, what was decided, and how it differs from the stored one.

    Args:
        session: any session.
        store: where the objects lie.
        inspector: reads both headers.
        name: the digest, or its first characters.

    Raises:
        Permanent: no object has this digest, or several begin so.
    """
    row = _find(session, name)
    (notice,) = notices_of(session, [row])
    found: dict[str, Any] = {
        **asdict(notice),
        "state": row.state,
        "meaning": CAUSES.get(row.cause, ""),
        "received_at": row.received_at.isoformat(),
        "decisions": [
            {**asdict(each), "decided_at": each.decided_at.isoformat()} for each in notice.decisions
        ],
    }
    stored = session.exec(
        select(Instance.digest).where(
            Instance.sop_instance_uid == row.sop_instance_uid, Instance.digest != row.digest
        )
    ).first()
    if stored is not None:
        paths = [store.path(stored), store.path(row.digest)]
        found["stored"] = stored
        found["differences"] = _differences(*inspector.headers(paths))
    return found


def export_quarantined(session: Session, store: DicomStore, name: str, target: Path) -> str:
    """Copy the stored bytes of a quarantined object to a new file; return its digest.

    Raises:
        Permanent: no object has this digest, several begin so, or ``target`` exists.
    """
    row = _find(session, name)
    try:
        with store.path(row.digest).open("rb") as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
    except FileExistsError:
        raise Permanent(f"{target} exists already; it was not changed") from None
    return row.digest


def decide_quarantined(
    context: Context, name: str, action: str, *, by: str, reason: str
) -> dict[str, Any]:
    """Accept or reject a quarantined object; see :func:`dicom_node.decisions.decide`.

    Returns:
        ``digest``, its ``state``, ``studies`` filed again, ``superseded`` instances.
    """
    with context.database.read() as session:
        digest = _find(session, name).digest
    outcome = decide(
        context.database,
        DicomStore(context.folder.root),
        context.settings.dicom,
        context.clock,
        digest,
        action,
        by=by,
        reason=reason,
        on_study=study_linker(context),
        inspector=context.sandbox,
    )
    return {"digest": digest, **asdict(outcome)}


def rebuild_index(context: Context, progress: Progress, *, dry_run: bool) -> dict[str, Any]:
    """Rebuild every row of the index from files, then index what is spooled.

    Returns:
        The counts of :class:`dicom_node.reindexing.ReindexResult`, and ``indexed`` from the spool.
    """
    store = DicomStore(context.folder.root)
    store.make_folders()
    arguments: tuple[Any, ...] = (
        context.database,
        store,
        context.settings.dicom,
        context.clock,
        study_linker(context),
        context.sandbox,
    )
    result = reindex(*arguments, dry_run=dry_run, progress=_every(progress, 1000))
    found = asdict(result)
    if not dry_run:
        found["indexed"] = index_spool(*arguments).indexed
    return {"dry_run": dry_run, **found}


def _find(session: Session, name: str) -> Quarantined:
    if len(name) < _SHORTEST_NAME or not _HEX.issuperset(name):
        raise Permanent(f"a digest has 64 hexadecimal digits; at least {_SHORTEST_NAME} are needed")
    rows = session.exec(
        select(Quarantined)
        .where(Quarantined.kind == DICOM, col(Quarantined.digest).startswith(name))
        .limit(2)
    ).all()
    if len(rows) != 1:
        many = "several objects in quarantine begin so" if rows else "nothing in quarantine has it"
        raise Permanent(f"digest {name}: {many}")
    return rows[0]


def _differences(stored: object, quarantined: object) -> list[dict[str, Any]]:
    if not isinstance(stored, Header) or not isinstance(quarantined, Header):
        return []
    return [
        {"field": each.name, "stored": _shown(before), "quarantined": _shown(after)}
        for each in fields(Header)
        if each.name not in _NOT_COMPARED
        and (before := getattr(stored, each.name)) != (after := getattr(quarantined, each.name))
    ]


def _shown(value: object) -> str:
    """Return a peer's value fit for a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(value)
    )


def _every(progress: Progress, files: int) -> Callable[[str], None]:
    """Return a progress that speaks once for so many files."""
    seen = 0

    def speak(line: str) -> None:
        nonlocal seen
        count = int(line.split()[0])
        if count // files > seen // files:
            progress(line)
        seen = count

    return speak
