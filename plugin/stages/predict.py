"""Stage: models at work predict on a study; what a live one says becomes a structured report."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlmodel import Session

from dicom_node.durable import write_durably
from dicom_node.inspection import data_set_of
from dicom_node.life_models import StudyCompletion
from dicom_node.models import Transmission
from dicom_node.sr.identity import EVIDENCE
from dicom_node.storage import DicomStore
from dicom_node.studies import studies_with_images, study_digest
from plugin.child import ChildProcess
from plugin.context import Context, Progress
from plugin.errors import NeedsReview
from plugin.extensions import load
from plugin.pipeline import WaitingPrediction, held, waiting_predictions
from plugin.reporting import AnalysedStudy
from plugin.stages.complete import Completeness
from plugin.stages.series_choices import choose_for_predictions
from training.models import Cohort, Model, ModelEvent, Prediction, TrainingRun
from training.predictions import (
    SitePrediction,
    record_carrier,
    stages_now,
    stages_since,
    store_predictions,
)
from training.series import analysed_digests, series_rule
from training.settings import PredictionRule
from training.stages import Stage, newest_event

log = logging.getLogger("radloop")


class Predictor:
    """Predicts study by study; its child process, and torch in it, stay loaded in between."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._child: ChildProcess | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()

    def predict_completed(self, model_id: int, completion_id: int) -> None:
        """Predict on a study as it was when this completion was recorded; see :meth:`predict`.

        Nothing is done where the completion is gone: the patient was erased.
        """
        with self._context.database.read() as session:
            completion = session.get(StudyCompletion, completion_id)
        if completion is not None:
            self.predict(model_id, completion.study_instance_uid, completion.study_digest)

    def predict(self, model_id: int, study_instance_uid: str, digest: str) -> None:
        """Predict on one study, store the rows and the report; safe to run twice.

        Nothing is stored when the study has changed since ``digest`` was taken, or is held now
        (:func:`plugin.pipeline.held`): the sweep asks again for the study as it is then. A model
        that was retired meanwhile stores nothing either. Rows keep the stage of this moment, or the
        more silent one in which the prediction began: what was predicted in silence never becomes a
        structured report, whatever the model is later.

        Raises:
            ChildFailed: the child process died; trying again may help.
        """
        began = self._event_of(model_id)
        job, files = self._job(model_id, study_instance_uid)
        with self._lock:
            found = self._running_child().run("predict", job, _mute)
            rows = [SitePrediction(**row) for row in found]
        evidence = [self._evidence(path) for path in files]
        with self._context.database.write() as session:
            if study_digest(session, study_instance_uid) != digest:
                return
            if held(session, study_instance_uid):
                return
            model = session.get_one(Model, model_id)
            stages = stages_since(session, model, {row.observation for row in rows}, began)
            if stages is None:
                return
            stored = store_predictions(
                session,
                model,
                study_instance_uid,
                digest,
                rows,
                model.operating_points,
                self._context.clock,
                stages,
            )
            self._report(session, model, study_instance_uid, stored, evidence)

    def _event_of(self, model_id: int) -> ModelEvent:
        with self._context.database.read() as session:
            return newest_event(session, session.get_one(Model, model_id))

    def _running_child(self) -> ChildProcess:
        if self._child is None or not self._child.alive:
            folder, threads = self._context.folder, self._context.settings.training.threads
            self._child = ChildProcess(folder.child_log, threads)
        return self._child

    def _job(self, model_id: int, study_instance_uid: str) -> tuple[dict[str, Any], list[Any]]:
        context = self._context
        store = DicomStore(context.folder.root)
        with context.database.read() as session:
            model = session.get_one(Model, model_id)
            run = session.get_one(TrainingRun, model.training_run_id)
            rule = _rule(context, model)
            digests = analysed_digests(session, study_instance_uid, series_rule(rule))
            if not digests:
                raise NeedsReview("the study has no series that fits the rule any more")
            files = [store.path(digest) for digest in digests]
        if "domain" not in run.metrics:
            log.warning(
                "model %s was trained by an earlier version: it does not know what its inputs "
                "were like, and predicts on any image that can be read",
                model.reference,
            )
        schema = context.schema()
        job = {
            "weights": str(context.folder.weights / f"{model.weights_digest}.safetensors"),
            "weights_digest": model.weights_digest,
            "classifier": context.settings.training.classifier,
            "architecture": run.metrics.get("architecture", {}).get("name", ""),
            "disc_localiser": context.settings.training.disc_localiser,
            "threads": context.settings.training.threads,
            "files": [str(path) for path in files],
            "observations": [each.id for each in schema.observations],
            "sites": [site.id for site in schema.sites],
        }
        return job, files

    def _evidence(self, path: Path) -> Dataset:
        """Read what a report copies from a stored image, without parsing it here."""
        return data_set_of(self._context.sandbox.elements(path, EVIDENCE))

    def _report(
        self,
        session: Session,
        model: Model,
        study_instance_uid: str,
        rows: list[Prediction],
        evidence: Sequence[Dataset],
    ) -> None:
        now = stages_now(session, model, {row.observation for row in rows}) or {}
        rows = [
            row
            for row in rows
            if row.stage == Stage.LIVE and now.get(row.observation) is Stage.LIVE
        ]
        if all(row.sop_instance_uid for row in rows):
            return
        context = self._context
        reporting = context.settings.reporting
        run = session.get_one(TrainingRun, model.training_run_id)
        study = AnalysedStudy(
            evidence=evidence,
            predictions=rows,
            model=model,
            cohort_digest=session.get_one(Cohort, run.cohort_id).digest,
            schema=context.schema(),
            study_digest=rows[0].study_digest,
        )
        encoded, report = load("exporters", reporting.exporter)(
            study, reporting, min(row.predicted_at for row in rows)
        )
        path = context.folder.reports / f"{report.SOPInstanceUID}.dcm"
        write_durably(path, encoded)
        record_carrier(session, rows, report.SOPInstanceUID)
        if reporting.peer:
            session.add(
                Transmission(
                    sop_instance_uid=report.SOPInstanceUID,
                    sop_class_uid=report.SOPClassUID,
                    study_instance_uid=study_instance_uid,
                    peer=reporting.peer,
                    path=str(path.relative_to(context.folder.root)),
                    created_at=context.clock(),
                )
            )


def predict_waiting(
    context: Context, progress: Progress, *, ignore_quiet_time: bool
) -> dict[str, Any]:
    """Predict now on every study that waits for a model at work.

    Returns:
        ``predicted`` (number of studies).
    """
    Completeness(context).sweep()
    with context.database.read() as session:
        studies = studies_with_images(session)
    choose_for_predictions(context, studies)
    with context.database.read() as session:
        waiting = waiting_predictions(context, session, ignore_quiet_time=ignore_quiet_time)
    with Predictor(context) as predictor:
        for number, each in enumerate(waiting, start=1):
            _predict(predictor, each)
            progress(f"{number} of {len(waiting)} studies")
    return {"predicted": len(waiting)}


def _predict(predictor: Predictor, each: WaitingPrediction) -> None:
    predictor.predict(each.model_id, each.study_instance_uid, each.study_digest)


def _rule(context: Context, model: Model) -> PredictionRule:
    for rule in context.settings.prediction:
        if rule.model == model.name:
            return rule
    raise NeedsReview(f"no [[prediction]] rule names the model {model.name}")


def _mute(_: str) -> None:
    """Prediction of one study is too short for progress."""
