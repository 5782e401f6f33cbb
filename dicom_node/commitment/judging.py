"""What may be promised of an instance: committed, or the failure reason (PS3.3 table C.14-1).

Committed is what has been synced and indexed, is the current version of its instance, lies in no
quarantine and in no dispute, and whose file was read again, byte for byte, and has its digest.
"""

from __future__ import annotations

import datetime as dt
import errno
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlmodel import Session, col, select

from dicom_node.commitment.information import Reference
from dicom_node.commitment.models import CommittedInstance
from dicom_node.commitment.verifying import digest_of_file
from dicom_node.commitment.vocabulary import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
)
from dicom_node.database import Database, chunks
from dicom_node.models import Instance, Quarantined, Series
from dicom_node.quarantine import DICOM, OPEN
from dicom_node.storage import DicomStore

_SHORT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


@dataclass(frozen=True)
class Judged:
    """A reference with its failure reason (0: committed) and the study, where one is known."""

    reference: Reference
    study_instance_uid: str = ""
    digest: str = ""


def judge(
    database: Database, store: DicomStore, references: Sequence[Reference], *, complete: bool
) -> list[Judged]:
    """Judge every reference; nothing is promised yet, see :func:`promise`.

    Args:
        database: the index.
        store: the files.
        references: what is asked for.
        complete: whether everything that came before the request is indexed; else what waits could
            be what is missing, or take the place of what is held, and nothing is committed.
    """
    with database.read() as session:
        judged = look_up(session, references, NO_SUCH_INSTANCE)
    if not complete:
        failed = [replace(each.reference, reason=PROCESSING_FAILURE) for each in judged]
        return [replace(e, reference=f) for e, f in zip(judged, failed, strict=True)]
    return [_with_bytes_checked(store, each) for each in judged]


def promise(
    session: Session,
    judged: Sequence[Judged],
    until: dt.datetime,
    barred: Collection[str] = frozenset(),
) -> list[Judged]:
    """Promise what is committed, in the transaction that records the judgement.

    The index is asked once more: what has gone, changed or come into dispute since its bytes were
    read is not promised, and nothing of the studies in ``barred``. A promise that was made before
    is never shortened.
    """
    again = look_up(session, [each.reference for each in judged], NO_SUCH_INSTANCE)
    final = [_worst(before, now) for before, now in zip(judged, again, strict=True)]
    final = [_barred(each) if each.study_instance_uid in barred else each for each in final]
    committed = {e.reference.sop_instance_uid: e for e in final if not e.reference.reason}
    known: dict[str, CommittedInstance] = {}
    for chunk in chunks(sorted(committed)):
        query = select(CommittedInstance).where(col(CommittedInstance.sop_instance_uid).in_(chunk))
        known |= {row.sop_instance_uid: row for row in session.exec(query)}
    for uid, each in committed.items():
        row = known.get(uid)
        if row is None:
            study = each.study_instance_uid
            row = CommittedInstance(
                sop_instance_uid=uid, study_instance_uid=study, kept_until=until
            )
        row.study_instance_uid = each.study_instance_uid
        row.kept_until = max(row.kept_until, until)
        session.add(row)
    return final


def _barred(each: Judged) -> Judged:
    if each.reference.reason:
        return each
    return replace(each, reference=replace(each.reference, reason=PROCESSING_FAILURE))


def _worst(before: Judged, now: Judged) -> Judged:
    if before.reference.reason or before.digest == now.digest:
        return replace(now, reference=before.reference) if before.reference.reason else now
    reason = now.reference.reason or PROCESSING_FAILURE  # another version than was read
    return replace(now, reference=replace(now.reference, reason=reason))


def look_up(session: Session, references: Sequence[Reference], missing: int) -> list[Judged]:
    """Judge by the index alone; ``missing`` is the reason of what it does not hold."""
    uids = {each.sop_instance_uid for each in references}
    held: dict[str, tuple[str, str, str]] = {}
    aside: dict[str, tuple[bool, str]] = {}
    for chunk in chunks(sorted(uids)):
        for uid, *rest in session.execute(
            sa.select(
                col(Instance.sop_instance_uid),
                col(Instance.sop_class_uid),
                col(Instance.digest),
                col(Series.study_instance_uid),
            )
            .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
            .where(col(Instance.sop_instance_uid).in_(chunk))
        ):
            held[uid] = (rest[0], rest[1], rest[2])
        for uid, state, study in session.exec(
            select(
                Quarantined.sop_instance_uid, Quarantined.state, Quarantined.study_instance_uid
            ).where(Quarantined.kind == DICOM, col(Quarantined.sop_instance_uid).in_(chunk))
        ):
            disputed = state == OPEN or aside.get(uid, (False, ""))[0]
            aside[uid] = (disputed, study)
    return [_judged(each, held, aside, missing) for each in references]


def _judged(
    reference: Reference,
    held: dict[str, tuple[str, str, str]],
    aside: dict[str, tuple[bool, str]],
    missing: int,
) -> Judged:
    uid = reference.sop_instance_uid
    disputed, study = aside.get(uid, (False, ""))
    if uid not in held:
        # What only lies in quarantine is kept, and must not be used.
        reason = PROCESSING_FAILURE if uid in aside else missing
        return Judged(replace(reference, reason=reason), study)
    sop_class, digest, study = held[uid]
    reason = 0
    if sop_class != reference.sop_class_uid:
        reason = CLASS_INSTANCE_CONFLICT
    elif disputed:
        reason = PROCESSING_FAILURE
    return Judged(replace(reference, reason=reason), study, digest)


def _with_bytes_checked(store: DicomStore, each: Judged) -> Judged:
    if each.reference.reason:
        return each
    try:
        sound = _digest(store, each.digest) == each.digest
        reason = 0 if sound else PROCESSING_FAILURE
    except OSError as error:
        reason = RESOURCE_LIMITATION if error.errno in _SHORT else PROCESSING_FAILURE
    except ValueError:
        reason = PROCESSING_FAILURE
    return replace(each, reference=replace(each.reference, reason=reason))


def _digest(store: DicomStore, digest: str) -> str:
    try:
        return digest_of_file(store.path(digest))
    except FileNotFoundError:
        # The indexer may have moved it to the archive between the look and the reading.
        return digest_of_file(store.path(digest))
