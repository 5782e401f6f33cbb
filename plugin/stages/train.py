"""Stage: a frozen cohort trains a classifier in a child process, and the registry takes it."""

from __future__ import annotations

from typing import Any

import pydicom.uid
from sqlmodel import Session, select

from dicom_node.storage import DicomStore
from dicom_node.studies import is_frozen
from plugin.child import ChildProcess
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.reporting import SOFTWARE_VERSION
from plugin.source_digest import code_identity, library_versions
from plugin.stages.cohort import newest_cohort
from plugin.stages.erase_files import remove_prepared
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_changes
from plugin.stages.series_choices import choose_for_cohort
from training.cohort import members_of
from training.membership import Ground, standing_of
from training.models import Cohort, CohortMember, Model, TrainingRun
from training.registry import register
from training.selection import SeriesRule
from training.series import analysed_digests
from training.standing import Fault, in_words, spoiling, stopping


def train_model(
    context: Context, cohort_name: str, name: str, progress: Progress, architecture: str = ""
) -> dict[str, Any]:
    """Train on the newest cohort of a name and register the weights as a candidate.

    Every member is asked for twice whether it still stands (``training.standing``): in the
    transaction that reads what to learn from, and in the one that registers the weights. A cohort
    that was superseded does not train. Weights that learned meanwhile from a link that is no
    longer confirmed are thrown away; where a report was only corrected, the model is kept and
    notes say what it learned from.

    With an architecture the engine of ``training.learning`` trains it; without one, the family of
    classifiers that the settings name is trained on disc crops.

    Returns:
        ``model`` (NAME:VERSION), ``weights``, figures of the ``test`` fold against human
        reference labels, what was ``not_used`` and ``not_trained`` and why, members
        that are ``frozen`` since and were left out, ``seconds``.

    Raises:
        Permanent: no such cohort, it is superseded, or it cannot train (the reason says why).
    """
    settings = context.settings.training
    ground = ground_of(context.settings)
    with context.database.read() as session:
        cohort = newest_cohort(session, cohort_name)
        studies = [each.study_instance_uid for each in members_of(session, cohort)]
    choose_for_cohort(context, cohort, studies)
    with context.database.read() as session:
        _refuse_superseded(session, ground, cohort)
        left_out = _frozen_members(session, cohort)
        job = _job(context, session, cohort, architecture)
    started = context.clock()
    with ChildProcess(context.folder.child_log, settings.threads) as child:
        task = "train_architecture" if architecture else "train"
        (trained,) = child.run(task, job, progress)
    with context.database.write() as session:
        if reason := _spoiled(session, ground, cohort):
            _throw_away(context, session, trained["weights_digest"])
            raise Permanent(reason)
        run = TrainingRun(
            cohort_id=_id(cohort),
            classifier=architecture or settings.classifier,
            seed=settings.seed,
            code_version=SOFTWARE_VERSION,
            curve=trained["curve"],
            metrics={
                **{key: value for key, value in trained.items() if key not in _OWN_COLUMNS},
                "left_out": [{"study": uid, "reason": str(Fault.FROZEN)} for uid in left_out],
                "code": code_identity(),
                "libraries": library_versions(),
                "settings": settings.model_dump(mode="json"),
            },
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
        reference = model.reference
        # In the transaction: a model never stands without what became of its members meanwhile.
        note_changes(context, session)
    return {
        "model": reference,
        "weights": trained["weights_digest"],
        "epochs": len(trained["curve"]),
        "test": trained["test"],
        "not_used": trained["not_used"],
        "not_trained": trained["not_trained"],
        "frozen": len(left_out),
        "seconds": (run.finished_at - started).total_seconds(),
        **{key: trained[key] for key in ("estimate", "cache") if key in trained},
    }


def _job(context: Context, session: Session, cohort: Cohort, architecture: str) -> dict[str, Any]:
    """Return what the child learns from: files and targets, no names."""
    schema = context.schema()
    return {
        "members": _members(context, session, cohort),
        "observations": [each.id for each in schema.observations],
        "sites": [each.id for each in schema.sites],
        "settings": context.settings.training.model_dump(mode="json"),
        "weights_folder": str(context.folder.weights),
        "prepared_folder": str(context.folder.prepared),
        "trainings_folder": str(context.folder.trainings),
        "architecture": architecture,
        "provenance": {"cohort": cohort.digest, "radloop": SOFTWARE_VERSION},
    }


def _throw_away(context: Context, session: Session, weights_digest: str) -> None:
    """Remove what learned from a cohort that was spoiled meanwhile."""
    # The same cohort and settings give the same weights: they may be a model's already.
    if not _is_registered(session, weights_digest):
        for kind in ("safetensors", "png"):
            (context.folder.weights / f"{weights_digest}.{kind}").unlink(missing_ok=True)
    remove_prepared(context.folder)  # it may hold what was erased meanwhile


_OWN_COLUMNS = frozenset({"curve", "thresholds", "weights_digest"})
"""What a training returns that has a place of its own in the tables."""


def _members(context: Context, session: Session, cohort: Cohort) -> list[dict[str, Any]]:
    store = DicomStore(context.folder.root)
    rule = SeriesRule.of_record(cohort.query)
    found = []
    for member in members_of(session, cohort):
        if member.exclusion_reason or is_frozen(session, member.study_instance_uid):
            continue
        digests = _digests(session, member, rule)
        found.append(
            {
                "study_instance_uid": member.study_instance_uid,
                "patient_key": member.patient_key,
                "fold": member.fold,
                "targets": member.targets,
                "details": member.details,
                "files": [str(store.path(digest)) for digest in digests],
                "digests": digests,
            }
        )
    return found


def _is_registered(session: Session, weights_digest: str) -> bool:
    query = select(Model.id).where(Model.weights_digest == weights_digest)
    return session.exec(query).first() is not None


def _frozen_members(session: Session, cohort: Cohort) -> list[str]:
    """Return the members that are frozen since: they teach nothing until a person decides."""
    return [
        member.study_instance_uid
        for member in members_of(session, cohort)
        if not member.exclusion_reason and is_frozen(session, member.study_instance_uid)
    ]


def _refuse_superseded(session: Session, ground: Ground, cohort: Cohort) -> None:
    """Refuse a cohort with members that do not stand; its digest must say what was learned."""
    found = standing_of(session, ground, cohort)
    if faults := stopping(found):
        raise Permanent(
            f"cohort {cohort.name} ({cohort.digest[:12]}) is superseded: "
            f"{in_words(faults, len(found))}; freeze it again"
        )


def _spoiled(session: Session, ground: Ground, cohort: Cohort) -> str:
    """Return why weights that were trained on the cohort must go; empty where they may stay."""
    if session.get_one(Cohort, cohort.id).digest != cohort.digest:
        return "a patient of this cohort was erased during the training: train again"
    found = standing_of(session, ground, cohort)
    if faults := spoiling(found):
        return (
            f"cohort {cohort.name} ({cohort.digest[:12]}) was superseded during the training: "
            f"{in_words(faults, len(found))}; freeze it again"
        )
    return ""


def _digests(session: Session, member: CohortMember, rule: SeriesRule) -> list[str]:
    digests = analysed_digests(session, member.study_instance_uid, rule)
    if not digests:
        raise Permanent("a member of the cohort has lost the series that it was chosen for")
    return digests


def _id(cohort: Cohort) -> int:
    if cohort.id is None:
        raise Permanent("the cohort is not stored")
    return cohort.id
