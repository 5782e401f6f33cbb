"""Predictions become one structured report per study: the exporter ``structured_report``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.archive_settings import ReportingSettings
from dicom_node.sr.building import build_structured_report, encode
from dicom_node.sr.content import (
    Algorithm,
    ConceptCode,
    DeviceObserver,
    Finding,
    FindingState,
)
from dicom_node.sr.rendering import render_html, render_text
from labeling.vocabulary import WHOLE, Code, LabelSchema
from plugin.errors import Permanent
from training.models import Model, Prediction

SOFTWARE_VERSION = "0.1.0"
"""Version of radloop as it stands in reports; a test compares it with the package."""


@dataclass(frozen=True)
class AnalysedStudy:
    """What a report is made from.

    Attributes:
        evidence: headers of the stored instances that were analysed, read again just now.
        predictions: rows of one model for this study.
        study_digest: the content of the study that was analysed.
    """

    evidence: Sequence[Dataset]
    predictions: Sequence[Prediction]
    model: Model
    cohort_digest: str
    schema: LabelSchema
    study_digest: str


def build_report(
    study: AnalysedStudy, settings: ReportingSettings, analysed_at: dt.datetime
) -> tuple[bytes, Dataset]:
    """Build the Comprehensive 3D SR (TID 1500) of one study and one model.

    Returns:
        The file, and the data set that it holds.

    Raises:
        NeedsReview: the evidence belongs to more than one patient or study.
    """
    document = build_structured_report(
        evidence=study.evidence,
        findings=[_finding(row, study.schema) for row in study.predictions],
        algorithm=_algorithm(study.model, study.cohort_digest),
        device=DeviceObserver(
            uid=study.model.device_uid,
            name=settings.device_name,
            manufacturer=settings.manufacturer,
            model_name=study.model.name,
            software_version=SOFTWARE_VERSION,
            institution=settings.institution,
        ),
        procedure=_concept(study.schema.procedure),
        content_datetime=analysed_at,
        uid_parts=(study.model.weights_digest, study.study_digest),
    )
    return encode(document), document


def _finding(row: Prediction, schema: LabelSchema) -> Finding:
    observation = schema.observation(row.observation)
    site = None if row.site == WHOLE else _concept(schema.site(row.site).code)
    return Finding(
        condition=_concept(observation.code),
        site=site,
        site_id=row.site,
        probability=row.probability,
        threshold=row.threshold,
        state=_state(row.probability, row.threshold),
        reason=row.reason,
    )


def _state(probability: float | None, threshold: float | None) -> FindingState:
    if probability is None:
        return FindingState.NOT_EVALUATED
    if threshold is None:
        return FindingState.UNDETERMINED
    return FindingState.PRESENT if probability >= threshold else FindingState.ABSENT


def _algorithm(model: Model, cohort_digest: str) -> Algorithm:
    return Algorithm(
        name=model.name,
        version=str(model.version),
        manufacturer="radloop",
        device_uid=model.device_uid,
        parameters={"weights SHA-256": model.weights_digest, "cohort SHA-256": cohort_digest},
    )


def _concept(code: Code) -> ConceptCode:
    return ConceptCode(code.value, code.scheme, code.meaning)


def render_file(path: Path, *, as_html: bool) -> str:
    """Render a structured report file as text or as a self-contained HTML page."""
    try:
        dataset = pydicom.dcmread(path)
    except InvalidDicomError:
        raise Permanent(f"{path} is not a DICOM file") from None
    return render_html(dataset) if as_html else render_text(dataset)
