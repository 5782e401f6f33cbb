"""The question what rests on a report, a study or a patient, and which of it no longer stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.database import chunks
from dicom_node.errors import Permanent as NoReport
from dicom_node.linking.queries import find_report
from dicom_node.models import Link, Report, Study, Transmission
from dicom_node.reports.status import EFFECTS, Effect
from labeling.models import Label, LabelingRun
from plugin.errors import Permanent
from training.impact import Artefact, Key, Scope, close, dependents
from training.impact_models import ImpactNote
from training.membership import Ground, standing_of
from training.models import Cohort, CohortMember, Model, Prediction, TrainingRun
from training.patients import studies_of_patients
from training.registry import models as registered_models
from training.standing import CONSEQUENCES, Fault

_STANDS = "stands"
_CX = "^^^"
_LISTED_NOTES = 50

_SINCE = {
    Fault.OPTED_OUT: "patients who have opted out since",
    Fault.TWO_FOLDS: "patients in two folds",
    Fault.WITHDRAWN: "reports since withdrawn",
    Fault.LINK: "links since withdrawn or suspended",
    Fault.FROZEN: "studies since frozen",
    Fault.NOT_FINAL: "reports since provisional again",
    Fault.CORRECTED: "reports since corrected",
    Fault.SEVERAL: "studies with several final reports since",
    Fault.IMAGES: "studies whose images are others since",
    Fault.PACS_IDENTITY: "studies of another identity in the PACS since",
    Fault.PACS_ABSENT: "studies that the PACS does not hold any more",
    Fault.PACS_IMAGES: "studies of which the PACS does not hold all images any more",
}
"""What a model learned from, by what became of it; plural, after a number."""


def impact_of(
    session: Session, ground: Ground, subject: str, issuer: str | None = None
) -> dict[str, Any]:
    """Return what rests on a report, a study or a patient, JSON-ready.

    Args:
        session: any session; the answer is as the tables are now.
        ground: how patients are told apart.
        subject: the number of a report, a Study Instance UID, or a patient as ``ID^^^ISSUER``.
        issuer: makes ``subject`` a patient's identifier.

    Returns:
        ``subject``, ``versions`` of reports, ``labels``, ``members`` of cohorts, ``models``,
        ``predictions``, ``structured_reports``, each with how it ``stands``, and the ``notes``.

    Raises:
        Permanent: nobody and nothing here is called so.
    """
    named, scope = _scope_of(session, ground, subject, issuer)
    found = dependents(session, ground, scope)
    # What stands of a member depends on all studies of the patient; asked was for these.
    asked = sorted(
        key
        for key in found
        if key.artefact is Artefact.LABELS or key.study_instance_uid in scope.studies
    )
    keys = {artefact: [key for key in asked if key.artefact is artefact] for artefact in Artefact}
    return {
        "subject": named,
        "studies": len(scope.studies),
        "versions": _versions(session, scope),
        "labels": _labels(session, keys[Artefact.LABELS], found),
        "members": _members(session, keys[Artefact.MEMBER], found),
        "models": _models(session, ground, keys[Artefact.MODEL], found),
        "predictions": _predictions(session, keys[Artefact.PREDICTION], found),
        "structured_reports": _sent(session, keys[Artefact.STRUCTURED_REPORT], found),
        "notes": _notes(session, scope),
    }


def _scope_of(
    session: Session, ground: Ground, subject: str, issuer: str | None
) -> tuple[str, Scope]:
    if issuer is None and _CX in subject:
        subject, issuer = subject.split(_CX, 1)
    if issuer is not None:
        return _patient(session, ground, issuer, subject)
    if session.get(Study, subject) is not None:
        reports = close(session, Ground(ground.salt), Scope({subject})).reports
        return f"study {subject}", Scope({subject}, reports)
    try:
        report = session.get_one(Report, find_report(session, subject))
    except NoReport as error:
        raise Permanent(f"{error}; a patient is named ID^^^ISSUER") from error
    own = _of_chains(session, {report.report_identity})
    return f"report {report.id}, version {report.version}", own


def _patient(session: Session, ground: Ground, issuer: str, patient_id: str) -> tuple[str, Scope]:
    identity = ground.name_of(issuer), patient_id
    studies = studies_of_patients(session, ground.name_of, {identity})
    reports = session.exec(
        select(Report.report_identity).where(
            Report.patient_id == patient_id,
            col(Report.issuer_of_patient_id).in_({issuer, identity[0]}),
        )
    ).all()
    if not studies and not reports:
        raise Permanent("no study and no report is known of this patient identifier and issuer")
    scope = close(session, ground, Scope(set(studies)))
    other = _of_chains(session, set(reports))
    return "a patient, with every identity that was joined", Scope(
        scope.studies | other.studies, scope.reports | other.reports
    )


def _of_chains(session: Session, chains: set[str]) -> Scope:
    """Return every version of these reports, and the studies that any of them was linked to."""
    reports: set[int] = set()
    for names in chunks(sorted(chains)):
        rows = session.exec(select(Report.id).where(col(Report.report_identity).in_(names))).all()
        reports |= {key for key in rows if key is not None}
    studies: set[str] = set()
    for part in chunks(sorted(reports)):
        for table in (Link, CohortMember):
            studies |= set(
                session.exec(select(table.study_instance_uid).where(col(table.report_id).in_(part)))
            )
    return Scope(studies, reports)


def _versions(session: Session, scope: Scope) -> list[dict[str, Any]]:
    rows = [
        row
        for part in chunks(sorted(scope.reports))
        for row in session.exec(select(Report).where(col(Report.id).in_(part)))
    ]
    return [
        {
            "report": row.id,
            "version": row.version,
            "status": row.result_status,
            "current": row.is_current,
        }
        for row in sorted(rows, key=lambda each: (each.report_identity, each.version))
    ]


def _labels(session: Session, keys: Iterable[Key], found: dict[Key, str]) -> list[dict[str, Any]]:
    rows = []
    for key in keys:
        run = session.get_one(LabelingRun, key.artefact_id)
        report = session.get_one(Report, key.report_id)
        number = session.exec(
            select(func.count(col(Label.id))).where(
                Label.run_id == key.artefact_id, Label.report_id == key.report_id
            )
        ).one()
        rows.append(
            {
                "report": key.report_id,
                "run": run.id,
                "labeler": run.labeler,
                "labels": number,
                "provisional": EFFECTS.get(report.result_status) is Effect.PROVISIONAL,
                "stands": found[key] or _STANDS,
            }
        )
    return rows


def _members(session: Session, keys: Iterable[Key], found: dict[Key, str]) -> list[dict[str, Any]]:
    rows = []
    for key in keys:
        cohort = session.get_one(Cohort, key.artefact_id)
        member = session.exec(
            select(CohortMember).where(
                CohortMember.cohort_id == cohort.id,
                CohortMember.study_instance_uid == key.study_instance_uid,
            )
        ).one()
        rows.append(
            {
                "cohort": cohort.name,
                "digest": cohort.digest[:12],
                "study_instance_uid": key.study_instance_uid,
                "fold": member.fold,
                "stands": found[key] or _STANDS,
            }
        )
    return rows


def _models(
    session: Session, ground: Ground, keys: Iterable[Key], found: dict[Key, str]
) -> list[dict[str, Any]]:
    """Return the models that learned from a member in question, and all that fell under them."""
    here: dict[int, list[str]] = {}
    for key in keys:
        here.setdefault(key.artefact_id, []).append(found[key])
    listings = {each.model.id: each for each in registered_models(session)}
    return [
        {
            "model": listings[model_id].reference,
            "stage": str(listings[model_id].stage),
            "learned_from": len(faults),
            "stands": trained_on(session, ground, model_id) or _STANDS,
            **_made_with(session, model_id),
        }
        for model_id, faults in sorted(here.items())
    ]


def trained_on(session: Session, ground: Ground, model_id: int) -> str:
    """Return "trained on 3 reports since withdrawn" and the like; empty where all stand."""
    model = session.get_one(Model, model_id)
    run = session.get_one(TrainingRun, model.training_run_id)
    left_out = {each["study"] for each in run.metrics.get("left_out", ())}
    counts: dict[Fault, int] = {}
    for each in standing_of(session, ground, session.get_one(Cohort, run.cohort_id)):
        if each.fault is None or each.member.study_instance_uid in left_out:
            continue
        if CONSEQUENCES[each.fault].taints:
            counts[each.fault] = counts.get(each.fault, 0) + 1
    erased = sum(
        session.exec(
            select(ImpactNote.count).where(
                ImpactNote.artefact == str(Artefact.MODEL),
                ImpactNote.artefact_id == model_id,
                ImpactNote.source == "erasure",
            )
        )
    )
    parts = [f"{counts[fault]} {_SINCE[fault]}" for fault in Fault if fault in counts]
    parts += [f"{erased} members since erased"] if erased else []
    return f"trained on {', '.join(parts)}" if parts else ""


def _made_with(session: Session, model_id: int) -> dict[str, int]:
    predicted = session.exec(
        select(func.count(func.distinct(col(Prediction.study_instance_uid)))).where(
            Prediction.model_id == model_id
        )
    ).one()
    sent = session.exec(
        select(func.count(func.distinct(col(Transmission.id))))
        .join(Prediction, col(Prediction.sop_instance_uid) == col(Transmission.sop_instance_uid))
        .where(Prediction.model_id == model_id, Transmission.state == "delivered")
    ).one()
    return {"studies_predicted": predicted, "structured_reports_delivered": sent}


def _predictions(
    session: Session, keys: Iterable[Key], found: dict[Key, str]
) -> list[dict[str, Any]]:
    names = {each.model.id: each.reference for each in registered_models(session)}
    return [
        {
            "model": names[key.artefact_id],
            "study_instance_uid": key.study_instance_uid,
            "stands": found[key] or _STANDS,
        }
        for key in keys
    ]


def _sent(session: Session, keys: Iterable[Key], found: dict[Key, str]) -> list[dict[str, Any]]:
    rows = [(key, session.get_one(Transmission, key.artefact_id)) for key in keys]
    return [
        {
            "sop_instance_uid": row.sop_instance_uid,
            "peer": row.peer,
            "state": row.state,
            "study_instance_uid": key.study_instance_uid,
            "stands": found[key] or _STANDS,
        }
        for key, row in rows
    ]


def _notes(session: Session, scope: Scope) -> list[dict[str, Any]]:
    rows: dict[int, ImpactNote] = {}
    for uids in chunks(sorted(scope.studies)):
        query = select(ImpactNote).where(col(ImpactNote.study_instance_uid).in_(uids))
        rows |= {row.id or 0: row for row in session.exec(query)}
    for part in chunks(sorted(scope.reports)):
        query = select(ImpactNote).where(col(ImpactNote.report_id).in_(part))
        rows |= {row.id or 0: row for row in session.exec(query)}
    return [
        {
            "noted_at": row.noted_at.isoformat(timespec="seconds"),
            "what": f"{row.artefact} {row.artefact_id}",
            "study_instance_uid": row.study_instance_uid,
            "report": row.report_id,
            "said": row.cause if row.stale else "stands again",
            "change": f"{row.source} {row.source_id}" if row.source else "",
        }
        for _, row in sorted(rows.items())[-_LISTED_NOTES:]
    ]
