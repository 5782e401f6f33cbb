"""Stage: what cohorts hold is compared with an archive, once a night or by command.

A difference becomes a row, and by it an impact note on every cohort and model that the study is in
(:mod:`plugin.stages.impact`). No note and no log holds a value of an identity.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from dataclasses import replace
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
    differences,
    record_differences,
)
from dicom_node.retrieval.finding import Finder
from dicom_node.retrieval.looking import Issuers
from dicom_node.retrieval.settings import RetrievalSettings
from dicom_node.studies import images_only
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.errors import Transient as NotNow
from plugin.stages.archives import archive_of, asked_peer, issuers_of, own_study
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_impacts
from plugin.stages.reconcile_asking import Outcome, Place, ask_about
from training.models import CohortMember
from training.patients import read_patients

log = logging.getLogger("radloop")

_MOST_IMAGES = 20000
_FEW_ABSENT = 3
_SHARE_ABSENT = 0.2
_PAUSE = dt.timedelta(minutes=10)
_HOUR = dt.timedelta(hours=1)


def reconcile(
    context: Context,
    progress: Progress,
    *,
    peer_name: str,
    dry_run: bool,
    accept_absent: bool = False,
    seen: set[str] | None = None,
) -> dict[str, Any]:
    """Compare the members of all cohorts with what an archive holds.

    It begins where the last comparison that could not be finished ended.

    Args:
        context: the open node.
        progress: takes a line now and then.
        peer_name: of the archive; empty: the only one with ``retrieve``.
        dry_run: note nothing.
        accept_absent: the archive holds so many of the studies no more, says a person.
        seen: studies that are not compared once more; those that were are added.

    Returns:
        How many were ``compared`` and are the ``same``, how many were ``unanswered``, the
        ``differences`` and ``hints`` by study, and how many impact ``notes`` were added.

    Raises:
        Transient: the archive cannot be asked, or not to the end; what it answered is noted.
        Permanent: the archive holds so few of the studies that it is hardly the right one, or may
            not show us all; what it holds is noted.
    """
    peer = asked_peer(context.settings, peer_name)
    issuers = issuers_of(context, peer)
    seen = set() if seen is None else seen
    with context.database.read() as session:
        members = _members(session)
    place = Place(context.folder.root, peer.name)
    studies = [uid for uid in place.in_order(members) if uid not in seen]
    outcome = ask_about(
        archive_of(context, peer),
        studies,
        lambda asked, uid: _compare(context, asked, uid, issuers),
        lambda number: progress(f"{number} of {len(studies)} compared"),
    )
    doubted = set() if accept_absent else _doubted(context, peer.name, outcome.found)
    notes = 0
    if not dry_run:
        place.keep(outcome)
        sure = [each for each in outcome.found if each.study_instance_uid not in doubted]
        notes = _note(context, peer.name, sure)
    seen |= outcome.settled
    number = len(outcome.found)
    if doubted:
        raise Permanent(
            f"{peer.name} does not hold {len(doubted)} of {number} studies: is it the right "
            "archive, and may we see all of it? That they are absent is noted with "
            "--accept-absent alone"
        )
    if outcome.failure is not None:
        raise NotNow(f"{number} of {len(studies)} compared: {outcome.failure}") from outcome.failure
    return {"from": peer.name, "dry_run": dry_run, **_told(outcome), "notes": notes}


def _told(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome for people, JSON-ready."""
    hints = [
        {"study_instance_uid": each.study_instance_uid, "hint": each.hint}
        for each in outcome.found
        if each.hint
    ]
    return {
        "compared": len(outcome.found),
        "same": sum(each.difference is Difference.NONE for each in outcome.found),
        "unanswered": len(outcome.unanswered),
        "differences": [_shown(each) for each in outcome.found if each.difference],
        "hints": hints + outcome.unclear + outcome.unanswered,
    }


def _doubted(context: Context, peer: str, found: list[Compared]) -> set[str]:
    """Return the studies whose absence is news, where there are too many of them to be believed."""
    absent = {each.study_instance_uid for each in found if each.difference is Difference.ABSENT}
    with context.database.read() as session:
        known = differences(session, absent, {peer})
    news = {uid for uid in absent if known.get(uid) is not Difference.ABSENT}
    return news if len(news) > max(_FEW_ABSENT, _SHARE_ABSENT * len(found)) else set()


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
    held = _held(context, asked, ours)
    if held is None:
        return Compared(uid, Difference.ABSENT)
    theirs = issuers.stated(held)
    # What nobody stated contradicts nothing, on either side.
    stated = replace(ours, issuer_of_patient_id="") if study.issuer_assumed else ours
    compared = compare_identity(stated, theirs, same_patient=_same_patient(context, ours, theirs))
    if compared.difference is not Difference.NONE or theirs.instances == len(images):
        return compared
    there = {each.sop_instance_uid for each in asked.content(theirs, _MOST_IMAGES)}
    if 0 < len(there) <= _MOST_IMAGES and not images <= there:
        return Compared(uid, Difference.IMAGES)
    return compared


def _held(context: Context, asked: Finder, ours: StudyFound) -> StudyFound | None:
    """Return the archive's answer; with Patient Root alone under any number that merges told."""
    uid = ours.study_instance_uid
    if not asked.patient_root:
        found = asked.studies(study_instance_uid=uid)
        return found[0] if found else None
    with context.database.read() as session:
        patients = read_patients(session, ground_of(context.settings).name_of, {ours.patient_id})
    merged = patients.named([(ours.issuer_of_patient_id, ours.patient_id)])
    others = sorted({number for _, number in merged} - {ours.patient_id})
    for patient_id in (ours.patient_id, *others):
        if found := asked.studies(study_instance_uid=uid, patient_id=patient_id):
            return found[0]
    return None


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


def _note(context: Context, peer: str, found: Iterable[Compared]) -> int:
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
    """Compares once a night while the node runs, in the hour of the settings.

    What the archive did not answer is asked again every ten minutes until the hour is over.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._night: dt.date | None = None
        self._seen: set[str] = set()
        self._done = False
        self._again_at: dt.datetime | None = None

    def attend(self) -> None:
        """Compare where the hour has come and not all was compared in it."""
        settings, now = self._context.settings.retrieval, self._context.clock()
        night = night_of(settings, now)
        if not settings.reconcile_with or night is None or self._context.stopping():
            return
        if night != self._night:
            self._night, self._seen, self._done, self._again_at = night, set(), False, None
        if self._done or (self._again_at is not None and now < self._again_at):
            return
        self._again_at = now + _PAUSE  # whatever happens
        self._done = self._compare(settings.reconcile_with)
        self._again_at = self._context.clock() + _PAUSE

    def _compare(self, peer: str) -> bool:
        """Compare what was not yet; return whether nothing is left that asking again may settle."""
        try:
            done = reconcile(
                self._context, lambda _line: None, peer_name=peer, dry_run=False, seen=self._seen
            )
        except (NotNow, Permanent, Transient, Refused) as error:
            log.warning("cohorts could not be compared with the PACS: %s", error)
            return isinstance(error, Permanent | Refused)
        log.info(
            "%d studies compared with the PACS: %d differ, %d were not answered",
            done["compared"],
            len(done["differences"]),
            done["unanswered"],
        )
        return not done["unanswered"]


def night_of(settings: RetrievalSettings, now: dt.datetime) -> dt.date | None:
    """Return the day whose hour of comparing it is; None: it is none.

    An hour that summer time leaves out is the one that follows, one that comes twice the first.
    """
    today = now.astimezone(settings.zone).date()
    begin = dt.datetime.combine(today, dt.time(settings.reconcile_hour), settings.zone)
    passed = now.astimezone(dt.UTC) - begin.astimezone(dt.UTC)
    return today if dt.timedelta() <= passed < _HOUR else None
