"""Stage: a frozen cohort trains a classifier in a child process, and the registry takes it."""

from __future__ import annotations

from typing import Any

import pydicom.uid
from sqlmodel import Session

from dicom_node.storage import DicomStore
from dicom_node.studies import is_frozen
from plugin.child import ChildProcess
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.reporting import SOFTWARE_VERSION
from plugin.stages.cohort import newest_cohort
from training.cohort import members_of
from training.models import Cohort, CohortMember, TrainingRun
from training.registry import promote, register
from training.selection import SeriesRule
from training.series import analysed_series, instance_digests


def train_model(
    context: Context, cohort_name: str, name: str, progress: Progress
) -> dict[str, Any]:
    """Train on the newest cohort of a name and register the weights as a candidate.

    Returns:
        ``model`` (NAME:VERSION), ``weights``, figures of the ``test`` fold against human
        reference labels, what was ``not_used`` and ``not_trained`` and why, members
        that are ``frozen`` since and were left out, ``seconds``.

    Raises:
        Permanent: no such cohort, or it cannot train (the reason says why).
    """
    settings = context.settings.training
    with context.database.read() as session:
        cohort = newest_cohort(session, cohort_name)
        frozen = _frozen_members(session, cohort)
        job = {
            "members": _members(context, session, cohort),
            "observations": [each.id for each in context.schema().observations],
            "sites": [each.id for each in context.schema().sites],
            "settings": settings.model_dump(mode="json"),
            "weights_folder": str(context.folder.weights),
            "provenance": {"cohort": cohort.digest, "radloop": SOFTWARE_VERSION},
        }
    started = context.clock()
    with ChildProcess(context.folder.child_log, settings.threads) as child:
        (trained,) = child.run("train", job, progress)
    with context.database.write() as session:
        if session.get_one(Cohort, cohort.id).digest != cohort.digest:
            weights = context.folder.weights / f"{trained['weights_digest']}.safetensors"
            weights.unlink(missing_ok=True)
            raise Permanent("a patient of this cohort was erased during the training: train again")
        run = TrainingRun(
            cohort_id=_id(cohort),
            classifier=settings.classifier,
            seed=settings.seed,
            code_version=SOFTWARE_VERSION,
            curve=trained["curve"],
            metrics={key: trained[key] for key in ("test", "not_used", "not_trained", "counts")},
            started_at=started,
            finished_at=context.clock(),
        )
        session.add(run)
        session.flush()
        model = register(
            session,
            weights_digest=trained["weights_digest"],
            name=name,
            training_run=run,
            operating_points=trained["thresholds"],
            uid_source=pydicom.uid.generate_uid,
            decided_by="radloop",
            clock=context.clock,
        )
        reference = f"{model.name}:{model.version}"
    return {
        "model": reference,
        "weights": trained["weights_digest"],
        "epochs": len(trained["curve"]),
        "test": trained["test"],
        "not_used": trained["not_used"],
        "not_trained": trained["not_trained"],
        "frozen": frozen,
        "seconds": (run.finished_at - started).total_seconds(),
    }


def promote_model(context: Context, model: str, by: str, reason: str) -> dict[str, Any]:
    """Make a model live; the earlier live one of its name retires."""
    with context.database.write() as session:
        live = promote(session, model, decided_by=by, reason=reason, clock=context.clock)
        return {"model": f"{live.name}:{live.version}", "stage": "live"}


def _members(context: Context, session: Session, cohort: Cohort) -> list[dict[str, Any]]:
    store = DicomStore(context.folder.root)
    query = cohort.query
    rule = SeriesRule(query["modality"], tuple(query["body_parts"]), query["series_description"])
    return [
        {
            "study_instance_uid": member.study_instance_uid,
            "patient_key": member.patient_key,
            "fold": member.fold,
            "targets": member.targets,
            "files": _files(session, store, member, rule),
        }
        for member in members_of(session, cohort)
        if not member.exclusion_reason and not is_frozen(session, member.study_instance_uid)
    ]


def _frozen_members(session: Session, cohort: Cohort) -> int:
    """Return how many members are frozen since: they teach nothing until a person decides."""
    return sum(
        is_frozen(session, member.study_instance_uid)
        for member in members_of(session, cohort)
        if not member.exclusion_reason
    )


def _files(
    session: Session, store: DicomStore, member: CohortMember, rule: SeriesRule
) -> list[str]:
    series = analysed_series(session, member.study_instance_uid, rule)
    if series is None:
        raise Permanent("a member of the cohort has lost the series that it was chosen for")
    return [str(store.path(digest)) for digest in instance_digests(session, series)]


def _id(cohort: Cohort) -> int:
    if cohort.id is None:
        raise Permanent("the cohort is not stored")
    return cohort.id
