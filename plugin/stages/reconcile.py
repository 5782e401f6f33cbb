"""Stage: what cohorts hold is compared with an archive, once a night or by command.

A difference becomes a row, and by it an impact note on every cohort and model that the study is in
(:mod:`plugin.stages.impact`). No note and no log holds a value of an identity.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.errors import Permanent as Refused
from dicom_node.errors import Transient
from dicom_node.models import Instance, Series, Study
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.comparing import (
    Compared,
    Difference,
    compare_identity,
    record_differences,
)
from dicom_node.retrieval.finding import Finder, finder
from dicom_node.retrieval.looking import Issuers
from dicom_node.studies import images_only
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.errors import Transient as NotNow
from plugin.stages.archives import archive_of, asked_peer, issuers_of, own_study
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_impacts
from training.models import CohortMember
from training.patients import read_patients

log = logging.getLogger("radloop")

_MOST_IMAGES = 20000


def reconcile(
    context: Context,
    progress: Progress,
    *,
    peer_name: str,
    dry_run: bool,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Compare the members of all cohorts with what an archive holds.

    Args:
        context: the open node.
        progress: takes a line now and then.
        peer_name: of the archive; empty: the only one with ``retrieve``.
        dry_run: note nothing.
        stopping: whether the node is ending.

    Returns:
        How many were ``compared`` and are the ``same``, the ``differences`` and ``hints`` by study,
        and how many impact ``notes`` were added.

    Raises:
        Transient: the archive cannot be asked, or not to the end; what it answered is noted.
        Permanent: the archive holds none of the studies, so it is hardly the right one.
    """
    peer = asked_peer(context.settings, peer_name)
    issuers = issuers_of(context, peer)
    with context.database.read() as session:
        studies = _members(session)
    found: list[Compared] = []
    unclear: list[dict[str, str]] = []
    failure: Exception | None = None
    try:
        with finder(archive_of(context, peer, stopping)) as asked:
            for number, uid in enumerate(studies, start=1):
                try:
                    if (compared := _compare(context, asked, uid, issuers)) is not None:
                        found.append(compared)
                except Refused as error:
                    # What could not be asked is no difference, and does not end an earlier one.
                    unclear.append({"study_instance_uid": uid, "hint": str(error)})
                progress(f"{number} of {len(studies)} compared")
    except (Transient, Refused) as error:
        failure = error
    absent = [each for each in found if each.difference is Difference.ABSENT]
    if found and len(absent) == len(found):
        raise Permanent(f"{peer.name} holds none of the studies: is it the right archive?")
    notes = 0 if dry_run else _note(context, peer.name, found)
    if failure is not None:
        raise NotNow(f"{len(found)} of {len(studies)} compared: {failure}") from failure
    return {
        "from": peer.name,
        "dry_run": dry_run,
        "compared": len(found),
        "same": sum(each.difference is Difference.NONE for each in found),
        "differences": [_shown(each) for each in found if each.difference],
        "hints": [
            {"study_instance_uid": each.study_instance_uid, "hint": each.hint}
            for each in found
            if each.hint
        ]
        + unclear,
        "notes": notes,
    }


def _members(session: Session) -> list[str]:
    """Return the studies of all cohorts that are here."""
    query = (
        select(CohortMember.study_instance_uid)
        .join(Study, col(Study.study_instance_uid) == col(CohortMember.study_instance_uid))
        .where(CohortMember.exclusion_reason == "")
        .distinct()
    )
    return sorted(session.exec(query))


def _compare(context: Context, asked: Finder, uid: str, issuers: Issuers) -> Compared | None:
    """Compare one study; None where it is not here any more."""
    with context.database.read() as session:
        study = session.get(Study, uid)
        if study is None:
            return None
        ours = own_study(session, study, issuers)
        images = _images_here(session, uid)
    patient_id = ours.patient_id if asked.patient_root else ""
    held = asked.studies(study_instance_uid=uid, patient_id=patient_id)
    if not held:
        return Compared(uid, Difference.ABSENT)
    theirs = issuers.named(held[0])
    compared = compare_identity(ours, theirs, same_patient=_same_patient(context, ours, theirs))
    if compared.difference is not Difference.NONE or theirs.instances == len(images):
        return compared
    there = {each.sop_instance_uid for each in asked.content(theirs, _MOST_IMAGES)}
    if 0 < len(there) <= _MOST_IMAGES and not images <= there:
        return Compared(uid, Difference.IMAGES)
    return compared


def _images_here(session: Session, uid: str) -> set[str]:
    query = (
        select(Instance.sop_instance_uid)
        .join(Series, col(Series.series_instance_uid) == col(Instance.series_instance_uid))
        .where(col(Series.study_instance_uid) == uid, images_only())
    )
    return set(session.exec(query))


def _same_patient(context: Context, ours: StudyFound, theirs: StudyFound) -> bool:
    """Tell whether merges that messages told make both identifiers one patient's."""
    if ours.patient_id == theirs.patient_id or not theirs.patient_id:
        return False
    ground = ground_of(context.settings)
    issuer = theirs.issuer_of_patient_id or ours.issuer_of_patient_id
    with context.database.read() as session:
        patients = read_patients(session, ground.name_of, {ours.patient_id, theirs.patient_id})
    return patients.of(ours.issuer_of_patient_id, ours.patient_id) == patients.of(
        issuer, theirs.patient_id
    )


def _note(context: Context, peer: str, found: list[Compared]) -> int:
    with context.database.write() as session:
        record_differences(session, peer, found, context.clock())
    return note_impacts(context)


def _shown(each: Compared) -> dict[str, Any]:
    return {
        "study_instance_uid": each.study_instance_uid,
        "difference": each.difference.value,
        "attributes": list(each.attributes),
    }


class NightlyReconciliation:
    """Compares once a night while the node runs, at the hour of the settings."""

    def __init__(self, context: Context, stopping: Callable[[], bool] = lambda: False) -> None:
        self._context = context
        self._stopping = stopping
        self._done: dt.date | None = None

    def attend(self) -> None:
        """Compare where the hour has come and this night was not compared yet."""
        settings = self._context.settings.retrieval
        local = self._context.clock().astimezone(settings.zone)
        due = local.hour == settings.reconcile_hour and local.date() != self._done
        if not settings.reconcile_with or not due or self._stopping():
            return
        self._done = local.date()
        try:
            done = reconcile(
                self._context,
                lambda _line: None,
                peer_name=settings.reconcile_with,
                dry_run=False,
                stopping=self._stopping,
            )
        except (NotNow, Permanent, Transient, Refused) as error:
            log.warning("cohorts could not be compared with the PACS: %s", error)
            return
        log.info(
            "%d studies compared with the PACS: %d differ",
            done["compared"],
            len(done["differences"]),
        )
