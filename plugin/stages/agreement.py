"""Labelers against human readers, and the stated rule that picks the one to train on."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from dicom_node.models import Link, Report, Study
from labeling.evaluation.agreement import Judgement, agreement, choose_labeler
from labeling.models import Label, LabelingRun
from labeling.reference import reference_states
from labeling.vocabulary import WHOLE, State
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.cohort import newest_run
from training.folds import Identity
from training.patients import read_patients


def agreement_of_labelers(session: Session, settings: Settings) -> dict[str, Any]:
    """Compare the newest run of each allowed labeler with the readers' report-level labels.

    Patients with image-level reference labels are left out: they are the test fold, and whoever
    chooses by the test set has used it up. Labels of the whole report are compared.

    Returns:
        ``chosen``, ``reason`` and ``agreement`` (a row for each labeler and observation).

    Raises:
        Permanent: there are no reference labels, or no labeler has read those reports.
    """
    references = reference_states(session, "report")
    reports = _training_reports(session, set(references))
    judgements: dict[str, list[Judgement]] = {}
    for labeler in settings.labeling.labelers:
        if _has_run(session, labeler):
            run = newest_run(session, labeler)
            judgements[labeler] = _judgements(session, run, reports, references)
    judgements = {name: each for name, each in judgements.items() if each}
    if not judgements:
        raise Permanent("no labeler has read a report that a reader has labelled")
    try:
        choice = choose_labeler(judgements)
    except ValueError as error:
        raise Permanent(str(error)) from error
    return {
        "chosen": choice.labeler,
        "reason": choice.sentence,
        "mean_balanced_accuracy": dict(choice.mean_balanced_accuracy),
        "agreement": [row for name, each in judgements.items() for row in _rows(name, each)],
    }


def _has_run(session: Session, labeler: str) -> bool:
    query = select(LabelingRun.id).where(LabelingRun.labeler == labeler)
    return session.exec(query).first() is not None


def _training_reports(session: Session, subjects: set[str]) -> dict[int, tuple[str, Identity]]:
    """Return accession number and patient by report, for linked reports of training patients."""
    patients = read_patients(session)
    image_studies = set(reference_states(session, "image"))
    rows = session.exec(
        select(Link.report_id, Study)
        .join(Report, col(Report.id) == col(Link.report_id))
        .join(Study, col(Study.study_instance_uid) == col(Link.study_instance_uid))
        .where(Link.state == "confirmed", col(Report.is_current))
    ).all()
    identities: dict[str, Identity] = {}
    for study in session.exec(select(Study)):
        identity = patients.of(study.issuer_of_patient_id, study.patient_id)
        identities[study.study_instance_uid] = identity
    held_out = {identities[uid] for uid in image_studies if uid in identities}
    return {
        report_id: (study.accession_number, identities[study.study_instance_uid])
        for report_id, study in rows
        if study.accession_number in subjects
        and identities[study.study_instance_uid] not in held_out
    }


def _judgements(
    session: Session,
    run_id: int,
    reports: dict[int, tuple[str, Identity]],
    references: dict[str, dict[tuple[str, str], State | None]],
) -> list[Judgement]:
    rows = session.exec(select(Label).where(Label.run_id == run_id, Label.site == WHOLE))
    found = []
    for label in rows:
        if label.report_id not in reports:
            continue
        accession_number, identity = reports[label.report_id]
        reference = references[accession_number].get((label.observation, WHOLE))
        if reference is None:
            continue
        found.append(
            Judgement(
                observation=label.observation,
                patient="|".join(identity),
                label=State(label.state),
                reference=reference,
                score=label.probability if label.margin is None else label.margin,
            )
        )
    return found


def _rows(labeler: str, judgements: list[Judgement]) -> list[dict[str, Any]]:
    return [
        {
            "labeler": labeler,
            "observation": name,
            "n": each.n,
            "present": each.n_present,
            "sensitivity": _number(each.sensitivity.value),
            "specificity": _number(each.specificity.value),
            "balanced_accuracy": _number(each.balanced_accuracy.value),
            "low": _number(each.balanced_accuracy.low),
            "high": _number(each.balanced_accuracy.high),
            "macro_f1": _number(each.macro_f1.value),
            "auroc": None if each.auroc is None else _number(each.auroc.value),
        }
        for name, each in agreement(judgements).items()
    ]


def _number(value: float) -> float | None:
    """Return a number that JSON can hold: NaN means that the figure does not exist."""
    return None if value != value else value
