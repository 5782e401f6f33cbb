"""Which labeler read the training reports, by what, and how well it agrees with readers."""

from __future__ import annotations

from typing import Any

from sqlmodel import select

from labeling.models import Calibration, LabelingRun, Qualification
from labeling.standing import configuration_of, qualification_of
from training.cards.subject import FreeText, Subject

_FIGURES = ("n", "present", "balanced_accuracy", "low", "high", "f1", "auroc", "calibration_error")


def labeler(subject: Subject) -> dict[str, Any]:
    """Return labeler, digests, calibration, and the verdict with the agreement that it rests on.

    The digest of the model is that of model and adapter together where the labeler is a language
    model with an adapter; that of the prompt is over the questions and the calibration.
    """
    run = subject.labeling_run
    verdict = qualification_of(subject.session, configuration_of(run), run.calibration_digest)
    return {
        "name": run.labeler,
        "model": FreeText(run.model_name) or None,
        "model_and_adapter_digest": run.model_digest or None,
        "questions_digest": run.question_digest or None,
        "prompt_digest": run.prompt_digest or None,
        "calibration_digest": run.calibration_digest or None,
        "calibration": _calibration(subject, run),
        "verdict": _verdict(verdict) if verdict else None,
    }


def _calibration(subject: Subject, run: LabelingRun) -> dict[str, Any] | None:
    if not run.calibration_digest:
        return None
    query = select(Calibration).where(Calibration.digest == run.calibration_digest)
    row = subject.session.exec(query.limit(1)).first()
    if row is None:
        return None
    return {
        "reports": row.n_reports,
        "reference_digest": row.reference_digest,
        "samples": list(row.summary.get("samples", [])),
        "accepted": list(row.summary.get("accepted", [])),
        "fitted_by": row.fitted_by,
        "fitted_at": row.fitted_at.isoformat(),
    }


def _verdict(row: Qualification) -> dict[str, Any]:
    figures = row.figures
    observations = figures.get("observations", {})
    return {
        "qualified": row.qualified,
        "failings": [FreeText(each) for each in row.failings],
        "criteria": row.criteria,
        "rests_on": figures.get("rests_on"),
        "judged_by": figures.get("judged_by"),
        "reports": figures.get("reports"),
        "mean_balanced_accuracy": figures.get("mean_balanced_accuracy"),
        "agreement": [
            {"observation": name, **{key: each.get(key) for key in _FIGURES}}
            for name, each in observations.items()
        ],
        "measured_by": row.measured_by,
        "measured_at": row.measured_at.isoformat(),
    }
