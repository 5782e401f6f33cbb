"""The index of what arrived: spool files become rows, then move to the archive.

The row comes first, then the rename. A crash in between leaves a spooled file whose digest the
index knows already, which the next run merely moves. Files are indexed in groups, one transaction
each, and the linker runs inside the same transaction, so nobody sees a study that was not linked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert
from sqlmodel import Session

from dicom_node.database import Clock, Database, insert_if_absent
from dicom_node.filing import Known, Spooled, add_parents, instance_row, known_objects, refusal
from dicom_node.headers import Unreadable, read_header
from dicom_node.models import Instance, Patient, Quarantined, Study
from dicom_node.settings import DicomSettings
from dicom_node.storage import DicomStore, Notice
from dicom_node.studies import (
    complete_studies,
    instances_of,
    is_disputed,
    status_counts,
    study_digest,
)

__all__ = [
    "IndexResult",
    "OnStudy",
    "complete_studies",
    "index_spool",
    "instances_of",
    "is_disputed",
    "status_counts",
    "study_digest",
]

OnStudy = Callable[[Session, Study], object]
"""Called for each study that is new or has grown, in the transaction that changes it."""

_GROUP = 256


@dataclass
class IndexResult:
    """What one run did; ``studies`` are the Study Instance UIDs that are new or have grown."""

    indexed: int = 0
    duplicates: int = 0
    quarantined: int = 0
    studies: set[str] = field(default_factory=set)


def index_spool(
    database: Database,
    store: DicomStore,
    settings: DicomSettings,
    clock: Clock,
    on_study: OnStudy | None = None,
) -> IndexResult:
    """Index everything that lies in the spool now.

    Safe to run twice and after a crash at any point. An object that must not be used is kept in
    quarantine with the reason; the first object under a SOP Instance UID stays.

    Args:
        database: takes the rows.
        store: whose spool is read.
        settings: which issuers to assume for which sender.
        clock: when a study was last seen to grow. Not the time of arrival: after an outage the
            backlog is indexed piece by piece, and a study must not look complete in between.
        on_study: the linker; an error of its own undoes the group, which stays in the spool.

    Raises:
        OutOfSpace: no room for a notice; what was not moved waits for the next run.
        OSError: the disk cannot be read or written.
    """
    result = IndexResult()
    _record_notices(database, store, clock, result)
    for paths in _groups(store.spooled()):
        _index_group(database, store, settings, clock, on_study, paths, result)
    return result


def _groups(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), _GROUP):
        yield paths[start : start + _GROUP]


def _record_notices(
    database: Database, store: DicomStore, clock: Clock, result: IndexResult
) -> None:
    notices = store.notices()
    if notices:
        with database.write() as session:
            _insert_notices(session, notices, clock())
    for notice in notices:
        store.file_notice(notice)
    result.quarantined += len(notices)


def _insert_notices(session: Session, notices: Iterable[Notice], now: dt.datetime) -> None:
    rows = [
        {
            "kind": "dicom",
            "digest": notice.digest,
            "reason": notice.reason,
            "sender": _printable(notice.sender),
            "sop_instance_uid": _printable(notice.sop_instance_uid),
            "study_instance_uid": notice.study_instance_uid,
            "received_at": now,
        }
        for notice in notices
    ]
    insert_if_absent(session, Quarantined, rows)


def _index_group(
    database: Database,
    store: DicomStore,
    settings: DicomSettings,
    clock: Clock,
    on_study: OnStudy | None,
    paths: Sequence[Path],
    result: IndexResult,
) -> None:
    spooled, notices = _read_group(paths)
    added: list[Spooled] = []
    repeated: list[str] = []
    now = clock()
    with database.write() as session:
        known = known_objects(session, spooled)
        for each in spooled:
            reason = refusal(each, known)
            if reason:
                notices.append(_notice(each, reason))
            elif each.header.sop_instance_uid in known.digests:
                repeated.append(each.digest)
            else:
                add_parents(session, each.header, known, settings, now)
                known.digests[each.header.sop_instance_uid] = each.digest
                added.append(each)
        _insert_rows(session, added, notices, known, now)
        grown = {each.header.study_instance_uid for each in added}
        for uid in sorted(grown):
            if on_study is not None:
                on_study(session, known.studies[uid])
    store.archive([*(each.digest for each in added), *repeated])
    for notice in notices:
        store.set_aside(notice)
    result.indexed += len(added)
    result.duplicates += len(repeated)
    result.quarantined += len(notices)
    result.studies |= grown


def _read_group(paths: Iterable[Path]) -> tuple[list[Spooled], list[Notice]]:
    spooled: list[Spooled] = []
    notices: list[Notice] = []
    for path in paths:
        try:
            arrival = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
            spooled.append(Spooled(path.stem, read_header(path), arrival))
        except Unreadable as error:
            notices.append(
                Notice(path.stem, str(error), study_instance_uid=error.study_instance_uid)
            )
    return spooled, notices


def _notice(each: Spooled, reason: str) -> Notice:
    header = each.header
    return Notice(
        digest=each.digest,
        reason=reason,
        sender=header.calling_ae_title,
        sop_instance_uid=header.sop_instance_uid,
        study_instance_uid=header.study_instance_uid,
    )


def _insert_rows(
    session: Session,
    added: Sequence[Spooled],
    notices: Sequence[Notice],
    known: Known,
    now: dt.datetime,
) -> None:
    session.flush()
    if added:
        session.execute(insert(Instance), [instance_row(each) for each in added])
    identities = {
        (study.issuer_of_patient_id, study.patient_id)
        for study in known.studies.values()
        if study.patient_id
    }
    insert_if_absent(
        session,
        Patient,
        [
            {"issuer_of_patient_id": issuer, "patient_id": patient_id, "first_seen_at": now}
            for issuer, patient_id in sorted(identities)
        ],
    )
    _insert_notices(session, notices, now)


def _printable(text: str) -> str:
    """Return peer text fit for a row and a terminal."""
    return text.encode("unicode_escape").decode("ascii")[:256]
