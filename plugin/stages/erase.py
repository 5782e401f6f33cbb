"""Erasure of a patient from everything that this node holds, and what remains to say so.

The rows, the note of the erasure and a list of files go in one transaction. Then the files, the
queue of durable work and the logs go, and the database is rewritten so that no page holds what was
deleted. A crash on the way leaves the note unfinished, and the next start, or the next erasure,
finishes it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.deletion import finish_deletions, list_for_deletion
from dicom_node.durable import write_durably
from dicom_node.errors import Transient
from dicom_node.file_meta import RETRIEVED
from dicom_node.life_models import Erasure
from dicom_node.models import Patient, Report, Study, SupersededInstance, Transmission
from dicom_node.settling import settle
from dicom_node.storage import DicomStore
from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages.commitments import file_commitments
from plugin.stages.erase_filed import (
    WORDS,
    collect_filed,
    collect_with_messages,
    words_of,
)
from plugin.stages.erase_files import (
    digests_about,
    documents_about,
    empty_logs,
    files_that_mention,
    paths_of,
    remove_abandoned,
    remove_prepared,
    remove_workflows,
)
from plugin.stages.erase_journal import drop_segments, dropped_up_to, newest_segment
from plugin.stages.erase_messages import messages_about
from plugin.stages.erase_requests import collect_requested, recently_asked_for
from plugin.stages.erase_rows import (
    cohorts_with,
    delete_rows,
    mend_cohorts,
    mend_training_runs,
    models_trained_on,
)
from plugin.stages.erase_whom import Subject, find_subject
from plugin.stages.export_withdrawals import finish_withdrawals, note_withdrawals
from plugin.stages.file_messages import file_waiting
from plugin.stages.impact import forget_positions
from training.cohort import manifest
from training.folds import Identity, patient_key
from training.models import Cohort, Prediction

NOT_REACHED = (
    "backups and copies of the data folder",
    "what archives and other systems were sent",
    "copies that `radloop sr show --html` or a person made elsewhere",
    "copies that somebody made of exports: their tombstones.json says what to remove",
    "weights of models that were trained on the patient's data: see models",
)
"""What no command of the node can erase; said with every erasure."""


class WaitsForJournal(Transient):
    """An erasure is done but for a segment of the journal that the listener still writes."""


class _OnlyShown(Exception):
    """Ends the transaction of a dry run, so that nothing is changed."""


def erase_patient(
    context: Context, *, issuer: str, patient_id: str, by: str, reason: str, dry_run: bool
) -> dict[str, Any]:
    """Erase a patient, merges followed, or tell what an erasure would reach.

    Args:
        context: the open node; other patients' objects may arrive meanwhile.
        issuer: Issuer of Patient ID (0010,0021) or assigning authority, declared or assumed.
        patient_id: Patient ID (0010,0020).
        by, reason: who decides and why; kept, so neither may name the patient.
        dry_run: change nothing.

    Returns:
        Identities and companions, ``issuers_of_this_id`` where nobody was found, ``counts`` of
        rows by table and of files, ``cohorts`` that were rewritten, ``models`` that were trained
        on the patient's data, ``exports`` that held the patient and how many of them are out of
        reach (``exports_out_of_reach``), ``sent`` (what archives hold), ``not_reached``,
        ``not_finished`` (empty, or what the node still waits for) and
        ``files_that_still_mention`` (empty, or look there).

    Raises:
        Permanent: an argument is missing, or ``by`` or ``reason`` names the patient.
        dicom_node.errors.Transient: the last step waits for room or a reader; ask again.
    """
    if not patient_id or not by.strip() or not reason.strip():
        raise Permanent("an erasure needs a patient id, who decides, and why")
    if dry_run:
        with context.database.filing:
            return _erase_rows(context, (issuer, patient_id), by, reason, dry_run=True)[0]
    with context.still(), context.database.filing:
        # What was acknowledged before this moment is rows, or it would come back.
        file_waiting(context, context.linking())
        while file_commitments(context):
            continue
        found, uids = _erase_rows(context, (issuer, patient_id), by, reason, dry_run=False)
        not_finished = ""
        try:
            finish_erasures(context)
        except WaitsForJournal as error:
            not_finished = str(error)
        away = finish_withdrawals(context)
        return {
            **found,
            "exports_out_of_reach": away,
            "not_finished": not_finished,
            "files_that_still_mention": files_that_mention(context.folder, uids),
        }


def finish_erasures(context: Context) -> int:
    """Finish what a crash left of erasures and expiries; return how many erasures were open.

    The caller holds indexing and durable work still.

    Raises:
        dicom_node.errors.Transient: the database waits for room or a reader; ask again.
    """
    database, folder = context.database, context.folder
    settle(database, DicomStore(folder.root))
    finish_deletions(database, folder.root)
    if not _unfinished(context):
        return 0
    remove_workflows(folder)
    empty_logs(folder)
    remove_abandoned(folder)
    remove_prepared(folder)
    database.compact()
    gone_up_to = drop_segments(context)
    with database.write() as session:
        rows = session.exec(select(Erasure).where(col(Erasure.finished_at).is_(None))).all()
        for row in rows:
            if row.journal_segment <= gone_up_to:
                row.finished_at = context.clock()
                session.add(row)
    left = [row for row in rows if row.finished_at is None]
    if left:
        raise WaitsForJournal(
            "everything is erased but the journal of messages, which is being written; the node "
            "ends the erasure by itself when the listener has begun a new segment"
        )
    return len(rows)


def _unfinished(context: Context) -> bool:
    query = select(Erasure.id).where(col(Erasure.finished_at).is_(None))
    with context.database.read() as session:
        return session.exec(query).first() is not None


def _waits_for_journal(context: Context) -> bool:
    """Tell whether every unfinished erasure waits for a segment that is still being written."""
    query = select(Erasure.journal_segment).where(col(Erasure.finished_at).is_(None))
    with context.database.read() as session:
        segments = session.exec(query).all()
    return min(segments, default=0) > dropped_up_to(context.folder.messages)


def attend_erasures(context: Context) -> int:
    """Finish erasures that had to wait, and erase again what came for erased patients.

    Returns:
        How many erased patients came again; 0 where the settings do not keep them out.
    """
    finish_withdrawals(context)
    if _unfinished(context) and not _waits_for_journal(context):
        with context.still(), context.database.filing:
            finish_erasures(context)
    if not context.settings.erasure.keep_out:
        return 0
    with context.database.read() as session:
        erased = {key for keys in session.exec(select(Erasure.patient_keys)) for key in keys}
        if not erased:
            return 0
        salt = context.folder.patient_key_salt()
        known = _identities(session)
    returned = sorted(
        (issuer, value) for issuer, value in known if patient_key(issuer, value, salt) in erased
    )
    for issuer, value in returned:
        erase_patient(
            context,
            issuer=issuer,
            patient_id=value,
            by="radloop",
            reason="came again after an erasure (erasure.keep_out)",
            dry_run=False,
        )
    return len(returned)


def _identities(session: Session) -> set[Identity]:
    """Return every identity that a row of the node stands for."""
    found: set[Identity] = set()
    for query in (
        select(Patient.issuer_of_patient_id, Patient.patient_id),
        select(Study.issuer_of_patient_id, Study.patient_id),
        select(Report.issuer_of_patient_id, Report.patient_id),
    ):
        found |= {(issuer, value) for issuer, value in session.exec(query.distinct()) if value}
    return found


def _erase_rows(
    context: Context, identity: Identity, by: str, reason: str, *, dry_run: bool
) -> tuple[dict[str, Any], set[str]]:
    """Delete the rows and list the files; return what was found and the studies' UIDs."""
    salt = context.folder.patient_key_salt()
    issuers_of = context.linking().issuers_of()
    with context.database.read() as session:
        subject = find_subject(session, *identity, salt, issuers_of)
    files, said = digests_about(
        context.folder.root, subject, context.settings.dicom, context.sandbox.headers
    )
    found: dict[str, Any] = {}
    try:
        with context.database.write() as session:
            subject = find_subject(session, *identity, salt, issuers_of)
            subject.digests |= files
            collect_filed(session, subject)
            collect_requested(session, subject, said)
            _check_words(session, subject, by, reason)
            found = _erase(context, session, subject, by, reason, write=not dry_run)
            if dry_run:
                raise _OnlyShown
    except _OnlyShown:
        found["dry_run"] = True
    return found, subject.studies


def _erase(
    context: Context, session: Session, subject: Subject, by: str, reason: str, *, write: bool
) -> dict[str, Any]:
    subject.messages = messages_about(session, subject)
    collect_with_messages(session, subject)
    subject.digests |= _superseded(session, subject)
    sent = _sent(session, subject)
    paths = paths_of(context.folder.root, subject.digests) | _reports(context, session, subject)
    members = cohorts_with(session, subject)
    models = models_trained_on(session, members)
    fetched = recently_asked_for(session, subject, context.clock() - _fetch_time(context))
    counts = delete_rows(session, subject)
    cohorts = mend_cohorts(session, members)
    mend_training_runs(session, subject)
    exports = note_withdrawals(context, session, subject.patient_keys, subject.studies)
    digests = session.exec(select(Cohort.digest)).all()
    paths |= documents_about(context.folder, subject, digests)
    paths |= {
        name for each in cohorts if _is_file(context, name := f"cohorts/{each['before']}.json")
    }
    list_for_deletion(session, paths, context.clock())
    counts["files"] = len(paths)
    anything = bool(paths or sum(counts.values()))
    if anything:
        forget_positions(session)
        session.add(
            Erasure(
                patient_keys=sorted(subject.patient_keys),
                decided_by=by,
                reason=reason,
                counts=counts,
                cohorts=cohorts,
                models=models,
                journal_segment=newest_segment(context.folder.messages),
                started_at=context.clock(),
            )
        )
    session.flush()
    if write:
        _write_manifests(context, session, cohorts)
        now = context.clock()
        store = DicomStore(context.folder.root)
        store.asked_for.note(fetched, RETRIEVED, now, now + _fetch_time(context))
    return {
        "found": anything,
        "identities": _named(subject.identities),
        "left_alone": _named(subject.companions),
        "counts": counts,
        "cohorts": cohorts,
        "models": models,
        "exports": exports,
        "sent": sent,
        "not_reached": list(NOT_REACHED),
        "issuers_of_this_id": [] if anything else _issuers(session, subject),
    }


def _fetch_time(context: Context) -> dt.timedelta:
    """Return for how long an archive may go on sending what it was asked for."""
    retrieval = context.settings.retrieval
    return dt.timedelta(seconds=retrieval.study_seconds + retrieval.arrival_seconds)


def _issuers(session: Session, subject: Subject) -> list[str]:
    """Return under which issuers the identifiers are known, to a person who named the wrong one."""
    found: set[str] = set()
    for table in (Study, Patient):
        query = select(table.issuer_of_patient_id).where(
            col(table.patient_id).in_(subject.patient_ids)
        )
        found |= {issuer or "no issuer" for issuer in session.exec(query)}
    return sorted(found)


def _named(identities: set[Identity]) -> list[str]:
    return [f"{value} of {issuer or 'no issuer'}" for issuer, value in sorted(identities)]


def _is_file(context: Context, path: str) -> bool:
    return (context.folder.root / path).is_file()


def _superseded(session: Session, subject: Subject) -> set[str]:
    """Return the digests of earlier versions of the patient's instances."""
    query = select(SupersededInstance.digest).where(
        col(SupersededInstance.study_instance_uid).in_(subject.studies)
    )
    return set(session.exec(query))


def _sent(session: Session, subject: Subject) -> list[dict[str, Any]]:
    """Return what archives hold: it is told to the person who erases and kept nowhere."""
    rows = session.exec(
        select(Transmission).where(
            col(Transmission.study_instance_uid).in_(subject.studies), Transmission.attempts > 0
        )
    )
    return [
        {"peer": row.peer, "state": row.state, "sop_instance_uid": row.sop_instance_uid}
        for row in rows
    ]


def _reports(context: Context, session: Session, subject: Subject) -> set[str]:
    """Return the structured reports that rows name, relative to the data folder."""
    sent = session.exec(
        select(Transmission.path).where(col(Transmission.study_instance_uid).in_(subject.studies))
    )
    built = session.exec(
        select(Prediction.sop_instance_uid).where(
            col(Prediction.study_instance_uid).in_(subject.studies),
            Prediction.sop_instance_uid != "",
        )
    )
    names = {*sent, *(f"{context.folder.reports.name}/{uid}.dcm" for uid in built)}
    return {name for name in names if _is_file(context, name)}


def _write_manifests(context: Context, session: Session, cohorts: Sequence[dict[str, Any]]) -> None:
    for each in cohorts:
        record = manifest(session, session.get_one(Cohort, each["cohort"]))
        path = context.folder.cohorts / f"{each['after']}.json"
        write_durably(path, json.dumps(record, indent=1).encode())


def _check_words(session: Session, subject: Subject, by: str, reason: str) -> None:
    """Refuse words that would keep the patient in the very note of the erasure."""
    if words_of(session, subject) & set(WORDS.findall(f"{by} {reason}".casefold())):
        raise Permanent("who decides and why are kept: they must not name the patient")
