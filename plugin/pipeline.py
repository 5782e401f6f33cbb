"""What needs work, asked of the tables; a sweep enqueues it. Progress is a query, not a status."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.models import Transmission
from dicom_node.studies import complete_studies, study_digest
from plugin.context import Context
from training.models import Model
from training.predictions import studies_to_predict
from training.registry import live_model


@dataclass(frozen=True)
class WaitingPrediction:
    """A complete study that a live model has not seen in its present content."""

    model_id: int
    study_instance_uid: str
    study_digest: str


def waiting_predictions(
    context: Context, session: Session, *, ignore_quiet_time: bool = False
) -> list[WaitingPrediction]:
    """Return every prediction that the rules of the settings ask for and that is not there."""
    quiet = 0.0 if ignore_quiet_time else context.settings.dicom.study_quiet_seconds
    waiting: list[WaitingPrediction] = []
    complete: list[str] | None = None
    for rule in context.settings.prediction:
        model = live_model(session, rule.model)
        if model is None or model.id is None:
            continue
        if complete is None:
            complete = complete_studies(session, context.clock(), quiet)
        for uid in studies_to_predict(session, rule, model, complete, study_digest):
            waiting.append(WaitingPrediction(model.id, uid, study_digest(session, uid)))
    return waiting


def waiting_transmissions(session: Session) -> list[Transmission]:
    """Return every structured report that an archive has not taken and that has not failed."""
    query = (
        select(Transmission).where(Transmission.state == "queued").order_by(col(Transmission.id))
    )
    return list(session.exec(query))


def model_of(session: Session, model_id: int) -> Model:
    """Return the model with this id; it exists, because predictions refer to it."""
    return session.exec(select(Model).where(Model.id == model_id)).one()
