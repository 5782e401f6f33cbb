"""What needs work, asked of the tables; a sweep enqueues it. Progress is a query, not a status."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from dicom_node.documents.rejections import any_rejected
from dicom_node.linking.models import LinkEvent
from dicom_node.models import Transmission
from dicom_node.solicited import solicited_studies
from dicom_node.studies import (
    completed_contents,
    decisions_on,
    is_frozen,
    studies_with_images,
    study_digest,
)
from plugin.context import Context
from training.models import Model, Prediction
from training.predictions import studies_to_predict
from training.registry import models_at_work
from training.selection import suspended_studies
from training.stages import Stage, newest_event, stage_of, unspoken


@dataclass(frozen=True)
class WaitingPrediction:
    """A complete study that a model at work has not seen in its present content.

    ``completion_id`` names its completion, or is None where that was not asked for. ``decisions``
    counts what was decided about the study and its links: what was not predicted because it was
    held is asked for again.
    """

    model_id: int
    completion_id: int | None
    study_instance_uid: str
    study_digest: str
    decisions: int = 0


def waiting_predictions(
    context: Context, session: Session, *, ignore_quiet_time: bool = False
) -> list[WaitingPrediction]:
    """Return every prediction that the rules of the settings ask for and that is not there.

    Args:
        context: whose settings hold the rules.
        session: any session.
        ignore_quiet_time: whether a study counts that is not recorded as complete.
    """
    waiting: list[WaitingPrediction] = []
    complete: dict[str, dict[str, int]] | None = None
    at_work = [
        (rule, model)
        for rule in context.settings.prediction
        for model in models_at_work(session, rule.model)
    ]
    for rule, model in at_work:
        if complete is None:
            complete = completed_contents(session)
        known = studies_with_images(session) if ignore_quiet_time else complete
        studies = _arrived_for(session, model, set(known))
        for uid in studies_to_predict(session, rule, model, studies, study_digest):
            digest = study_digest(session, uid)
            completion = complete.get(uid, {}).get(digest)
            if ignore_quiet_time or completion is not None:
                decisions = decisions_on(session, uid) + _link_events(session, uid)
                key = model.id or 0
                waiting.append(WaitingPrediction(key, completion, uid, digest, decisions))
    return waiting


def _arrived_for(session: Session, model: Model, studies: set[str]) -> set[str]:
    """Return those studies that a model looks at: a silent one takes images that come, no archive.

    A document that comes to an old study starts nothing.
    """
    event = newest_event(session, model)
    if event.stage != Stage.SILENT:
        return studies
    return studies.intersection(studies_with_images(session, since=event.decided_at))


def _link_events(session: Session, study_instance_uid: str) -> int:
    query = select(func.count(col(LinkEvent.id))).where(
        LinkEvent.study_instance_uid == study_instance_uid
    )
    return session.exec(query).one()


def waiting_transmissions(session: Session) -> list[Transmission]:
    """Return every structured report that an archive has not taken and that has not failed.

    Those of a study that :func:`held` names wait.
    """
    query = (
        select(Transmission).where(Transmission.state == "queued").order_by(col(Transmission.id))
    )
    return [row for row in session.exec(query) if not held(session, row.study_instance_uid)]


def held(session: Session, study_instance_uid: str) -> str:
    """Return why nothing may be written back about a study now; empty where it may.

    What was said about a frozen study may rest on the wrong images, where a link is suspended it
    may be about the wrong patient, and nobody waits for an answer about a prior that was fetched.
    Ask in the transaction that writes.
    """
    if is_frozen(session, study_instance_uid):
        return "the study is frozen until a person decides"
    if suspended_studies(session, {study_instance_uid}):
        return "a link of the study is suspended until a person decides"
    if solicited_studies(session, {study_instance_uid}):
        return "the study is here because this node asked for it: such studies are not answered"
    return ""


def retracted(session: Session, sop_instance_uid: str) -> str:
    """Return why a structured report must not leave any more; empty where its model stands by it.

    One that rests on images which a rejection note has taken out of use stays. A report goes out
    for a model that is live and may speak of every observation that the report carries, as it is
    now and not as it was when the report was built. Ask in the transaction that lets it go.
    """
    rows = session.exec(
        select(Prediction.model_id, Prediction.observation)
        .where(Prediction.sop_instance_uid == sop_instance_uid)
        .distinct()
    ).all()
    if not rows:
        return "no prediction is stored that this report carries"
    if _rejected_since(session, sop_instance_uid):
        return "images of its study were rejected after it was built"
    for model_id in sorted({key for key, _ in rows}):
        model = session.get_one(Model, model_id)
        stage = stage_of(session, model)
        if stage is not Stage.LIVE:
            return f"its model {model.reference} is {stage} now, not live"
        carried = {name for key, name in rows if key == model_id}
        if silent := sorted(carried & unspoken(session, model)):
            return f"its model {model.reference} does not speak of {', '.join(silent)} now"
    return ""


def _rejected_since(session: Session, sop_instance_uid: str) -> bool:
    """Tell whether a report rests on other images than now, and some of its study are rejected."""
    rows = session.exec(
        select(Prediction.study_instance_uid, Prediction.study_digest)
        .where(Prediction.sop_instance_uid == sop_instance_uid)
        .distinct()
    )
    return any(
        digest != study_digest(session, uid) and any_rejected(session, uid) for uid, digest in rows
    )


def model_of(session: Session, model_id: int) -> Model:
    """Return the model with this id; it exists, because predictions refer to it."""
    return session.exec(select(Model).where(Model.id == model_id)).one()
