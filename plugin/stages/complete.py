"""Stage: studies that stopped growing are recorded as complete; later images open them again."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

from sqlmodel import Session, select

from dicom_node.completion import (
    Arrivals,
    StudyContent,
    Unchanged,
    Verdict,
    contents,
    force_completion,
    judge,
    look,
    record_completion,
)
from dicom_node.life_models import StudyCompletion
from dicom_node.models import Study
from dicom_node.retrieval.rows import priors_of
from dicom_node.settings import DicomSettings
from dicom_node.solicited import solicited_studies
from dicom_node.storage import DicomStore
from dicom_node.studies import is_frozen
from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages.touched import TouchedStudies

_OPEN_STATES = {True: "re-opened", False: "receiving"}


class Completeness(TouchedStudies):
    """Records complete studies; looks only at those that may have changed since the last look."""

    def __init__(self, context: Context, unchanged: Unchanged | None = None) -> None:
        super().__init__()
        self._context = context
        self._store = DicomStore(context.folder.root)
        self._unchanged = unchanged or Unchanged()
        self._looking = threading.Lock()

    def sweep(self) -> list[StudyCompletion]:
        """Record every study that is complete now and was not recorded as it is."""
        with self._looking:
            return self._sweep()

    def _sweep(self) -> list[StudyCompletion]:
        open_studies: set[str] = set()
        try:
            with self.taken() as touched:
                if touched is not None and not touched:
                    return []
                ready: list[tuple[StudyContent, str]] = []
                # The spool first: what is indexed between the two looks is then in the tables.
                arrivals = look(self._store, self._context.clock())
                with self._context.database.read() as session:
                    for each in contents(session, touched):
                        if each.is_complete:
                            self._unchanged.forget(each)
                            continue
                        open_studies.add(each.study_instance_uid)
                        verdict = self._judge(each, arrivals)
                        if verdict.complete:
                            ready.append((each, verdict.why))
                return self._record(ready)
        finally:
            self.touch(open_studies)

    def _judge(self, content: StudyContent, arrivals: Arrivals) -> Verdict:
        return judge(content, self._context.settings.dicom, arrivals, self._unchanged)

    def _record(self, ready: list[tuple[StudyContent, str]]) -> list[StudyCompletion]:
        if not ready:
            return []
        with self._context.database.write() as session:
            found = [
                record_completion(session, content, cause, self._context.clock())
                for content, cause in ready
            ]
        return [row for row in found if row is not None]


def complete_study(
    context: Context, study_instance_uid: str, *, by: str, reason: str
) -> dict[str, Any]:
    """Record a study as complete as it is now, because a person says so.

    Raises:
        dicom_node.errors.Permanent: the study holds no image, or who and why are missing.
    """
    with context.database.write() as session:
        force_completion(session, study_instance_uid, by=by, reason=reason, now=context.clock())
        return _described(session, context.settings.dicom, _look(context), study_instance_uid)


def list_studies(
    session: Session, settings: DicomSettings, store: DicomStore, now: dt.datetime
) -> list[dict[str, Any]]:
    """Return each study with images: its state, why, how many images and completions."""
    arrivals = look(store, now)
    return [_summary(session, settings, arrivals, each) for each in contents(session)]


def show_study(
    session: Session,
    settings: DicomSettings,
    store: DicomStore,
    now: dt.datetime,
    study_instance_uid: str,
) -> dict[str, Any]:
    """Return one study with its series and every completion.

    Raises:
        Permanent: no image of such a study is indexed.
    """
    return _described(session, settings, look(store, now), study_instance_uid)


def _look(context: Context) -> Arrivals:
    return look(DicomStore(context.folder.root), context.clock())


def _described(
    session: Session, settings: DicomSettings, arrivals: Arrivals, uid: str
) -> dict[str, Any]:
    content = next(contents(session, [uid]), None)
    study = session.exec(select(Study).where(Study.study_instance_uid == uid)).first()
    if content is None or study is None:
        raise Permanent("no image of a study with this UID is indexed")
    asked = solicited_studies(session, {uid}).get(uid)
    return {
        **_summary(session, settings, arrivals, content),
        "asked_for": asked.reason if asked else "",
        "priors": priors_of(session, uid),
        "first_received_at": study.first_received_at.isoformat(),
        "series": [
            {
                "modality": each.modality,
                "body_part": each.body_part,
                "description": each.description,
            }
            for each in sorted(content.series, key=lambda each: (each.modality, each.description))
        ],
        "completions": [
            row.model_dump(mode="json", exclude={"id", "study_instance_uid"})
            for row in content.completions
        ],
    }


def _summary(
    session: Session, settings: DicomSettings, arrivals: Arrivals, content: StudyContent
) -> dict[str, Any]:
    state, why = _state(session, settings, arrivals, content)
    return {
        "study_instance_uid": content.study_instance_uid,
        "state": state,
        "why": why,
        "images": content.images,
        "completed": len(content.completions),
        "last_received_at": content.last_received_at.isoformat(),
    }


def _state(
    session: Session, settings: DicomSettings, arrivals: Arrivals, content: StudyContent
) -> tuple[str, str]:
    if is_frozen(session, content.study_instance_uid):
        return "frozen", "objects of it are in dispute: a person decides"
    recorded = [row for row in content.completions if row.study_digest == content.study_digest]
    if recorded:
        row = recorded[-1]
        return "complete", f"{row.cause}: {row.reason}" if row.reason else row.cause
    verdict = judge(content, settings, arrivals, Unchanged())
    why = f"{verdict.why}; not yet recorded" if verdict.complete else verdict.why
    return _OPEN_STATES[bool(content.completions)], why
