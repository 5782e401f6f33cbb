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
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, col, select

from dicom_node.database import Clock, Database, insert_if_absent
from dicom_node.headers import Header, Unreadable, read_header
from dicom_node.models import Instance, Patient, Quarantined, Series, Study
from dicom_node.settings import CallingPeer, DicomSettings
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


@dataclass(frozen=True)
class _Spooled:
    digest: str
    header: Header
    received_at: dt.datetime


@dataclass
class _Known:
    """What the index holds about the objects of a group, kept up to date while it grows."""

    digests: dict[str, str]  # SOP Instance UID -> digest
    studies: dict[str, Study]
    series: dict[str, str]  # Series Instance UID -> Study Instance UID


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
        _quarantine(database, store, notices, clock(), result)


def _quarantine(
    database: Database,
    store: DicomStore,
    notices: Sequence[Notice],
    now: dt.datetime,
    result: IndexResult,
) -> None:
    with database.write() as session:
        _insert_notices(session, notices, now)
    for notice in notices:
        store.set_aside(notice)
    result.quarantined += len(notices)


def _insert_notices(session: Session, notices: Iterable[Notice], now: dt.datetime) -> None:
    rows = [
        {
            "kind": "dicom",
            "digest": notice.digest,
            "reason": notice.reason,
            "sender": notice.sender,
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
    added: list[_Spooled] = []
    repeated: list[str] = []
    now = clock()
    with database.write() as session:
        known = _known(session, spooled)
        for each in spooled:
            reason = _refusal(each, known)
            if reason:
                notices.append(_notice(each, reason))
            elif each.header.sop_instance_uid in known.digests:
                repeated.append(each.digest)
            else:
                _add_study(session, each.header, known, settings, now)
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


def _read_group(paths: Iterable[Path]) -> tuple[list[_Spooled], list[Notice]]:
    spooled: list[_Spooled] = []
    notices: list[Notice] = []
    for path in paths:
        try:
            arrival = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
            spooled.append(_Spooled(path.stem, read_header(path), arrival))
        except Unreadable as error:
            notices.append(
                Notice(path.stem, str(error), study_instance_uid=error.study_instance_uid)
            )
    return spooled, notices


def _known(session: Session, spooled: Sequence[_Spooled]) -> _Known:
    instances = {each.header.sop_instance_uid for each in spooled}
    series = {each.header.series_instance_uid for each in spooled}
    studies = {each.header.study_instance_uid for each in spooled}
    digests = session.exec(
        select(Instance.sop_instance_uid, Instance.digest).where(
            col(Instance.sop_instance_uid).in_(instances)
        )
    )
    parents = session.exec(
        select(Series.series_instance_uid, Series.study_instance_uid).where(
            col(Series.series_instance_uid).in_(series)
        )
    )
    rows = session.exec(select(Study).where(col(Study.study_instance_uid).in_(studies)))
    return _Known(
        digests=dict(digests.all()),
        studies={study.study_instance_uid: study for study in rows},
        series=dict(parents.all()),
    )


def _refusal(each: _Spooled, known: _Known) -> str:
    """Return why an object must not be filed, or an empty string."""
    header = each.header
    study = known.studies.get(header.study_instance_uid)
    checks = (
        (
            known.digests.get(header.sop_instance_uid, each.digest) != each.digest,
            "another object with the same SOP Instance UID is stored already",
        ),
        (
            known.series.get(header.series_instance_uid, header.study_instance_uid)
            != header.study_instance_uid,
            "its series belongs to another study",
        ),
        (
            study is not None and _contradicts(study, header),
            "its study belongs to another patient",
        ),
    )
    return next((reason for fails, reason in checks if fails), "")


def _contradicts(study: Study, header: Header) -> bool:
    """Compare patient identities; one that is silent or assumed contradicts nothing by itself."""
    if study.patient_id and header.patient_id and study.patient_id != header.patient_id:
        return True
    return bool(
        study.issuer_of_patient_id
        and not study.issuer_assumed
        and header.issuer_of_patient_id
        and study.issuer_of_patient_id != header.issuer_of_patient_id
    )


def _notice(each: _Spooled, reason: str) -> Notice:
    header = each.header
    return Notice(
        digest=each.digest,
        reason=reason,
        sender=header.calling_ae_title,
        sop_instance_uid=header.sop_instance_uid,
        study_instance_uid=header.study_instance_uid,
    )


def _add_study(
    session: Session, header: Header, known: _Known, settings: DicomSettings, now: dt.datetime
) -> None:
    """Make or touch the rows above an instance."""
    study = known.studies.get(header.study_instance_uid)
    if study is None:
        study = _new_study(header, settings, now)
        known.studies[study.study_instance_uid] = study
    elif not study.patient_id:
        # The first instance was silent about its patient: the first that speaks decides.
        _identify(study, header, settings)
    study.last_received_at = now
    session.add(study)
    if header.series_instance_uid not in known.series:
        known.series[header.series_instance_uid] = header.study_instance_uid
        # Parents first: there is no relationship that would tell the session this order.
        session.flush()
        session.add(_new_series(header))


def _new_study(header: Header, settings: DicomSettings, now: dt.datetime) -> Study:
    peer = _peer(settings, header.calling_ae_title)
    accession, accession_assumed = _issuer(
        header.accession_number,
        header.issuer_of_accession_number,
        peer.issuer_of_accession_number if peer else "",
        settings.default_issuer_of_accession_number,
    )
    study = Study(
        study_instance_uid=header.study_instance_uid,
        accession_number=header.accession_number,
        issuer_of_accession_number=accession,
        accession_issuer_assumed=accession_assumed,
        study_date=header.study_date,
        study_time=header.study_time,
        study_description=header.study_description,
        calling_ae_title=header.calling_ae_title,
        first_received_at=now,
        last_received_at=now,
    )
    _identify(study, header, settings)
    return study


def _identify(study: Study, header: Header, settings: DicomSettings) -> None:
    """Give the study the patient identity of this instance."""
    peer = _peer(settings, header.calling_ae_title)
    study.patient_id = header.patient_id
    study.issuer_of_patient_id, study.issuer_assumed = _issuer(
        header.patient_id,
        header.issuer_of_patient_id,
        peer.issuer_of_patient_id if peer else "",
        settings.default_issuer_of_patient_id,
    )
    study.patient_name = header.patient_name
    study.patient_birth_date = header.patient_birth_date
    study.patient_sex = header.patient_sex


def _new_series(header: Header) -> Series:
    return Series(
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        modality=header.modality,
        series_number=header.series_number,
        series_description=header.series_description,
        body_part_examined=header.body_part_examined,
        manufacturer=header.manufacturer,
        manufacturer_model_name=header.manufacturer_model_name,
    )


def _insert_rows(
    session: Session,
    added: Sequence[_Spooled],
    notices: Sequence[Notice],
    known: _Known,
    now: dt.datetime,
) -> None:
    session.flush()
    if added:
        session.execute(insert(Instance), [_instance_row(each) for each in added])
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


def _instance_row(each: _Spooled) -> dict[str, Any]:
    header = each.header
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "digest": each.digest,
        "series_instance_uid": header.series_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "instance_number": header.instance_number,
        "size": header.size,
        "calling_ae_title": header.calling_ae_title,
        "called_ae_title": header.called_ae_title,
        "received_at": each.received_at,
    }


def _peer(settings: DicomSettings, ae_title: str) -> CallingPeer | None:
    return next((peer for peer in settings.peers if peer.ae_title.strip() == ae_title), None)


def _issuer(identifier: str, declared: str, *assumed: str) -> tuple[str, bool]:
    """Return the issuer of an identifier and whether it had to be assumed."""
    if declared or not identifier:
        return declared, False
    guess = next((each for each in assumed if each), "")
    return guess, bool(guess)


def _printable(text: str) -> str:
    """Return peer text fit for a row and a terminal."""
    return text.encode("unicode_escape").decode("ascii")[:256]
