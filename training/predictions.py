"""Predictions as rows, and which studies still need one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.database import Clock
from dicom_node.documents.rejections import expired_studies
from dicom_node.models import Study
from dicom_node.solicited import solicited_studies
from dicom_node.studies import frozen_studies
from training.errors import Permanent
from training.evaluation.attributes import houses_of
from training.models import Model, ModelEvent, Prediction
from training.monitoring.origins import scanners_of
from training.selection import (
    final_reports,
    historical_studies,
    images,
    linked_reports,
    suspended_studies,
)
from training.series import series_rule
from training.settings import PredictionRule
from training.stages import AT_WORK, Stage, newest_event, unspoken_by


@dataclass(frozen=True)
class SitePrediction:
    """The probability of one observation at one site, or why it was not evaluated."""

    observation: str
    site: str
    probability: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.probability is None:
            if not self.reason:
                raise Permanent("a site that was not evaluated needs a reason")
        elif not (math.isfinite(self.probability) and 0 <= self.probability <= 1):
            raise Permanent("a probability is outside 0 to 1")


def store_predictions(
    session: Session,
    model: Model,
    study_instance_uid: str,
    study_digest: str,
    rows: Iterable[SitePrediction],
    thresholds: Mapping[str, float | None],
    clock: Clock,
    stages: Mapping[str, Stage],
) -> list[Prediction]:
    """Store what a model says about a study as it is now; what is stored already stays.

    Of which scanner and site the study is stands beside: its series may be deleted by a rule.

    Args:
        session: a writing session; the caller commits.
        model: a registered model.
        study_instance_uid: the study.
        study_digest: over the digests of the instances that were analysed.
        rows: one a pair of observation and site.
        thresholds: operating point by observation.
        clock: gives the time.
        stages: LIVE or SILENT by observation (:func:`stages_now`), written into new rows; an
            observation that is missing is SILENT.

    Returns:
        The stored rows of this model for this state of the study, earlier ones included.
    """
    if model.id is None:
        raise Permanent("register the model before storing its predictions")
    stored = predictions_of(session, study_instance_uid, model=model, study_digest=study_digest)
    known = {(each.observation, each.site) for each in stored}
    now = clock()
    scanner = scanners_of(session, [study_instance_uid]).get(study_instance_uid, "")
    study = session.get(Study, study_instance_uid)
    named = {} if study is None else houses_of(session, {study_instance_uid: study})
    house = named.get(study_instance_uid, "")
    for row in rows:
        if (row.observation, row.site) in known:
            continue
        known.add((row.observation, row.site))
        stored.append(
            Prediction(
                model_id=model.id,
                study_instance_uid=study_instance_uid,
                study_digest=study_digest,
                observation=row.observation,
                site=row.site,
                probability=row.probability,
                threshold=thresholds.get(row.observation),
                reason=row.reason,
                scanner=scanner,
                house=house,
                stage=stages.get(row.observation, Stage.SILENT).value,
                predicted_at=now,
            )
        )
    session.add_all(stored)
    session.flush()
    return stored


def stages_now(
    session: Session, model: Model, observations: Iterable[str]
) -> dict[str, Stage] | None:
    """Return how a model predicts each observation now; None where it does not work at all.

    What a live model was not allowed to speak of stays silent. Ask in the transaction that stores.
    """
    return _stages_of(newest_event(session, model), observations)


def stages_since(
    session: Session, model: Model, observations: Collection[str], began: ModelEvent
) -> dict[str, Stage] | None:
    """Return the stages of what was begun under an earlier event: the more silent of both moments.

    Args:
        session: the writing session that stores.
        model: a registered model.
        observations: that were predicted.
        began: the event that told the model's stage when the prediction began.

    Returns:
        As :func:`stages_now`; None where the model does not work now, or did not work then.
    """
    now = stages_now(session, model, observations)
    then = _stages_of(began, observations)
    if now is None or then is None:
        return None
    live = {name for name in now if now[name] is then[name] is Stage.LIVE}
    return {name: Stage.LIVE if name in live else Stage.SILENT for name in now}


def _stages_of(event: ModelEvent, observations: Iterable[str]) -> dict[str, Stage] | None:
    stage = Stage(event.stage)
    if stage not in AT_WORK:
        return None
    silent = unspoken_by(event)
    return {name: Stage.SILENT if name in silent else stage for name in observations}


def predictions_of(
    session: Session,
    study_instance_uid: str | None = None,
    *,
    model: Model | None = None,
    study_digest: str | None = None,
) -> list[Prediction]:
    """Return predictions in order of storing, of one study, one model, one state of the study."""
    query = select(Prediction).order_by(col(Prediction.id))
    if study_instance_uid is not None:
        query = query.where(Prediction.study_instance_uid == study_instance_uid)
    if model is not None:
        query = query.where(Prediction.model_id == model.id)
    if study_digest is not None:
        query = query.where(Prediction.study_digest == study_digest)
    return list(session.exec(query))


def record_carrier(
    session: Session, predictions: Sequence[Prediction], sop_instance_uid: str
) -> None:
    """Record the structured report that carries these predictions.

    Raises:
        Permanent: another structured report carries one of them already.
    """
    if any(each.sop_instance_uid not in ("", sop_instance_uid) for each in predictions):
        raise Permanent("another structured report carries one of these predictions")
    for each in predictions:
        each.sop_instance_uid = sop_instance_uid
    session.add_all(predictions)
    session.flush()


def studies_to_predict(
    session: Session,
    rule: PredictionRule,
    model: Model,
    complete_study_uids: Collection[str],
    digest_of: Callable[[Session, str], str],
) -> list[str]:
    """Return the complete studies that fit the rule and that the model has not yet seen as such.

    Left out are studies without an image series that fits (one with structured reports only
    never does), frozen ones, those of which a rejection note says that the archive keeps the
    images no longer, those with a suspended link, those whose reports were all imported, those
    that this node asked for (:mod:`dicom_node.solicited`), and, where the rule says so, with a
    confirmed final report.

    Args:
        session: any session.
        rule: which series, and whether a final report ends the need.
        model: a registered model.
        complete_study_uids: studies that have stopped growing.
        digest_of: gives the present digest of a study, the one that predictions are stored under.
    """
    fitting = images(session, series_rule(rule))
    wanted = fitting.keys() & set(complete_study_uids)
    wanted -= frozen_studies(session).keys()
    wanted -= expired_studies(session).keys()
    wanted -= suspended_studies(session, wanted)
    wanted -= historical_studies(session)
    wanted -= solicited_studies(session, wanted).keys()
    if rule.only_without_final_report:
        links = linked_reports(session)
        wanted -= {uid for uid, each in links.items() if final_reports(each)}
    seen = _seen(session, model)
    return sorted(
        uid for uid in wanted if uid not in seen or digest_of(session, uid) not in seen[uid]
    )


def _seen(session: Session, model: Model) -> dict[str, set[str]]:
    """Return the states of each study that the model has predicted."""
    rows = session.exec(
        select(Prediction.study_instance_uid, Prediction.study_digest)
        .where(Prediction.model_id == model.id)
        .distinct()
    )
    seen: dict[str, set[str]] = {}
    for uid, digest in rows:
        seen.setdefault(uid, set()).add(digest)
    return seen
